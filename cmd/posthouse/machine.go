package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// connectionsCommand is who is connected to the running house.
func (p *program) connectionsCommand(o *options) *cobra.Command {
	var f admin.ConnectionFilter
	cmd := &cobra.Command{
		Use:   "connections",
		Short: "Show who is connected, since when, and what he did last; end a connection",
		Args:  args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				all, err := c.Connections(cmd.Context(), f)
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, x := range all {
					rows = append(rows, []string{x.ID, x.Service, printable(x.Remote), printable(x.Who), moment(x.Began), printable(x.Doing), moment(x.Since)})
				}
				return table(p.stdout, "nobody is connected", []string{"ID", "DOOR", "FROM", "WHO", "SINCE", "LAST COMMAND", "AT"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&f.Service, "service", "", "of this door: smtp, submission, submissions, imap, imaps, pop3, pop3s, lmtp, http, https")
	cmd.Flags().StringVar(&f.Text, "who", "", "a part of an account's address, or of the address that it comes from")
	cmd.AddCommand(&cobra.Command{
		Use:   "end ID",
		Short: "End a connection at once",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				err := c.EndConnection(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("connection %s has ended", argv[0])
			})
		},
	})
	return cmd
}

// certificatesCommand is how it stands with certificates.
func (p *program) certificatesCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certificates",
		Short: "Show the certificates of the running house, and ask for a new one",
		Args:  args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				all, err := c.Certificates(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, x := range all {
					from, state := "file", "good"
					if x.Auto {
						from = "authority"
					}
					if x.Error != "" {
						state = printable(x.Error)
					} else if x.Until.IsZero() {
						state = "on its way"
					}
					rows = append(rows, []string{strings.Join(x.Names, " "), moment(x.Until), from, state})
				}
				return table(p.stdout, "there are no certificates", []string{"NAMES", "UNTIL", "FROM", "STATE"}, rows)
			})
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "renew NAME",
		Short: "Ask the authority for a new certificate of a name now",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				err := c.RenewCertificate(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("a new certificate of %s is asked for: posthouse certificates tells how it goes", argv[0])
			})
		},
	})
	return cmd
}

// settingsCommand is the settings that the running house works with.
func (p *program) settingsCommand(o *options) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "settings [TEXT]",
		Short: "Show the settings of the running house with what they mean; take a change of the file back",
		Long: `Shows the settings that are not as they come, or those whose name or meaning has a text in it:
their value, what the file says where it does not hold yet, and what they are for.`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				s, err := c.Settings(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, s, err)
				}
				return p.showSettings(s, strings.ToLower(strings.Join(argv, "")), all)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every setting")
	cmd.AddCommand(&cobra.Command{
		Use:   "undo",
		Short: "Put the text of the settings file back that was there before the last change from a page or the API",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				f, err := c.RestoreSettingsFile(cmd.Context(), admin.SettingsText{})
				if err != nil || o.json {
					return p.answer(o, f, err)
				}
				return p.say("%s is as it was before; posthouse reload has it hold", f.Path)
			})
		},
	})
	return cmd
}

func (p *program) showSettings(s admin.SettingsShown, text string, all bool) error {
	if s.Wrong != "" {
		if err := p.say("The file as it stands cannot be used:\n%s\n", s.Wrong); err != nil {
			return err
		}
	}
	n := 0
	for _, t := range s.Tables {
		for _, x := range t.Settings {
			if text != "" && !strings.Contains(strings.ToLower(x.Key+" "+x.What), text) || text == "" && !all && x.Value == x.Default && x.File == "" {
				continue
			}
			n++
			line := fmt.Sprintf("%s = %s", x.Key, x.Value)
			if x.File != "" {
				when := "after a restart"
				if x.Live {
					when = "after posthouse reload"
				}
				line += fmt.Sprintf("   (the file says %s: it holds %s)", x.File, when)
			} else if x.Value != x.Default && x.Default != "" {
				line += fmt.Sprintf("   (comes as %s)", x.Default)
			}
			if err := p.say("%s\n    %s.", line, x.What); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return p.say("no setting fits")
	}
	return nil
}
