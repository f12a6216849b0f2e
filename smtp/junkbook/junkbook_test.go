package junkbook

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

func newBook(t *testing.T) (*Book, *kv.DB) {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: t.TempDir(), Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return New(db, func() time.Time { return time.Unix(1e9, 0) }), db
}

func (b *Book) put(t *testing.T, account mail.AccountID, sender string, block bool) error {
	t.Helper()
	return b.db.Update(t.Context(), func(tx *kv.Tx) error {
		_, err := b.Put(tx, account, sender, block)
		return err
	})
}

func address(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestFind: the closest entry counts, for its account only.
func TestFind(t *testing.T) {
	b, _ := newBook(t)
	for sender, block := range map[string]bool{"example.org": true, "Friend@Example.org": false, "@sub.example.org": false, "<spam@other.test>": true, "müller.test": false} {
		if err := b.put(t, 1, sender, block); err != nil {
			t.Fatal(sender, err)
		}
	}
	for _, c := range []struct {
		account mail.AccountID
		senders string
		want    string // empty: none
	}{
		{1, "friend@example.org", "let in friend@example.org"},
		{1, "enemy@example.org", "shut out example.org"},
		{1, "x@deep.example.org", "shut out example.org"},
		{1, "x@deep.sub.example.org", "let in sub.example.org"},
		{1, "x@notexample.org", ""},
		{1, "x@xn--mller-kva.test", "let in xn--mller-kva.test"},
		{1, "spam@other.test", "shut out spam@other.test"},
		{1, "ham@other.test", ""},
		{1, "spam@other.test friend@example.org", "let in friend@example.org"},
		{2, "friend@example.org", ""},
	} {
		var senders []mail.Address
		for s := range strings.FieldsSeq(c.senders) {
			senders = append(senders, address(t, s))
		}
		e, ok, err := b.Find(t.Context(), c.account, senders...)
		got := ""
		switch {
		case ok && e.Block:
			got = "shut out " + e.Sender
		case ok:
			got = "let in " + e.Sender
		}
		if err != nil || got != c.want {
			t.Errorf("account %d, %s: %q (%v), want %q", c.account, c.senders, got, err, c.want)
		}
	}
	if _, ok, err := b.Find(t.Context(), 1, mail.Address{}); ok || err != nil {
		t.Error("<> has an entry", err)
	}
}

// TestEntries: they are listed, replaced, removed, and go with their account; Check sees what is wrong.
func TestEntries(t *testing.T) {
	b, db := newBook(t)
	for _, x := range []struct {
		account mail.AccountID
		sender  string
		block   bool
	}{{1, "a@x.test", true}, {1, "b.test", true}, {1, "a@x.test", false}, {2, "a@x.test", true}} {
		if err := b.put(t, x.account, x.sender, x.block); err != nil {
			t.Fatal(err)
		}
	}
	list, err := b.Entries(t.Context(), 1)
	if err != nil || len(list) != 2 || list[0] != (Entry{"a@x.test", false, time.Unix(1e9, 0).UTC()}) || list[1].Sender != "b.test" {
		t.Fatal(list, err)
	}
	if err := b.put(t, 1, "no sender at all", true); !errors.Is(err, ErrNoSender) {
		t.Error(err)
	}
	if err := b.put(t, 1, "bob", false); !errors.Is(err, ErrNoSender) { // a name is no sender: nothing would ever fit
		t.Error(err)
	}
	remove := func(sender string) error {
		return db.Update(t.Context(), func(tx *kv.Tx) error { return b.Remove(tx, 1, sender) })
	}
	if err := remove("B.test"); err != nil {
		t.Error(err)
	}
	if err := remove("b.test"); !errors.Is(err, ErrNoEntry) {
		t.Error(err)
	}
	known := func(id mail.AccountID) bool { return id == 1 }
	if bad, err := b.Check(t.Context(), known); err != nil || len(bad) != 1 || !strings.Contains(bad[0], "account 2") {
		t.Error(bad, err)
	}
	err = db.Update(t.Context(), func(tx *kv.Tx) error {
		b.RemoveAccount(tx, 2)
		tx.Put(table, []byte("\x00\x00\x00\x01bad"), []byte("?"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := b.Check(t.Context(), known); err != nil || len(bad) != 1 || !strings.Contains(bad[0], "cannot be read") {
		t.Error(bad, err)
	}
	if list, err := b.Entries(t.Context(), 1); err != nil || len(list) != 1 {
		t.Error("an unreadable row hides the others:", list, err)
	}
}
