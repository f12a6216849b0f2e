package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// tokenVerbs is the secrets of programs.
type tokenVerbs interface {
	AddToken(ctx context.Context, in admin.NewToken) (admin.MadeToken, error)
	Tokens(ctx context.Context, user string) ([]admin.Token, error)
	RemoveToken(ctx context.Context, user string, number uint32) (admin.Token, error)
}

func (p *program) tokenCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Tokens: what programs show instead of a password, for what their scopes say", RunE: noSubcommand}
	cmd.AddCommand(p.tokenAdd(o), p.tokenList(o), p.tokenRemove(o))
	return cmd
}

func (p *program) tokenAdd(o *options) *cobra.Command {
	var in admin.NewToken
	var expires string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a token for the program called NAME; it is shown this once",
		Long: `Make a token for the program called NAME; it is shown this once.

Scopes of an account (--account): mail (IMAP and POP3), send (the submission ports, and POST /api/v1/send), account (its settings),
masks (masked addresses). Scopes of the house: read (all that operators see, mail excepted), directory (domains, accounts, aliases,
lists), queue (mail that waits), everything. Those need no account, or one that is an operator's: then they end when it is none.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			in.Name = argv[0]
			if expires != "" {
				at, err := end(expires, time.Now())
				if err != nil {
					return wrongUsage(cmd, err)
				}
				in.Expires = &at
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				made, err := v.AddToken(cmd.Context(), in)
				if err != nil || o.json {
					return p.answer(o, made, err)
				}
				return p.say("%s", made.Secret)
			})
		},
	}
	cmd.Flags().StringVar(&in.Account, "account", "", "whose it is; else the house's")
	cmd.Flags().StringSliceVar(&in.Scopes, "scopes", nil, "what it may do: mail, send, account, masks, read, directory, queue, everything")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends: a `DATE` as 2027-01-31, or a time from now as 90d (default never)")
	return cmd
}

func (p *program) tokenList(o *options) *cobra.Command {
	account := ""
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.Tokens(cmd.Context(), account)
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, t := range all {
					like := admin.AppPassword{Expires: t.Expires, Expired: t.Expired, Last: t.Last}
					rows = append(rows, []string{
						strconv.FormatUint(uint64(t.Number), 10), t.Name, cmp.Or(t.Account, "the house"), strings.Join(t.Scopes, " "), moment(t.Created), endOf(like), lastUse(like),
					})
				}
				return table(p.stdout, "no tokens", []string{"NUMBER", "NAME", "ACCOUNT", "SCOPES", "MADE", "ENDS", "LAST USED"}, rows)
			})
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "only those of an account")
	return cmd
}

func (p *program) tokenRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NUMBER",
		Short: "Revoke a token; what it has opened ends at once",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			n, err := strconv.ParseUint(argv[0], 10, 32)
			if err != nil {
				return wrongUsage(cmd, fmt.Errorf("%q is no number of a token: posthouse token list shows them", argv[0]))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				t, err := v.RemoveToken(cmd.Context(), "", uint32(n))
				if err != nil || o.json {
					return p.answer(o, t, err)
				}
				return p.say("token %d (%s) is revoked", t.Number, t.Name)
			})
		},
	}
}
