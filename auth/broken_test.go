package auth_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestBrokenRows: a row that cannot be read costs its own account or name, and is told; the others work.
func TestBrokenRows(t *testing.T) {
	h := newHouse(t, auth.Options{})
	if err := h.domain("alpha.test", "", ""); err != nil {
		t.Fatal(err)
	}
	anna, err := h.account("secret pass one", "", "anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	berta, err := h.account("secret pass two", "", "berta@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	key := binary.BigEndian.AppendUint32(nil, uint32(berta))
	err = h.db.Update(t.Context(), func(tx *kv.Tx) error {
		tx.Put("a", key, append([]byte{9}, tx.Get("a", key)...))
		tx.Put("l", []byte("x@alpha.test"), []byte("garbage"))
		tx.Put("a", []byte("odd key"), nil)
		tx.Put("r", []byte("m\x00\x00\x00\x01x@alpha.test"), []byte("garbage"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	again := auth.New(h.db, auth.Options{})
	if a, err := again.Account(t.Context(), anna); err != nil || a.ID != anna {
		t.Fatalf("%+v %v", a, err)
	}
	if _, err := again.Account(t.Context(), berta); !errors.Is(err, auth.ErrNoAccount) {
		t.Fatal(err)
	}
	broken, err := again.Broken(t.Context())
	if err != nil || len(broken) != 4 || !strings.Contains(strings.Join(broken, "\n"), "account 2") {
		t.Fatalf("%q %v", broken, err)
	}
	err = h.db.Update(t.Context(), func(tx *kv.Tx) error {
		_, err := again.CreateAccount(tx, auth.Account{Addresses: []mail.Address{{Local: "carla", Domain: "alpha.test"}}}, auth.Secret{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.db.Update(t.Context(), func(tx *kv.Tx) error { return again.RemoveAccount(tx, anna) }); err != nil {
		t.Fatal(err)
	}
}
