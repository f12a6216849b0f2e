package main

import (
	"context"
	"encoding/json"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// logCommand shows what the running house writes to its log, and changes how much.
func (p *program) logCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show and set how much the running house logs, by part; read its log live",
		Args:  args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				l, err := c.LogLevels(cmd.Context())
				return p.showLevels(o, l, err)
			})
		},
	}
	cmd.AddCommand(p.logLevelCommand(o), p.logFollowCommand(o))
	return cmd
}

func (p *program) showLevels(o *options, l admin.LogLevels, err error) error {
	if err != nil || o.json {
		return p.answer(o, l, err)
	}
	var rows [][]string
	for _, x := range l.Parts {
		own := ""
		if x.Own {
			own = "its own"
		}
		rows = append(rows, []string{x.Part, x.Level, own})
	}
	return table(p.stdout, "", []string{"all", l.Level, ""}, rows)
}

func (p *program) logLevelCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "level [PART] debug|info|warn|error|default",
		Short: "Set how much is logged, of all or of one part, until the next start",
		Long: `Sets the level of one part of the house, or of all that have none of their own. It holds until the
house is started again or the settings of [log] change; default is what the settings say.
Parts: ` + strings.Join(logx.Parts(), ", ") + ".",
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			change := admin.LogChange{Level: argv[len(argv)-1]}
			if len(argv) == 2 {
				change.Part = argv[0]
			}
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				l, err := c.SetLogLevel(cmd.Context(), change)
				return p.showLevels(o, l, err)
			})
		},
	}
}

func (p *program) logFollowCommand(o *options) *cobra.Command {
	var f admin.LogFilter
	cmd := &cobra.Command{
		Use:   "follow",
		Short: "Read the log of the running house live, until Ctrl-C or the house stops",
		Long: `Prints lines as they are logged. With --account: those of its sessions and its mail; with --address:
those of connections from there. Who reads too slowly loses lines and is told how many.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return p.running(ctx, o, func(c *api.Client) error { return p.followLog(ctx, o, c, f) })
		},
	}
	cmd.Flags().StringSliceVar(&f.Parts, "part", nil, "only these parts")
	cmd.Flags().StringVar(&f.Account, "account", "", "only what concerns this account")
	cmd.Flags().StringVar(&f.Address, "address", "", "only connections from this address")
	return cmd
}

func (p *program) followLog(ctx context.Context, o *options, c *api.Client, f admin.LogFilter) error {
	stream, err := c.FollowLog(ctx, f)
	if err != nil {
		return err
	}
	return stream.Each(func(l logx.Line) error {
		if o.json {
			return json.NewEncoder(p.stdout).Encode(l)
		}
		if l.Lost > 0 {
			if err := p.say("(%d lines lost: they came faster than they were read)", l.Lost); err != nil {
				return err
			}
		}
		return p.say("%s", lineOf(l))
	})
}

// lineOf is a line for people.
func lineOf(l logx.Line) string {
	var b strings.Builder
	b.WriteString(l.Time.Local().Format("15:04:05.000") + " " + l.Level + " ")
	if l.Part != "" {
		b.WriteString(l.Part + ": ")
	}
	b.WriteString(printable(l.Event))
	for _, a := range l.Attrs {
		value := a.Value
		if value == "" || strings.ContainsAny(value, " \"=") {
			value = strconv.Quote(value)
		}
		b.WriteString(" " + printable(a.Key+"="+value))
	}
	return b.String()
}
