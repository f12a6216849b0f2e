package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// note tells the journal and the directory records how to write the tables of this package.
func (s *Store) note() {
	s.db.Shorten(tabMail, rowDelta{s: s})
	s.db.Shorten(tabHoldings, holdingDelta{})
	s.db.Outline(kv.Outline{
		Whole: []kv.Table{tabNames, tabSubs, tabKeywords, tabHoldings, tabPools, tabDropped},
		Rows: func(tx *kv.Tx, yield func(t kv.Table, key, value []byte) error) error {
			put := func(id uint32) error {
				key := stateKey(MailboxID(id))
				if v := tx.Get(tabMail, key); v != nil {
					return yield(tabMail, key, v)
				}
				return nil
			}
			for _, v := range tx.Scan(tabNames, nil, nil) {
				if n, err := decodeName(v); err == nil {
					if err := put(uint32(n.id)); err != nil {
						return err
					}
				}
			}
			for _, v := range tx.Scan(tabHoldings, nil, nil) {
				if h, err := decodeHolding(v); err == nil && h.bin != 0 {
					if err := put(uint32(h.bin)); err != nil {
						return err
					}
				}
			}
			return nil
		},
	})
}

// rowDelta is how the journal writes a page of table m shorter than the page: only the rows that changed, those that
// changed in the same way together. What it says does not depend on what was there before, so that it can be said again.
//
//	rowsGone   set | sum u16
//	rowsFlags  set | sum u16 | flags uvarint | modseq uvarint
//	rowsPlace  set of one | sum u16 | place uvarint
//	rowWhole   uid&63 u8 | flags uvarint | modseq uvarint | id uvarint | place uvarint (0: id) | size uvarint |
//	           received u32 | saved u32 | thread u64
//
// A set is the first place u8 and the length u8 of a run, or setBits and 64 bits; sum is made of the ids of its rows, so that
// no row is changed for another.
const (
	rowsGone byte = iota + 1
	rowsFlags
	rowsPlace
	rowWhole
)

const setBits byte = 0x80

type rowDelta struct {
	words kv.Words
	s     *Store
}

// Append writes the state row word by word.
func (d rowDelta) Append(dst, key, prev, next []byte) ([]byte, bool) {
	if len(key) != 8 {
		return dst, false
	}
	if binary.BigEndian.Uint32(key[4:]) == stateIndex {
		return d.words.Append(dst, key, prev, next)
	}
	was, is := page(prev), page(next)
	if prev != nil && !was.sound() || next != nil && !is.sound() {
		return dst, false
	}
	w := rowWriter{dst: dst}
	n, k := was.count(), is.count()
	for i, j := 0, 0; i < n || j < k; {
		switch {
		case j == k || i < n && was.row(i).uid() < is.row(j).uid():
			w.add(rowsGone, was.row(i), nil)
			i++
		case i == n || is.row(j).uid() < was.row(i).uid():
			w.whole(is.row(j))
			j++
		default:
			w.compare(was.row(i), is.row(j))
			i, j = i+1, j+1
		}
	}
	w.flush()
	return w.dst, true
}

// count is len for a page that may be missing.
func (p page) count() int {
	if len(p) == 0 {
		return 0
	}
	return p.len()
}

// rowWriter joins neighbours that changed in the same way.
type rowWriter struct {
	dst   []byte
	op    byte // of the set that is being gathered; 0: none
	set   uint64
	sum   uint16
	after row // for rowsFlags: what they are now
}

func (w *rowWriter) compare(was, is row) {
	if string(was) == string(is) {
		return
	}
	const flagsAt, seqEnd, moreAt = 4, 16, 44
	sameElse := string(was[moreAt+4:]) == string(is[moreAt+4:]) && string(was[32:moreAt]) == string(is[32:moreAt]) && was.id() == is.id()
	sameFlags := string(was[flagsAt:seqEnd]) == string(is[flagsAt:seqEnd]) && was.more() == is.more()
	switch {
	case sameElse && was.place() == is.place():
		w.add(rowsFlags, was, is)
	case sameElse && sameFlags:
		w.flush()
		w.op, w.set, w.sum = rowsPlace, 1<<(was.uid()%pageRows), idSum(was)
		w.flush()
		w.dst = binary.AppendUvarint(w.dst, uint64(is.place()))
	default:
		w.whole(is)
	}
}

