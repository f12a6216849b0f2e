package api_test

import (
	"errors"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// TestPasskeysAndPrograms: over the socket, what is not there is missing, and what cannot be looked at is not now.
func TestPasskeysAndPrograms(t *testing.T) {
	c := running(t, t.TempDir(), api.Options{})
	if _, err := c.AddDomain(t.Context(), admin.Domain{Name: "one.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"alice@one.test"}, Password: "secret words"}); err != nil {
		t.Fatal(err)
	}
	if all, err := c.Passkeys(t.Context(), "alice@one.test"); err != nil || all == nil || len(all) != 0 {
		t.Errorf("%#v, %v", all, err)
	}
	class := func(err error) admin.Class {
		var e *admin.Error
		if !errors.As(err, &e) {
			t.Fatalf("%v", err)
		}
		return e.Class
	}
	if _, err := c.RemovePasskey(t.Context(), "alice@one.test", 1); class(err) != admin.Missing {
		t.Error(err)
	}
	if _, err := c.Passkeys(t.Context(), "bob@one.test"); class(err) != admin.Missing {
		t.Error(err)
	}
	if _, err := c.CheckClient(t.Context(), admin.ClientCheck{Address: "alice@two.test"}); class(err) != admin.Missing {
		t.Error(err)
	}
	if _, err := c.CheckClient(t.Context(), admin.ClientCheck{Address: "alice@one.test"}); class(err) != admin.Conflict {
		t.Error(err) // this house has no name
	}
}
