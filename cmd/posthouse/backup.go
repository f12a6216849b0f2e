package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
)

var errUnverified = errors.New("the backup is there, and could not be verified")

func (p *program) backupCommand(o *options) *cobra.Command {
	var in admin.BackupRequest
	var secrets secretFlags
	cmd := &cobra.Command{
		Use:   "backup [FOLDER]",
		Short: "Make a backup and prove it",
		Long: `Copies the house into a folder, which is made if it is not there: mail, accounts, queue,
settings and keys. Mail goes on meanwhile. What the folder has already is not copied again;
each backup is whole all the same. Afterwards it is read back, every page and every record is
checked, and a message of each account is restored and compared.

Without FOLDER it goes where backup.to of the settings says. It works on the running house and
on its files. The folder may be any disk or network share.`,
		Example: `  posthouse backup /mnt/backup
  posthouse backup /mnt/backup --recipient age1...
  posthouse backup list /mnt/backup`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			if len(argv) == 1 {
				if in.To, err = filepath.Abs(argv[0]); err != nil {
					return err
				}
			}
			if in.Passphrase, in.Identities, err = secrets.read(); err != nil {
				return err
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				rep, err := v.Backup(cmd.Context(), in)
				if err != nil {
					return err
				}
				err = p.showReport(o, rep)
				if rep.Verified == nil {
					err = errors.Join(err, errUnverified)
				}
				return err
			})
		},
	}
	cmd.Flags().StringArrayVar(&in.Recipients, "recipient", nil, "public `KEY` of age to encrypt for; may be said again")
	secrets.add(cmd)
	cmd.AddCommand(p.backupList(o), p.backupShow(o), p.backupVerify(o))
	return cmd
}

// secretFlags are the files that open an encrypted backup.
type secretFlags struct{ identity, passphrase string }

func (f *secretFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.identity, "identity", "", "`FILE` with the private key of age, of an encrypted backup")
	cmd.Flags().StringVar(&f.passphrase, "passphrase-file", "", "`FILE` whose first line is the passphrase of an encrypted backup")
}

func (f *secretFlags) read() (passphrase, identities string, err error) {
	if f.passphrase != "" {
		text, err := os.ReadFile(f.passphrase)
		if err != nil {
			return "", "", err
		}
		passphrase, _, _ = strings.Cut(string(text), "\n")
		if passphrase = strings.TrimRight(passphrase, "\r"); passphrase == "" {
			return "", "", fmt.Errorf("%s has no passphrase in its first line", f.passphrase)
		}
	}
	if f.identity != "" {
		text, err := os.ReadFile(f.identity)
		if err != nil {
			return "", "", err
		}
		identities = string(text)
	}
	return passphrase, identities, nil
}

// sourceFlags name one backup in a folder.
type sourceFlags struct {
	secretFlags
	at, store string
}

func (f *sourceFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.at, "at", "", "the newest backup that was taken then or before: 3d, 2026-05-01 or \"2026-05-01 14:30\" (default: the newest)")
	cmd.Flags().StringVar(&f.store, "store", "", "name of the house in the list, where the folder has several")
	f.secretFlags.add(cmd)
}

func (f *sourceFlags) source(cmd *cobra.Command, folder string) (s admin.Source, err error) {
	if s.From, err = filepath.Abs(folder); err != nil {
		return s, err
	}
	s.Store = f.store
	if f.at != "" {
		if s.At, err = pastMoment(f.at, time.Now()); err != nil {
			return s, wrongUsage(cmd, err)
		}
		if _, derr := time.ParseInLocation(time.DateOnly, f.at, time.Local); derr == nil {
			s.At = s.At.AddDate(0, 0, 1).Add(-time.Second) // a day means its end
		}
	}
	s.Passphrase, s.Identities, err = f.read()
	return s, err
}

func (p *program) showReport(o *options, r backup.Report) error {
	if o.json {
		return writeJSON(p.stdout, r)
	}
	err := p.say("backup %s in %s: %d of %d segments were new, %s written, %s in all", r.Generation, r.Folder, r.Copied, r.Segments,
		amount(uint64(r.Bytes)), amount(uint64(r.Total)))
	for _, text := range r.Warnings {
		err = errors.Join(err, p.say("warning: %s", text))
	}
	for _, left := range r.Left {
		err = errors.Join(err, p.say("not in it: %s", left))
	}
	for _, name := range r.Dropped {
		err = errors.Join(err, p.say("removed: backup %s", name))
	}
	return errors.Join(err, p.showVerified(r.Verified, r.Problems))
}

