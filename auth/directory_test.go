package auth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// show writes a route as "1(alice@alpha.test)+detail remote@x".
func show(r auth.Route) string {
	var words []string
	for _, l := range r.Local {
		w := fmt.Sprintf("%d(%s)", l.Account, l.Address)
		if l.Detail != "" {
			w += "+" + l.Detail
		}
		words = append(words, w)
	}
	for _, a := range r.Remote {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

func TestResolve(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	for _, err := range []error{
		h.domain("beta.test", "", ""),
		h.domain("catch.test", "", "bob@alpha.test"),
		h.domain("away.test", "", "all@outside.test"),
		h.alias(false, "team@alpha.test", "alice@one.test", "bob@alpha.test", "carol@outside.test"),
		h.alias(false, "everyone@beta.test", "team@alpha.test", "bob+lists@alpha.test", "carol@outside.test", "dave@outside.test"),
		h.alias(false, "ops@beta.test", "postmaster@alpha.test"),
		h.alias(false, "abuse@beta.test", "bob@alpha.test"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ to, want string }{
		{"alice@alpha.test", "1(Alice@alpha.test)"},
		{"ALICE@ALPHA.TEST", "1(Alice@alpha.test)"},
		{"alice.liddell@alpha.test", "1(alice.liddell@alpha.test)"},
		{"alice@one.test", "1(Alice@alpha.test)"},
		{"alice+News@alpha.test", "1(Alice@alpha.test)+News"},
		{"alice+a+b@one.test", "1(Alice@alpha.test)+a+b"},
		{"team@alpha.test", "1(Alice@alpha.test) 2(bob@alpha.test) carol@outside.test"},
		{"team+x@alpha.test", "1(Alice@alpha.test)+x 2(bob@alpha.test)+x carol@outside.test"},
		{"everyone@beta.test", "1(Alice@alpha.test) 2(bob@alpha.test) carol@outside.test dave@outside.test"},
		{"postmaster@alpha.test", "1(postmaster@alpha.test)"},
		{"PostMaster@one.test", "1(PostMaster@alpha.test)"},
		{"abuse@alpha.test", "1(abuse@alpha.test)"},
		{"abuse@beta.test", "2(bob@alpha.test)"},
		{"postmaster@catch.test", "1(postmaster@catch.test)"},
		{"ops@beta.test", "1(postmaster@alpha.test)"},
		{"any.thing@catch.test", "2(any.thing@catch.test)"},
		{"x@away.test", "all@outside.test"},
		{"nobody@alpha.test", "ERR auth: no such address"},
		{"nobody@beta.test", "ERR auth: no such address"},
		{"+x@alpha.test", "ERR auth: no such address"},
		{`"alice@alpha.test"@beta.test`, "ERR auth: no such address"},
		{"alice@outside.test", "ERR auth: domain is not one of ours"},
		{"alice@sub.alpha.test", "ERR auth: domain is not one of ours"},
		{"alice@[192.0.2.1]", "ERR auth: domain is not one of ours"},
	} {
		r, err := h.Resolve(t.Context(), addr(t, c.to))
		got := show(r)
		if err != nil {
			got = "ERR " + err.Error()
		}
		if got != c.want {
			t.Errorf("%s leads to %q, want %q", c.to, got, c.want)
		}
	}
	if r, err := h.Resolve(t.Context(), mail.Address{Local: "Postmaster"}); err != nil || show(r) != "1(Alice@alpha.test)" {
		t.Errorf("<Postmaster>: %s %v", show(r), err)
	}
	if _, err := h.Resolve(t.Context(), mail.Address{Local: "alice"}); !errors.Is(err, auth.ErrNotLocal) {
		t.Errorf("<alice>: %v", err)
	}
	for domain, want := range map[mail.Domain]bool{"alpha.test": true, "one.test": true, "outside.test": false, "": false} {
		if got, err := h.IsLocal(t.Context(), domain); got != want || err != nil {
			t.Errorf("IsLocal(%q): %v %v", domain, got, err)
		}
	}
}

func TestPostmasterSetting(t *testing.T) {
	for setting, want := range map[string]string{
		"bob@alpha.test":    "2(bob@alpha.test)",
		"ops@outside.test":  "ops@outside.test",
		"nobody@alpha.test": "1(postmaster@alpha.test)",
	} {
		h := newHouse(t, auth.Options{Postmaster: addr(t, setting)})
		h.people("")
		if r, err := h.Resolve(t.Context(), addr(t, "postmaster@alpha.test")); err != nil || show(r) != want {
			t.Errorf("%s: %s %v, want %s", setting, show(r), err, want)
		}
	}
	empty := newHouse(t, auth.Options{})
	if err := empty.domain("alpha.test", "", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Resolve(t.Context(), addr(t, "postmaster@alpha.test")); !errors.Is(err, auth.ErrNoAddress) {
		t.Errorf("a house without accounts: %v", err)
	}
}

func TestMaySendAs(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	for _, err := range []error{
		h.alias(true, "sales@alpha.test", "alice@alpha.test", "carol@outside.test"),
		h.alias(true, "shop@alpha.test", "sales@alpha.test"),
		h.alias(false, "list@alpha.test", "alice@alpha.test", "bob@alpha.test"),
		h.alias(true, "press@alpha.test", "list@alpha.test"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		id   mail.AccountID
		as   string
		want bool
	}{
		{1, "alice@alpha.test", true},
		{1, "ALICE@one.test", true},
		{1, "alice.liddell@alpha.test", true},
		{1, "alice+shop@alpha.test", true},
		{1, "bob@alpha.test", false},
		{2, "alice@alpha.test", false},
		{1, "sales@alpha.test", true},
		{1, "sales+x@alpha.test", true},
		{2, "sales@alpha.test", false},
		{1, "shop@alpha.test", true},
		{1, "list@alpha.test", false},
		{1, "press@alpha.test", false}, // through an alias that does not allow it
		{1, "postmaster@alpha.test", true},
		{2, "postmaster@alpha.test", false},
		{1, "nobody@alpha.test", false},
		{1, "carol@outside.test", false},
		{9, "alice@alpha.test", false},
		{1, "", false},
	} {
		if got, err := h.MaySendAs(t.Context(), c.id, addr(t, c.as)); got != c.want || err != nil {
			t.Errorf("%d as %s: %v %v, want %v", c.id, c.as, got, err, c.want)
		}
	}
}

// wants checks the class of an error, and words in it.
func wants(t *testing.T, what string, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("%s: %v, want %v", what, err, class)
		return
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q is not in %v", what, w, err)
		}
	}
}

func TestDomainVerbs(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	remove := func(name string) error {
		return h.update(func(tx *kv.Tx) error { return h.RemoveDomain(tx, mail.Domain(name)) })
	}
	wants(t, "used", remove("alpha.test"), auth.ErrInUse, "alice@alpha.test", "bob@alpha.test", "one.test")
	wants(t, "absent", remove("no.test"), auth.ErrNoDomain)
	wants(t, "alias of nothing", h.domain("x.test", "no.test", ""), auth.ErrNoDomain)
	wants(t, "alias of an alias", h.domain("x.test", "one.test", ""), auth.ErrInvalid)
	wants(t, "alias of itself", h.domain("x.test", "x.test", ""), auth.ErrNoDomain)
	wants(t, "used domain as alias", h.domain("alpha.test", "one.test", ""), auth.ErrInvalid)
	wants(t, "literal", h.domain("[192.0.2.1]", "", ""), auth.ErrInvalid)
	wants(t, "catch-all that is not there", h.domain("x.test", "", "nobody@alpha.test"), auth.ErrNoAddress)
	wants(t, "unused", remove("one.test"), nil)
	if domains, err := h.Domains(t.Context()); err != nil || len(domains) != 1 || domains[0].Name != "alpha.test" {
		t.Errorf("domains: %v %v", domains, err)
	}
}

func TestAccountVerbs(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	create := func(login string, addresses ...string) error {
		_, err := h.account("", login, addresses...)
		return err
	}
	wants(t, "address taken", create("", "new@alpha.test", "ALICE@alpha.test"), auth.ErrExists, "alice@alpha.test")
	wants(t, "login taken", create("BOBBY", "new@alpha.test"), auth.ErrExists, "bobby")
	wants(t, "no address", create("x"), auth.ErrInvalid)
	wants(t, "twice", create("", "a@alpha.test", "A@alpha.test"), auth.ErrInvalid)
	wants(t, "foreign", create("", "a@outside.test"), auth.ErrNoDomain)
	wants(t, "in an alias domain", create("", "a@one.test"), auth.ErrInvalid, "alpha.test")
	wants(t, "login with @", create("a@b", "new@alpha.test"), auth.ErrInvalid)
	if err := h.alias(false, "team@alpha.test", "alice@alpha.test", "bob@alpha.test"); err != nil {
		t.Fatal(err)
	}
	wants(t, "alias taken", create("", "team@alpha.test"), auth.ErrExists)

	bob, err := h.FindAccount(t.Context(), "bobby")
	if err != nil || bob.ID != 2 || bob.Created.IsZero() {
		t.Fatalf("bob: %+v %v", bob, err)
	}
	bob.Addresses, bob.Login = addrs(t, "robert@alpha.test"), ""
	h.must(func(tx *kv.Tx) error { return h.UpdateAccount(tx, bob) })
	if _, err := h.FindAccount(t.Context(), "bobby"); !errors.Is(err, auth.ErrNoAccount) {
		t.Errorf("the old login: %v", err)
	}
	if r, err := h.Resolve(t.Context(), addr(t, "team@alpha.test")); err != nil || show(r) != "1(Alice@alpha.test)" {
		t.Errorf("the alias still names the address that went: %s %v", show(r), err)
	}
	if err := create("bobby", "bob@alpha.test"); err != nil {
		t.Errorf("names that are free again: %v", err)
	}

	remove := func(id mail.AccountID) error {
		return h.update(func(tx *kv.Tx) error { return h.RemoveAccount(tx, id) })
	}
	wants(t, "last member", remove(1), auth.ErrInUse, "team@alpha.test")
	wants(t, "absent", remove(77), auth.ErrNoAccount)
	wants(t, "counter", remove(0), auth.ErrNoAccount)
	h.must(func(tx *kv.Tx) error { return h.RemoveAlias(tx, addr(t, "team@alpha.test")) })
	wants(t, "free", remove(1), nil)
	if err := h.domain("alpha.test", "", "robert@alpha.test"); err != nil {
		t.Fatal(err)
	}
	wants(t, "catch-all", remove(2), auth.ErrInUse, "catch-all")
	id, err := h.account("", "", "alice@alpha.test")
	if err != nil || id != 4 {
		t.Errorf("an id was given twice: %d %v", id, err)
	}
	accounts, err := h.Accounts(t.Context())
	if err != nil || len(accounts) != 3 || accounts[0].ID != 2 {
		t.Errorf("accounts: %+v %v", accounts, err)
	}
	if _, err := h.Account(t.Context(), 1); !errors.Is(err, auth.ErrNoAccount) {
		t.Errorf("removed account: %v", err)
	}
}

func TestAliasVerbs(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	wants(t, "itself", h.alias(false, "a@alpha.test", "a@alpha.test"), auth.ErrLoop)
	wants(t, "itself by subaddress", h.alias(false, "a@alpha.test", "a+x@one.test"), auth.ErrNoAddress)
	wants(t, "nobody", h.alias(false, "a@alpha.test", "nobody@alpha.test"), auth.ErrNoAddress, "nobody@alpha.test")
	wants(t, "account", h.alias(false, "bob@alpha.test", "alice@alpha.test"), auth.ErrExists)
	wants(t, "no member", h.alias(false, "a@alpha.test"), auth.ErrInvalid)
	wants(t, "foreign", h.alias(false, "a@outside.test", "alice@alpha.test"), auth.ErrNoDomain)
	for _, err := range []error{
		h.alias(false, "a@alpha.test", "alice@alpha.test"),
		h.alias(false, "b@alpha.test", "a@alpha.test", "bob@alpha.test"),
		h.alias(false, "c@alpha.test", "b+x@one.test"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	wants(t, "circle", h.alias(false, "a@alpha.test", "c@alpha.test"), auth.ErrLoop, "b+x@one.test", "a@alpha.test")
	wants(t, "itself by subaddress", h.alias(false, "a@alpha.test", "a+x@one.test"), auth.ErrLoop)
	wants(t, "changed", h.alias(true, "a@alpha.test", "bob@alpha.test"), nil)
	aliases, err := h.Aliases(t.Context())
	if err != nil || len(aliases) != 3 || !aliases[0].SendAs {
		t.Errorf("aliases: %+v %v", aliases, err)
	}
	removed := h.update(func(tx *kv.Tx) error { return h.RemoveAlias(tx, addr(t, "bob@alpha.test")) })
	wants(t, "an account is no alias", removed, auth.ErrNoAddress)
	remove := func(a string) error {
		return h.update(func(tx *kv.Tx) error { return h.RemoveAlias(tx, addr(t, a)) })
	}
	wants(t, "used by a subaddress in an alias domain", remove("b@alpha.test"), auth.ErrInUse, "c@alpha.test")
	wants(t, "not used", remove("c@alpha.test"), nil)
	wants(t, "not used any more", remove("b@alpha.test"), nil)
}

// Who gets an address that was somebody else's does not get the mail of the aliases that other was a member of, however the
// member was written.
func TestForgottenMembers(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	for _, err := range []error{
		h.alias(false, "team@alpha.test", "bob@alpha.test", "alice@alpha.test", "Alice+team@alpha.test", "alice@one.test", "alice+x@one.test", "alice@outside.test"),
		h.alias(false, "only@alpha.test", "alice+only@one.test"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := func() error { return h.update(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 1) }) }
	wants(t, "the only member", remove(), auth.ErrInUse, "only@alpha.test")
	h.must(func(tx *kv.Tx) error { return h.RemoveAlias(tx, addr(t, "only@alpha.test")) })
	if err := h.domain("alpha.test", "", "alice+rest@alpha.test"); err != nil {
		t.Fatal(err)
	}
	wants(t, "the catch-all", remove(), auth.ErrInUse, "catch-all")
	if err := h.domain("alpha.test", "", ""); err != nil {
		t.Fatal(err)
	}
	wants(t, "a member", remove(), nil)
	aliases, err := h.Aliases(t.Context())
	if want := addrs(t, "bob@alpha.test", "alice@outside.test"); err != nil || !slices.Equal(aliases[0].Members, want) {
		t.Errorf("members %v, want %v; %v", aliases[0].Members, want, err)
	}
}

// What a verb checks it sees in its own transaction; what fails leaves nothing.
func TestOneTransaction(t *testing.T) {
	h := newHouse(t, auth.Options{})
	failed := errors.New("later step failed")
	err := h.update(func(tx *kv.Tx) error {
		if err := h.PutDomain(tx, auth.Domain{Name: "alpha.test"}); err != nil {
			return err
		}
		if _, err := h.CreateAccount(tx, auth.Account{Addresses: addrs(t, "alice@alpha.test")}, auth.Secret{}); err != nil {
			return err
		}
		_, err := h.CreateAccount(tx, auth.Account{Addresses: addrs(t, "alice@alpha.test")}, auth.Secret{})
		if !errors.Is(err, auth.ErrExists) {
			t.Errorf("the same address twice: %v", err)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if ours, err := h.IsLocal(t.Context(), "alpha.test"); ours || err != nil {
		t.Errorf("a failed transaction left its domain: %v %v", ours, err)
	}
}

// RCPT and MAIL ask at every message: no transaction, a microsecond.
func BenchmarkResolve(b *testing.B) {
	db, err := kv.Open(b.Context(), kv.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	d := auth.New(db, auth.Options{})
	err = db.Update(b.Context(), func(tx *kv.Tx) error {
		if err := d.PutDomain(tx, auth.Domain{Name: "alpha.test"}); err != nil {
			return err
		}
		for i := range 5000 {
			a := auth.Account{Addresses: []mail.Address{{Local: fmt.Sprintf("user%d", i), Domain: "alpha.test"}}, Doors: auth.DoorAll}
			if _, err := d.CreateAccount(tx, a, auth.Secret{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	to := mail.Address{Local: "User4711+x", Domain: "alpha.test"}
	for b.Loop() {
		if _, err := d.Resolve(b.Context(), to); err != nil {
			b.Fatal(err)
		}
	}
}
