package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/store/importer"
)

// exitPassedOver: an import is done, and messages were passed over that are mail perhaps.
const exitPassedOver = 3

// importCommand groups the ways in; imap and pop3 pull from a server.
func (p *program) importCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Bring mail in from another server or program",
		Long: `Brings mail in. What was brought in before is not brought in again, so the command can be
run while the old server still works, and once more at the move; it goes on where it was
stopped. Flags that have changed there since are changed here too.

It works on the running house and on its files. Files are read by the user who runs it.
The exit code is 0 when all was taken, 3 when something was passed over (the summary says
what and why), 1 when it stopped.`,
		RunE: noSubcommand,
	}
	cmd.AddCommand(p.importMaildir(o), p.importMbox(o), p.importEml(o), p.importIMAP(o), p.importPOP3(o), p.importList(o), p.importStop(o))
	return cmd
}

// importFlags are what the imports of files share.
type importFlags struct {
	account string
	mailbox string
	maps    []string
	source  string
	again   bool
	dry     bool
	notes   []string
}

func (f *importFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.account, "account", "", "address or login of the account that gets the mail (required)")
	s.StringVar(&f.mailbox, "mailbox", "", "put everything there: INBOX of the source into it, other folders below it")
	s.StringArrayVar(&f.maps, "map", nil, "OLD=NEW: put a folder and those below it elsewhere; may be said again")
	s.StringVar(&f.source, "source", "", "name of the source, to go on with it at another path (default: its path)")
	s.BoolVar(&f.again, "again", false, "bring in what was brought in before, too")
	s.BoolVar(&f.dry, "dry-run", false, "say what would be done")
}

func (f *importFlags) note(text string) { f.notes = append(f.notes, text) }

// options makes the importer's of the command line's.
func (f *importFlags) options(cmd *cobra.Command, kind, path string) (importer.Options, error) {
	o := importer.Options{Account: f.account, Kind: kind, Name: f.source, Again: f.again, DryRun: f.dry}
	if f.account == "" {
		return o, wrongUsage(cmd, errors.New("say whose mail it is: --account ADDRESS"))
	}
	if o.Name == "" {
		o.Name = path
	}
	o.Names.Mailbox = f.mailbox
	for _, m := range f.maps {
		if err := o.Names.ParseMap(m); err != nil {
			return o, wrongUsage(cmd, err)
		}
	}
	return o, nil
}

func (p *program) importMaildir(o *options) *cobra.Command {
	var f importFlags
	var uidl string
	cmd := &cobra.Command{
		Use:   "maildir FOLDER",
		Short: "Bring in a Maildir, with Dovecot's or Courier's uids and keywords",
		Long: `Brings in a Maildir, a Maildir++ with its folders, or a tree of Maildirs (Dovecot's
LAYOUT=fs). Where dovecot-uidlist or courierimapuiddb stands, UIDVALIDITY and uids are kept
if the mailbox here never had a message, so that IMAP clients download nothing again; the
POP3 unique-ids of INBOX are Dovecot's by default. Stop the old server for the last run, so
that every message has its uid.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if uidl == "auto" {
				uidl = ""
			}
			if uidl == "dovecot" {
				uidl = importer.PatternDovecot
			}
			if !importer.ValidPattern(uidl) {
				return wrongUsage(cmd, fmt.Errorf("--pop3-uidl %q: write auto, none, dovecot, or a pattern with %%u in it", uidl))
			}
			src, err := importer.OpenMaildir(argv[0], f.note)
			if err != nil {
				return err
			}
			return p.runImport(cmd, o, &f, importing{kind: "maildir", path: src.Path(), src: src, uidl: uidl})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&uidl, "pop3-uidl", "auto", "POP3 unique-ids that clients know: auto, none, dovecot, or a pattern as Dovecot's pop3_uidl_format (%08Xu%08Xv)")
	return cmd
}

func (p *program) importMbox(o *options) *cobra.Command {
	var f importFlags
	var variant, labels string
	cmd := &cobra.Command{
		Use:   "mbox FILE | FOLDER",
		Short: "Bring in mbox files: of Thunderbird, Apple Mail, Gmail's Takeout, /var/mail",
		Long: `Brings in an mbox file, or a tree of them (Thunderbird's profile with .sbd folders, Apple's
.mbox folders). Flags, keywords and uids come from the fields that programs keep in the
header (Status, X-Status, X-Keywords, X-UID, X-IMAPbase, X-Mozilla-Status, X-Gmail-Labels);
these are taken out. Without such a field a message is unread.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			v, err := importer.ParseVariant(variant)
			if err != nil {
				return wrongUsage(cmd, err)
			}
			l, ok := importer.ParseLabels(labels)
			if !ok {
				return wrongUsage(cmd, fmt.Errorf("--labels %q: write keywords, folders or ignore", labels))
			}
			src, err := importer.OpenMbox(argv[0], importer.MboxOptions{Variant: v, Labels: l, Note: f.note})
			if err != nil {
				return err
			}
			return p.runImport(cmd, o, &f, importing{kind: "mbox", path: src.Path(), src: src})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&variant, "variant", "auto", "auto (Content-Length where it fits, else mboxrd), mboxo, mboxrd, mboxcl or mboxcl2")
	cmd.Flags().StringVar(&labels, "labels", "keywords", "Gmail's labels: keywords, folders (the first own label is the mailbox) or ignore")
	return cmd
}

