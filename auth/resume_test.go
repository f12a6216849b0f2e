package auth_test

import (
	"errors"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestResume: what was kept of a sign-in is good in another process, until the password, the doors or the account are others.
func TestResume(t *testing.T) {
	h := newHouse(t, auth.Options{ClearLoopback: true})
	secret, err := h.Hash(t.Context(), "secret one")
	if err != nil {
		t.Fatal(err)
	}
	a := auth.Account{Addresses: addrs(t, "alice@mail.test"), Doors: auth.DoorAll}
	h.must(func(tx *kv.Tx) (err error) {
		if err = h.PutDomain(tx, auth.Domain{Name: "mail.test"}); err == nil {
			a.ID, err = h.CreateAccount(tx, a, secret)
		}
		return err
	})
	id, err := h.Login(t.Context(), over(auth.DoorWeb, "127.0.0.1"), "alice@mail.test", "secret one")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := h.Stamp(t.Context(), id, auth.DoorWeb)
	if err != nil || len(kept) != 32 {
		t.Fatalf("stamp %q, %v", kept, err)
	}
	resume := func(kept string, want error) {
		t.Helper()
		later := auth.New(h.db, auth.Options{}) // the next process
		got, err := later.Resume(t.Context(), a.ID, kept, auth.DoorWeb)
		if !errors.Is(err, want) || want == nil && (err != nil || got.Account != a.ID || later.Standing(t.Context(), got, auth.DoorWeb) != nil) {
			t.Errorf("resumed as %v: %v, want %v", got, err, want)
		}
	}
	resume(kept, nil)
	resume("", auth.ErrCredentials)
	resume(kept[:31], auth.ErrCredentials)
	if err := h.SetPassword(t.Context(), a.ID, "secret one"); err != nil {
		t.Fatal(err)
	}
	resume(kept, auth.ErrCredentials)
	if _, err := h.Stamp(t.Context(), id, auth.DoorWeb); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a stamp for an old sign-in: %v", err)
	}
	a.Doors = auth.DoorIMAP
	h.must(func(tx *kv.Tx) error { return h.UpdateAccount(tx, a) })
	resume(kept, auth.ErrDoorClosed)
	h.must(func(tx *kv.Tx) error { return h.RemoveAccount(tx, a.ID) })
	resume(kept, auth.ErrNoAccount)
}
