package auth

import (
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

func TestDKIMKeys(t *testing.T) {
	_, db := storetest.New(t)
	d := New(db, Options{})
	now := time.Date(2026, 11, 22, 23, 0, 0, 500, time.FixedZone("", 7200))
	var made []DKIMKey
	for _, algorithm := range []string{KeyRSA, KeyRSA, KeyEd25519} {
		k, err := NewDKIMKey("alpha.test", algorithm, now, made)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, k)
	}
	if made[0].Selector != "ph20261122" || made[1].Selector != "ph20261122-2" || made[2].Selector != "ph20261122e" {
		t.Errorf("selectors %q %q %q", made[0].Selector, made[1].Selector, made[2].Selector)
	}
	if n := made[0].Name(); n != "ph20261122._domainkey.alpha.test" || !strings.HasPrefix(made[0].Record(), "v=DKIM1; k=rsa; p=MIIB") || !strings.HasPrefix(made[2].Record(), "v=DKIM1; k=ed25519; p=") {
		t.Errorf("%s %s", n, made[0].Record())
	}
	put := func(k DKIMKey) error {
		return db.Update(t.Context(), func(tx *kv.Tx) error { return d.PutKey(tx, k) })
	}
	if err := put(made[0]); !errors.Is(err, ErrNoDomain) {
		t.Errorf("a key of a stranger's domain: %v", err)
	}
	err := db.Update(t.Context(), func(tx *kv.Tx) error {
		return errors.Join(d.PutDomain(tx, Domain{Name: "alpha.test"}), d.PutDomain(tx, Domain{Name: "alpha.test2"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	made[1].State = KeyActive
	for _, k := range made {
		if err := put(k); err != nil {
			t.Fatal(err)
		}
	}
	other, err := NewDKIMKey("alpha.test2", KeyEd25519, now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := put(other); err != nil {
		t.Fatal(err)
	}
	list, err := d.Keys(t.Context(), "alpha.test")
	if err != nil || len(list) != 3 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	for i, k := range list {
		want := made[slices.IndexFunc(made, func(m DKIMKey) bool { return m.Selector == k.Selector })]
		same := k.Private.(interface{ Equal(crypto.PrivateKey) bool }).Equal(want.Private)
		k.Private, want.Private = nil, nil
		if k != want || !same {
			t.Errorf("%d: %+v, want %+v", i, k, want)
		}
	}
	err = db.Update(t.Context(), func(tx *kv.Tx) error { return d.RemoveKey(tx, "alpha.test", "nobody") })
	if !errors.Is(err, ErrNoKey) {
		t.Errorf("remove a key that is not there: %v", err)
	}
	if err := db.Update(t.Context(), func(tx *kv.Tx) error { return d.RemoveDomain(tx, "alpha.test") }); err != nil {
		t.Fatal(err)
	}
	for domain, want := range map[mail.Domain]int{"alpha.test": 0, "alpha.test2": 1} {
		if list, err := d.Keys(t.Context(), domain); err != nil || len(list) != want {
			t.Errorf("%s has %d keys, %v; want %d", domain, len(list), err, want)
		}
	}
	if _, err := NewDKIMKey("alpha.test", "dsa", now, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("dsa: %v", err)
	}
}

// A key that cannot be read costs itself, and nobody's login.
func TestBrokenDKIMKey(t *testing.T) {
	_, db := storetest.New(t)
	d := New(db, Options{})
	for _, v := range [][]byte{{}, {recordVersion}, {recordVersion, 'a', 0, 0, 3, 'r', 's', 'a', 2, 1, 2}} {
		err := db.Update(t.Context(), func(tx *kv.Tx) error {
			tx.Put(tableKeys, keyKey("alpha.test", "s"), v)
			tx.OnCommit(d.view.changed)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if list, err := d.Keys(t.Context(), "alpha.test"); err != nil || len(list) != 0 {
			t.Errorf("%x: %d keys, %v", v, len(list), err)
		}
		if broken, err := d.Broken(t.Context()); err != nil || len(broken) != 1 || !strings.Contains(broken[0], "DKIM key") {
			t.Errorf("%x: %q %v", v, broken, err)
		}
	}
}
