package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

func (p *program) restoreCommand(o *options) *cobra.Command {
	var f sourceFlags
	var in admin.BringBack
	cmd := &cobra.Command{
		Use:   "restore FOLDER",
		Short: "Bring back a house, an account, a mailbox or a message from a backup",
		Long: `Without --account: the whole house, into the data folder of --data or of the settings, which
must be new or empty. Every mailbox gets a new UIDVALIDITY, so that no mail program mistakes a
new message for one it knows: mail programs load their mailboxes again. POP3 unique-ids stay. Mail that waited to be
sent is held, because it may have been sent since.

With --account, and perhaps --mailbox and --message: what the backup has and the house has not
is appended to the mailboxes of the same names; nothing is overwritten. The house may run. An
account that is missing is made again, with its addresses and its password.`,
		Example: `  posthouse restore /mnt/backup --data /var/lib/posthouse
  posthouse restore /mnt/backup --account alice@example.org --mailbox Archive --at 3d`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			if in.Source, err = f.source(cmd, argv[0]); err != nil {
				return err
			}
			if in.Account != "" {
				return p.bringBack(cmd.Context(), o, in)
			}
			if in.Mailbox != "" || in.Message != "" {
				return wrongUsage(cmd, errors.New("say whose: --account ADDRESS"))
			}
			return p.restoreAll(cmd.Context(), o, in.Source)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&in.Account, "account", "", "bring back the mail of this account")
	cmd.Flags().StringVar(&in.Mailbox, "mailbox", "", "of this mailbox only")
	cmd.Flags().StringVar(&in.Message, "message", "", "this message only, by its `ID` or uid (posthouse backup show)")
	return cmd
}

func (p *program) bringBack(ctx context.Context, o *options, in admin.BringBack) error {
	return p.with(ctx, o, func(v verbs) error {
		b, err := v.BringBack(ctx, in)
		if err != nil || o.json {
			return p.answer(o, b, err)
		}
		if b.Made {
			err = p.say("account %s is made again, with its addresses and its password", b.Account)
		}
		return errors.Join(err, p.say("%d messages brought back to %s from %s, %d mailboxes made; %d messages were there already",
			b.Messages, b.Account, b.Generation, b.Mailboxes, b.There))
	})
}

// wholeHouse is what a restore of everything came to.
type wholeHouse struct {
	backup.Restored
	Held     int      `json:"held"` // messages that wait to be sent
	Problems []string `json:"problems,omitempty"`
}

func (p *program) restoreAll(ctx context.Context, o *options, s admin.Source) error {
	c, err := o.settings()
	if err != nil {
		return err
	}
	if _, err := api.Dial(ctx, c.Data); !errors.Is(err, api.ErrNotRunning) {
		return fmt.Errorf("a house runs on %s: restore into a new folder (--data NEW), or one account into it (--account ADDRESS)", c.Data)
	}
	r, err := s.Open(ctx)
	if err != nil {
		return err
	}
	var out wholeHouse
	out.Restored, err = r.Restore(ctx, c.Data, p.octets(o))
	if err = errors.Join(err, r.Close()); err != nil {
		return admin.BackupError("restore", err)
	}
	if err := p.firstStart(ctx, c, &out); err != nil {
		return fmt.Errorf("%w; everything is in %s", err, c.Data)
	}
	if err := p.showRestored(o, out); err != nil {
		return err
	}
	if len(out.Problems) > 0 {
		return errProblems
	}
	return nil
}

// firstStart opens the restored folder: its log is replayed, a new epoch begins, the queue is held, everything is checked.
func (p *program) firstStart(ctx context.Context, c *config.Config, out *wholeHouse) (err error) {
	files, err := daemon.OpenFiles(ctx, c, logx.New(p.stderr, logx.Options{Level: slog.LevelError}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	if out.Held, err = files.House.HoldQueue(ctx); err != nil {
		return err
	}
	out.Problems, err = files.House.Check(ctx, true)
	return err
}

func (p *program) showRestored(o *options, w wholeHouse) error {
	if o.json {
		return writeJSON(p.stdout, w)
	}
	err := p.say("restored %s into %s: %d segments, %s; every mailbox has a new UIDVALIDITY", w.Generation, w.Folder, w.Segments, amount(uint64(w.Bytes)))
	if w.Settings != "" {
		err = errors.Join(err, p.say("the settings of the house are in %s", filepath.Join(w.Folder, w.Settings)))
	}
	if w.Held > 0 {
		err = errors.Join(err, p.say("%d messages wait to be sent, and are held: they may have been sent since (posthouse queue list, then queue release, or queue cancel --silent)", w.Held))
	}
	for _, name := range w.Missing {
		err = errors.Join(err, p.say("missing in the backup: %s", name))
	}
	for _, line := range w.Problems {
		err = errors.Join(err, p.say("%s", line))
	}
	if len(w.Problems) > 0 {
		return err
	}
	return errors.Join(err, p.say("checked: every table and every message is sound"))
}

// octets shows on a terminal how far a copy is; elsewhere nothing.
func (p *program) octets(o *options) func(backup.Progress) {
	f, ok := p.stderr.(*os.File)
	if o.json || !ok || !term.IsTerminal(int(f.Fd())) {
		return func(backup.Progress) {}
	}
	began, width := time.Now(), 0
	return func(at backup.Progress) {
		spent := time.Since(began)
		line := fmt.Sprintf("%s: %s of %s, %s/s", at.Stage, amount(uint64(at.Done)), amount(uint64(at.Total)),
			amount(uint64(float64(at.Done)/max(spent.Seconds(), 0.001))))
		if at.Done > 0 && at.Total > at.Done {
			line += fmt.Sprintf(", %s left", time.Duration(float64(spent)/float64(at.Done)*float64(at.Total-at.Done)).Round(time.Second))
		}
		end := ""
		if at.Done >= at.Total {
			end = "\n"
		}
		fmt.Fprintf(f, "\r%s%s%s", line, strings.Repeat(" ", max(width-len(line), 0)), end) // a broken terminal stops nothing
		width = len(line)
	}
}
