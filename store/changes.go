package store

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Changes is what happened after a ModSeq: rows that are new or changed, uids that vanished. It is shared: do not write to it.
type Changes struct {
	State    State
	Messages []Message
	Vanished []UIDRange // may name uids that never were
}

// deltas keeps the last answer for each mailbox, because many sessions that stand at the same ModSeq ask the same at the same time.
type deltas struct {
	mu   sync.Mutex
	last map[MailboxID]delta // guarded by mu
}

type delta struct {
	since   ModSeq
	changes *Changes
}

const (
	maxDeltas   = 256 // mailboxes
	maxDeltaLen = 128 // messages or runs of one answer that is kept
)

func (d *deltas) find(id MailboxID, since, highest ModSeq) *Changes {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.last[id]; ok && l.since == since && l.changes.State.HighestModSeq == highest {
		return l.changes
	}
	return nil
}

// drop forgets the answer of a mailbox whose numbers were wrong.
func (d *deltas) drop(id MailboxID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.last, id)
}

func (d *deltas) keep(id MailboxID, since ModSeq, c *Changes) {
	if len(c.Messages)+len(c.Vanished) > maxDeltaLen {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || len(d.last) >= maxDeltas {
		d.last = map[MailboxID]delta{}
	}
	d.last[id] = delta{since: since, changes: c}
}

// Changes tells what happened after since, settled.
func (s *Store) Changes(ctx context.Context, id MailboxID, since ModSeq) (Changes, error) {
	if err := s.settle(ctx, id); err != nil {
		return Changes{}, err
	}
	var out *Changes
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		st, err := loadState(tx, id)
		if err != nil {
			return err
		}
		if out = s.deltas.find(id, since, st.highest); out != nil {
			return nil
		}
		out = &Changes{State: publicState(tx, id, &st)}
		if since >= st.highest {
			return nil
		}
		out.Messages = changedRows(tx, id, since)
		out.Vanished, err = vanished(tx, id, &st, since)
		return err
	})
	if err != nil {
		return Changes{}, err
	}
	s.deltas.keep(id, since, out)
	return *out, nil
}

// changedRows reads the headers of all pages, and the rows only of those that changed.
func changedRows(tx *kv.Tx, id MailboxID, since ModSeq) []Message {
	var out []Message
	for p := range pages(tx, id, allUIDs()) {
		if p.highest() <= since {
			continue
		}
		for i := range p.len() {
			if r := p.row(i); r.modSeq() > since {
				out = append(out, r.in(id))
			}
		}
	}
	return out
}

// vanished gathers the tombstones behind since; below the oldest one it is every uid that is not there (RFC 7162 section 3.2.5.1).
func vanished(tx *kv.Tx, id MailboxID, st *state, since ModSeq) ([]UIDRange, error) {
	if since < st.tombFloor {
		return gaps(uidRuns(tx, id), st.uidNext), nil
	}
	var out []UIDRange
	for k, v := range tx.Scan(tabGone, key32x64(uint32(id), since+1), after(uint32(id))) {
		t, err := decodeTombstone(k, v)
		if err != nil {
			return nil, err
		}
		out = append(out, t.runs...)
	}
	return join(out), nil
}

// join sorts runs and joins neighbours.
func join(runs []UIDRange) []UIDRange {
	if len(runs) < 2 {
		return runs
	}
	slices.SortFunc(runs, compareRanges)
	out := runs[:1]
	for _, r := range runs[1:] {
		if l := &out[len(out)-1]; r.First <= l.Last+1 {
			l.Last = max(l.Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// tombstone is one row of table v.
type tombstone struct {
	seq  ModSeq
	time uint32
	runs []UIDRange
}

func decodeTombstone(k, v []byte) (tombstone, error) {
	if len(k) != 12 || len(v) < 4 {
		return tombstone{}, ErrDamaged
	}
	runs, err := parseRuns(v[4:])
	return tombstone{seq: binary.BigEndian.Uint64(k[4:]), time: binary.BigEndian.Uint32(v), runs: runs}, err
}
