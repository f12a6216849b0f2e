package store

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestRowRoundTrip(t *testing.T) {
	m := Message{
		UID: 0xfffffffe, Flags: 1<<63 | 1<<32 | 1<<31 | Seen, ModSeq: 1<<63 + 5, ID: 7<<40 | 9, Place: 8<<40 | 1, Size: 0xffffffff,
		Received: time.Date(2100, 2, 3, 4, 5, 6, 0, time.UTC), Saved: time.Unix(0, 0).UTC(), Thread: 1<<64 - 1,
	}
	if got := makeRow(&m).message(); !reflect.DeepEqual(got, m) {
		t.Errorf("row came back as %+v; want %+v", got, m)
	}
	m.Received = time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := makeRow(&m).message(); got.Received.Unix() != 0 {
		t.Errorf("a date before 1970 became %v", got.Received)
	}
}

// aPage makes a page of the uids.
func aPage(uids ...UID) page {
	p := make(page, pageHeader)
	for i, u := range uids {
		m := Message{UID: u, ModSeq: ModSeq(i + 1)}
		p = append(p, makeRow(&m)...)
		p.raise(m.ModSeq)
	}
	return p
}

func TestPageHits(t *testing.T) {
	var full []UID
	for u := UID(64); u < 128; u++ {
		full = append(full, u)
	}
	for _, c := range []struct {
		uids   []UID
		ranges []UIDRange
		want   []UID
	}{
		{[]UID{65, 70, 127}, []UIDRange{{1, 0xffffffff}}, []UID{65, 70, 127}},
		{[]UID{65, 70, 127}, []UIDRange{{66, 70}, {127, 127}}, []UID{70, 127}},
		{[]UID{65, 70, 127}, []UIDRange{{1, 64}, {66, 69}, {128, 200}}, nil},
		{full, []UIDRange{{1, 65}, {100, 101}, {127, 300}}, []UID{64, 65, 100, 101, 127}},
		{full, []UIDRange{{128, 0xffffffff}}, nil},
	} {
		p := aPage(c.uids...)
		var got []UID
		for i := range p.hits(c.ranges) {
			got = append(got, p.row(i).uid())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("hits(%v) = %v; want %v", c.ranges, got, c.want)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct{ in, want []UIDRange }{
		{[]UIDRange{{1, 5}, {7, 9}}, []UIDRange{{1, 5}, {7, 9}}},
		{[]UIDRange{{7, 9}, {1, 5}, {4, 7}}, []UIDRange{{1, 9}}},
		{[]UIDRange{{0, 3}, {9, 4}}, []UIDRange{{1, 3}}},
		{[]UIDRange{{0, 0}}, nil},
		{nil, nil},
		{[]UIDRange{{5, 0xffffffff}}, []UIDRange{{5, 100}}},
	} {
		if got := normal(c.in, 100); !slices.Equal(got, c.want) {
			t.Errorf("normal(%v) = %v; want %v", c.in, got, c.want)
		}
	}
	for _, c := range []struct {
		u    UID
		want []UIDRange
	}{{0, []UIDRange{{1, 5}, {7, 9}}}, {3, []UIDRange{{4, 5}, {7, 9}}}, {5, []UIDRange{{7, 9}}}, {6, []UIDRange{{7, 9}}}, {9, nil}} {
		if got := behind([]UIDRange{{1, 5}, {7, 9}}, c.u); !slices.Equal(got, c.want) {
			t.Errorf("behind(%d) = %v; want %v", c.u, got, c.want)
		}
	}
	if got := gaps([]UIDRange{{2, 3}, {5, 5}}, 9); !slices.Equal(got, []UIDRange{{1, 1}, {4, 4}, {6, 8}}) {
		t.Errorf("gaps = %v", got)
	}
	if got := join([]UIDRange{{8, 9}, {1, 2}, {3, 4}, {9, 9}}); !slices.Equal(got, []UIDRange{{1, 4}, {8, 9}}) {
		t.Errorf("join = %v", got)
	}
}

func TestRunsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var runs []UIDRange
		for u, n := UID(0), r.IntN(20); n > 0 && u < 0xff000000; n-- {
			u += 1 + r.Uint32N(1<<r.IntN(24))
			first := u
			u += r.Uint32N(1 << r.IntN(20))
			runs = append(runs, UIDRange{first, u})
			u++ // neighbours would be one run
		}
		got, err := parseRuns(appendRuns(nil, runs))
		if err != nil || !slices.Equal(got, runs) {
			t.Fatalf("runs %v came back as %v, %v", runs, got, err)
		}
	}
}

func FuzzParseRuns(f *testing.F) {
	f.Add(appendRuns(nil, []UIDRange{{1, 5}, {9, 9}, {0xfffffffe, 0xffffffff}}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0})
	f.Add([]byte{0, 0})
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		runs, err := parseRuns(b)
		if err != nil {
			return
		}
		last := UID(0)
		for _, r := range runs {
			if r.First <= last || r.Last < r.First {
				t.Fatalf("runs out of order: %v", runs)
			}
			last = r.Last
		}
	})
}

func TestPartRoundTrip(t *testing.T) {
	p := mailPart{
		account: 7, mailbox: 0xffffffff, name: "Entwürfe/2024", flags: Seen | NotJunk, keywords: []string{"a", "b"},
		received: 1_700_000_000, saved: 1_700_000_001, thread: 1 << 63, msgHash: 5, ticket: 1<<64 - 1,
	}
	b := p.encode()
	got, err := parsePart(b)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("part came back as %+v, %v; want %+v", got, err, p)
	}
	got, err = parsePart(append(b, 200, 3, 'n', 'e', 'w'))
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("a part with an unknown tag came back as %+v, %v", got, err)
	}
}

func FuzzParsePart(f *testing.F) {
	p := mailPart{account: 7, mailbox: 9, name: Inbox, keywords: []string{"k"}, thread: 3}
	f.Add(p.encode())
	f.Add([]byte{1, 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{1, 1})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePart(b); err == nil {
			if again, err := parsePart(p.encode()); err != nil || again.account != p.account || again.name != p.name {
				t.Fatalf("part %+v came back as %+v, %v", p, again, err)
			}
		}
	})
}

func TestObjectIDs(t *testing.T) {
	k := newKeys([32]byte{1, 2, 3})
	seen := map[uint64]bool{}
	for i := range uint64(10_000) {
		v := k.seal('M', i)
		if seen[v] {
			t.Fatalf("id %d is sealed as %x, which another is", i, v)
		}
		seen[v] = true
		if got := k.open('M', v); got != i {
			t.Fatalf("id %d came back as %d", i, got)
		}
	}
	if k.seal('M', 5) == k.seal('T', 5) || k.seal('M', 5) == newKeys([32]byte{9}).seal('M', 5) {
		t.Error("ids do not depend on letter and secret")
	}
}
