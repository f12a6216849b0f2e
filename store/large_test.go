package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// large is a store in memory whose INBOX of account 1 has n messages.
func large(t *testing.T, n int, now func() time.Time) (*storetest.House, store.MailboxID) {
	t.Helper()
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Memory: true}, Now: now})
	storetest.Account(t, h.Store, h.DB, 1)
	fill(t, h, 1, n)
	return h, boxID(t, h.Store, 1, "INBOX")
}

func TestLargeChangesAreSplit(t *testing.T) {
	const n = 50_000
	h, inbox := large(t, n, nil)
	s := h.Store
	archive := boxID(t, s, 1, "Archive")

	rows, _, err := s.SetFlags(t.Context(), inbox, everything(), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen, Keywords: []string{"Red"}})
	if err != nil || len(rows) != n || rows[0].UID != 1 || rows[n-1].UID != n || rows[n-1].Flags != store.Seen|1<<8 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if rows[0].ModSeq >= rows[n-1].ModSeq {
		t.Error("50,000 messages were one commit")
	}
	if st, err := s.State(t.Context(), inbox); err != nil || st.Unseen != 0 || st.FirstUnseen != 0 || st.HighestModSeq != rows[n-1].ModSeq {
		t.Errorf("state %+v, %v", st, err)
	}
	if _, _, err := s.SetFlags(t.Context(), inbox, uids(40_000, 45_000), store.FlagsChange{Op: store.FlagsRemove, Flags: store.Seen}); err != nil {
		t.Fatal(err)
	}
	if st, err := s.State(t.Context(), inbox); err != nil || st.Unseen != 2 || st.FirstUnseen != 40_000 {
		t.Errorf("state %+v, %v", st, err)
	}

	c, seq, err := s.Move(t.Context(), inbox, everything(), archive)
	if err != nil || len(c.From) != n || c.From[n-1] != n || c.To[n-1] != n || seq == 0 {
		t.Fatalf("moved %d, %v", len(c.From), err)
	}
	if st, err := s.State(t.Context(), archive); err != nil || st.Exists != n || st.Unseen != 2 || st.FirstUnseen != 40_000 {
		t.Errorf("state %+v, %v", st, err)
	}
	// into itself: each message once, though new uids stand behind the old ones
	c, _, err = s.Move(t.Context(), archive, everything(), archive)
	if err != nil || len(c.From) != n || c.To[0] != n+1 || c.To[n-1] != 2*n {
		t.Fatalf("moved into itself %d, %v", len(c.From), err)
	}
	gone, seq, err := s.Expunge(t.Context(), archive, []store.UIDRange{{First: n + 11, Last: 0xffffffff}}, false)
	if err != nil || len(gone) != n-10 || seq == 0 || !slices.IsSorted(gone) {
		t.Fatalf("expunged %d, %v", len(gone), err)
	}
	if runs, err := s.UIDs(t.Context(), archive); err != nil || !slices.Equal(runs, []store.UIDRange{{First: n + 1, Last: n + 10}}) {
		t.Errorf("uids %v, %v", runs, err)
	}
}

func TestCopyLimit(t *testing.T) {
	h, inbox := large(t, 100_000, nil)
	s := h.Store
	double := []store.UIDRange{{First: 1, Last: 100_000}}
	if _, err := s.Copy(t.Context(), inbox, double, inbox); err != nil {
		t.Fatal(err)
	}
	trash := boxID(t, s, 1, "Trash")
	if c, err := s.Copy(t.Context(), inbox, everything(), trash); err != nil || len(c.To) != 200_000 {
		t.Fatalf("copied %d, %v", len(c.To), err)
	}
	storetest.Message(t, s, 1, "INBOX", aText)
	_, err := s.Copy(t.Context(), inbox, everything(), trash)
	wantErr(t, "copy of 200,001", err, store.ErrLimit)
	if st, _ := s.State(t.Context(), trash); st.Exists != 200_000 {
		t.Errorf("after the refused copy: %+v", st)
	}
	_, err = s.ExpungeAtOnce(t.Context(), inbox, everything())
	wantErr(t, "removal of 200,001 at once", err, store.ErrLimit)
	if st, _ := s.State(t.Context(), inbox); st.Exists != 200_001 {
		t.Errorf("after the refused removal: %+v", st)
	}
}

func TestExpungeAtOnce(t *testing.T) {
	const n = 60_000
	h, inbox := large(t, n, nil)
	s := h.Store
	before, err := s.State(t.Context(), inbox)
	if err != nil {
		t.Fatal(err)
	}
	var odd []store.UIDRange
	for u := store.UID(1); u <= n; u += 2 {
		odd = append(odd, store.UIDRange{First: u, Last: u})
	}
	gone, err := s.ExpungeAtOnce(t.Context(), inbox, odd)
	if err != nil || len(gone) != n/2 || gone[0] != 1 || gone[n/2-1] != n-1 {
		t.Fatalf("removed %d, %v", len(gone), err)
	}
	st, err := s.State(t.Context(), inbox)
	if err != nil || st.Exists != n/2 || st.HighestModSeq != before.HighestModSeq+1 {
		t.Errorf("%d messages, ModSeq %d after %d: more than one commit? %v", st.Exists, st.HighestModSeq, before.HighestModSeq, err)
	}
	_, err = s.ExpungeAtOnce(t.Context(), 4711, odd)
	wantErr(t, "no mailbox", err, store.ErrNoMailbox)
}

