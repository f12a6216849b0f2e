package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) domainQuota(o *options) *cobra.Command {
	var size string
	var messages uint64
	cmd := &cobra.Command{
		Use:   "quota DOMAIN",
		Short: "Show or set what all accounts of a domain may hold together",
		Long: `Shows what the accounts of a domain hold together, or limits it. An account belongs to the
domain of its main address. The limit holds beside those of the accounts, from the next message
on; what is over it already stays.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			given := cmd.Flags().Changed
			var bytes uint64
			if given("size") {
				n, err := octets(size)
				if err != nil {
					return wrongUsage(cmd, err)
				}
				bytes = n
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				q, err := v.DomainQuota(cmd.Context(), argv[0])
				if err == nil && (given("size") || given("messages")) {
					set := q.Quota
					if given("size") {
						set.Bytes = bytes
					}
					if given("messages") {
						set.Messages = messages
					}
					q, err = v.SetDomainQuota(cmd.Context(), argv[0], set)
				}
				if err != nil || o.json {
					return p.answer(o, q, err)
				}
				return p.showDomainQuota(q)
			})
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "most they may hold, as 100GiB; 0B is no limit")
	cmd.Flags().Uint64Var(&messages, "messages", 0, "most messages; 0 is no limit")
	return cmd
}

func (p *program) showDomainQuota(q admin.DomainQuota) error {
	messages := "no limit"
	if q.Quota.Messages > 0 {
		messages = strconv.FormatUint(q.Quota.Messages, 10)
	}
	return table(p.stdout, "", []string{"domain", q.Domain}, [][]string{
		{"accounts", strconv.Itoa(q.Accounts)},
		{"messages", strconv.FormatUint(q.Usage.Messages, 10) + " of " + messages},
		{"size", amount(q.Usage.Bytes) + " of " + limit(q.Quota.Bytes)},
	})
}

func (p *program) accountRecount(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "recount USER",
		Short: "Count the mail of an account anew, and mend numbers that are wrong",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				r, err := v.Recount(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, r, err)
				}
				if r.Was == r.Is && r.Mailboxes == 0 {
					return p.say("%s holds %d messages, %s: the numbers were right", r.Account, r.Is.Messages, amount(r.Is.Bytes))
				}
				return p.say("%s holds %d messages, %s; the numbers said %d, %s, those of %d mailboxes were wrong: all are mended",
					r.Account, r.Is.Messages, amount(r.Is.Bytes), r.Was.Messages, amount(r.Was.Bytes), r.Mailboxes)
			})
		},
	}
}
