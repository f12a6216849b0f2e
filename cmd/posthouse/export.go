package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/store/importer"
)

func (p *program) exportCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write an account's mail as files that other servers and programs read",
		RunE:  noSubcommand,
	}
	cmd.AddCommand(
		p.exportTo(o, "maildir", "Write a Maildir++ that Dovecot can serve with the same uids", `Writes a Maildir++: messages to the octet, flags, keywords, dates, and dovecot-uidlist, so that
Dovecot serves it with the same UIDVALIDITY, uids and POP3 unique-ids.`,
			func(path string) (importer.Exporter, error) { return importer.CreateMaildir(path) }),
		p.exportTo(o, "mbox", "Write one mbox file for each mailbox", `Writes mboxrd files, one for each mailbox, with flags, keywords and uids in the header fields
that mail programs know (Status, X-Status, X-Keywords, X-UID, X-IMAPbase). An import of them
gives the same octets again.`,
			func(path string) (importer.Exporter, error) { return importer.CreateMbox(path) }),
	)
	return cmd
}

func (p *program) exportTo(o *options, kind, short, long string, create func(string) (importer.Exporter, error)) *cobra.Command {
	var account, mailbox string
	cmd := &cobra.Command{
		Use:   kind + " FOLDER",
		Short: short,
		Long:  long + "\n\nFOLDER must be new or empty. It works on the running house and on its files.",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if account == "" {
				return wrongUsage(cmd, errors.New("say whose mail: --account ADDRESS"))
			}
			return p.export(cmd.Context(), o, exporting{account, mailbox, argv[0], create})
		},
	}
	cmd.Flags().StringVar(&account, "account", "", "address or login of the account (required)")
	cmd.Flags().StringVar(&mailbox, "mailbox", "", "this mailbox alone")
	return cmd
}

// exporting is one export.
type exporting struct {
	account, mailbox, path string
	create                 func(string) (importer.Exporter, error)
}

func (p *program) export(ctx context.Context, o *options, e exporting) error {
	bar := p.meter(o, "messages")
	var sum *importer.ExportSummary
	to := &lateExporter{create: func() (importer.Exporter, error) { return e.create(e.path) }}
	err := p.with(ctx, o, func(v verbs) error {
		if _, err := v.Account(ctx, e.account); err != nil {
			return err
		}
		var err error
		sum, err = importer.Export(ctx, to, importer.ExportOptions{
			Give:     func(ctx context.Context, w io.Writer) error { return v.Export(ctx, e.account, e.mailbox, w) },
			Progress: bar.show,
		})
		return err
	})
	bar.end()
	if err != nil && to.Exporter != nil {
		return fmt.Errorf("%w; what is in %s is not whole", err, e.path)
	}
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(p.stdout, sum)
	}
	w := &lines{w: p.stdout}
	w.say("%s (%s) in %s written to %s", number(sum.Messages, "message"), amount(uint64(sum.Octets)), number(int64(sum.Folders), "folder"), e.path)
	lost := int64(0)
	for _, k := range sum.Skipped {
		lost += k.Count
		w.say("%d passed over: %s", k.Count, k.Reason)
		for _, where := range k.Where {
			w.say("    %s", where)
		}
	}
	if w.err == nil && lost > 0 {
		return &codedError{exitPassedOver, fmt.Errorf("%s passed over", number(lost, "message"))}
	}
	return w.err
}

// lateExporter makes the folder when there is something to write: a wrong name leaves no trace.
type lateExporter struct {
	importer.Exporter // nil: nothing has come yet
	create            func() (importer.Exporter, error)
}

func (l *lateExporter) Folder(f *importer.FolderFrame) error {
	if l.Exporter == nil {
		to, err := l.create()
		if err != nil {
			return err
		}
		l.Exporter = to
	}
	return l.Exporter.Folder(f)
}

func (l *lateExporter) Close() error {
	if l.Exporter == nil {
		return nil
	}
	return l.Exporter.Close()
}
