package store

import (
	"context"
	"fmt"
	"slices"

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
		t := transfer{m: m, from: from, bin: src.bin, dst: dst, raw: raw, grow: true}
		if err := t.check(); err != nil {
			return err
		}
		out = t.add()
		return m.end()
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
			src, err := m.anyBox(from)
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
	gone := src.gather(todo, stepRows, func(row) bool { return true })
	t := transfer{m: m, from: src.id, bin: src.st.bin, dst: dst, raw: slices.Clone(gone.raw)}
	t.grow = src.st.account != dst.st.account || src.st.bin
	if err := t.check(); err != nil {
		return Copied{}, nil, err
	}
	if err := src.takeBack(&gone); err != nil {
		return Copied{}, nil, err
	}
	src.remove(&gone)
	out := t.add()
	if src.st.bin {
		m.trimKept(src)
	}
	return out, gone.rest, m.end()
}

// transfer adds rows of one mailbox to another.
type transfer struct {
	m    *mutation
	from MailboxID
	bin  bool // from is one
	dst  *box
	raw  []byte
	grow bool // the destination's account has more afterwards: its quota is asked
}

func (t *transfer) len() int     { return len(t.raw) / rowSize }
func (t *transfer) at(i int) row { return row(t.raw[i*rowSize : (i+1)*rowSize]) }

// check finds out whether the rows can be added, and gives them the flags that they have in the destination.
func (t *transfer) check() error {
	n := t.len()
	if n == 0 {
		return nil
	}
	if t.dst.full(n) {
		return fmt.Errorf("%w: the mailbox has no uids left", ErrLimit)
	}
	if t.grow {
		q := Quota{Messages: uint64(n)}
		for i := range n {
			q.Bytes += uint64(t.at(i).size())
		}
		if err := t.m.fits(t.dst.st.account, q); err != nil {
			return err
		}
	}
	return t.mapKeywords()
}

// add adds the rows.
func (t *transfer) add() Copied {
	n := t.len()
	out := Copied{UIDValidity: t.dst.st.uidValidity, From: make([]UID, n), To: make([]UID, n)}
	now := t.m.s.now().Unix()
	for i := range n {
		r := t.at(i)
		out.From[i] = r.uid()
		r.setSaved(now)
		out.To[i] = t.dst.add(r)
	}
	return out
}

// mapKeywords gives the rows the bits that their keywords have in the destination.
func (t *transfer) mapKeywords() error {
	if t.from == t.dst.id {
		return nil
	}
	rows := make([]row, t.len())
	for i := range rows {
		rows[i] = t.at(i)
	}
	here := loadKeywords(t.m.tx, t.dst.id)
	bits := newKeywordMap(loadKeywords(t.m.tx, t.from), here, rows)
	if bits.err != nil {
		return bits.err
	}
	if t.bin {
		if err := t.regain(here, bits, rows); err != nil {
			return err
		}
	} else if bits.used != 0 {
		for _, r := range rows {
			r.setFlags(bits.apply(r.flags()))
		}
	}
	here.save(t.m.tx)
	return nil
}

// regain is mapKeywords for a bin, some of whose keywords may stand in table x.
func (t *transfer) regain(here *keywords, bits *keywordMap, rows []row) error {
	from := keptFinder{tx: t.m.tx, bin: t.from}
	for _, r := range rows {
		f := bits.apply(r.flags())
		o, err := from.find(r.uid())
		if err != nil {
			return err
		}
		if o != nil && len(o.lost) > 0 {
			more, err := here.learnAll(o.lostOf(r.uid()))
			if err != nil {
				return err
			}
			f |= more
		}
		r.setFlags(f)
	}
	return nil
}
