package store

import (
	"context"
	"iter"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// settle waits until everything that is logged for the mailbox's account is in the tables, so that no door sees the lag.
func (s *Store) settle(ctx context.Context, id MailboxID) error {
	var owner mail.AccountID
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		st, err := loadState(tx, id)
		owner = st.account
		return err
	})
	if err != nil {
		return err
	}
	return s.db.Settle(ctx, uint32(owner))
}

// State reads the numbers of a mailbox, settled; ErrNoMailbox when it is gone.
func (s *Store) State(ctx context.Context, id MailboxID) (State, error) {
	if err := s.settle(ctx, id); err != nil {
		return State{}, err
	}
	var out State
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		st, err := loadState(tx, id)
		if err != nil {
			return err
		}
		out = publicState(tx, id, &st)
		return nil
	})
	return out, err
}

// publicState is what the doors see. The hint of the state row is nearly always the first unseen message itself.
func publicState(tx *kv.Tx, id MailboxID, st *state) State {
	out := State{
		UIDValidity: st.uidValidity, UIDNext: st.uidNext, HighestModSeq: st.highest,
		Exists: st.exists, Unseen: st.unseen, Deleted: st.deleted, Bytes: st.bytes, Bin: st.bin,
	}
	if st.unseen == 0 || st.firstUnseen == 0 {
		return out
	}
	for p, rr := range pages(tx, id, []UIDRange{{st.firstUnseen, st.uidNext - 1}}) {
		for i := range p.hits(rr) {
			if r := p.row(i); r.flags()&Seen == 0 {
				out.FirstUnseen = r.uid()
				return out
			}
		}
	}
	return out
}

// UIDs yields the runs of uids that exist, in order, from one snapshot (the session's view is built of them).
func (s *Store) UIDs(ctx context.Context, id MailboxID) ([]UIDRange, error) {
	if err := s.settle(ctx, id); err != nil {
		return nil, err
	}
	var runs []UIDRange
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		if tx.Get(tabMail, stateKey(id)) == nil {
			return ErrNoMailbox
		}
		runs = uidRuns(tx, id)
		return nil
	})
	return runs, err
}

func uidRuns(tx *kv.Tx, id MailboxID) []UIDRange {
	var runs []UIDRange
	for p := range pages(tx, id, allUIDs()) {
		n := p.len()
		first, last := p.row(0).uid(), p.row(n-1).uid()
		if int(last-first) == n-1 { // no gap inside
			if k := len(runs); k > 0 && runs[k-1].Last+1 == first {
				runs[k-1].Last = last
			} else {
				runs = append(runs, UIDRange{first, last})
			}
			continue
		}
		for i := range n {
			runs = addUID(runs, p.row(i).uid())
		}
	}
	return runs
}

// snapshotPages is how many pages one snapshot of Messages copies out: few enough that memory stays small and no reader keeps the
// tables from reusing pages for long.
const snapshotPages = 16

// Messages yields the rows of the uids that exist in ranges (sorted, disjoint), a page at a time (up to 64 rows; the slice is
// reused for the next page). Every 16 pages come from a snapshot of their own, so a small mailbox is one snapshot.
func (s *Store) Messages(ctx context.Context, id MailboxID, ranges []UIDRange) iter.Seq2[[]Message, error] {
	return s.MessagesSince(ctx, id, ranges, 0)
}

// MessagesSince is Messages for those rows that are new or changed after a ModSeq; pages without such rows are not looked into.
func (s *Store) MessagesSince(ctx context.Context, id MailboxID, ranges []UIDRange, since ModSeq) iter.Seq2[[]Message, error] {
	return func(yield func([]Message, error) bool) {
		c := rowCopy{id: id, since: since, rest: normal(ranges, 0xffffffff)}
		c.rows = make([]Message, 0, min(countUIDs(c.rest), snapshotPages*pageRows))
		for first := true; first || len(c.rest) > 0; first = false {
			err := ctx.Err()
			if err == nil {
				err = s.db.View(ctx, c.fill)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			at := 0
			for _, end := range c.ends {
				if !yield(c.rows[at:end:end], nil) {
					return
				}
				at = end
			}
		}
	}
}

// rowCopy takes rows out of one snapshot after another.
type rowCopy struct {
	id    MailboxID
	since ModSeq
	rest  []UIDRange // not looked at yet
	rows  []Message
	ends  []int // where each page ends in rows
}

// fill copies out the rows of the next pages.
func (c *rowCopy) fill(tx *kv.Tx) error {
	if tx.Get(tabMail, stateKey(c.id)) == nil {
		return ErrNoMailbox
	}
	c.rows, c.ends = c.rows[:0], c.ends[:0]
	for p, rr := range pages(tx, c.id, c.rest) {
		if len(c.ends) == snapshotPages {
			c.rest = behind(c.rest, p.index()<<pageShift-1)
			return nil
		}
		if p.highest() <= c.since {
			continue
		}
		before := len(c.rows)
		c.page(p, rr)
		if len(c.rows) > before {
			c.ends = append(c.ends, len(c.rows))
		}
	}
	c.rest = nil
	return nil
}

func (c *rowCopy) page(p page, ranges []UIDRange) {
	whole := len(ranges) == 1 && ranges[0].First <= p.row(0).uid() && ranges[0].Last >= p.row(p.len()-1).uid()
	if whole && c.since == 0 {
		for i := range p.len() {
			c.rows = append(c.rows, p.row(i).in(c.id))
		}
		return
	}
	for i := range p.hits(ranges) {
		if m := p.row(i).in(c.id); m.ModSeq > c.since {
			c.rows = append(c.rows, m)
		}
	}
}
