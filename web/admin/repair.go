package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// RepairOptions says what to repair, and how its keepers are made.
type RepairOptions struct {
	Tables kv.Options
	Logger *slog.Logger
	DryRun bool // find out what could be done, and change nothing
	// Build makes the keepers over tables that are not started; Open opens the folder as the house does, and Close ends that.
	Build func(db *kv.DB) (*store.Store, error)
	Open  func(ctx context.Context) (*House, func() error, error)
}

// Repaired is what a repair did, in words that an operator reads.
type Repaired struct {
	Sound    bool      `json:"sound"` // there was nothing to repair
	DryRun   bool      `json:"dry_run,omitempty"`
	Base     string    `json:"base"`
	BaseTime time.Time `json:"base_time,omitzero"`
	Complete bool      `json:"complete"` // everything is as it was; clients notice nothing
	Restored []string  `json:"restored"`
	Lost     []string  `json:"lost,omitempty"`
	Changed  []string  `json:"changed,omitempty"`
	Kept     []string  `json:"kept,omitempty"`     // files that were put aside
	Refused  []string  `json:"refused,omitempty"`  // what could not be the base, and why
	Problems []string  `json:"problems,omitempty"` // of the full check afterwards
}

// Repair makes the tables of a folder at rest anew from the best copy there is and the log. It deletes nothing: the old tables and
// damaged segments stay under other names.
func Repair(ctx context.Context, o RepairOptions) (Repaired, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	bases, err := kv.Bases(ctx, o.Tables)
	if err != nil {
		return Repaired{}, translateRepair(err)
	}
	out := Repaired{DryRun: o.DryRun}
	var usable []kv.Candidate
	for _, c := range bases {
		switch {
		case c.Err == nil:
			usable = append(usable, c)
		case errors.Is(c.Err, fs.ErrNotExist):
			out.Refused = append(out.Refused, fmt.Sprintf("%s: it is not there", c.Base))
		default:
			out.Refused = append(out.Refused, plain(string(c.Base), c.Err))
		}
	}
	if len(usable) == 0 {
		return out, missing("nothing is left to begin with: neither tables nor directory records in the log; bring the folder back from a backup (posthouse restore)")
	}
	w := &repairing{o: o, out: &out}
	if err := w.choose(ctx, usable); err != nil {
		return out, translateRepair(err)
	}
	if out.Sound || o.DryRun {
		return out, translateRepair(w.repair.Abort())
	}
	aside, err := w.repair.Finish(ctx)
	if err != nil {
		return out, translateRepair(err)
	}
	out.Kept = append(out.Kept, aside...)
	return out, translateRepair(w.verify(ctx))
}

func translateRepair(err error) error {
	switch {
	case errors.Is(err, kv.ErrLocked):
		return &Error{Conflict, "the data folder is in use: stop the house (systemctl stop posthouse), then repair", err}
	case errors.Is(err, kv.ErrNewer):
		return &Error{Conflict, plain("repair", err), err}
	}
	return translate("repair", err)
}

type repairing struct {
	o      RepairOptions
	out    *Repaired
	repair *kv.Repair
	store  *store.Store
}

// choose takes the first base that gives sound tables, else the first one.
func (w *repairing) choose(ctx context.Context, usable []kv.Candidate) error {
	for i, c := range usable {
		problems, err := w.attempt(ctx, c)
		if errors.Is(err, kv.ErrDamaged) && i+1 < len(usable) {
			w.out.Refused = append(w.out.Refused, plain(string(c.Base), err))
			continue
		}
		if err != nil {
			return err
		}
		if len(problems) > 0 && i+1 < len(usable) && usable[i+1].Base == kv.BaseDay {
			w.out.Refused = append(w.out.Refused, fmt.Sprintf("%s: its rows do not fit together (%d problems, the first: %s)", c.Base, len(problems), problems[0]))
			if err := w.repair.Abort(); err != nil {
				return err
			}
			continue
		}
		return w.finish(ctx, c, problems)
	}
	return nil
}

// attempt makes tables from one base and says what does not fit together in them.
func (w *repairing) attempt(ctx context.Context, c kv.Candidate) (problems []string, err error) {
	r, err := kv.OpenRepair(ctx, w.o.Tables, c.Base)
	if err != nil {
		return nil, err
	}
	w.repair = r
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Abort())
		}
	}()
	if w.store, err = w.o.Build(r.DB); err != nil {
		return nil, err
	}
	if err := r.Run(ctx); err != nil {
		return nil, err
	}
	return w.store.CheckTables(ctx)
}

