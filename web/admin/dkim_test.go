package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// states lists the keys of one.test as "algorithm state published".
func states(t *testing.T, h *admin.House) string {
	t.Helper()
	keys, err := h.DKIMKeys(t.Context(), "one.test")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range keys {
		out = append(out, k.Algorithm+" "+k.State+" "+k.Published)
	}
	return strings.Join(out, ", ")
}

// TestDKIMRotation: a domain signs from its first day; the next key takes over when its record is seen, and not before.
func TestDKIMRotation(t *testing.T) {
	z, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	base := newHouse(t)
	see := func() *admin.House { // a resolver without yesterday's answers
		r := z.Client(dns.Options{})
		t.Cleanup(func() { r.Close() })
		return admin.New(admin.Options{DB: base.db, Directory: base.directory, Store: base.store, Queue: base.queue, Resolver: r})
	}
	h := see()
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "one.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "one.test", CatchAll: "x@elsewhere.test"}); err != nil {
		t.Fatal(err)
	}
	if got := states(t, h); got != "rsa active no" {
		t.Errorf("a new domain has %s", got)
	}
	keys, err := h.RotateDKIM(t.Context(), "one.test", admin.Rotate{})
	if err != nil {
		t.Fatal(err)
	}
	next := keys[len(keys)-1]
	settle := func(h *admin.House, want string) {
		t.Helper()
		if err := h.SettleDKIM(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := states(t, h); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	settle(h, "rsa active no, rsa next no")
	z.Fail(next.Name)
	settle(see(), "rsa active no, rsa next unknown")
	z.Remove(next.Name)
	if err := z.AddText(next.Name, "v=DKIM1; p=AAAA"); err != nil {
		t.Fatal(err)
	}
	settle(see(), "rsa active no, rsa next other")
	z.Remove(next.Name)
	if err := z.AddText(next.Name, strings.Replace(next.Record, "p=", "p= ", 1)); err != nil {
		t.Fatal(err)
	}
	settle(see(), "rsa old no, rsa active yes")
	if err := h.RemoveDKIM(t.Context(), "one.test", next.Selector); classOf(err) != admin.Conflict {
		t.Errorf("the only key that signs was removed: %v", err)
	}
	if _, err := h.RotateDKIM(t.Context(), "one.test", admin.Rotate{Algorithm: "ed25519", Now: true}); err != nil {
		t.Fatal(err)
	}
	settle(see(), "rsa old no, rsa active yes, ed25519 active no")
	if _, err := h.RotateDKIM(t.Context(), "one.test", admin.Rotate{Algorithm: "dsa"}); classOf(err) != admin.Invalid {
		t.Errorf("dsa: %v", err)
	}
	if _, err := h.DKIMKeys(t.Context(), "two.test"); classOf(err) != admin.Missing {
		t.Errorf("keys of a stranger's domain: %v", err)
	}
}

// TestOldKeyStaysForWhatWaits: a key that signs no more stays, and its record with it, while something that it may have signed waits: a
// message can be scheduled for months ahead.
func TestOldKeyStaysForWhatWaits(t *testing.T) {
	z, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	r := z.Client(dns.Options{})
	defer r.Close()
	var q *queue.Queue
	house := storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		old := func() time.Time { return time.Now().Add(-30 * 24 * time.Hour) }
		if q, err = queue.New(db, s, queue.Options{Hostname: "mail.one.test", Now: old}); err != nil {
			t.Fatal(err)
		}
	}}})
	directory := auth.New(house.DB, auth.Options{})
	h := admin.New(admin.Options{DB: house.DB, Directory: directory, Store: house.Store, Queue: q, Resolver: r})
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "one.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RotateDKIM(t.Context(), "one.test", admin.Rotate{Now: true}); err != nil {
		t.Fatal(err)
	}
	err = house.DB.Update(t.Context(), func(tx *kv.Tx) error { // it happened twenty days ago
		keys, err := directory.KeysIn(tx, "one.test")
		for _, k := range keys {
			if k.State == auth.KeyOld {
				k.Since = time.Now().Add(-20 * 24 * time.Hour)
				err = directory.PutKey(tx, k)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	e := mail.Envelope{From: mail.Address{Local: "a", Domain: "one.test"}, Recipients: []mail.Recipient{{Address: mail.Address{Local: "x", Domain: "far.test"}}}}
	e.Release.At = time.Now().Add(30 * 24 * time.Hour)
	if _, err := house.Store.Deliver(t.Context(), storetest.Arrival(t, house.Store, "\r\nx\r\n"), nil, q.Part(q.NewID(), e)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rsa old no, rsa active no", "rsa active no"} {
		if err := h.SettleDKIM(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := states(t, h); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if _, err := q.Cancel(t.Context(), queue.Filter{}, false); err != nil {
			t.Fatal(err)
		}
	}
}
