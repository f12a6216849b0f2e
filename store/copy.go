package store

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// maxCopy is how many messages one COPY may take: it is one transaction (RFC 9051 section 6.4.7).
const maxCopy = 200_000

// Copied tells where each message went (COPYUID): From[i] became To[i].
type Copied struct {
	UIDValidity uint32
	From, To    []UID
}

// Copy adds the messages to another mailbox, all or none, and passes missing uids over. Ids and dates stay, keywords are mapped
// by name. ErrOverQuota, ErrLimit (more than 200,000 messages, or no room for their keywords).
func (s *Store) Copy(ctx context.Context, from MailboxID, ranges []UIDRange, to MailboxID) (Copied, error) {
	ranges = normal(ranges, 0xffffffff)
	var out Copied
	err := s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		src, err := loadState(tx, from)
		if err != nil {
			return err
		}
		dst, err := m.box(to)
		if err != nil {
			return err
		}
		var raw []byte
		for p, rr := range pages(tx, from, ranges) {
			for i := range p.hits(rr) {
				raw = append(raw, p.row(i)...)
			}
			if len(raw) > maxCopy*rowSize {
				return fmt.Errorf("%w: one copy takes at most %d messages", ErrLimit, maxCopy)
			}
		}
		t := transfer{m: m, from: from, dst: dst, raw: raw, grow: true, foreign: src.account != dst.st.account}
		out, err = t.run()
		return err
	})
	if err != nil {
		return Copied{}, err
	}
	return out, nil
}

// Move is Copy and Expunge in one (RFC 6851). Above 16,000 messages it is several commits, each of them whole; after an error,
// Copied tells what was done. The ModSeq is that of the removal (0: nothing was moved).
func (s *Store) Move(ctx context.Context, from MailboxID, ranges []UIDRange, to MailboxID) (Copied, ModSeq, error) {
	var all Copied
	var last ModSeq
	var rest []UIDRange
	for first := true; ; first = false {
		var step Copied
		var seq ModSeq
		var left []UIDRange
		err := s.db.Update(ctx, func(tx *kv.Tx) error {
			m := s.begin(tx)
			src, err := m.box(from)
			if err != nil {
				return err
			}
			dst, err := m.box(to)
			if err != nil {
				return err
			}
			todo := rest
			if first { // what comes in while this runs, or by this, is not moved
				todo = normal(ranges, src.st.uidNext-1)
			}
			step, left, err = s.moveStep(m, src, dst, todo)
			seq = m.seq
			return err
		})
		if err != nil {
			return all, last, err
		}
		all.UIDValidity = step.UIDValidity
		all.From = append(all.From, step.From...)
		all.To = append(all.To, step.To...)
		last = max(last, seq)
		if rest = left; len(rest) == 0 {
			return all, last, nil
		}
	}
}

func (s *Store) moveStep(m *mutation, src, dst *box, todo []UIDRange) (Copied, []UIDRange, error) {
	gone := src.remove(todo, stepRows, func(row) bool { return true })
	t := transfer{m: m, from: src.id, dst: dst, raw: gone.raw, foreign: src.st.account != dst.st.account}
	t.grow = t.foreign
	out, err := t.run()
	return out, gone.rest, err
}

// transfer adds rows of one mailbox to another.
type transfer struct {
	m       *mutation
	from    MailboxID
	dst     *box
	raw     []byte
	grow    bool // the destination's account has more afterwards: its quota is asked
	foreign bool
}

// run ends the mutation.
func (t *transfer) run() (Copied, error) {
	out := Copied{UIDValidity: t.dst.st.uidValidity}
	n := len(t.raw) / rowSize
	if n == 0 {
		return out, nil
	}
	if t.dst.full(n) {
		return Copied{}, fmt.Errorf("%w: the mailbox has no uids left", ErrLimit)
	}
	at := func(i int) row { return row(t.raw[i*rowSize : (i+1)*rowSize]) }
	if t.grow {
		q := Quota{Messages: uint64(n)}
		for i := range n {
			q.Bytes += uint64(at(i).size())
		}
		if err := t.m.fits(t.dst.st.account, q); err != nil {
			return Copied{}, err
		}
	}
	if err := t.mapKeywords(n, at); err != nil {
		return Copied{}, err
	}
	out.From, out.To = make([]UID, n), make([]UID, n)
	now := t.m.s.now().Unix()
	for i := range n {
		r := at(i)
		out.From[i] = r.uid()
		r.setSaved(now)
		out.To[i] = t.dst.add(r)
	}
	return out, t.m.end()
}

// mapKeywords gives the rows the bits that their keywords have in the destination.
func (t *transfer) mapKeywords(n int, at func(int) row) error {
	const system = Flags(1)<<firstKeyword - 1
	var used Flags
	for i := range n {
		used |= at(i).flags()
	}
	used &^= system
	if used == 0 || t.from == t.dst.id {
		return nil
	}
	there, here := loadKeywords(t.m.tx, t.from), loadKeywords(t.m.tx, t.dst.id)
	var to [64]Flags
	for left := used; left != 0; left &= left - 1 {
		bit := bits.TrailingZeros64(uint64(left))
		if bit-firstKeyword >= len(there.names) {
			continue // a bit without a name means nothing
		}
		f, err := here.learn(there.names[bit-firstKeyword])
		if err != nil {
			return err
		}
		to[bit] = f
	}
	here.save(t.m.tx)
	for i := range n {
		r := at(i)
		f := r.flags() & system
		for left := r.flags() &^ system; left != 0; left &= left - 1 {
			f |= to[bits.TrailingZeros64(uint64(left))]
		}
		r.setFlags(f)
	}
	return nil
}
