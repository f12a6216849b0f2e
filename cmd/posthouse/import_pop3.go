package main

import (
	"github.com/spf13/cobra"

	pop3pull "github.com/posthouse-mail/posthouse/pop3/pull"
)

func (p *program) importPOP3(o *options) *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:   "pop3 --account ADDRESS --from pop3s://USER@HOST",
		Short: "Bring in the mail of an account from any POP3 server",
		Long: `Brings in what a POP3 server has. POP3 knows neither folders nor flags: where the server
speaks IMAP too, posthouse import imap brings more. The unique-ids (UIDL) come along, so that
POP3 clients download nothing again. Run it again to bring what is new.

With --delete what is safe here is deleted there; without it nothing is changed there.

The running house does it, and goes on when you close the terminal; Ctrl-C stops it. It may
be stopped at any point: the same command goes on.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.pull(cmd, o, &f) },
	}
	f.add(cmd, "pop3")
	cmd.Flags().StringVar(&f.in.Mailbox, "mailbox", "", "where the mail goes (default INBOX)")
	cmd.Flags().BoolVar(&f.in.Delete, "delete", false, "delete there what is safe here")
	return cmd
}

func (p *program) tellPOP3(r *pop3pull.Report) error {
	w := &lines{w: p.stdout}
	w.say("%d messages there, %d (%s) brought, %d deleted there", r.There, r.Pulled, amount(uint64(r.Bytes)), r.Deleted)
	for _, k := range r.Skipped {
		w.say("passed over: %s: %s", k.ID, k.Reason)
	}
	w.rest(r.Skips, len(r.Skipped), r.Warnings)
	return w.err
}