// finish makes the tables fit together and says what they hold.
func (w *repairing) finish(ctx context.Context, c kv.Candidate, problems []string) error {
	r, out := &w.repair.Report, w.out
	out.Base, out.BaseTime, out.Complete = string(c.Base), c.Time, r.Complete
	if c.Base == kv.BaseTables && r.Complete && len(problems) == 0 {
		out.Sound = true
		out.Restored = []string{"the tables are sound, and the log fits to them: there is nothing to repair"}
		return nil
	}
	var mended store.Mended
	if !r.Complete || len(problems) > 0 {
		var err error
		if mended, err = w.store.Mend(ctx, r.Kept); err != nil {
			return errors.Join(err, w.repair.Abort())
		}
		left, err := w.store.CheckTables(ctx)
		if err != nil {
			return errors.Join(err, w.repair.Abort())
		}
		out.Problems = left
	}
	out.describe(r, mended)
	return nil
}

// describe says what came back and what did not.
func (out *Repaired) describe(r *kv.RepairReport, m store.Mended) {
	say := func(list *[]string, format string, args ...any) { *list = append(*list, fmt.Sprintf(format, args...)) }
	switch r.Base {
	case kv.BaseTables:
		say(&out.Restored, "the tables as they were, and %d deliveries of the log that they did not have", r.Deliveries)
	case kv.BaseDay:
		say(&out.Restored, "the copy of the tables of %s, %d deliveries and %d changes since (flags, moves, expunges, mailboxes, accounts)",
			out.BaseTime.Format(time.DateTime), r.Deliveries, r.Commits)
	case kv.BaseDirectory:
		say(&out.Restored, "accounts, addresses and mailboxes out of the log, %d deliveries and %d changes (flags, moves, expunges, mailboxes, accounts)", r.Deliveries, r.Commits)
		if len(r.Gaps) > 0 {
			say(&out.Lost, "flags, moves and expunges from before the oldest segment of the log: such mail is unread in the mailbox it was delivered to, or not there at all")
		}
	}
	if out.Complete {
		say(&out.Restored, "nothing is missing: every change up to the last one is there, and clients will notice nothing")
	}
	for _, h := range r.Holes {
		say(&out.Lost, "seg/%08x.seg cannot be read from octet %d to %d: mail that came in there may be missing (%v)", h.Segment, h.From, h.To, h.Err)
	}
	for _, at := range r.Broken {
		say(&out.Lost, "the message at %s cannot be read as a whole: it stands in its mailbox, posthouse check store names it", at)
	}
	for _, g := range r.Gaps {
		say(&out.Lost, "changes %d to %d (flags, moves, expunges, mailboxes, accounts) are not in the log any more", g[0], g[1])
	}
	for _, text := range r.Mismatches {
		say(&out.Lost, "a change could not be done again: %s", text)
	}
	if !r.Ended && r.Base != kv.BaseTables {
		say(&out.Lost, "the house was not stopped in order: flags, moves, expunges and changes of mailboxes and accounts of its last second may be missing; no mail that was accepted is")
	}
	if m.Mailboxes > 0 {
		say(&out.Changed, "%d mailboxes had lost their names: they are called %s", m.Mailboxes, store.RecoveredName)
	}
	if m.Recovered > 0 {
		say(&out.Changed, "%d messages that nobody knows the mailbox of are in the mailbox %s of their account", m.Recovered, store.RecoveredName)
	}
	for _, k := range m.Homeless {
		say(&out.Lost, "the message at %s (%d octets, account %d) could not be put into a mailbox; it stays in the log", k.Body, k.Size, k.Account)
	}
	out.Changed = append(out.Changed, m.Changes...)
	if !out.Complete {
		say(&out.Changed, "all mailboxes have a new UIDVALIDITY: IMAP clients will download their mail again, POP3 clients will not")
	}
}

// verify opens the folder as the house does, copies the new tables for the next repair, and checks everything.
func (w *repairing) verify(ctx context.Context) (err error) {
	for _, h := range w.repair.Report.Holes {
		w.out.Kept = append(w.out.Kept, fmt.Sprintf("damaged/%08x.seg", h.Segment))
	}
	house, end, err := w.o.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := house.o.DB.CopyDay(ctx); err != nil {
		w.out.Changed = append(w.out.Changed, "there is no daily copy of the new tables yet: "+plain("meta.db.day", err))
	}
	problems, err := house.Check(ctx, true)
	w.out.Problems = append(w.out.Problems, problems...)
	w.o.Logger.WarnContext(ctx, logx.AdminVerb, "verb", "repair", "what", w.out.Base)
	return err
}
