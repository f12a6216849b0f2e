package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// house is the verbs over real keepers in a temporary folder.
type house struct {
	*admin.House
	db        *kv.DB
	store     *store.Store
	directory *auth.Directory
	queue     *queue.Queue
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{}
	h.store, h.db = storetest.New(t, func(db *kv.DB, s *store.Store) {
		q, err := queue.New(db, s, queue.Options{Hostname: "mail.example.org"})
		if err != nil {
			t.Fatal(err)
		}
		h.queue = q
	})
	h.directory = auth.New(h.db, auth.Options{})
	h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Quota: store.Quota{Bytes: 1 << 20}})
	return h
}

// shown is a value as the API writes it, without what changes from run to run.
func shown(t *testing.T, v any, err error) string {
	t.Helper()
	if err != nil {
		var e *admin.Error
		if !errors.As(err, &e) {
			t.Fatalf("an error without a class: %v", err)
		}
		return string(e.Class) + ": " + e.Message
	}
	if a, ok := v.(admin.Account); ok {
		if a.Created.IsZero() {
			t.Error("an account without a birthday")
		}
		a.Created = a.Created.Truncate(0).UTC().AddDate(-a.Created.Year()+1, -int(a.Created.Month())+1, -a.Created.Day()+1).Truncate(24 * 3600e9)
		v = a
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(regexp.MustCompile(`,"version":"[0-9a-f]{16}"`).ReplaceAllString(string(text), ""), `,"created":"0001-01-01T00:00:00Z"`, "", 1)
}

func verb(err error) (struct{}, error) { return struct{}{}, err }

// TestVerbs is the operator's day, in order.
func TestVerbs(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	yes, name, login, bytes := true, "Alice A.", "al", uint64(5)
	for i, step := range []struct {
		do   func() (any, error)
		want string
	}{
		{func() (any, error) { return h.Domains(ctx) }, `[]`},
		{func() (any, error) {
			return h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@alpha.test"}, Password: "secret"})
		}, `missing: no such domain: "alpha.test" of alice@alpha.test; to make it one of ours: posthouse domain add DOMAIN`},
		{func() (any, error) { return h.AddDomain(ctx, admin.Domain{Name: "ALPHA.test."}) }, `{"name":"alpha.test"}`},
		{func() (any, error) { return h.AddDomain(ctx, admin.Domain{Name: "[192.0.2.1]"}) }, `invalid: [192.0.2.1] is an address, no domain name`},
		{func() (any, error) { return h.AddDomain(ctx, admin.Domain{Name: "a b"}) }, `invalid: *`},
		{func() (any, error) {
			return h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@alpha.test"}, Password: ""})
		}, `invalid: alice@alpha.test: password not allowed: it is empty`},
		{func() (any, error) {
			return h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@alpha.test"}, Password: "secret", Doors: []string{"pop"}})
		}, `invalid: "pop" is no service: write imap, pop3, submission, web, all or none`},
		{func() (any, error) { return h.AddAccount(ctx, admin.NewAccount{Password: "secret"}) }, `invalid: an account needs an address`},
		{func() (any, error) {
			return h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@alpha.test", "a@alpha.test"}, Password: "secret"})
		}, `{"id":1,"addresses":["alice@alpha.test","a@alpha.test"],"doors":["imap","pop3","submission","web"],"usage":{"bytes":0,"messages":0},"quota":{"bytes":1048576,"messages":0}}`},
		{func() (any, error) {
			return h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"A@alpha.test"}, Password: "secret"})
		}, `conflict: *exists already*`},
		{func() (any, error) {
			return h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"bob@alpha.test"}, Password: "secret", Quota: &admin.Amount{}, Doors: []string{"imap"}})
		}, `{"id":2,"addresses":["bob@alpha.test"],"doors":["imap"],"usage":{"bytes":0,"messages":0},"quota":{"bytes":0,"messages":0}}`},
		{func() (any, error) {
			return h.SetAccount(ctx, "a@alpha.test", admin.Change{Name: &name, Login: &login, Disabled: &yes, Bytes: &bytes, Add: []string{"al@alpha.test"}, Remove: []string{"A@Alpha.test"}, Main: "al@alpha.test", Doors: []string{"pop3"}})
		}, `{"id":1,"name":"Alice A.","addresses":["al@alpha.test","alice@alpha.test"],"login":"al","doors":["pop3"],"disabled":true,"usage":{"bytes":0,"messages":0},"quota":{"bytes":5,"messages":0}}`},
		{func() (any, error) {
			return h.SetAccount(ctx, "al", admin.Change{Remove: []string{"bob@alpha.test"}})
		}, `missing: bob@alpha.test is no address of this account`},
		{func() (any, error) {
			return h.SetAccount(ctx, "al", admin.Change{Remove: []string{"al@alpha.test", "alice@alpha.test"}})
		}, `conflict: an account needs an address: add another one before you remove the last`},
		{func() (any, error) { return h.AddAlias(ctx, admin.Alias{Address: "all@alpha.test"}) }, `invalid: all@alpha.test: an alias needs at least one member`},
		{func() (any, error) {
			return h.AddAlias(ctx, admin.Alias{Address: "all@alpha.test", Members: []string{"bob@alpha.test", "x@elsewhere.test"}, SendAs: true})
		}, `{"address":"all@alpha.test","members":["bob@alpha.test","x@elsewhere.test"],"send_as":true}`},
		{func() (any, error) { return h.Aliases(ctx) }, `[{"address":"all@alpha.test","members":["bob@alpha.test","x@elsewhere.test"],"send_as":true}]`},
		{func() (any, error) { return verb(h.RemoveDomain(ctx, "alpha.test")) }, `conflict: still in use: alpha.test by *`},
		{func() (any, error) { return verb(h.SetPassword(ctx, "bob@alpha.test", "other")) }, `{}`},
		{func() (any, error) { return verb(h.SetPassword(ctx, "nobody@alpha.test", "other")) }, `missing: nobody@alpha.test: no such account`},
		{func() (any, error) { return verb(h.RemoveAlias(ctx, "all@alpha.test")) }, `{}`},
		{func() (any, error) { return verb(h.RemoveAlias(ctx, "all@alpha.test")) }, `missing: *`},
		{func() (any, error) { return verb(h.RemoveAccount(ctx, "al")) }, `{}`},
		{func() (any, error) { return verb(h.RemoveAccount(ctx, "bob@alpha.test")) }, `{}`},
		{func() (any, error) { return h.Accounts(ctx) }, `[]`},
		{func() (any, error) { return verb(h.RemoveDomain(ctx, "alpha.test")) }, `{}`},
		{func() (any, error) { return h.Queue(ctx) }, `[]`},
		{func() (any, error) { return h.QueueEntry(ctx, "none") }, `missing: none: *`},
		{func() (any, error) { return h.QueueAction(ctx, "burn", nil) }, `invalid: burn: write retry, hold, release, cancel, drop or send`},
		{func() (any, error) { return h.CheckStore(ctx, admin.CheckRequest{Deep: true}) }, `[]`},
	} {
		v, err := step.do()
		got := shown(t, v, err)
		if !like(step.want, got) {
			t.Errorf("step %d:\n got %s\nwant %s", i, got, step.want)
		}
	}
}

