package store_test

import (
	"maps"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestEpoch: after BeginEpoch every mailbox has a UIDVALIDITY of its own that was never given, and ModSeq and ids are far ahead;
// uids, ids and UIDLs of what was there stay.
func TestEpoch(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	s := h.Store
	valid := map[uint32]bool{}
	states := func() (highest store.ModSeq, seen map[uint32]bool) {
		seen = map[uint32]bool{}
		for id := range 3 {
			boxes, err := h.Store.Mailboxes(t.Context(), mail.AccountID(id+1))
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range boxes {
				st, err := h.Store.State(t.Context(), b.ID)
				if err != nil {
					t.Fatal(err)
				}
				if valid[st.UIDValidity] {
					t.Fatalf("UIDVALIDITY %d of %q was given before", st.UIDValidity, b.Name)
				}
				seen[st.UIDValidity] = true
				highest = max(highest, st.HighestModSeq)
			}
		}
		return highest, seen
	}
	for id := range 3 {
		storetest.Account(t, s, h.DB, mail.AccountID(id+1))
		storetest.Message(t, s, mail.AccountID(id+1), "INBOX", "Subject: x\r\n\r\nbody\r\n")
	}
	was := storetest.Rows(t, s, 1, "INBOX")[0]
	box, err := s.Mailbox(t.Context(), 1, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	uidl := s.UIDL(box.ID, was)
	seq, seen := states()
	for epoch := uint64(1); epoch <= 2; epoch++ {
		maps.Copy(valid, seen)
		if err := h.Store.BeginEpoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.Reopen()
		next, nextSeen := states()
		if next < seq+1<<32 {
			t.Fatalf("ModSeq %d after %d", next, seq)
		}
		seq, seen = next, nextSeen
		is := storetest.Rows(t, h.Store, 1, "INBOX")[0]
		if is.UID != was.UID || is.ID != was.ID || h.Store.UIDL(box.ID, is) != uidl {
			t.Fatalf("the message was %+v, is %+v", was, is)
		}
		if n, err := h.Store.Epoch(t.Context()); n != epoch || err != nil {
			t.Fatalf("epoch %d, %v", n, err)
		}
		m := storetest.Message(t, h.Store, 2, "INBOX", "Subject: y\r\n\r\nbody\r\n")
		if m.ID>>32 < was.ID>>32+epoch<<22 {
			t.Fatalf("id %x after %x", m.ID, was.ID)
		}
	}
}
