package store

import (
	"context"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// stepRows is how many messages one commit of a STORE, EXPUNGE or MOVE looks at: enough that the two syncs of a commit do
// not count, few enough that the others do not wait for long.
const stepRows = 16_000

// FlagsOp is how SetFlags changes flags.
type FlagsOp uint8

const (
	FlagsReplace FlagsOp = iota
	FlagsAdd
	FlagsRemove
)

// FlagsChange is one STORE.
type FlagsChange struct {
	Op             FlagsOp
	Flags          Flags
	Keywords       []string // made known to the mailbox when needed (ErrLimit, ErrKeyword)
	UnchangedSince *ModSeq  // RFC 7162 section 3.1.3
}

// flagStep is what one commit of SetFlags did.
type flagStep struct {
	rows     []Message
	modified []UID
	rest     []UIDRange
}

// SetFlags changes the messages that exist in ranges and returns the rows as they are now (those whose flags did not change included, with their old ModSeq), and the
// uids that UnchangedSince kept out. Above 16,000 messages it is several commits; after an error, the rows tell what was done.
func (s *Store) SetFlags(ctx context.Context, id MailboxID, ranges []UIDRange, c FlagsChange) (rows []Message, modified []UID, err error) {
	rest := normal(ranges, 0xffffffff)
	for {
		var step flagStep
		err := s.db.Update(ctx, func(tx *kv.Tx) (err error) {
			step, err = s.setFlags(tx, id, rest, c)
			return err
		})
		if err != nil {
			return rows, modified, err
		}
		if rows == nil {
			rows, modified = step.rows, step.modified
		} else {
			rows = append(rows, step.rows...)
			modified = append(modified, step.modified...)
		}
		if rest = step.rest; len(rest) == 0 {
			return rows, modified, nil
		}
	}
}

func (s *Store) setFlags(tx *kv.Tx, id MailboxID, ranges []UIDRange, c FlagsChange) (flagStep, error) {
	m := s.begin(tx)
	b, err := m.box(id)
	if err != nil {
		return flagStep{}, err
	}
	kw := loadKeywords(tx, id)
	bits := c.Flags & kw.known()
	if c.Op == FlagsRemove {
		for _, name := range c.Keywords {
			bits |= kw.bit(name)
		}
	} else {
		more, err := kw.learnAll(c.Keywords)
		if err != nil {
			return flagStep{}, err
		}
		bits |= more
	}
	out := flagStep{rows: make([]Message, 0, min(countUIDs(ranges), uint64(b.st.exists), stepRows+pageRows))}
	var edits []page
	n := 0
	for p, rr := range pages(tx, id, ranges) {
		if n >= stepRows {
			out.rest = behind(ranges, p.index()<<pageShift-1)
			break
		}
		edited := page(nil)
		for i := range p.hits(rr) {
			n++
			r := p.row(i)
			if c.UnchangedSince != nil && r.modSeq() > *c.UnchangedSince {
				out.modified = append(out.modified, r.uid())
				continue
			}
			was, is := r.flags(), c.Op.apply(r.flags(), bits)
			if was == is {
				out.rows = append(out.rows, r.in(b.id))
				continue
			}
			if edited == nil {
				edited = append(make(page, 0, len(p)), p...)
				edits = append(edits, edited)
			}
			r = edited.row(i)
			r.setFlags(is)
			r.setModSeq(b.touch())
			edited.raise(b.st.highest)
			b.reflag(r.uid(), was, is)
			out.rows = append(out.rows, r.in(b.id))
		}
	}
	if len(edits) == 0 {
		return out, nil
	}
	for _, p := range edits {
		b.put(p)
	}
	kw.save(tx)
	return out, m.end()
}

func (op FlagsOp) apply(f, bits Flags) Flags {
	switch op {
	case FlagsAdd:
		return f | bits
	case FlagsRemove:
		return f &^ bits
	}
	return bits
}

// reflag keeps the numbers of the state row when message u changes its flags.
func (b *box) reflag(u UID, was, is Flags) {
	b.count(was, -1)
	b.count(is, 1)
	b.hintOff = true
	if was&Seen != 0 && is&Seen == 0 {
		b.lowerUnseen(u)
	}
}
