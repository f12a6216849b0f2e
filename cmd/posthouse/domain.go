package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) domainCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "domain", Short: "Domains of this house", RunE: noSubcommand}
	cmd.AddCommand(p.domainAdd(o), p.domainList(o), p.domainRemove(o), p.domainQuota(o), p.domainLimits(o), p.domainDKIM(o), p.domainRecords(o))
	return cmd
}

func (p *program) domainAdd(o *options) *cobra.Command {
	var in admin.Domain
	cmd := &cobra.Command{
		Use:   "add DOMAIN",
		Short: "Take mail for a domain, or change what was said about it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			in.Name = argv[0]
			return p.with(cmd.Context(), o, func(v verbs) error {
				d, err := v.AddDomain(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, d, err)
				}
				return p.say("domain %s is ours", d.Name)
			})
		},
	}
	cmd.Flags().StringVar(&in.AliasOf, "alias-of", "", "every address of it stands for the same name in that `DOMAIN`")
	cmd.Flags().StringVar(&in.CatchAll, "catch-all", "", "`ADDRESS` that gets the mail for names that nobody has")
	return cmd
}

func (p *program) domainList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the domains",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.Domains(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, d := range list {
					rows = append(rows, []string{d.Name, d.AliasOf, d.CatchAll})
				}
				return table(p.stdout, "no domains yet: posthouse domain add DOMAIN", []string{"DOMAIN", "ALIAS OF", "CATCH-ALL"}, rows)
			})
		},
	}
}

func (p *program) domainRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove DOMAIN",
		Short: "Take no more mail for a domain; refused while addresses use it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.RemoveDomain(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("domain %s removed", argv[0])
			})
		},
	}
}

// answer writes v as JSON, or gives the error back; main writes that.
func (p *program) answer(o *options, v any, err error) error {
	if err != nil || !o.json {
		return err
	}
	return writeJSON(p.stdout, v)
}

// say writes one line for people.
func (p *program) say(format string, values ...any) error {
	_, err := fmt.Fprintf(p.stdout, format+"\n", values...)
	return err
}
