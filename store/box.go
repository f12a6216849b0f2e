package store

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Tombstones of a mailbox are kept for this many uids and this long; a client that was away for longer is told of
// every missing uid.
const (
	maxTombs    = 100_000
	maxTombAge  = 90 * 24 * time.Hour
	pruneAtOnce = 64 // tombstone rows that one expunge removes at most
)

// box is a mailbox that a mutation changes.
type box struct {
	m       *mutation
	id      MailboxID
	st, was state
	changed bool
	hintOff bool // the message that the first-unseen hint names may be seen or gone: look
	keeping bool // the row that is being added has its uid from another server

	tail      page           // page that rows are being added to; nil: none
	tailBuf   *[pageMax]byte // it stands in, from the store's pool
	tailIndex uint32
}

// touch gives the mutation's ModSeq, which becomes the mailbox's highest.
func (b *box) touch() ModSeq {
	b.changed = true
	b.st.highest = b.m.modSeq()
	return b.st.highest
}

// add appends a row behind the last uid and returns its uid. The row is copied.
func (b *box) add(r row) UID {
	seq := b.touch()
	if !b.keeping {
		b.st.uidNext = max(b.st.uidNext, b.st.reserve)
	}
	uid := b.st.uidNext
	index := uid >> pageShift
	if b.tail == nil || b.tailIndex != index {
		b.flush()
		b.tailBuf = b.m.s.tails.Get().(*[pageMax]byte)
		b.tail = append(page(b.tailBuf[:0]), b.m.tx.Get(tabMail, key32x2(uint32(b.id), index))...)
		if !b.tail.sound() {
			b.tail = page(b.tailBuf[:pageHeader])
			clear(b.tail)
		}
		b.tailIndex = index
	}
	b.tail = append(b.tail, r...)
	r = b.tail.row(b.tail.len() - 1)
	r.setUID(uid)
	r.setModSeq(seq)
	b.tail.raise(seq)
	b.st.uidNext++
	b.st.exists++
	b.st.bytes += uint64(r.size())
	b.count(r.flags(), 1)
	if r.flags()&Seen == 0 && b.st.firstUnseen == 0 {
		b.st.firstUnseen = uid
	}
	return uid
}

// full reports whether n more messages would run out of uids.
func (b *box) full(n int) bool {
	return uint64(max(b.st.uidNext, b.st.reserve))+uint64(n) > 0xffffffff-1
}

// flush writes the page that rows were added to.
func (b *box) flush() {
	if b.tail != nil {
		b.put(b.tail)
		b.m.s.tails.Put(b.tailBuf)
		b.tail, b.tailBuf = nil, nil
	}
}

func (b *box) put(p page) {
	b.m.tx.Put(tabMail, key32x2(uint32(b.id), p.index()), p)
}

// count adds n messages with the flags f to the numbers of the state row, or with n = -1 takes one away.
func (b *box) count(f Flags, n int32) {
	if f&Seen == 0 {
		b.st.unseen += uint32(n)
	}
	if f&Deleted != 0 {
		b.st.deleted += uint32(n)
	}
}

// lowerUnseen is told that message u became unseen.
func (b *box) lowerUnseen(u UID) {
	if b.st.firstUnseen == 0 || u < b.st.firstUnseen {
		b.st.firstUnseen = u
	}
}

// end writes the state row and the account's usage.
func (b *box) end() error {
	b.flush()
	if b.hintOff || b.st.unseen == 0 {
		b.moveUnseen()
	}
	if !b.st.bin && (b.st.bytes != b.was.bytes || b.st.exists != b.was.exists) {
		a, err := b.m.account(b.st.account)
		if err != nil {
			return err
		}
		a.count(&b.was, &b.st)
	}
	b.m.tx.Put(tabMail, stateKey(b.id), b.st.encode())
	return nil
}

// moveUnseen moves the hint of the first unseen message up, past pages that were read as a whole; bounded, so that one
// commit never walks a large mailbox, and amortised over the changes.
func (b *box) moveUnseen() {
	if b.st.unseen == 0 {
		b.st.firstUnseen = 0
		return
	}
	if b.st.firstUnseen == 0 {
		b.st.firstUnseen = 1
	}
	left := 256
	for p, rr := range pages(b.m.tx, b.id, []UIDRange{{b.st.firstUnseen, b.st.uidNext - 1}}) {
		for i := range p.hits(rr) {
			b.st.firstUnseen = p.row(i).uid()
			if p.row(i).flags()&Seen == 0 {
				return
			}
		}
		if left--; left == 0 {
			return
		}
	}
}

