package main

import (
	"errors"
	"fmt"

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
	cmd := &cobra.Command{Use: "check", Short: "Look for mistakes", RunE: noSubcommand}
	cmd.AddCommand(p.checkConfig(o), p.checkStore(o))
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
	var deep bool
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Verify the tables of the store, and with --deep every message",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				problems, err := v.Check(cmd.Context(), deep)
				if err != nil {
					return err
				}
				if o.json {
					if problems == nil {
						problems = []string{}
					}
					err = writeJSON(p.stdout, problems)
				} else {
					for _, line := range problems {
						err = errors.Join(err, p.say("%s", line))
					}
				}
				if len(problems) > 0 {
					return errors.Join(err, errProblems)
				}
				if err != nil || o.json {
					return err
				}
				return p.say("the store is sound")
			})
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "read every message too")
	return cmd
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
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether the house runs, and what it does",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				s, err := c.Status(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, s, err)
				}
				return p.showStatus(s)
			})
		},
	}
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
	for _, l := range s.Listeners {
		rows = append(rows, []string{l.Service, l.Address})
	}
	return table(p.stdout, "", []string{"house", s.Hostname}, rows)
}
