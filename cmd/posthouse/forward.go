package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) accountForward(o *options) *cobra.Command {
	var keep, off bool
	cmd := &cobra.Command{
		Use:   "forward ACCOUNT [ADDRESS...]",
		Short: "Send mail for an account on to others; without addresses: show where it goes",
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				var f admin.Forwarding
				var err error
				if off || len(argv) > 1 {
					to := argv[1:]
					if off {
						to = []string{}
					}
					f, err = v.SetForwarding(cmd.Context(), argv[0], admin.Forwarding{To: to, Keep: keep})
				} else {
					f, err = v.Forwarding(cmd.Context(), argv[0])
				}
				if err != nil || o.json {
					return p.answer(o, f, err)
				}
				switch {
				case len(f.To) == 0:
					return p.say("mail for %s stays here", argv[0])
				case f.Keep:
					return p.say("mail for %s goes on to %s, and a copy stays", argv[0], strings.Join(f.To, ", "))
				}
				return p.say("mail for %s goes on to %s", argv[0], strings.Join(f.To, ", "))
			})
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "a copy stays in the account's mailboxes")
	cmd.Flags().BoolVar(&off, "off", false, "mail stays here")
	cmd.MarkFlagsMutuallyExclusive("keep", "off")
	return cmd
}

// forwards is where an account's mail goes on to, in a line.
func forwards(a admin.Account) string {
	to := strings.Join(a.Forward, ", ")
	if a.Keep {
		to += ", and a copy stays"
	}
	return to
}