// like compares; a * stands for anything.
func like(want, got string) bool {
	parts := strings.Split(want, "*")
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	got = got[len(parts[0]):]
	for i, p := range parts[1:] {
		n := strings.Index(got, p)
		if i == len(parts)-2 && p != "" {
			return strings.HasSuffix(got, p)
		}
		if n < 0 {
			return false
		}
		got = got[n+len(p):]
	}
	return len(parts) > 1 || got == ""
}

// TestAccountIsBothOrNothing: identity and mailboxes are made in one transaction.
func TestAccountIsBothOrNothing(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	if _, err := h.AddDomain(ctx, admin.Domain{Name: "alpha.test"}); err != nil {
		t.Fatal(err)
	}
	a, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@alpha.test"}, Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	boxes, err := h.store.Mailboxes(ctx, mail.AccountID(a.ID))
	if err != nil || len(boxes) != 6 {
		t.Errorf("%d mailboxes, %v; want INBOX and five with a special use", len(boxes), err)
	}
	// The store has id 2 already: its part of the transaction fails, so the directory's must not stay.
	if err := h.db.Update(ctx, func(tx *kv.Tx) error { return h.store.CreateAccount(tx, 2, store.Quota{}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"bob@alpha.test"}, Password: "secret"}); err == nil {
		t.Fatal("an account with mailboxes of another one")
	}
	if _, err := h.directory.FindAccount(context.WithoutCancel(ctx), "bob@alpha.test"); !errors.Is(err, auth.ErrNoAccount) && !errors.Is(err, auth.ErrNoAddress) {
		t.Errorf("half an account is there: %v", err)
	}
}

// TestQueueVerbs: what waits is listed, held, released and cancelled.
func TestQueueVerbs(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	id := h.queue.NewID()
	from := mail.Address{Local: "alice", Domain: "alpha.test"}
	w, err := h.store.NewMessage(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("Subject: waits\r\n\r\nbody\r\n")); err != nil {
		t.Fatal(err)
	}
	arrival, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	env := mail.Envelope{From: from, Recipients: []mail.Recipient{{Address: mail.Address{Local: "x", Domain: "far.test"}}, {Address: mail.Address{Local: "y", Domain: "near.test"}}}}
	if _, err := h.store.Deliver(ctx, arrival, nil, h.queue.Part(id, env)); err != nil {
		t.Fatal(err)
	}
	list, err := h.QueueEntry(ctx, id)
	if err != nil || len(list) != 2 || list[0].From != "alice@alpha.test" || list[0].Recipients[0].Address == "" {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, s := range []struct {
		action string
		ids    []string
		want   int
	}{{admin.Hold, []string{id}, 2}, {admin.Release, nil, 2}, {admin.Retry, []string{id}, 2}, {admin.Drop, []string{id}, 2}} {
		if n, err := h.QueueAction(ctx, s.action, s.ids); n != s.want || err != nil {
			t.Errorf("%s: %d, %v", s.action, n, err)
		}
	}
	if list, err := h.Queue(ctx); err != nil || len(list) != 0 {
		t.Errorf("after drop: %+v, %v", list, err)
	}
}
