package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// certificateVerbs is what programs of an account show instead of a password.
type certificateVerbs interface {
	ClientCertificates(ctx context.Context, user string) ([]admin.ClientCertificate, error)
	AddCertificate(ctx context.Context, user string, in admin.NewClientCertificate) (admin.ClientCertificate, error)
	RemoveCertificate(ctx context.Context, user string, number uint32) (admin.ClientCertificate, error)
}

func (p *program) clientCertificate(o *options) *cobra.Command {
	cmd := &cobra.Command{Use: "certificate", Short: "Certificates that programs of an account log in with", RunE: noSubcommand}
	cmd.AddCommand(p.certificateAdd(o), p.certificateList(o), p.certificateRemove(o))
	return cmd
}

// maxCertificateFile is more than any file with one certificate and those above it.
const maxCertificateFile = 64 << 10

func (p *program) certificateAdd(o *options) *cobra.Command {
	var in admin.NewClientCertificate
	var expires string
	cmd := &cobra.Command{
		Use:   "add ACCOUNT NAME FILE",
		Short: "Register the certificate in FILE (PEM; - is standard input) for the program called NAME; one with a known key is renewed",
		Args:  args(cobra.ExactArgs(3)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			in.Name = argv[1]
			if expires != "" {
				at, err := end(expires, time.Now())
				if err != nil {
					return wrongUsage(cmd, err)
				}
				in.Expires = &at
			}
			if in.PEM, err = p.smallFile(argv[2]); err != nil {
				return err
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				made, err := v.AddCertificate(cmd.Context(), argv[0], in)
				if err != nil || o.json {
					return p.answer(o, made, err)
				}
				return p.say("certificate %d (%s) opens %s of %s until %s", made.Number, made.Name, strings.Join(made.Doors, ", "), argv[0], moment(made.Expires))
			})
		},
	}
	cmd.Flags().StringSliceVar(&in.Doors, "doors", nil, "services it opens: imap, pop3, submission (default all three)")
	cmd.Flags().StringVar(&expires, "expires", "", "when it ends: a `DATE` as 2027-01-31, or a time from now as 90d (default when the certificate does)")
	return cmd
}

// smallFile reads a file, or standard input.
func (p *program) smallFile(name string) (string, error) {
	from := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxCertificateFile+1))
	if err == nil && len(text) > maxCertificateFile {
		err = fmt.Errorf("%s is too long for a certificate", name)
	}
	return string(text), err
}

func (p *program) certificateList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list ACCOUNT",
		Short: "List the certificates of an account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				all, err := v.ClientCertificates(cmd.Context(), argv[0])
				if err != nil || o.json {
					return p.answer(o, all, err)
				}
				var rows [][]string
				for _, c := range all {
					like := admin.AppPassword{Expires: &c.Expires, Expired: c.Expired, Last: c.Last}
					rows = append(rows, []string{strconv.FormatUint(uint64(c.Number), 10), c.Name, strings.Join(c.Doors, " "), moment(c.Created), endOf(like), lastUse(like), c.Key})
				}
				return table(p.stdout, "no certificates", []string{"NUMBER", "NAME", "SERVICES", "MADE", "ENDS", "LAST USED", "KEY"}, rows)
			})
		},
	}
}

func (p *program) certificateRemove(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ACCOUNT NUMBER",
		Short: "Revoke a certificate; what it has opened ends at once",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			n, err := strconv.ParseUint(argv[1], 10, 32)
			if err != nil {
				return wrongUsage(cmd, fmt.Errorf("%q is no number of a certificate: posthouse account certificate list %s shows them", argv[1], argv[0]))
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				c, err := v.RemoveCertificate(cmd.Context(), argv[0], uint32(n))
				if err != nil || o.json {
					return p.answer(o, c, err)
				}
				return p.say("certificate %d (%s) is revoked", c.Number, c.Name)
			})
		},
	}
}
