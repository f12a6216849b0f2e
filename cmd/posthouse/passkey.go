package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// passkeyVerbs is what the operator does about passkeys: they are made at the web pages, by who has the device.
type passkeyVerbs interface {
	Passkeys(ctx context.Context, user string) ([]admin.Passkey, error)
	RemovePasskey(ctx context.Context, user string, number uint32) (admin.Passkey, error)
}

func (p *program) passkey(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "passkey", Short: "Passkeys, which open the web pages without a password", RunE: noSubcommand}
	cmd.AddCommand(p.passkeyList(o), p.passkeyRemove(o))
	return cmd
}

func (p *program) passkeyList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list ACCOUNT",
		Short: "List the passkeys of an account; it makes them itself, at its web pages",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.Passkeys(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, k := range all {
					used := "never"
					if k.Used != nil {
						used = moment(*k.Used)
					}
					rows = append(rows, []string{strconv.FormatUint(uint64(k.Number), 10), k.Name, k.Host, moment(k.Created), used})
				}
				return table(p.stdout, "no passkeys", []string{"NUMBER", "NAME", "WORKS AT", "MADE", "LAST USED"}, rows)
			})
		},
	}
}

func (p *program) passkeyRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ACCOUNT NUMBER",
		Short: "Remove a passkey, as when its device is lost; what it has opened ends at once",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			n, err := strconv.ParseUint(argv[1], 10, 32)
			if err != nil {
				return wrongUsage(cmd, fmt.Errorf("%q is no number of a passkey: posthouse account passkey list %s shows them", argv[1], argv[0]))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				k, err := v.RemovePasskey(cmd.Context(), argv[0], uint32(n))
				if err != nil || o.json {
					return p.answer(o, k, err)
				}
				return p.say("passkey %d (%s) is removed", k.Number, k.Name)
			})
		},
	}
}
