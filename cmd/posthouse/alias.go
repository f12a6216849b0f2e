package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) aliasCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "alias", Short: "Addresses that lead to others", RunE: noSubcommand}
	cmd.AddCommand(p.aliasAdd(o), p.aliasList(o), p.aliasRemove(o))
	return cmd
}

func (p *program) aliasAdd(o *options) *cobra.Command {
	var in admin.Alias
	cmd := &cobra.Command{
		Use:   "add ADDRESS MEMBER...",
		Short: "Make an alias, or replace its members",
		Args:  args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			in.Address, in.Members = argv[0], argv[1:]
			return p.with(cmd.Context(), o, func(v verbs) error {
				a, err := v.AddAlias(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, a, err)
				}
				return p.say("%s leads to %s", a.Address, strings.Join(a.Members, ", "))
			})
		},
	}
	cmd.Flags().BoolVar(&in.SendAs, "send-as", false, "members may send as this address")
	return cmd
}

func (p *program) aliasList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the aliases",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.Aliases(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, a := range list {
					sendAs := ""
					if a.SendAs {
						sendAs = "yes"
					}
					rows = append(rows, []string{a.Address, strings.Join(a.Members, ", "), sendAs})
				}
				return table(p.stdout, "no aliases", []string{"ALIAS", "LEADS TO", "SEND AS"}, rows)
			})
		},
	}
}

func (p *program) aliasRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ADDRESS",
		Short: "Remove an alias",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.RemoveAlias(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("alias %s removed", argv[0])
			})
		},
	}
}