// add puts a row into the set of op.
func (w *rowWriter) add(op byte, was, is row) {
	if w.op != op || op == rowsFlags && (w.after.flags() != is.flags() || w.after.modSeq() != is.modSeq()) {
		w.flush()
	}
	w.op, w.after = op, is
	w.set |= 1 << (was.uid() % pageRows)
	w.sum += idSum(was)
}

func idSum(r row) uint16 {
	id := r.id()
	return uint16(id ^ id>>16 ^ id>>32 ^ id>>48)
}

// flush writes the set.
func (w *rowWriter) flush() {
	if w.op == 0 {
		return
	}
	w.dst = append(w.dst, w.op)
	first, n := bits.TrailingZeros64(w.set), bits.OnesCount64(w.set)
	if w.set>>first == 1<<n-1 {
		w.dst = append(w.dst, byte(first), byte(n))
	} else {
		w.dst = binary.BigEndian.AppendUint64(append(w.dst, setBits), w.set)
	}
	w.dst = binary.BigEndian.AppendUint16(w.dst, w.sum)
	if w.op == rowsFlags {
		w.dst = binary.AppendUvarint(w.dst, uint64(w.after.flags()))
		w.dst = binary.AppendUvarint(w.dst, w.after.modSeq())
	}
	w.op, w.set, w.sum, w.after = 0, 0, 0, nil
}

func (w *rowWriter) whole(r row) {
	w.flush()
	b := append(w.dst, rowWhole, byte(r.uid()%pageRows))
	b = binary.AppendUvarint(b, uint64(r.flags()))
	b = binary.AppendUvarint(b, r.modSeq())
	b = binary.AppendUvarint(b, r.id())
	place := uint64(r.place())
	if place == r.id() {
		place = 0
	}
	b = binary.AppendUvarint(b, place)
	b = binary.AppendUvarint(b, uint64(r.size()))
	b = append(b, r[36:44]...) // received, saved
	w.dst = append(b, r[48:56]...)
}

// Apply does a change again. A set whose rows are not those that were changed stays as it is, and ErrMismatch says so; a
// row that stands where another one is wanted is put aside and comes back behind all others (Mend).
func (d rowDelta) Apply(tx *kv.Tx, key, delta []byte) error {
	if len(key) != 8 {
		return fmt.Errorf("a key of %d octets: %w", len(key), ErrDamaged)
	}
	if binary.BigEndian.Uint32(key[4:]) == stateIndex {
		next, err := d.words.Change(tx.Get(tabMail, key), delta)
		if err == nil {
			tx.Put(tabMail, key, next)
		}
		return err
	}
	e := rowEditor{d: d, mailbox: MailboxID(binary.BigEndian.Uint32(key)), base: binary.BigEndian.Uint32(key[4:]) << pageShift}
	if err := e.load(tx.Get(tabMail, key)); err != nil {
		return err
	}
	err := e.run(delta)
	if p := e.page(); p != nil {
		tx.Put(tabMail, key, p)
	} else {
		tx.Delete(tabMail, key)
	}
	return err
}

// rowEditor is a page taken apart.
type rowEditor struct {
	d       rowDelta
	mailbox MailboxID
	base    UID
	rows    [pageRows]row
}

func (e *rowEditor) load(p page) error {
	if len(p) == 0 {
		return nil
	}
	if !p.sound() {
		return fmt.Errorf("a page of %d octets: %w", len(p), ErrDamaged)
	}
	for i := range p.len() {
		e.rows[p.row(i).uid()%pageRows] = append(row(nil), p.row(i)...)
	}
	return nil
}

func (e *rowEditor) page() page {
	p := make(page, pageHeader, pageMax)
	for _, r := range e.rows {
		if r != nil {
			p = append(p, r...)
			p.raise(r.modSeq())
		}
	}
	if len(p) == pageHeader {
		return nil
	}
	return p
}

