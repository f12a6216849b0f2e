package store

import (
	"encoding/binary"
	"iter"
	"sort"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// A page is the highest modseq of its rows, then up to 64 rows in the order of their uids. The uids of a page have
// uid>>6 in common, so a message is found with one lookup, and a million messages cost about 65 bytes each.
const (
	rowSize    = 56
	pageHeader = 8
	pageShift  = 6
	pageRows   = 1 << pageShift
	pageMax    = pageHeader + pageRows*rowSize
)

// row is one message as it is stored.
type row []byte

func (r row) uid() UID        { return binary.BigEndian.Uint32(r) }
func (r row) flags() Flags    { return Flags(binary.BigEndian.Uint32(r[4:])) | Flags(r.more())<<32 }
func (r row) modSeq() ModSeq  { return binary.BigEndian.Uint64(r[8:]) }
func (r row) id() uint64      { return binary.BigEndian.Uint64(r[16:]) }
func (r row) place() blob.LSN { return blob.LSN(binary.BigEndian.Uint64(r[24:])) }
func (r row) size() uint32    { return binary.BigEndian.Uint32(r[32:]) }
func (r row) received() int64 { return int64(binary.BigEndian.Uint32(r[36:])) }
func (r row) saved() int64    { return int64(binary.BigEndian.Uint32(r[40:])) }
func (r row) more() uint32    { return binary.BigEndian.Uint32(r[44:]) }
func (r row) thread() uint64  { return binary.BigEndian.Uint64(r[48:]) }

func (r row) setUID(u UID)       { binary.BigEndian.PutUint32(r, u) }
func (r row) setModSeq(m ModSeq) { binary.BigEndian.PutUint64(r[8:], m) }
func (r row) setSaved(t int64)   { binary.BigEndian.PutUint32(r[40:], seconds(t)) }

func (r row) setFlags(f Flags) {
	binary.BigEndian.PutUint32(r[4:], uint32(f))
	binary.BigEndian.PutUint32(r[44:], uint32(f>>32))
}

// seconds keeps a time within what a row can hold: 1970 to 2106.
func seconds(t int64) uint32 { return uint32(min(max(t, 0), 0xffffffff)) }

// makeRow is the stored form of m; uid and modseq are set when it is added.
func makeRow(m *Message) row {
	r := make(row, rowSize)
	r.setUID(m.UID)
	r.setFlags(m.Flags)
	r.setModSeq(m.ModSeq)
	binary.BigEndian.PutUint64(r[16:], m.ID)
	binary.BigEndian.PutUint64(r[24:], uint64(m.Place))
	binary.BigEndian.PutUint32(r[32:], m.Size)
	binary.BigEndian.PutUint32(r[36:], seconds(m.Received.Unix()))
	r.setSaved(m.Saved.Unix())
	binary.BigEndian.PutUint64(r[48:], m.Thread)
	return r
}

func (r row) message() Message {
	return Message{
		UID: r.uid(), Flags: r.flags(), ModSeq: r.modSeq(), ID: r.id(), Place: r.place(), Size: r.size(),
		Received: time.Unix(r.received(), 0).UTC(), Saved: time.Unix(r.saved(), 0).UTC(), Thread: r.thread(),
	}
}

type page []byte

func (p page) sound() bool {
	return len(p) > pageHeader && len(p) <= pageMax && (len(p)-pageHeader)%rowSize == 0
}

func (p page) highest() ModSeq { return binary.BigEndian.Uint64(p) }
func (p page) len() int        { return (len(p) - pageHeader) / rowSize }

func (p page) row(i int) row {
	at := pageHeader + i*rowSize
	return row(p[at : at+rowSize : at+rowSize])
}

// index is the page's number, taken from its first row.
func (p page) index() uint32 { return p.row(0).uid() >> pageShift }

func (p page) setHighest(m ModSeq) { binary.BigEndian.PutUint64(p, m) }

// raise lifts the page's highest modseq.
func (p page) raise(m ModSeq) {
	if m > p.highest() {
		p.setHighest(m)
	}
}

// search is the place of the first row whose uid is at least u.
func (p page) search(u UID) int {
	n := p.len()
	if n == pageRows { // a full page has a row for every uid
		return int(max(u, p.row(0).uid()) - p.row(0).uid())
	}
	return sort.Search(n, func(i int) bool { return p.row(i).uid() >= u })
}

// pages yields the pages of a mailbox that may hold uids of the ranges, each with the ranges that touch it. The
// page is valid until the next write of the transaction.
func pages(tx *kv.Tx, id MailboxID, ranges []UIDRange) iter.Seq2[page, []UIDRange] {
	return func(yield func(page, []UIDRange) bool) {
		for len(ranges) > 0 {
			// ranges that share a page, or whose pages are neighbours, are one scan
			n := 1
			for n < len(ranges) && ranges[n].First>>pageShift <= ranges[n-1].Last>>pageShift+1 {
				n++
			}
			span := ranges[:n]
			ranges = ranges[n:]
			from := key32x2(uint32(id), span[0].First>>pageShift)
			to := key32x2(uint32(id), span[n-1].Last>>pageShift+1)
			for k, v := range tx.Scan(tabMail, from, to) {
				p := page(v)
				if !p.sound() || p.index() != binary.BigEndian.Uint32(k[4:]) {
					continue // told by Check; the other messages stay readable
				}
				first := p.index() << pageShift
				last := first + pageRows - 1
				for len(span) > 0 && span[0].Last < first {
					span = span[1:]
				}
				n := 0
				for n < len(span) && span[n].First <= last {
					n++
				}
				if n > 0 && !yield(p, span[:n]) {
					return
				}
			}
		}
	}
}

// hits yields the places of a page's rows that are in the ranges.
func (p page) hits(ranges []UIDRange) iter.Seq[int] {
	return func(yield func(int) bool) {
		n := p.len()
		for _, r := range ranges {
			for i := p.search(r.First); i < n && p.row(i).uid() <= r.Last; i++ {
				if !yield(i) {
					return
				}
			}
		}
	}
}

// allUIDs is every uid there can be.
func allUIDs() []UIDRange { return []UIDRange{{1, 0xffffffff}} }
