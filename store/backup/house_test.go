package backup

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// clock is a settable time.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newClock() *clock { return &clock{at: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)} }

// newHouse has two accounts and small segments.
func newHouse(t *testing.T) *storetest.House {
	t.Helper()
	h := storetest.Start(t, storetest.Options{KV: kv.Options{SegmentSize: 64 << 10}})
	for id := range mail.AccountID(2) {
		storetest.Account(t, h.Store, h.DB, id+1)
	}
	return h
}

// fill brings n messages of every size into both accounts, with flags, keywords and mailboxes of their own.
func fill(t *testing.T, h *storetest.House, name string, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(len(name)), uint64(n)))
	for i := range n {
		id, box := mail.AccountID(i%2+1), "INBOX"
		if i%5 == 4 {
			box = "Archive"
		}
		size := 100 + r.IntN(4000)
		if i%17 == 3 {
			size = 70_000 + r.IntN(100_000) // a segment of its own
		}
		raw := fmt.Sprintf("Message-ID: <%s.%d@house.test>\r\nSubject: %s %d\r\n\r\n%s\r\n", name, i, name, i, noise(r, size))
		if i%3 == 0 {
			storetest.Deliver(t, h.Store, id, box, raw)
			continue
		}
		b, err := h.Store.Mailbox(t.Context(), id, box)
		if err != nil {
			t.Fatal(err)
		}
		m := store.AppendMessage{
			Arrival: storetest.Arrival(t, h.Store, raw), Flags: store.Flags(i) & (store.Seen | store.Flagged), Received: time.Unix(1_600_000_000+int64(i), 0),
		}
		if i%4 == 0 {
			m.Keywords = []string{"work", fmt.Sprint("key", i%8)}
		}
		if i%11 == 1 {
			m.UIDL = fmt.Sprintf("old-%s-%d", name, i)
		}
		if _, _, err := h.Store.Append(t.Context(), b.ID, []store.AppendMessage{m}); err != nil {
			t.Fatal(err)
		}
	}
}

func noise(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%016x%016x\r\n", r.Uint64(), r.Uint64())
	}
	return b.String()
}

// message is what must come back of one.
type message struct {
	uid      store.UID
	id       uint64
	flags    store.Flags
	keywords string
	received int64
	uidl     string
	text     string
}

// picture is all messages by account and mailbox.
type picture map[string][]message

func look(t *testing.T, s *store.Store, accounts ...mail.AccountID) picture {
	t.Helper()
	p := picture{}
	if len(accounts) == 0 {
		accounts = []mail.AccountID{1, 2}
	}
	for _, id := range accounts {
		boxes, err := s.Mailboxes(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range boxes {
			names, err := s.Keywords(t.Context(), b.ID)
			if err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprintf("%d %s", id, b.Name)
			p[key] = nil
			for rows, err := range s.Messages(t.Context(), b.ID, everything()) {
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range rows {
					p[key] = append(p[key], message{
						uid: m.UID, id: m.ID, flags: m.Flags & systemFlags, keywords: fmt.Sprint(keywords(m.Flags, names)),
						received: m.Received.Unix(), uidl: s.UIDL(b.ID, m), text: storetest.Text(t, s, m),
					})
				}
			}
		}
	}
	return p
}

func (p picture) compare(t *testing.T, other picture) {
	t.Helper()
	if a, b := slices.Sorted(maps.Keys(p)), slices.Sorted(maps.Keys(other)); !slices.Equal(a, b) {
		t.Fatalf("mailboxes are %v, were %v", b, a)
	}
	for key, was := range p {
		is := other[key]
		if len(was) != len(is) {
			t.Fatalf("%s has %d messages, had %d", key, len(is), len(was))
		}
		for i := range was {
			if was[i] != is[i] {
				was[i].text, is[i].text = was[i].text[:40], is[i].text[:40]
				t.Fatalf("%s: %+v, was %+v", key, is[i], was[i])
			}
		}
	}
}

// options for a backup of h into folder.
func options(h *storetest.House, folder string, c *clock) Options {
	return Options{
		To: folder, DB: h.DB, Store: h.Store, Now: c.now, Program: "test",
		Accounts: func(context.Context, *kv.DB, *store.Store) ([]Account, error) {
			return []Account{{ID: 1, Address: "one@house.test"}, {ID: 2, Address: "two@house.test"}}, nil
		},
	}
}

// backup runs one that must be verified.
func backup(t *testing.T, o Options) Report {
	t.Helper()
	rep, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Verified == nil || len(rep.Problems) > 0 {
		t.Fatalf("not verified: %+v", rep)
	}
	return rep
}

func newest1(t *testing.T, folder string) *Generation {
	t.Helper()
	list, err := Generations(nil, folder)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Find(list, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func openGeneration(t *testing.T, g *Generation, s Secrets) *Reader {
	t.Helper()
	r, err := g.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// restored starts a house on what a backup brings back.
func restored(t *testing.T, r *Reader) *storetest.House {
	t.Helper()
	folder := t.TempDir()
	out, err := r.Restore(t.Context(), folder, nil)
	if err != nil || len(out.Missing) > 0 {
		t.Fatalf("restore: %+v, %v", out, err)
	}
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Dir: folder, SegmentSize: 64 << 10}})
	if begun, err := h.Store.BeginDueEpoch(t.Context()); err != nil || !begun {
		t.Fatalf("new epoch: %v, %v", begun, err)
	}
	if begun, err := h.Store.BeginDueEpoch(t.Context()); err != nil || begun {
		t.Fatalf("another epoch: %v, %v", begun, err)
	}
	return h
}
