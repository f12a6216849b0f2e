package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/web/admin"
)

var errWhichDeleted = errors.New("say which messages: --id, --mailbox, --since, --subject, --from, or --all; --list shows what there is")

// shownDeleted is how many messages a list shows to people.
const shownDeleted = 50

func (p *program) undeleteCommand(o *options) *cobra.Command {
	var in admin.Undelete
	var since string
	var ids []uint
	var list, all bool
	cmd := &cobra.Command{
		Use:   "undelete ACCOUNT",
		Short: "Bring back mail that was deleted",
		Long: `Brings back mail that a mail program has deleted for good (expunged), or that was in a
mailbox that was deleted. It is kept for store.keep_deleted, 30 days by default. Each message
goes where it was, or with --to into one mailbox. Several conditions must all hold.

It works on the running house and on its files. Users can do the same in their mail program,
with the mailbox "Recently Deleted".`,
		Example: `  posthouse undelete alice@example.org --list
  posthouse undelete alice@example.org --since 2h
  posthouse undelete alice@example.org --mailbox Archive/2025 --to Rescued`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			if since != "" {
				if in.Since, err = pastMoment(since, time.Now()); err != nil {
					return wrongUsage(cmd, err)
				}
			}
			for _, id := range ids {
				in.IDs = append(in.IDs, uint64(id))
			}
			some := len(ids) > 0 || in.Mailbox != "" || since != "" || in.Subject != "" || in.From != ""
			if !list && some == all {
				return wrongUsage(cmd, errWhichDeleted)
			}
			return p.with(cmd.Context(), o, func(v verbs) error {
				if list {
					if !o.json && in.Limit == 0 {
						in.Limit = shownDeleted
					}
					d, err := v.Deleted(cmd.Context(), argv[0], in.DeletedFilter)
					if err != nil || o.json {
						return p.answer(o, d, err)
					}
					return p.showDeleted(argv[0], d, some)
				}
				u, err := v.Undelete(cmd.Context(), argv[0], in)
				if err != nil || o.json {
					return p.answer(o, u, err)
				}
				return p.showUndeleted(argv[0], u, some)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&list, "list", false, "show what can come back, and change nothing")
	f.BoolVar(&all, "all", false, "everything that is kept")
	f.UintSliceVar(&ids, "id", nil, "these messages of the list; may be said again")
	f.StringVar(&in.Mailbox, "mailbox", "", "what was in this mailbox and those below it")
	f.StringVar(&since, "since", "", "what was deleted since then: 2h, 3d, 2026-05-01 or \"2026-05-01 14:30\"")
	f.StringVar(&in.Subject, "subject", "", "what has this `TEXT` in its subject")
	f.StringVar(&in.From, "from", "", "what has this `TEXT` in its sender")
	f.StringVar(&in.To, "to", "", "put everything into this mailbox, which is made if it is not there")
	f.IntVar(&in.Limit, "limit", 0, "with --list: only the last ones (default "+strconv.Itoa(shownDeleted)+"; with --json all)")
	return cmd
}

func (p *program) showDeleted(user string, d admin.Deleted, some bool) error {
	if d.Total == 0 {
		return p.nothingDeleted(user, some)
	}
	var rows [][]string
	for _, m := range d.Messages {
		rows = append(rows, []string{
			strconv.FormatUint(m.ID, 10), moment(m.Deleted), m.Mailbox, amount(uint64(m.Size)), short(m.From, 30), short(m.Subject, 40),
		})
	}
	if err := table(p.stdout, "", []string{"ID", "DELETED", "WAS IN", "SIZE", "FROM", "SUBJECT"}, rows); err != nil {
		return err
	}
	if more := d.Total - len(d.Messages); more > 0 {
		return p.say("and %d before them; %s in all (--limit shows more)", more, amount(d.Bytes))
	}
	return nil
}

func (p *program) showUndeleted(user string, u admin.Undeleted, some bool) error {
	if u.Messages == 0 {
		return p.nothingDeleted(user, some)
	}
	for _, m := range u.Mailboxes {
		what := "message is"
		if m.Messages != 1 {
			what = "messages are"
		}
		if err := p.say("%d %s back in %s", m.Messages, what, m.Name); err != nil {
			return err
		}
	}
	return nil
}

// nothingDeleted says what can be done when nothing is there to come back.
func (p *program) nothingDeleted(user string, some bool) error {
	if some {
		return p.say("nothing of %s fits; posthouse undelete %s --list shows what is kept", user, user)
	}
	return p.say("nothing of %s is kept: deleted mail stays for the time of the setting store.keep_deleted, and goes earlier when the disk is full;\n"+
		"what is older may be in a backup", user)
}

// short cuts a text for a column; control characters are somebody's tricks.
func short(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// pastMoment reads a time: a date, date and time in the zone of the machine, or how long ago.
func pastMoment(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", "2006-01-02 15:04:05", time.RFC3339} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	var ago config.Duration
	if err := ago.UnmarshalText([]byte(s)); err != nil || ago.Duration < 0 {
		return time.Time{}, fmt.Errorf("%q is no time: write 2h, 3d, 2026-05-01 or \"2026-05-01 14:30\"", s)
	}
	return now.Add(-ago.Duration), nil
}