// removal is what gather found: the rows to take away, in the order of their uids, what is left of their pages, and the ranges
// that are left to do.
type removal struct {
	raw   []byte
	edits []pageEdit
	rest  []UIDRange
}

func (r *removal) len() int      { return len(r.raw) / rowSize }
func (r *removal) row(i int) row { return row(r.raw[i*rowSize : (i+1)*rowSize]) }

func (r *removal) appendUIDs(uids []UID) []UID {
	uids = slices.Grow(uids, r.len())
	for i := range r.len() {
		uids = append(uids, r.row(i).uid())
	}
	return uids
}

// gather finds about limit messages of the ranges: those that pick accepts. It writes nothing, so that whatever speaks against
// the removal can still be found out.
func (b *box) gather(ranges []UIDRange, limit int, pick func(row) bool) removal {
	var out removal
	seen := 0
	for p, rr := range pages(b.m.tx, b.id, ranges) {
		if out.len()+seen/16 >= limit { // to look at a row costs a fraction of removing it
			out.rest = behind(ranges, p.index()<<pageShift-1)
			break
		}
		var e pageEdit
		from := 0
		for i := range p.hits(rr) {
			seen++
			r := p.row(i)
			if !pick(r) {
				continue
			}
			if e.left == nil {
				e.index, e.left = p.index(), make(page, pageHeader, len(p))
			}
			e.left = append(e.left, p[pageHeader+from*rowSize:pageHeader+i*rowSize]...)
			from = i + 1
			out.raw = append(out.raw, r...)
		}
		if e.left != nil {
			e.left = append(e.left, p[pageHeader+from*rowSize:]...)
			out.edits = append(out.edits, e)
		}
	}
	return out
}

// remove takes away what gather found.
func (b *box) remove(gone *removal) {
	if gone.len() == 0 {
		return
	}
	b.touch()
	for _, e := range gone.edits {
		b.writeLeft(e)
	}
	var runs []UIDRange
	for i := range gone.len() {
		r := gone.row(i)
		runs = addUID(runs, r.uid())
		b.st.exists--
		b.st.bytes -= uint64(r.size())
		b.count(r.flags(), -1)
	}
	b.hintOff = true
	b.bury(runs, uint32(gone.len()))
	b.dropUIDLs(runs)
}

// pageEdit is what is left of a page.
type pageEdit struct {
	index uint32
	left  page
}

func (b *box) writeLeft(e pageEdit) {
	if e.left.len() == 0 {
		b.m.tx.Delete(tabMail, key32x2(uint32(b.id), e.index))
		return
	}
	e.left.setHighest(0)
	for i := range e.left.len() {
		e.left.raise(e.left.row(i).modSeq())
	}
	b.put(e.left)
}

// bury writes the tombstone of this mutation and prunes the oldest ones.
func (b *box) bury(runs []UIDRange, n uint32) {
	now := b.m.s.now()
	v := binary.BigEndian.AppendUint32(nil, seconds(now.Unix()))
	b.m.tx.Put(tabGone, key32x64(uint32(b.id), b.st.highest), appendRuns(v, runs))
	b.st.tombs += n

	var old []tombstone
	for k, v := range b.m.tx.Scan(tabGone, key32(uint32(b.id)), key32x64(uint32(b.id), b.st.highest)) {
		t, err := decodeTombstone(k, v)
		if err != nil || len(old) == pruneAtOnce { // told by Check
			break
		}
		if b.st.tombs <= maxTombs && now.Unix()-int64(t.time) < int64(maxTombAge/time.Second) {
			break
		}
		b.st.tombs -= min(uint32(countUIDs(t.runs)), b.st.tombs)
		old = append(old, t)
	}
	for _, t := range old {
		b.m.tx.Delete(tabGone, key32x64(uint32(b.id), t.seq))
		b.st.tombFloor = t.seq
	}
}

// dropUIDLs forgets the brought UIDLs of messages that are gone.
func (b *box) dropUIDLs(runs []UIDRange) {
	if !hasUIDLs(b.m.tx, b.id) {
		return
	}
	var keys [][]byte
	for _, r := range runs {
		for k := range b.m.tx.Scan(tabUIDL, key32x2(uint32(b.id), r.First), append(key32x2(uint32(b.id), r.Last), 0)) {
			keys = append(keys, slices.Clone(k))
		}
	}
	for _, k := range keys {
		b.m.tx.Delete(tabUIDL, k)
	}
}

func hasUIDLs(tx *kv.Tx, id MailboxID) bool {
	for range tx.Scan(tabUIDL, key32(uint32(id)), after(uint32(id))) {
		return true
	}
	return false
}