func (p *program) showVerified(v *backup.Verified, problems []string) error {
	var err error
	for _, line := range problems {
		err = errors.Join(err, p.say("%s", line))
	}
	switch {
	case v == nil:
	case v.How == backup.HowCiphertext:
		err = p.say("verified: what was written reads back as it was encrypted; that your private key opens it was not tried (posthouse backup verify --identity FILE)")
	default:
		err = p.say("verified: tables, %d segments read back, %d messages there, %d restored and compared", v.Read, v.Messages, v.Compared)
	}
	return err
}

func (p *program) backupList(o *options) *cobra.Command {
	var f sourceFlags
	cmd := &cobra.Command{
		Use:   "list FOLDER",
		Short: "List the backups in a folder",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			s, err := f.source(cmd, argv[0])
			if err != nil {
				return err
			}
			list, err := s.Generations()
			if err != nil {
				return err
			}
			if o.json {
				return writeJSON(p.stdout, list)
			}
			var rows [][]string
			for _, g := range list {
				m := g.Manifest
				state := "no: posthouse backup verify says why"
				if m.Verified != nil {
					state = moment(m.Verified.At) + ", " + m.Verified.How
				}
				sealed := "no"
				if m.Sealed {
					sealed = "yes"
				}
				rows = append(rows, []string{moment(m.Taken), amount(uint64(g.Bytes())), strconv.Itoa(len(m.Segments)), sealed, state, m.Store})
			}
			return table(p.stdout, "no backups", []string{"TAKEN", "SIZE", "SEGMENTS", "ENCRYPTED", "VERIFIED", "HOUSE"}, rows)
		},
	}
	f.add(cmd)
	return cmd
}

func (p *program) backupVerify(o *options) *cobra.Command {
	var f sourceFlags
	cmd := &cobra.Command{
		Use:   "verify FOLDER",
		Short: "Read a whole backup back and check everything in it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			s, err := f.source(cmd, argv[0])
			if err != nil {
				return err
			}
			g, err := s.Find()
			if err != nil {
				return err
			}
			v, problems, err := backup.Verify(cmd.Context(), g, backup.VerifyOptions{Secrets: s.Secrets(), Progress: p.octets(o)})
			if err != nil {
				return admin.BackupError(g.Name, err)
			}
			if o.json {
				err = writeJSON(p.stdout, map[string]any{"verified": v, "problems": problems})
			} else {
				err = p.showVerified(v, problems)
			}
			if v == nil {
				err = errors.Join(err, errProblems)
			}
			return err
		},
	}
	f.add(cmd)
	return cmd
}

// chosen is what of a backup is to be seen.
type chosen struct{ account, mailbox, message string }

func (p *program) backupShow(o *options) *cobra.Command {
	var f sourceFlags
	var what chosen
	cmd := &cobra.Command{
		Use:   "show FOLDER",
		Short: "Look into a backup: its accounts, mailboxes, messages, or one message as it is",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			s, err := f.source(cmd, argv[0])
			if err != nil {
				return err
			}
			r, err := s.Open(cmd.Context())
			if err != nil {
				return err
			}
			return admin.BackupError(r.Name, errors.Join(p.showBackup(cmd, o, r, what), r.Close()))
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&what.account, "account", "", "the mailboxes of this account")
	cmd.Flags().StringVar(&what.mailbox, "mailbox", "", "the messages of this mailbox")
	cmd.Flags().StringVar(&what.message, "message", "", "the message with this `ID` (the first column) or uid, as it is")
	return cmd
}