func TestTombstonesArePruned(t *testing.T) {
	h, inbox := large(t, store.MaxTombs+40_000, nil)
	s := h.Store
	start, err := s.State(t.Context(), inbox)
	if err != nil {
		t.Fatal(err)
	}
	middle := store.UID(store.MaxTombs + 20_000)
	if _, _, err := s.Expunge(t.Context(), inbox, []store.UIDRange{{First: 1, Last: middle}}, false); err != nil {
		t.Fatal(err)
	}
	recent, err := s.State(t.Context(), inbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Expunge(t.Context(), inbox, uids(middle+5), false); err != nil {
		t.Fatal(err)
	}
	c, err := s.Changes(t.Context(), inbox, recent.HighestModSeq)
	if err != nil || !slices.Equal(c.Vanished, uids(middle+5)) {
		t.Errorf("vanished since just now: %v, %v", c.Vanished, err)
	}
	// below the oldest tombstone every missing uid is told
	c, err = s.Changes(t.Context(), inbox, start.HighestModSeq)
	if want := []store.UIDRange{{First: 1, Last: middle}, {First: middle + 5, Last: middle + 5}}; err != nil || !slices.Equal(c.Vanished, want) {
		t.Errorf("vanished since the start: %v, %v", c.Vanished, err)
	}
}

func TestOldTombstonesArePruned(t *testing.T) {
	now := newClock()
	h, inbox := large(t, 100, now.now)
	s := h.Store
	s.Expunge(t.Context(), inbox, uids(3), false)
	before, err := s.State(t.Context(), inbox)
	if err != nil {
		t.Fatal(err)
	}
	s.Expunge(t.Context(), inbox, uids(5), false)
	now.advance(91 * 24 * time.Hour)
	s.Expunge(t.Context(), inbox, uids(7), false)
	c, err := s.Changes(t.Context(), inbox, before.HighestModSeq)
	if want := uids(3, 5, 7); err != nil || !slices.Equal(c.Vanished, want) {
		t.Errorf("after 91 days, vanished %v, %v; want all that is missing, %v", c.Vanished, err, want)
	}
}

func TestPurge(t *testing.T) {
	h, inbox := large(t, 70_000, nil)
	s := h.Store
	wantErr(t, "rename INBOX", s.RenameMailbox(t.Context(), 1, "INBOX", "old/mail"), nil)
	if st, err := s.State(t.Context(), inbox); err != nil || st.Exists != 0 {
		t.Errorf("INBOX after its renaming: %+v, %v", st, err)
	}
	old := boxID(t, s, 1, "old/mail")
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "old/mail"), nil)
	wantErr(t, "purge", s.Purge(t.Context()), nil)
	err := h.DB.View(t.Context(), func(tx *kv.Tx) error {
		for _, table := range []kv.Table{"m", "v", "k", "u", "d"} {
			for k := range tx.Scan(table, nil, nil) {
				if table == "d" || k[3] == byte(old) {
					t.Errorf("table %s still has %x", table, k)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(t.Context(), mail.AccountID(1)); err != nil || u.Messages != 0 || u.Bytes != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

func TestMessagesByRange(t *testing.T) {
	h, inbox := large(t, 5000, nil)
	s := h.Store
	if _, _, err := s.Expunge(t.Context(), inbox, []store.UIDRange{{First: 100, Last: 199}, {First: 640, Last: 703}}, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   []store.UIDRange
		want int
	}{
		{everything(), 5000 - 164},
		{[]store.UIDRange{{First: 90, Last: 210}}, 21},
		{uids(1, 64, 65, 99, 100, 200, 4999, 5000, 5001), 7},
		{[]store.UIDRange{{First: 640, Last: 703}}, 0},
		{[]store.UIDRange{{First: 9000, Last: 9999}}, 0},
		{nil, 0},
	} {
		var got []store.UID
		for page, err := range s.Messages(t.Context(), inbox, c.in) {
			if err != nil || len(page) == 0 || len(page) > 64 {
				t.Fatalf("%v: page of %d, %v", c.in, len(page), err)
			}
			for _, m := range page {
				got = append(got, m.UID)
			}
		}
		if len(got) != c.want || !slices.IsSorted(got) || len(slices.Compact(got)) != len(got) {
			t.Errorf("%v: %d messages; want %d", c.in, len(got), c.want)
		}
	}
	n := 0
	for page := range s.Messages(t.Context(), inbox, everything()) {
		if n += len(page); n > 200 {
			break
		}
	}
}
