package backup

import (
	"errors"
	"fmt"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// emptyAccount expunges everything an account has in INBOX and Archive.
func emptyAccount(t *testing.T, h *storetest.House, id int) {
	t.Helper()
	for _, name := range []string{"INBOX", "Archive"} {
		b, err := h.Store.Mailbox(t.Context(), mail.AccountID(id), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.Store.Expunge(t.Context(), b.ID, everything(), false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInto: a message, a mailbox, an account come back into the running house: what is there stays as it is, what is missing is
// appended with its flags, keywords and dates, and a second time brings nothing.
func TestInto(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	fill(t, h, "x", 60)
	if _, err := h.Store.CreateMailbox(t.Context(), 1, "Deep/Box", 0); err != nil {
		t.Fatal(err)
	}
	storetest.Message(t, h.Store, 1, "Deep/Box", "Subject: deep\r\n\r\ndeep\r\n")
	was := look(t, h.Store)
	backup(t, options(h, folder, newClock()))
	r := openGeneration(t, newest1(t, folder), Secrets{})
	run := func(sel Selection) Brought {
		t.Helper()
		out, err := r.Into(t.Context(), h.Store, sel, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	all := len(was["1 INBOX"]) + len(was["1 Archive"]) + 1
	if out := run(Selection{From: 1, To: 1}); out.Messages != 0 || out.There != all {
		t.Fatalf("nothing was missing: %+v", out)
	}
	emptyAccount(t, h, 1)
	if err := h.Store.DeleteMailbox(t.Context(), 1, "Deep/Box"); err != nil {
		t.Fatal(err)
	}
	lost := was["1 INBOX"][3]
	name := r.Store.ObjectID('M', lost.id)
	if out := run(Selection{From: 1, To: 1, Message: name}); out.Messages != 1 {
		t.Fatalf("one message: %+v", out)
	}
	same(t, []message{lost}, look(t, h.Store)["1 INBOX"])
	if out := run(Selection{From: 1, To: 1, Mailbox: "INBOX"}); out.Messages != len(was["1 INBOX"])-1 || out.There != 1 {
		t.Fatalf("one mailbox: %+v", out)
	}
	if out := run(Selection{From: 1, To: 1}); out.Messages != len(was["1 Archive"])+1 || out.Mailboxes != 1 || out.There != len(was["1 INBOX"]) {
		t.Fatalf("one account: %+v", out)
	}
	if out := run(Selection{From: 1, To: 1}); out.Messages != 0 || out.There != all {
		t.Fatalf("a second time: %+v", out)
	}
	is := look(t, h.Store)
	for _, box := range []string{"1 INBOX", "1 Archive", "1 Deep/Box", "2 INBOX", "2 Archive"} {
		same(t, was[box], is[box])
	}
	for _, sel := range []Selection{{From: 1, To: 1, Mailbox: "None"}, {From: 1, To: 1, Mailbox: "INBOX", Message: "9999"}, {From: 1, To: 1, Message: "M0123456789abcdef"}} {
		if _, err := r.Into(t.Context(), h.Store, sel, nil); !errors.Is(err, ErrNone) {
			t.Errorf("%+v: %v", sel, err)
		}
	}
}

// TestIntoAnother: the mail of an account comes into a house that has never seen it, as far as its quota goes.
func TestIntoAnother(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	fill(t, h, "x", 30)
	backup(t, options(h, folder, newClock()))
	r := openGeneration(t, newest1(t, folder), Secrets{})
	other := newHouse(t)
	storetest.Account(t, other.Store, other.DB, 7, store.Quota{Messages: 3})
	if out, err := r.Into(t.Context(), other.Store, Selection{From: 2, To: 2}, nil); err != nil || out.Messages == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	same(t, look(t, h.Store)["2 INBOX"], look(t, other.Store)["2 INBOX"])
	if _, err := r.Into(t.Context(), other.Store, Selection{From: 2, To: 7}, nil); !errors.Is(err, store.ErrOverQuota) {
		t.Errorf("beyond the quota: %v", err)
	}
}

// TestIntoOutbox: what waited to be sent when the backup was made waits for nothing now: it comes back as a draft.
func TestIntoOutbox(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	fill(t, h, "x", 3)
	const text = "Subject: on Monday\r\n\r\nx\r\n"
	d := store.Delivery{Account: 1, Use: store.UseOutbox, Own: true, Flags: store.Seen}
	if _, err := h.Store.Deliver(t.Context(), storetest.Arrival(t, h.Store, text), []store.Delivery{d}); err != nil {
		t.Fatal(err)
	}
	if err := h.DB.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	backup(t, options(h, folder, newClock()))
	r := openGeneration(t, newest1(t, folder), Secrets{})
	for _, whole := range []bool{false, true} { // the Outbox is empty; it is not there at all
		emptyAccount(t, h, 1)
		box, err := h.Store.Mailbox(t.Context(), 1, store.OutboxName)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.Store.Expunge(t.Context(), box.ID, everything(), false); err != nil {
			t.Fatal(err)
		}
		if whole {
			for _, name := range []string{store.OutboxName, "Drafts"} {
				if err := h.Store.DeleteMailbox(t.Context(), 1, name); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := r.Into(t.Context(), h.Store, Selection{From: 1, To: 1}, nil); err != nil {
			t.Fatal(err)
		}
		if got := storetest.Rows(t, h.Store, 1, "Drafts"); len(got) != 1 || got[0].Flags&store.Draft == 0 || storetest.Text(t, h.Store, got[0]) != text {
			t.Errorf("drafts: %+v", got)
		}
		if box, err := h.Store.Mailbox(t.Context(), 1, store.OutboxName); err == nil && len(storetest.Rows(t, h.Store, 1, box.Name)) != 0 {
			t.Error("it looks as if it waited")
		}
	}
}

// same compares messages but for what an append makes new, in any order.
func same(t *testing.T, was, is []message) {
	t.Helper()
	count := map[string]int{}
	for _, m := range was {
		count[fmt.Sprint(m.flags, m.keywords, m.received, m.text)]++
	}
	for _, m := range is {
		count[fmt.Sprint(m.flags, m.keywords, m.received, m.text)]--
	}
	for key, n := range count {
		if n != 0 {
			t.Fatalf("%+d of %.80s", -n, key)
		}
	}
}
