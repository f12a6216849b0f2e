package imap

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestTheViewIsLost: a session that has not needed its view yet, in a mailbox from which more was removed since than the
// store remembers, cannot know what its numbers were. It ends; one that has its view goes on.
func TestTheViewIsLost(t *testing.T) {
	var days atomic.Int64
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return start.Add(time.Duration(days.Load()) * 24 * time.Hour) }
	h := newHouseWith(t, storetest.Options{Now: now}, Options{})
	for range 6 {
		storetest.Deliver(t, h.Store, 1, "INBOX", "Subject: x\r\n\r\n")
	}
	inbox, err := h.Store.Mailbox(h.ctx, 1, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	remove := func(uid store.UID) {
		t.Helper()
		if _, _, err := h.Store.Expunge(h.ctx, inbox.ID, []store.UIDRange{{First: uid, Last: uid}}, false); err != nil {
			t.Fatal(err)
		}
	}
	open := func() *client {
		conn, err := h.dial()
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn)
		c.login()
		c.send("s SELECT INBOX")
		c.expect("s OK")
		return c
	}
	remove(1) // a gap that nobody knows as a message
	blind, seeing := open(), open()
	seeing.send("1 UID SEARCH ALL")
	if got := seeing.expect("* SEARCH"); got != "* SEARCH 2 3 4 5 6" {
		t.Fatalf("got %q", got)
	}
	seeing.expect("1 OK")
	remove(3)
	days.Store(91)
	remove(5) // drops what is known of uid 3
	blind.send("2 FETCH 1:5 UID")
	const lost = "* BYE [UNAVAILABLE] the mailbox has changed too much, select it again"
	if got := blind.expect("* BYE"); got != lost {
		t.Errorf("got %q", got)
	}
	blind.closed()
	seeing.send("2 NOOP")
	for _, want := range []string{"* 2 EXPUNGE", "* 3 EXPUNGE"} {
		if got := seeing.expect("*"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	seeing.expect("2 OK")
	again := open()
	again.send("2 UID SEARCH ALL")
	if got := again.expect("* SEARCH"); got != "* SEARCH 2 4 6" {
		t.Errorf("got %q", got)
	}
}

// TestAnotherUIDValidity: when an import gives an empty mailbox the UIDVALIDITY that it had elsewhere, a session that has it open
// ends, because it cannot be told (RFC 9051 section 2.3.1.1: it does not change within a session).
func TestAnotherUIDValidity(t *testing.T) {
	h := newHouse(t, Options{})
	archive, err := h.Store.Mailbox(h.ctx, 1, "Archive")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.login()
	c.send("s SELECT Archive")
	c.expect("s OK")
	if err := h.Store.ReserveUIDs(h.ctx, archive.ID, 777, 100); err != nil {
		t.Fatal(err)
	}
	m := store.ImportMessage{AppendMessage: store.AppendMessage{Arrival: storetest.Arrival(t, h.Store, "Subject: x\r\n\r\n")}, UID: 50}
	if _, err := h.Store.Import(h.ctx, archive.ID, []store.ImportMessage{m}); err != nil {
		t.Fatal(err)
	}
	c.send("1 NOOP")
	const lost = "* BYE [UNAVAILABLE] the mailbox has another UIDVALIDITY now, select it again"
	c.expect("1 OK") // what was done is said to be done
	if got := c.expect("*"); got != lost {
		t.Errorf("got %q", got)
	}
	c.closed()
}
