package store_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

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

// What a mailbox was called before an epoch is not adopted by another one after it: in the time that was lost, more uids may have been
// given under that name.
func TestEpochRetiresUIDValidities(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	s := h.Store
	storetest.Account(t, s, h.DB, 1)
	old, err := s.CreateMailbox(t.Context(), 1, "Old", 0)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "adopt", s.AdoptUIDs(t.Context(), old.ID, 777, 10), nil)
	storetest.Message(t, s, 1, "Old", text("ten"))
	wantErr(t, "epoch", s.BeginEpoch(t.Context()), nil)
	again, err := s.CreateMailbox(t.Context(), 1, "Again", 0)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "adopt what was given before the epoch", s.AdoptUIDs(t.Context(), again.ID, 777, 10), store.ErrUID)
}

// A clock beyond the end of its 32 bits, for once, does not make UIDVALIDITY begin anew.
func TestUIDValidityUnderWrongClocks(t *testing.T) {
	h, now := keeping(t)
	seen := map[uint32]bool{0: true}
	make3 := func(when time.Time) {
		t.Helper()
		now.at.Store(when.UnixNano())
		for range 3 {
			b, err := h.Store.CreateMailbox(t.Context(), 1, fmt.Sprint("box", len(seen)), 0)
			if err != nil {
				t.Fatal(err)
			}
			st, err := h.Store.State(t.Context(), b.ID)
			if err != nil || seen[st.UIDValidity] {
				t.Errorf("in %v: UIDVALIDITY %d, %v", when, st.UIDValidity, err)
			}
			seen[st.UIDValidity] = true
		}
	}
	make3(time.Unix(0, 0))
	make3(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	make3(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC))
	wantErr(t, "epoch", h.Store.BeginEpoch(t.Context()), nil)
	make3(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
}

// A mailbox may take the name of the mailbox of deleted mail: so it does not have the UIDVALIDITY of that one either.
func TestBinsUIDValidityIsNotAdopted(t *testing.T) {
	h, _ := keeping(t)
	expungeOne(t, h.Store, 1)
	bin, err := h.Store.Bin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	st, err := h.Store.State(t.Context(), bin.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "adopt", h.Store.AdoptUIDs(t.Context(), boxID(t, h.Store, 1, "INBOX"), st.UIDValidity, 1), store.ErrUID)
}
