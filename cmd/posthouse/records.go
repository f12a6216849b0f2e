package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) domainRecords(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "records DOMAIN",
		Short: "Print the DNS records that a domain needs, ready to paste, and its MTA-STS policy",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				r, err := v.DomainRecords(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, r, err)
				}
				return p.say("%s\n; the policy, to be served as %s:\n%s", strings.TrimSuffix(r.Zone(), "\n"), r.PolicyURL,
					"; "+strings.ReplaceAll(strings.TrimSpace(r.Policy), "\r\n", "\n; "))
			})
		},
	}
}

// recordVerbs is what this command needs of a house.
type recordVerbs interface {
	DomainRecords(ctx context.Context, domain string) (admin.Records, error)
}
