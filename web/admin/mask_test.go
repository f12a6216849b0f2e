package admin_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestRemovedMasks: nothing stays of what came to the masks of an account that is gone.
func TestRemovedMasks(t *testing.T) {
	h := newHouse(t)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	book := auth.NewMaskBook(side)
	h.House = admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Quota: store.Quota{Bytes: 1 << 20}, Masks: book})
	ctx := t.Context()
	if _, err := h.AddDomain(ctx, admin.Domain{Name: "one.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAccount(ctx, admin.NewAccount{Addresses: []string{"alice@one.test"}, Password: "a long password 7"}); err != nil {
		t.Fatal(err)
	}
	m, err := h.AddMask(ctx, "alice@one.test", admin.NewMask{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := mail.ParseAddress(m.Address)
	if err != nil {
		t.Fatal(err)
	}
	book.Used(a, time.Now())
	used := func() int {
		if err := side.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		all, err := book.Uses(ctx, []auth.Mask{{Address: a}})
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if used() != 1 {
		t.Fatal("the use was not counted")
	}
	if err := h.RemoveAccount(ctx, "alice@one.test"); err != nil {
		t.Fatal(err)
	}
	if used() != 0 {
		t.Error("what came to the mask is still there")
	}
}
