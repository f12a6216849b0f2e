package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

var (
	errEither   = errors.New("name entries, or say --all")
	errProblems = errors.New("the check found problems")
)

func (p *program) checkCommand(o *options) *cobra.Command {
	cmd := p.checkup(o)
	cmd.AddCommand(p.checkClient(o), p.checkConfig(o), p.checkStore(o))
	return cmd
}

func (p *program) checkConfig(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Read the settings file and the files it names, and say what is wrong",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.settings()
			if err == nil {
				err = daemon.CheckFiles(o.file(), c)
			}
			if err != nil || o.json {
				return p.answer(o, map[string]bool{"ok": true}, err)
			}
			return p.say("the settings are right")
		},
	}
}

func (p *program) checkStore(o *options) *cobra.Command {
	var r admin.CheckRequest
	var pace int64
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Verify the tables of the store, and with --deep every message; the house may run meanwhile",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.Pace = pace << 20
			return p.with(cmd.Context(), o, func(v verbs) error {
				found, err := v.CheckStore(cmd.Context(), r)
				if err != nil {
					return err
				}
				return p.tellFindings(o, found)
			})
		},
	}
	cmd.Flags().BoolVar(&r.Deep, "deep", false, "read every message and every page of the tables")
	cmd.Flags().Int64Var(&pace, "pace", 64, "MiB a second to read at most; 0: as fast as the disk")
	return cmd
}

// tellFindings ends with an error when there are any, so that whoever runs it at night hears of it.
func (p *program) tellFindings(o *options, found []admin.Finding) error {
	var err error
	if o.json {
		err = writeJSON(p.stdout, found)
	} else {
		for _, f := range found {
			err = errors.Join(err, p.say("%s", f))
		}
	}
	if len(found) > 0 {
		return errors.Join(err, errProblems)
	}
	if err != nil || o.json {
		return err
	}
	return p.say("the store is sound")
}

func (p *program) configCommand(*options) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The settings file", RunE: noSubcommand}
	cmd.AddCommand(&cobra.Command{
		Use:   "example",
		Short: "Print a settings file with every setting and its default",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(p.stdout, config.Example())
			return err
		},
	})
	return cmd
}

func (p *program) reloadCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the running house read its settings and certificates again",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				r, err := c.Reload(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, r, err)
				}
				for _, key := range r.Waiting {
					if err := p.say("%s changed: it needs a restart", key); err != nil {
						return err
					}
				}
				return p.say("reloaded")
			})
		},
	}
}

func (p *program) statusCommand(o *options) *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the house runs, and what it does",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				s, err := c.Status(cmd.Context())
				switch {
				case err == nil && ready && !s.Ready:
					return errors.New("the house is not ready: its doors are not open, or its log cannot be written")
				case err == nil && ready && !o.json:
					return p.say("ready")
				case err != nil || o.json:
					return p.answer(o, s, err)
				}
				return p.showStatus(s)
			})
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "only whether it takes mail now: exit code 0 or 1, for health checks")
	return cmd
}

func (p *program) showStatus(s admin.Status) error {
	ready := "ready"
	if !s.Ready {
		ready = "not ready"
	}
	rows := [][]string{
		{"version", s.Version},
		{"data", s.Data},
		{"process", fmt.Sprintf("%d, since %s, %s", s.PID, moment(s.Started), ready)},
		{"accounts", fmt.Sprint(s.Accounts)},
		{"queue", fmt.Sprint(s.Queue)},
	}
	if len(s.SendingOff) > 0 {
		rows = append(rows, []string{"may not send", strings.Join(s.SendingOff, ", ")})
	}
	for _, l := range s.Listeners {
		rows = append(rows, []string{l.Service, l.Address})
	}
	return table(p.stdout, "", []string{"house", s.Hostname}, rows)
}
