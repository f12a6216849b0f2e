package store_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// What was answered and is only in the log comes into the tables exactly once at the next start, on top of whatever was
// committed before: the folder is copied as a power cut would leave it, and opened.
func TestReplay(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			lazy := kv.Options{Dir: dir, Pace: time.Hour, BacklogAge: time.Hour} // applied only when somebody asks
			h := storetest.Start(t, storetest.Options{KV: lazy})
			storetest.Account(t, h.Store, h.DB, 1)
			storetest.Account(t, h.Store, h.DB, 2)
			r := rand.New(rand.NewPCG(seed, 3))
			want := map[string]int{}
			deliver := func() {
				id := mail.AccountID(1 + r.IntN(2))
				name := []string{"INBOX", "Junk", "Archive"}[r.IntN(3)]
				text := aMail(r.IntN(1000), 200+r.IntN(100_000)) // some have a segment of their own
				storetest.Deliver(t, h.Store, id, name, text)
				want[fmt.Sprint(id, name, text)]++
			}
			for range 20 {
				switch r.IntN(3) {
				case 0, 1:
					deliver()
				case 2:
					inbox := boxID(t, h.Store, 1, "INBOX")
					if _, _, err := h.Store.SetFlags(t.Context(), inbox, everything(), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen}); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range r.IntN(10) {
				deliver()
			}
			copied := t.TempDir()
			if err := os.CopyFS(filepath.Join(copied, "data"), os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			after := storetest.Start(t, storetest.Options{KV: kv.Options{Dir: filepath.Join(copied, "data")}})
			for id := mail.AccountID(1); id <= 2; id++ {
				for _, name := range []string{"INBOX", "Junk", "Archive"} {
					for _, m := range storetest.Rows(t, after.Store, id, name) {
						want[fmt.Sprint(id, name, storetest.Text(t, after.Store, m))]--
					}
				}
			}
			for key, n := range want {
				if n != 0 {
					t.Errorf("%.60q: %d times too few", key, n)
				}
			}
			// and again: a replayed record is not replayed twice
			before := len(storetest.Rows(t, after.Store, 1, "INBOX"))
			after.Reopen()
			if n := len(storetest.Rows(t, after.Store, 1, "INBOX")); n != before {
				t.Errorf("INBOX has %d messages after another start; want %d", n, before)
			}
		})
	}
}

// Large bodies have a segment of their own, which must outlive every start while a message refers to it.
func TestLargeBodiesStay(t *testing.T) {
	h := house(t)
	s := h.Store
	text := aMail(7, 300_000)
	m := storetest.Message(t, s, 1, "Drafts", text)
	storetest.Deliver(t, s, 1, "INBOX", text)
	archive := boxID(t, s, 1, "Archive")
	_, many, err := s.Append(t.Context(), archive, []store.AppendMessage{
		{Arrival: storetest.Arrival(t, s, text)}, {Arrival: storetest.Arrival(t, s, aText)}, {Arrival: storetest.Arrival(t, s, text)},
	})
	if err != nil || len(many) != 3 {
		t.Fatal(many, err)
	}
	if _, _, err := s.Move(t.Context(), boxID(t, s, 1, "Drafts"), uids(m.UID), boxID(t, s, 1, "Sent")); err != nil {
		t.Fatal(err)
	}
	discarded := storetest.Arrival(t, s, text)
	discarded.Discard()
	for range 2 {
		h.Reopen()
		n := 0
		for _, name := range []string{"Sent", "INBOX", "Archive"} {
			for _, m := range storetest.Rows(t, h.Store, 1, name) {
				if got := storetest.Text(t, h.Store, m); got != text && got != aText {
					t.Errorf("%s uid %d has another text", name, m.UID)
				}
				n++
			}
		}
		if n != 5 {
			t.Fatalf("%d messages; want 5", n)
		}
	}
}