func (p *program) importEml(o *options) *cobra.Command {
	var f importFlags
	var unseen bool
	cmd := &cobra.Command{
		Use:   "eml FILE | FOLDER",
		Short: "Bring in single message files, or a tree of them",
		Long: `Brings in .eml and .emlx files. The folders of a tree become mailboxes; files at its top go
to INBOX. The date is that of the last Received field, else of Date, else the file's.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			src, err := importer.OpenEml(argv[0], unseen, f.note)
			if err != nil {
				return err
			}
			return p.runImport(cmd, o, &f, importing{kind: "eml", path: src.Path(), src: src})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&unseen, "unseen", false, "mark the messages as not read")
	return cmd
}

// importing is one import of files.
type importing struct {
	kind, path, uidl string
	src              importer.Source
}

func (p *program) runImport(cmd *cobra.Command, o *options, f *importFlags, in importing) error {
	io, err := f.options(cmd, in.kind, in.path)
	if err != nil {
		return err
	}
	io.UIDL = in.uidl
	bar := p.meter(o, "messages")
	io.Progress = bar.show
	var sum *importer.Summary
	err = p.with(cmd.Context(), o, func(v verbs) (err error) {
		if _, err := v.Account(cmd.Context(), f.account); err != nil {
			return err
		}
		sum, err = importer.Run(cmd.Context(), in.src, v, io)
		return err
	})
	bar.end()
	if sum == nil {
		return err
	}
	sum.Notes = append(f.notes, sum.Notes...)
	if told := p.tellImport(o, sum, f.dry); told != nil {
		return errors.Join(err, told)
	}
	switch {
	case errors.Is(err, importer.ErrOverQuota):
		return fmt.Errorf("%w: %s", err, missingRoom(sum, f.account))
	case err != nil && sum.Taken.Messages > 0:
		return fmt.Errorf("%w; run the command again to go on", err)
	case err != nil:
		return err
	case sum.Lost() > 0:
		return &codedError{exitPassedOver, fmt.Errorf("%s passed over", number(sum.Lost(), "message"))}
	}
	return nil
}

func missingRoom(sum *importer.Summary, account string) string {
	n := sum.OverQuota
	var parts []string
	if n.Bytes > 0 {
		parts = append(parts, "about "+amount(n.Bytes))
	}
	if n.Messages > 0 {
		parts = append(parts, fmt.Sprintf("%d messages", n.Messages))
	}
	if len(parts) == 0 {
		return "make room or raise it (also of its domain), then run the command again"
	}
	return fmt.Sprintf("%s more are needed; posthouse account set %s --quota SIZE, then run the command again", strings.Join(parts, " and "), account)
}

// tellImport writes the summary.
func (p *program) tellImport(o *options, s *importer.Summary, dry bool) error {
	if o.json {
		return writeJSON(p.stdout, s)
	}
	w := &lines{w: p.stdout}
	verb := "taken"
	if dry {
		verb = "would be taken"
	}
	w.say("%s (%s) in %s %s", number(s.Taken.Messages, "message"), amount(uint64(s.Taken.Octets)), number(int64(s.Folders), "folder"), verb)
	for _, c := range []struct {
		n    int64
		text string
	}{
		{s.Already, "were here already"},
		{s.Taken.Reflagged, "have other flags there now: changed here too"},
		{s.Taken.Renumbered, "could not keep their uids: clients download them again"},
		{s.Unnumbered, "had no uid there yet and got one here; stop the old server for the last run"},
		{s.LineEnds, "had line ends that are not CRLF: made CRLF"},
		{s.Taken.Keywords, "keywords could not be kept: a mailbox has at most 56, without spaces"},
		{s.Taken.TooBig, "are larger than 4 GiB: passed over"},
	} {
		if c.n > 0 {
			w.say("%d %s", c.n, c.text)
		}
	}
	for _, k := range s.Skipped {
		w.say("%d passed over: %s", k.Count, k.Reason)
		for _, where := range k.Where {
			w.say("    %s", where)
		}
		if more := k.Count - int64(len(k.Where)); more > 0 {
			w.say("    and %d more", more)
		}
	}
	for _, n := range s.Notes {
		w.say("note: %s", n)
	}
	return w.err
}

// number is a count with its noun.
func number(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// lines writes lines until one cannot be written.
type lines struct {
	w   io.Writer
	err error
}

func (l *lines) say(format string, values ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, format+"\n", printableValues(values)...)
	}
}
