package store

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// randomPage makes a page with some of 64 rows.
func randomPage(r *rand.Rand, index uint32) page {
	p := make(page, pageHeader)
	for i := range UID(pageRows) {
		if r.IntN(4) == 0 {
			continue
		}
		p = append(p, makeRow(&Message{
			UID: index<<pageShift + i, Flags: Flags(r.IntN(4)), ModSeq: 1 + r.Uint64N(1000), ID: 1<<33 + uint64(i)*977, Place: blob.LSN(1<<33 + uint64(i)*977),
			Size: r.Uint32(), Received: time.Unix(int64(r.Uint32()), 0), Saved: time.Unix(int64(r.Uint32()), 0), Thread: r.Uint64(),
		})...)
		p.raise(p.row(p.len() - 1).modSeq())
	}
	return p
}

// changePage does to a page what commands do.
func changePage(r *rand.Rand, p page) page {
	out := make(page, pageHeader)
	seq := 2000 + r.Uint64N(100)
	for i := range p.len() {
		w := append(row(nil), p.row(i)...)
		switch r.IntN(8) {
		case 0:
			continue
		case 1, 2:
			w.setFlags(w.flags() ^ Seen | 1<<40)
			w.setModSeq(seq)
		case 3:
			binary.BigEndian.PutUint64(w[24:], r.Uint64())
		case 4:
			w.setModSeq(seq)
			binary.BigEndian.PutUint64(w[24:], r.Uint64())
		}
		out = append(out, w...)
		out.raise(w.modSeq())
	}
	return out
}

// editPage is rowDelta.Apply on a page alone.
func editPage(p page, index uint32, delta []byte) (page, error) {
	e := rowEditor{d: rowDelta{s: new(Store)}, mailbox: 1, base: index << pageShift}
	if err := e.load(p); err != nil {
		return nil, err
	}
	err := e.run(delta)
	return e.page(), err
}

// TestRowDelta: what the journal says of two pages makes the second of the first.
func TestRowDelta(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d := rowDelta{}
	for round := range 3000 {
		index := uint32(1 + r.IntN(3))
		was := randomPage(r, index)
		is := changePage(r, was)
		switch r.IntN(8) {
		case 0:
			is = randomPage(r, index)
			for i := range is.len() { // a uid is never given to another message
				binary.BigEndian.PutUint64(is.row(i)[16:], 1<<33+uint64(is.row(i).uid()%pageRows)*977)
			}
		case 1:
			was = nil
		case 2:
			is = nil
		}
		if is.count() == 0 {
			is = nil
		}
		if was.count() == 0 {
			was = nil
		}
		delta, ok := d.Append(nil, key32x2(1, index), was, is)
		if !ok {
			t.Fatalf("round %d: no delta", round)
		}
		got, err := editPage(was, index, delta)
		if err != nil || !bytes.Equal(got, is) {
			t.Fatalf("round %d: %d rows of %d, want %d: %v", round, got.count(), was.count(), is.count(), err)
		}
	}
}

// TestRowDeltaSize: one flag, all flags of a page, one message that goes.
func TestRowDeltaSize(t *testing.T) {
	was := make(page, pageHeader)
	for i := range UID(pageRows) {
		was = append(was, makeRow(&Message{UID: 64 + i, ModSeq: 1 << 20, ID: 1 << 40, Place: 1 << 40, Size: 1, Thread: 1})...)
	}
	edit := func(n int, gone bool) page {
		out := append(make(page, 0, len(was)), was...)
		if gone {
			return append(out[:pageHeader], out[pageHeader+rowSize:]...)
		}
		for i := range n {
			out.row(i).setFlags(Seen)
			out.row(i).setModSeq(1<<20 + 1)
		}
		return out
	}
	for _, tc := range []struct {
		name string
		next page
		most int
	}{{"one flag", edit(1, false), 9}, {"all flags", edit(64, false), 9}, {"one gone", edit(0, true), 5}} {
		delta, _ := rowDelta{}.Append(nil, key32x2(1, 1), was, tc.next)
		if len(delta) > tc.most {
			t.Errorf("%s: %d octets", tc.name, len(delta))
		}
	}
}

// TestRowDeltaMismatch: a change of other messages than those that are there is not made.
func TestRowDeltaMismatch(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	was := randomPage(r, 1)
	is := append(make(page, 0, len(was)), was...)
	is.row(3).setFlags(is.row(3).flags() ^ Flagged)
	delta, _ := rowDelta{}.Append(nil, key32x2(1, 1), was, is)
	other := append(make(page, 0, len(was)), was...)
	binary.BigEndian.PutUint64(other.row(3)[16:], 12345)
	got, err := editPage(other, 1, delta)
	if err == nil || !bytes.Equal(got, other) {
		t.Fatal(err)
	}
	whole := rowWriter{}
	whole.whole(was.row(3))
	s := new(Store)
	e := rowEditor{d: rowDelta{s: s}, mailbox: 1, base: 64}
	if err := e.load(other); err != nil {
		t.Fatal(err)
	}
	if err := e.run(whole.dst); err != nil || len(s.mend.displaced) != 1 || !s.mend.seen[was.row(3).place()] {
		t.Fatal(err, s.mend.displaced)
	}
}

// FuzzRowDelta: no delta makes anything but a sound page of it.
func FuzzRowDelta(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	base := randomPage(r, 1)
	for range 20 {
		delta, _ := rowDelta{}.Append(nil, key32x2(1, 1), base, changePage(r, base))
		f.Add(delta)
	}
	f.Fuzz(func(t *testing.T, delta []byte) {
		got, err := editPage(base, 1, delta)
		if got != nil && (!got.sound() || got.index() != 1) {
			t.Fatalf("%d octets are no page (%v)", len(got), err)
		}
		for i := 1; i < got.count(); i++ {
			if got.row(i-1).uid() >= got.row(i).uid() {
				t.Fatal("uids are out of order")
			}
		}
	})
}

var _ kv.Delta = rowDelta{}
