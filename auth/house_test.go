package auth_test

import (
	"context"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// house is a directory on a real database.
type house struct {
	*auth.Directory
	t  *testing.T
	db *kv.DB
}

func newHouse(t *testing.T, o auth.Options) *house {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return &house{Directory: auth.New(db, o), t: t, db: db}
}

func addr(t *testing.T, s string) mail.Address {
	t.Helper()
	if s == "" {
		return mail.Address{}
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func addrs(t *testing.T, all ...string) []mail.Address {
	t.Helper()
	var out []mail.Address
	for _, s := range all {
		out = append(out, addr(t, s))
	}
	return out
}

func (h *house) update(fn func(tx *kv.Tx) error) error {
	return h.db.Update(context.WithoutCancel(h.t.Context()), fn)
}

// must runs a verb that has to succeed.
func (h *house) must(fn func(tx *kv.Tx) error) {
	h.t.Helper()
	if err := h.update(fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) domain(name, aliasOf, catchAll string) error {
	d := auth.Domain{Name: mail.Domain(name), AliasOf: mail.Domain(aliasOf), CatchAll: addr(h.t, catchAll)}
	return h.update(func(tx *kv.Tx) error { return h.PutDomain(tx, d) })
}

func (h *house) alias(sendAs bool, address string, members ...string) error {
	a := auth.Alias{Address: addr(h.t, address), Members: addrs(h.t, members...), SendAs: sendAs}
	return h.update(func(tx *kv.Tx) error { return h.PutAlias(tx, a) })
}

// account makes one; the password may be empty.
func (h *house) account(password, login string, addresses ...string) (id mail.AccountID, err error) {
	var secret auth.Secret
	if password != "" {
		if secret, err = h.Hash(h.t.Context(), password); err != nil {
			return 0, err
		}
	}
	a := auth.Account{Name: "Someone", Addresses: addrs(h.t, addresses...), Login: login, Doors: auth.DoorAll}
	err = h.update(func(tx *kv.Tx) (err error) {
		id, err = h.CreateAccount(tx, a, secret)
		return err
	})
	return id, err
}

// people makes alpha.test with alice (1) and bob (2), and one.test, an alias of it.
func (h *house) people(password string) {
	h.t.Helper()
	for _, err := range []error{h.domain("alpha.test", "", ""), h.domain("one.test", "alpha.test", "")} {
		if err != nil {
			h.t.Fatal(err)
		}
	}
	if _, err := h.account(password, "", "Alice@alpha.test", "alice.liddell@alpha.test"); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.account(password, "bobby", "bob@alpha.test"); err != nil {
		h.t.Fatal(err)
	}
}
