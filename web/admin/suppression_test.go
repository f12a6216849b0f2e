package admin_test

import (
	"context"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestSuppressedForEverybody: the operator reads for whom an entry holds, and not who met it.
func TestSuppressedForEverybody(t *testing.T) {
	h := newHouse(t)
	list := limit.NewList(limit.ListOptions{DB: h.db})
	h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Quota: store.Quota{Bytes: 1 << 20}, Limits: admin.Limits{Suppressed: list}})
	parse := func(s string) mail.Address {
		a, err := mail.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for to, senders := range map[string][]string{"one@far.test": {"alice@one.test"}, "two@far.test": {"alice@one.test", "bob@one.test"}} {
		for _, from := range senders {
			list.Heard(limit.Failure{To: parse(to), From: parse(from), Code: 550, Status: "5.1.1", Text: "no such user", Host: "mx.far.test"})
		}
	}
	over, stop := context.WithCancel(t.Context())
	stop()
	list.Run(over)
	all, err := h.Suppressions(t.Context(), false)
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for i, want := range []bool{false, true} {
		if all[i].Everybody() != want || all[i].Senders != nil {
			t.Errorf("%s holds for everybody: %t, %v", all[i].Address, all[i].Everybody(), all[i].Senders)
		}
	}
}
