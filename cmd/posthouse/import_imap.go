package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	imappull "github.com/posthouse-mail/posthouse/imap/pull"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// pullFlags are what the imports from servers share.
type pullFlags struct {
	in     admin.Pull
	secret secret
	token  string
	ca     string
	maps   []string
	detach bool
}

func (f *pullFlags) add(cmd *cobra.Command, tls string) {
	s := cmd.Flags()
	s.StringVar(&f.in.Account, "account", "", "address or login of the account that gets the mail (required)")
	s.StringVar(&f.in.From, "from", "", "the server and the user's name there: "+tls+"s://USER@HOST[:PORT] (required)")
	s.StringVar(&f.in.TLS, "tls", "", "implicit, starttls or none (default: implicit for "+tls+"s:, starttls for "+tls+":)")
	s.StringVar(&f.ca, "ca", "", "trust the authorities in the PEM `FILE` instead of the system's")
	s.BoolVar(&f.in.Insecure, "insecure", false, "do not verify the server's certificate: whoever stands in between reads password and mail")
	s.StringVar(&f.token, "token-file", "", "log in with the OAuth token in the first line of `FILE`")
	s.BoolVar(&f.detach, "detach", false, "return at once; posthouse import list shows how far it is")
	f.secret.flags(cmd)
}

// read completes the order with what stands in files.
func (f *pullFlags) read(cmd *cobra.Command, p *program) error {
	switch {
	case f.in.Account == "":
		return wrongUsage(cmd, errors.New("say whose mail it is: --account ADDRESS"))
	case f.in.From == "":
		return wrongUsage(cmd, errors.New("say where the mail is: --from imaps://USER@HOST"))
	}
	for _, m := range f.maps {
		from, to, ok := strings.Cut(m, "=")
		if !ok || from == "" || to == "" {
			return wrongUsage(cmd, fmt.Errorf("--map %q: write OLD=NEW", m))
		}
		if f.in.Map == nil {
			f.in.Map = map[string]string{}
		}
		f.in.Map[from] = to
	}
	if f.ca != "" {
		text, err := os.ReadFile(f.ca)
		if err != nil {
			return err
		}
		f.in.CA = string(text)
	}
	if f.token != "" {
		t := secret{file: f.token}
		token, err := t.read(p)
		f.in.Token = token
		return err
	}
	password, err := f.secret.once(p)
	f.in.Password = password
	return err
}

// once is read for a password that exists already: the person at the terminal is asked one time.
func (s *secret) once(p *program) (string, error) {
	f, ok := p.stdin.(*os.File)
	if s.file != "" || s.stdin || !ok || !term.IsTerminal(int(f.Fd())) {
		return s.read(p)
	}
	return p.ask(f, "Password there: ")
}