func (e *rowEditor) run(delta []byte) error {
	in := octets{b: delta}
	var mismatch error
	for len(in.b) > 0 && !in.bad {
		op := in.octet()
		if op == rowWhole {
			e.put(&in)
			continue
		}
		set := in.set()
		fits := e.sum(set) == in.u16() && !in.bad
		var flags Flags
		var seq ModSeq
		var place blob.LSN
		switch op {
		case rowsGone:
		case rowsFlags:
			flags, seq = Flags(in.uvarint()), in.uvarint()
		case rowsPlace:
			place = blob.LSN(in.uvarint())
		default:
			in.bad = true
		}
		if in.bad {
			break
		}
		if !fits {
			mismatch = fmt.Errorf("mailbox %d, uids from %d: other messages stand there: %w", e.mailbox, e.base, kv.ErrMismatch)
			continue
		}
		for ; set != 0; set &= set - 1 {
			r := e.rows[bits.TrailingZeros64(set)]
			switch op {
			case rowsGone:
				e.rows[bits.TrailingZeros64(set)] = nil
			case rowsFlags:
				r.setFlags(flags)
				r.setModSeq(seq)
			case rowsPlace:
				e.d.s.saw(place)
				binary.BigEndian.PutUint64(r[24:], uint64(place))
			}
		}
	}
	if in.bad {
		return fmt.Errorf("a change of mailbox %d cannot be read: %w", e.mailbox, ErrDamaged)
	}
	return mismatch
}

// sum is that of a set's rows; a row that is missing makes another one of it.
func (e *rowEditor) sum(set uint64) (n uint16) {
	for ; set != 0; set &= set - 1 {
		r := e.rows[bits.TrailingZeros64(set)]
		if r == nil {
			return n + 1<<15 + 1
		}
		n += idSum(r)
	}
	return n
}

// put reads a whole row and puts it in its place.
func (e *rowEditor) put(in *octets) {
	at := in.octet() % pageRows
	r := make(row, rowSize)
	r.setUID(e.base + UID(at))
	r.setFlags(Flags(in.uvarint()))
	r.setModSeq(in.uvarint())
	id, place := in.uvarint(), in.uvarint()
	if place == 0 {
		place = id
	}
	binary.BigEndian.PutUint64(r[16:], id)
	binary.BigEndian.PutUint64(r[24:], place)
	binary.BigEndian.PutUint32(r[32:], uint32(in.uvarint()))
	copy(r[36:44], in.take(8))
	copy(r[48:56], in.take(8))
	if in.bad || id == 0 {
		in.bad = true
		return
	}
	e.d.s.saw(blob.LSN(place))
	if old := e.rows[at]; old != nil && old.id() != r.id() {
		e.d.s.displace(e.mailbox, old)
	}
	e.rows[at] = r
}

// octets reads a delta; after the first misfit it is bad and gives zeros.
type octets struct {
	b   []byte
	bad bool
}

func (in *octets) take(n int) []byte {
	if n > len(in.b) {
		in.bad, in.b = true, nil
		return make([]byte, n)
	}
	v := in.b[:n]
	in.b = in.b[n:]
	return v
}

func (in *octets) octet() byte { return in.take(1)[0] }
func (in *octets) u16() uint16 { return binary.BigEndian.Uint16(in.take(2)) }

func (in *octets) uvarint() uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 {
		in.bad, in.b = true, nil
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *octets) set() uint64 {
	first := in.octet()
	if first == setBits {
		return binary.BigEndian.Uint64(in.take(8))
	}
	n := in.octet()
	if in.bad || first >= pageRows || n == 0 || int(first)+int(n) > pageRows {
		in.bad = true
		return 0
	}
	return (1<<n - 1) << first
}

// holdingDelta is kv.Words for table h.
type holdingDelta struct{ kv.Words }

func (d holdingDelta) Apply(tx *kv.Tx, key, delta []byte) error {
	next, err := d.Change(tx.Get(tabHoldings, key), delta)
	if err == nil {
		tx.Put(tabHoldings, key, next)
	}
	return err
}
