package auth_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

func TestStanding(t *testing.T) {
	h := newHouse(t, auth.Options{ClearLoopback: true})
	var rung []mail.AccountID
	stop := h.Watch(func(id mail.AccountID) { rung = append(rung, id) })
	secret, err := h.Hash(t.Context(), "secret one")
	if err != nil {
		t.Fatal(err)
	}
	a := auth.Account{Name: "A", Login: "alice", Addresses: addrs(t, "alice@mail.test"), Doors: auth.DoorAll}
	err = h.update(func(tx *kv.Tx) (err error) {
		if err = h.PutDomain(tx, auth.Domain{Name: "mail.test"}); err == nil {
			a.ID, err = h.CreateAccount(tx, a, secret)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	login := func(password string) auth.Identity {
		id, err := h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice", password)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	put := func(a auth.Account) {
		t.Helper()
		if err := h.update(func(tx *kv.Tx) error { return h.UpdateAccount(tx, a) }); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, id auth.Identity, want error) {
		t.Helper()
		if got := h.Standing(t.Context(), id, auth.DoorIMAP); !errors.Is(got, want) || want == nil && got != nil {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	id := login("secret one")
	check("fresh", id, nil)
	changed := a
	changed.Name = "B"
	put(changed)
	check("renamed", id, nil)
	if err := h.SetPassword(t.Context(), a.ID, "secret two"); err != nil {
		t.Fatal(err)
	}
	check("password changed", id, auth.ErrCredentials)
	id = login("secret two")
	check("logged in again", id, nil)
	changed.Doors = auth.DoorAll &^ auth.DoorIMAP
	put(changed)
	check("door closed", id, auth.ErrDoorClosed)
	changed.Doors, changed.Disabled = auth.DoorAll, true
	put(changed)
	check("disabled", id, auth.ErrDoorClosed)
	stop()
	if err := h.update(func(tx *kv.Tx) error { return h.RemoveAccount(tx, a.ID) }); err != nil {
		t.Fatal(err)
	}
	check("removed", id, auth.ErrNoAccount)
	if want := slices.Repeat([]mail.AccountID{a.ID}, 5); !slices.Equal(rung, want) {
		t.Errorf("rung for %v, want %v", rung, want)
	}
}