func (p *program) importIMAP(o *options) *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:   "imap --account ADDRESS --from imaps://USER@HOST",
		Short: "Bring in the mail of an account from any IMAP server",
		Long: `Brings in folders, messages, flags, keywords, dates and subscriptions from any IMAP server;
nothing is changed there. Sent, Drafts, Trash, Junk and Archive go into ours, by attribute or
by name. Run it again to bring what is new and the flags that changed there since; what was
changed here stays. Messages that were deleted there stay here, unless you say --mirror; then
they go to Recently Deleted.

Into mailboxes that were never used, UIDVALIDITY and uids come along, so that IMAP clients
download nothing again. For POP3 clients say --pop3-uidl-from. In Gmail a message with
several labels is stored once.

The running house does it, and goes on when you close the terminal; Ctrl-C stops it. It may
be stopped at any point: the same command goes on.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.pull(cmd, o, &f) },
	}
	f.add(cmd, "imap")
	s := cmd.Flags()
	s.StringArrayVar(&f.in.Folders, "folders", nil, "`PATTERN` of the folders to bring, with * and %, levels parted by /; with ! in front: leave out; may be said again")
	s.StringArrayVar(&f.maps, "map", nil, "`OLD=NEW`: put a folder and those below it elsewhere; may be said again")
	s.BoolVar(&f.in.Mirror, "mirror", false, "delete here what this import brought and what is gone there")
	s.StringVar(&f.in.UIDLFrom, "pop3-uidl-from", "", "pop3s://HOST of the same server: keep the POP3 unique-ids of INBOX")
	return cmd
}

func (p *program) importList(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the imports from servers that run, and the last that have ended",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				list, err := v.Pulls(cmd.Context())
				if err != nil || o.json {
					return p.answer(o, list, err)
				}
				var rows [][]string
				for _, s := range list {
					state := s.State
					if s.Error != "" {
						state += ": " + s.Error
					}
					rows = append(rows, []string{s.ID, s.Account, s.From, moment(s.Began), fmt.Sprintf("%d of %d", s.Progress.Done, s.Progress.Messages), strconv.Itoa(s.Progress.Pulled), state})
				}
				return table(p.stdout, "no imports since the house was started", []string{"ID", "ACCOUNT", "FROM", "BEGAN", "LOOKED AT", "NEW", "STATE"}, rows)
			})
		},
	}
}

func (p *program) importStop(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "stop ID",
		Short: "Stop an import from a server; what it has brought stays",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			return p.with(cmd.Context(), o, func(v verbs) error {
				if err := v.StopPull(cmd.Context(), argv[0]); err != nil || o.json {
					return p.answer(o, struct{}{}, err)
				}
				return p.say("stopped; the same command goes on where it was")
			})
		},
	}
}

// pull begins an import and follows it.
func (p *program) pull(cmd *cobra.Command, o *options, f *pullFlags) error {
	if err := f.read(cmd, p); err != nil {
		return err
	}
	return p.with(cmd.Context(), o, func(v verbs) error {
		if _, files := v.(*admin.House); files && f.detach {
			return errors.New("no house runs that could go on with it: start one, or leave --detach out")
		}
		s, err := v.StartPull(cmd.Context(), f.in)
		if err != nil {
			return err
		}
		if f.detach {
			if o.json {
				return writeJSON(p.stdout, s)
			}
			return p.say("import %s has begun; posthouse import list shows how far it is", s.ID)
		}
		if s, err = p.follow(cmd.Context(), v, o, s); err != nil {
			return err
		}
		return p.tellPull(o, s)
	})
}

// follow shows the progress until the import ends. The end of ctx, Ctrl-C, ends the import.
func (p *program) follow(ctx context.Context, v verbs, o *options, s admin.PullStatus) (admin.PullStatus, error) {
	bar := p.meter(o, "messages")
	defer bar.end()
	stopped := false
	for s.State == admin.PullRunning {
		if ctx.Err() != nil && !stopped {
			stopped = true
			ctx = context.WithoutCancel(ctx)
			if err := v.StopPull(ctx, s.ID); err != nil {
				if ended, e := v.WatchPull(ctx, s.ID, -1); e == nil && ended.State != admin.PullRunning {
					return ended, nil // in this very moment
				}
				return s, err
			}
		}
		next, err := v.WatchPull(ctx, s.ID, s.Revision)
		if err != nil {
			if ctx.Err() != nil && !stopped {
				continue
			}
			return s, err
		}
		s = next
		at := s.Progress
		folder := at.Folder
		if at.Note != "" {
			folder = at.Note
		}
		bar.show(importer.Progress{Folder: folder, Done: int64(at.Done), Total: int64(at.Messages), Messages: int64(at.Pulled), Octets: at.Bytes, Elapsed: time.Since(s.Began)})
	}
	return s, nil
}

// tellPull writes what an import came to.
func (p *program) tellPull(o *options, s admin.PullStatus) error {
	var err error
	skips := 0
	switch {
	case o.json:
		err = writeJSON(p.stdout, s)
	case s.State == admin.PullFailed && s.Progress.Messages == 0: // it never came to anything
	case s.IMAP != nil:
		err = p.tellIMAP(s.IMAP)
	case s.POP3 != nil:
		err = p.tellPOP3(s.POP3)
	}
	if s.IMAP != nil {
		skips = s.IMAP.Skips
	}
	if s.POP3 != nil {
		skips = s.POP3.Skips
	}
	switch {
	case err != nil:
		return err
	case s.State != admin.PullDone:
		return fmt.Errorf("%s; run the command again to go on", s.Error)
	case skips > 0:
		return &codedError{exitPassedOver, fmt.Errorf("%d messages were passed over; the next run tries them again", skips)}
	}
	return nil
}

func (p *program) tellIMAP(r *imappull.Report) error {
	var rows [][]string
	for _, f := range r.Folders {
		if f.To == "" {
			continue
		}
		uids := "kept"
		switch {
		case !f.KeptUIDs && f.There == 0:
			uids = "-"
		case !f.KeptUIDs:
			uids = "new"
		case f.NewUIDs > 0:
			uids = fmt.Sprintf("%d new", f.NewUIDs)
		}
		rows = append(rows, []string{f.From, f.To, strconv.Itoa(f.There), strconv.Itoa(f.Pulled + f.Copied), strconv.Itoa(f.Flagged), strconv.Itoa(f.Expunged), uids})
	}
	if err := table(p.stdout, "no folder was brought", []string{"FOLDER THERE", "MAILBOX HERE", "THERE", "NEW", "FLAGS", "DELETED", "UIDS"}, rows); err != nil {
		return err
	}
	w := &lines{w: p.stdout}
	w.say("%d messages (%s) brought", r.Pulled, amount(uint64(r.Bytes)))
	for _, f := range r.Folders {
		if f.Copied > 0 {
			w.say("%s: %d were here already, in another mailbox: copied", f.From, f.Copied)
		}
		if f.Matched > 0 {
			w.say("%s: %d were found here", f.From, f.Matched)
		}
		if f.Note != "" && f.There > 0 {
			w.say("%s: clients download what has new uids: %s", f.From, f.Note)
		}
		if f.Why != "" {
			w.say("%s: not brought: %s", f.From, f.Why)
		}
	}
	for _, k := range r.Skipped {
		w.say("passed over: %s, uid %d: %s", k.Folder, k.UID, k.Reason)
	}
	w.rest(r.Skips, len(r.Skipped), r.Warnings)
	return w.err
}

// rest tells how much is not listed, and what was noted.
func (l *lines) rest(all, told int, notes []string) {
	if all > told {
		l.say("and %d more", all-told)
	}
	for _, n := range notes {
		l.say("note: %s", n)
	}
}
