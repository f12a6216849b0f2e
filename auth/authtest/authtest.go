// Package authtest makes the accounts of a door's tests, and does to one of them what an operator does.
package authtest

import (
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// Password is that of every account made here.
const Password = "secret"

// Account is NAME@mail.test, who logs in as NAME.
type Account struct {
	Name  string
	Doors auth.Door // 0: all
	Quota store.Quota
}

// Make makes the domain mail.test and accounts, numbered from 1. Passwords cost time on purpose, so it is hashed once.
func Make(t testing.TB, h *storetest.House, d *auth.Directory, accounts ...Account) {
	t.Helper()
	secret, err := d.Hash(t.Context(), Password)
	if err != nil {
		t.Fatal(err)
	}
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error {
		if err := d.PutDomain(tx, auth.Domain{Name: "mail.test"}); err != nil {
			return err
		}
		for _, a := range accounts {
			account := auth.Account{Name: a.Name, Login: a.Name, Addresses: []mail.Address{{Local: a.Name, Domain: "mail.test"}}, Doors: a.Doors}
			if a.Doors == 0 {
				account.Doors = auth.DoorAll
			}
			id, err := d.CreateAccount(tx, account, secret)
			if err != nil {
				return err
			}
			if err := h.Store.CreateAccount(tx, id, a.Quota); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Change does what verb says: password, rename, disable, door (all but the web's are closed), remove.
func Change(t testing.TB, h *storetest.House, d *auth.Directory, id mail.AccountID, verb string) {
	t.Helper()
	a, err := d.Account(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if verb == "password" {
		if err := d.SetPassword(t.Context(), id, "another"); err != nil {
			t.Fatal(err)
		}
		return
	}
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error {
		switch verb {
		case "rename":
			a.Name = "Robert"
		case "disable":
			a.Disabled = true
		case "door":
			a.Doors = auth.DoorWeb
		case "remove":
			if err := d.RemoveAccount(tx, id); err != nil {
				return err
			}
			return h.Store.DeleteAccount(tx, id)
		default:
			t.Fatalf("account does not know %q", verb)
		}
		return d.UpdateAccount(tx, a)
	})
	if err != nil {
		t.Fatal(err)
	}
}
