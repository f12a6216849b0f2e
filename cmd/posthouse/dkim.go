package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
)

func (p *program) domainDKIM(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "dkim", Short: "Keys that sign the mail of a domain", RunE: noSubcommand}
	cmd.AddCommand(p.dkimList(o), p.dkimRotate(o), p.dkimRemove(o))
	return cmd
}

func (p *program) dkimList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list DOMAIN",
		Short: "List the keys, whether their records are published, and the records",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				keys, err := v.DKIMKeys(cmd.Context(), argv[0])
				return p.showKeys(o, keys, err)
			})
		},
	}
}

func (p *program) dkimRotate(o *options) *cobra.Command {
	var r admin.Rotate
	var ed25519 bool
	cmd := &cobra.Command{
		Use:   "rotate DOMAIN",
		Short: "Make the next key of a domain",
		Long: `Makes the next key and shows the record to publish. The running house signs with it as soon as it
sees the record; until then the key before it signs. The record of that one may be taken out of
DNS two weeks later, when the list shows it no more.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if ed25519 {
				r.Algorithm = auth.KeyEd25519
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				keys, err := v.RotateDKIM(cmd.Context(), argv[0], r)
				return p.showKeys(o, keys, err)
			})
		},
	}
	cmd.Flags().BoolVar(&ed25519, "ed25519", false, "an Ed25519 key; it signs beside the RSA key, since many receivers do not know it")
	cmd.Flags().BoolVar(&r.Now, "now", false, "sign with it at once, although its record is not seen yet")
	return cmd
}

func (p *program) dkimRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove DOMAIN SELECTOR",
		Short: "Forget a key for good; the only one that signs cannot go",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.RemoveDKIM(cmd.Context(), argv[0], argv[1]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("key %s of %s removed: take its record out of DNS", argv[1], argv[0])
			})
		},
	}
}

// showKeys lists keys and, below, the records of those that receivers must find.
func (p *program) showKeys(o *options, keys []admin.DKIMKey, err error) error {
	if err != nil || o.json {
		return p.answer(o, keys, err)
	}
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{k.Selector, k.Algorithm, k.State, k.Since.Format("2006-01-02"), k.Published})
	}
	err = table(p.stdout, "no keys: posthouse domain dkim rotate DOMAIN --now", []string{"SELECTOR", "ALGORITHM", "STATE", "SINCE", "PUBLISHED"}, rows)
	for _, k := range keys {
		if err == nil {
			err = p.say("\n%s. TXT %s", k.Name, admin.QuotedText(k.Record))
		}
	}
	return err
}

// dkimVerbs is what these commands need of a house.
type dkimVerbs interface {
	DKIMKeys(context.Context, string) ([]admin.DKIMKey, error)
	RotateDKIM(context.Context, string, admin.Rotate) ([]admin.DKIMKey, error)
	RemoveDKIM(ctx context.Context, domain, selector string) error
}