func (p *program) showBackup(cmd *cobra.Command, o *options, r *backup.Reader, what chosen) error {
	if what.account == "" {
		if what.mailbox != "" || what.message != "" {
			return wrongUsage(cmd, errors.New("say whose: --account ADDRESS"))
		}
		if o.json {
			return writeJSON(p.stdout, r.Contents.Accounts)
		}
		var rows [][]string
		for _, a := range r.Contents.Accounts {
			rows = append(rows, []string{a.Address, strconv.FormatUint(a.Messages, 10), amount(a.Bytes)})
		}
		return table(p.stdout, "no accounts", []string{"ACCOUNT", "MESSAGES", "SIZE"}, rows)
	}
	if err := r.Legible(); err != nil {
		return err
	}
	id, err := admin.BackupAccount(cmd.Context(), r, what.account)
	if err != nil {
		return err
	}
	if what.message != "" {
		b, err := r.Message(cmd.Context(), id, what.mailbox, what.message)
		if err != nil {
			return err
		}
		_, err = io.Copy(p.stdout, io.NewSectionReader(b, 0, b.Size()))
		return errors.Join(err, b.Close())
	}
	boxes, err := r.Store.Mailboxes(cmd.Context(), id)
	if err != nil {
		return err
	}
	if what.mailbox == "" {
		return p.showBoxes(cmd, o, r, boxes)
	}
	for _, b := range boxes {
		if b.ID != 0 && b.Name == what.mailbox {
			return p.showMessages(cmd, o, r, b)
		}
	}
	return fmt.Errorf("%s has no mailbox %s in that backup", what.account, what.mailbox)
}

func (p *program) showBoxes(cmd *cobra.Command, o *options, r *backup.Reader, boxes []store.Mailbox) error {
	type box struct {
		Name     string `json:"name"`
		Messages uint32 `json:"messages"`
		Bytes    uint64 `json:"bytes"`
	}
	list := []box{}
	var rows [][]string
	for _, b := range boxes {
		if b.ID == 0 {
			continue
		}
		st, err := r.Store.State(cmd.Context(), b.ID)
		if err != nil {
			return err
		}
		list = append(list, box{b.Name, st.Exists, st.Bytes})
		rows = append(rows, []string{b.Name, fmt.Sprint(st.Exists), amount(st.Bytes)})
	}
	if o.json {
		return writeJSON(p.stdout, list)
	}
	return table(p.stdout, "no mailboxes", []string{"MAILBOX", "MESSAGES", "SIZE"}, rows)
}

func (p *program) showMessages(cmd *cobra.Command, o *options, r *backup.Reader, b store.Mailbox) error {
	type line struct {
		ID       string    `json:"id"`
		UID      uint32    `json:"uid"`
		Received time.Time `json:"received"`
		Size     uint32    `json:"size"`
		From     string    `json:"from"`
		Subject  string    `json:"subject"`
	}
	list := []line{}
	var rows [][]string
	for page, err := range r.Store.Messages(cmd.Context(), b.ID, []store.UIDRange{{First: 1, Last: 0xffffffff}}) {
		if err != nil {
			return err
		}
		for _, m := range page {
			l := line{ID: r.Store.ObjectID('M', m.ID), UID: m.UID, Received: m.Received, Size: m.Size}
			l.From, l.Subject = headOf(cmd, r, m)
			if o.json {
				list = append(list, l)
				continue
			}
			rows = append(rows, []string{l.ID, fmt.Sprint(l.UID), moment(l.Received), amount(uint64(l.Size)), short(l.From, 30), short(l.Subject, 40)})
		}
	}
	if o.json {
		return writeJSON(p.stdout, list)
	}
	return table(p.stdout, "no messages", []string{"ID", "UID", "RECEIVED", "SIZE", "FROM", "SUBJECT"}, rows)
}

// headOf is what people know a message by.
func headOf(cmd *cobra.Command, r *backup.Reader, m store.Message) (from, subject string) {
	b, err := r.Store.Open(cmd.Context(), m)
	if err != nil {
		return "", "(" + err.Error() + ")"
	}
	defer b.Close()
	root, err := b.Root()
	if err != nil || root.Envelope == nil {
		return "", ""
	}
	if len(root.Envelope.From) > 0 {
		a := root.Envelope.From[0]
		if from = message.DecodeWords(a.Name); from == "" {
			from = mail.Address{Local: a.Mailbox, Domain: mail.Domain(a.Host)}.String()
		}
	}
	return from, message.DecodeWords(root.Envelope.Subject)
}
