package store_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// A check that finds nothing proves something only if it finds what is wrong: each case breaks one row, and mends it again.
func TestCheckFindsDamage(t *testing.T) {
	h := house(t)
	s := h.Store
	for range 3 {
		storetest.Message(t, s, 1, "INBOX", aText)
	}
	inbox := uint32(boxID(t, s, 1, "INBOX"))
	storetest.Message(t, s, 1, "Trash", aText)
	red := store.FlagsChange{Op: store.FlagsAdd, Keywords: []string{"Red"}}
	if _, _, err := s.SetFlags(t.Context(), boxID(t, s, 1, "INBOX"), uids(1), red); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Expunge(t.Context(), boxID(t, s, 1, "INBOX"), uids(2), false); err != nil {
		t.Fatal(err)
	}
	update(t, h, "a common quota", func(tx *kv.Tx) error {
		return s.SetPool(tx, "alpha.test", store.Quota{Messages: 100}, []mail.AccountID{1})
	})
	made, err := s.Bin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	bin := uint32(made.ID)
	u32 := func(v ...uint32) (b []byte) {
		for _, v := range v {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	set32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return b }
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	put := func(v []byte) func([]byte) []byte { return func([]byte) []byte { return v } }
	gone := func([]byte) []byte { return nil }
	page, state := u32(inbox, 0), u32(inbox, 0xffffffff)
	tomb := firstKey(t, h, "v")
	for _, c := range []struct {
		what  string
		table kv.Table
		key   []byte
		edit  func([]byte) []byte
		want  string
	}{
		{"account row missing", "h", u32(1), gone, "which is not there"},
		{"account row short", "h", u32(1), cut(8), "damaged"},
		{"usage wrong", "h", u32(1), set32(20, 7), "usage says"},
		{"count of mailboxes wrong", "h", u32(1), set32(32, 7), "the row counts 7 mailboxes"},
		{"INBOX missing", "n", append(u32(1), "INBOX"...), gone, "has no INBOX"},
		{"name not canonical", "n", append(u32(1), "a//b"...), put(append(u32(900), 0, 0)), "not in its stored form"},
		{"two names for one mailbox", "n", append(u32(1), "twice"...), put(append(u32(inbox), 0, 0)), "too"},
		{"special use twice", "n", append(u32(1), "INBOX"...), func(b []byte) []byte { b[5] = 4; return b }, "special use"},
		{"state row missing", "m", state, gone, "has no state row"},
		{"state row of another account", "m", state, set32(0, 9), "the state row says account 9"},
		{"UIDNEXT too low", "m", state, set32(4, 2), "UIDNEXT is 2"},
		{"UIDVALIDITY 0", "m", state, set32(8, 0), "UIDVALIDITY"},
		{"HIGHESTMODSEQ too high", "m", state, set32(12, 1), "HIGHESTMODSEQ"},
		{"exists wrong", "m", state, set32(20, 9), "the state row says 9 messages"},
		{"unseen wrong", "m", state, set32(24, 9), "9 unseen"},
		{"hint too high", "m", state, set32(32, 3), "the hint says"},
		{"tombstones miscounted", "m", state, set32(52, 5), "counts 5 tombstones"},
		{"page missing", "m", page, gone, "the pages have 0"},
		{"page cut", "m", page, cut(40), "no page"},
		{"page of nobody", "m", u32(800, 0), put(make([]byte, 64)), "no name"},
		{"uid of another page", "m", page, set32(8, 900), "out of order"},
		{"uids out of order", "m", page, set32(8+56, 1), "out of order"},
		{"highest modseq of the page wrong", "m", page, set32(0, 1), "highest modseq"},
		{"flag without keyword", "m", page, set32(8+4, 1<<20), "no keyword names"},
		{"id missing", "m", page, func(b []byte) []byte { clear(b[8+16 : 8+24]); return b }, "is missing"},
		{"body elsewhere", "m", page, set32(8+28, 77), "its body"},
		{"size wrong", "m", page, set32(8+32, 5), "octets"},
		{"keyword twice", "k", u32(inbox), put([]byte("\x01a\x01A")), "there twice"},
		{"keywords unreadable", "k", u32(inbox), put([]byte("\x03Red\x09a")), "cannot be read"},
		{"keywords of nobody", "k", u32(800), put([]byte("\x01a")), "which is not there"},
		{"tombstone of a message that is there", "v", tomb, func(b []byte) []byte { b[4] = 1; return b }, "and is there"},
		{"tombstone beyond UIDNEXT", "v", tomb, func(b []byte) []byte { b[4] = 100; return b }, "UIDNEXT is"},
		{"tombstone unreadable", "v", tomb, cut(5), "cannot be read"},
		{"UIDL of nobody", "u", u32(inbox, 2), put([]byte("x")), "has a UIDL"},
		{"UIDL not allowed", "u", u32(inbox, 1), put([]byte("x y")), "not allowed"},
		{"subscription of nobody", "b", append(u32(44), 'x'), put([]byte{}), "which is not there"},
		{"subscription not canonical", "b", append(u32(1), "a//b"...), put([]byte{}), "not in its stored form"},
		{"ModSeq counter lost", "s", []byte("modseq"), gone, "the counter 0"},
		{"mailbox counter lost", "s", []byte("mailbox"), gone, "beyond the counter 0"},
		{"record set aside", "z", append(u32(0), u32(7)...), put(append(u32(4), "oops!"...)), "was set aside: oops"},
		{"bin without a state row", "m", u32(bin, 0xffffffff), gone, "has no state row"},
		{"bin that is none", "m", u32(bin, 0xffffffff), cut(56), "whether it is the bin"},
		{"bin that is a mailbox", "h", u32(1), set32(40, inbox), "its id"},
		{"bin beyond the counter", "h", u32(1), set32(40, 999), "beyond the counter"},
		{"origin missing", "x", u32(bin, 1), gone, "no row says where it was"},
		{"origin unreadable", "x", u32(bin, 1), cut(3), "row of kept mail"},
		{"origin beyond UIDNEXT", "x", u32(bin, 1), set32(1, 70), "beyond UIDNEXT"},
		{"origin of no bin", "x", u32(inbox, 1), put([]byte{1}), "is no bin"},
		{"lost keyword not allowed", "x", u32(bin, 1), put([]byte("\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01\x01(\x02\x01\x00\x00")), "is not allowed"},
		{"draft of another run", "x", u32(bin, 1), put([]byte("\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x01\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x01")), "draft 9"},
		{"common quota wrong", "o", []byte("alpha.test"), set32(20, 7), "common quota of alpha.test: usage says"},
		{"common quota unreadable", "o", []byte("alpha.test"), cut(7), "damaged"},
		{"common quota missing", "o", []byte("alpha.test"), gone, "which is not there"},
		{"deleted mailbox unreadable", "d", u32(900), put([]byte{0}), "deleted mailbox"},
		{"key of a wrong length", "d", []byte("xyz"), put([]byte{0}), "a key of 3 bytes"},
	} {
		var old []byte
		change := func(edit func([]byte) []byte) {
			err := h.DB.Update(t.Context(), func(tx *kv.Tx) error {
				old = slices.Clone(tx.Get(c.table, c.key))
				v := edit(slices.Clone(old))
				if v == nil {
					tx.Delete(c.table, c.key)
				} else {
					tx.Put(c.table, c.key, v)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		change(c.edit)
		before := old
		problems, err := s.Check(t.Context(), true)
		if err != nil || !strings.Contains(strings.Join(problems, "\n"), c.want) {
			t.Errorf("%s: check says %q, %v; want %q", c.what, problems, err, c.want)
		}
		change(func([]byte) []byte { return before })
	}
}

func firstKey(t *testing.T, h *storetest.House, table kv.Table) (key []byte) {
	t.Helper()
	err := h.DB.View(t.Context(), func(tx *kv.Tx) error {
		for k := range tx.Scan(table, nil, nil) {
			key = slices.Clone(k)
			break
		}
		return nil
	})
	if err != nil || key == nil {
		t.Fatalf("table %s: %x, %v", table, key, err)
	}
	return key
}
