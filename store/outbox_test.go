package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

const submitted = "Message-ID: <one@alpha.test>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\nSubject: x\r\n\r\nhello\r\n"

// waits is an owner that notes what it is told.
type waits struct {
	s         *store.Store
	db        *kv.DB
	bound     []store.Waiting
	cancelled []string
}

func newWaits(t *testing.T) *waits {
	w := &waits{}
	w.s, w.db = storetest.New(t, func(_ *kv.DB, s *store.Store) {
		s.SetOutbox(store.Outbox{
			Bind: func(tx *kv.Tx, at kv.Entry, p store.Waiting, data []byte) ([]byte, error) {
				tx.OnCommit(func() { w.bound = append(w.bound, p) })
				return append([]byte("note of "), data...), nil
			},
			Cancel: func(tx *kv.Tx, p store.Waiting, note []byte) error {
				tx.OnCommit(func() { w.cancelled = append(w.cancelled, fmt.Sprintf("%d %s", p.UID, note)) })
				return nil
			},
		})
	})
	storetest.Account(t, w.s, w.db, 1)
	return w
}

func (w *waits) hold(t *testing.T, raw string) store.Waiting {
	t.Helper()
	d := store.Delivery{Account: 1, Use: store.UseOutbox, Own: true, Flags: store.Seen, Waits: []byte("x")}
	if _, err := w.s.Deliver(t.Context(), storetest.Arrival(t, w.s, raw), []store.Delivery{d}); err != nil {
		t.Fatal(err)
	}
	if err := w.db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.bound[len(w.bound)-1]
}

func (w *waits) letGo(t *testing.T, p store.Waiting) (sent bool) {
	t.Helper()
	err := w.db.Update(t.Context(), func(tx *kv.Tx) (err error) { sent, err = w.s.LetGo(tx, p); return err })
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

// where counts the messages of the mailboxes that have some.
func (w *waits) where(t *testing.T) string {
	t.Helper()
	boxes, err := w.s.Mailboxes(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, b := range boxes {
		if b.ID == 0 {
			continue
		}
		if n := len(storetest.Rows(t, w.s, 1, b.Name)); n > 0 {
			out = append(out, fmt.Sprintf("%s %d", b.Name, n))
		}
	}
	return strings.Join(out, ", ")
}

func one(p store.Waiting) []store.UIDRange { return []store.UIDRange{{First: p.UID, Last: p.UID}} }

func TestOutboxLetGo(t *testing.T) {
	w := newWaits(t)
	p := w.hold(t, submitted)
	if got := w.where(t); got != "Outbox 1" {
		t.Fatal(got)
	}
	if !w.letGo(t, p) || w.where(t) != "Sent 1" || len(w.cancelled) != 0 {
		t.Error(w.where(t), w.cancelled)
	}
	if uids, _, err := w.s.Expunge(t.Context(), p.Mailbox, one(p), false); err != nil || len(uids) != 0 {
		t.Error("it left the Outbox before:", uids, err)
	}
	// The next one: the client puts it into Sent before its time comes.
	other := strings.Replace(submitted, "one@", "two@", 1)
	p = w.hold(t, other)
	storetest.Message(t, w.s, 1, "Sent", other)
	if !w.letGo(t, p) || w.where(t) != "Sent 2" {
		t.Error(w.where(t))
	}
	// And one that its owner has marked as deleted.
	p = w.hold(t, submitted)
	if _, _, err := w.s.SetFlags(t.Context(), p.Mailbox, one(p), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Deleted}); err != nil {
		t.Fatal(err)
	}
	if w.letGo(t, p) || w.where(t) != "Sent 2" {
		t.Error("it was marked as deleted", w.where(t))
	}
}

func TestOutboxTakenBack(t *testing.T) {
	w := newWaits(t)
	ctx := t.Context()
	box := func(name string) store.MailboxID {
		b, err := w.s.Mailbox(ctx, 1, name)
		if err != nil {
			t.Fatal(err)
		}
		return b.ID
	}
	p := w.hold(t, submitted)
	if _, err := w.s.Copy(ctx, p.Mailbox, one(p), box("Drafts")); err != nil || len(w.cancelled) != 0 {
		t.Error("a copy takes nothing back", err, w.cancelled)
	}
	if err := w.s.RenameMailbox(ctx, 1, "Outbox", "Postausgang"); err != nil {
		t.Fatal(err)
	}
	if err := w.s.DeleteMailbox(ctx, 1, "Postausgang"); !errors.Is(err, store.ErrWaiting) {
		t.Error(err)
	}
	if _, _, err := w.s.Move(ctx, p.Mailbox, one(p), box("Drafts")); err != nil || strings.Join(w.cancelled, ",") != "1 note of x" {
		t.Error(err, w.cancelled)
	}
	p = w.hold(t, submitted)
	if p.UID != 2 || p.Mailbox != box("Postausgang") {
		t.Error("it goes where the Outbox is now:", p)
	}
	if _, _, err := w.s.Expunge(ctx, p.Mailbox, one(p), false); err != nil || len(w.cancelled) != 2 {
		t.Error(err, w.cancelled)
	}
	// It comes back as a draft, and is not bound again.
	for page, err := range w.s.Gone(ctx, 1) {
		if err != nil || len(page) != 1 {
			t.Fatal(page, err)
		}
		if _, err := w.s.Undelete(ctx, 1, []uint64{page[0].Ref}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.where(t); got != "Drafts 3" || len(w.bound) != 2 {
		t.Error(got, w.bound)
	}
	if err := w.s.DeleteMailbox(ctx, 1, "Postausgang"); err != nil {
		t.Error("nothing waits there any more:", err)
	}
	p = w.hold(t, submitted)
	if err := w.db.Update(ctx, func(tx *kv.Tx) error { return w.s.GiveBack(tx, p) }); err != nil || w.where(t) != "Drafts 4" {
		t.Error(err, w.where(t))
	}
	w.hold(t, submitted)
	if err := w.db.Update(ctx, func(tx *kv.Tx) error { return w.s.DeleteAccount(tx, 1) }); err != nil || len(w.cancelled) != 3 {
		t.Error("the account goes with what waits:", err, w.cancelled)
	}
}

// TestTakenBackIntoADeletedOutbox: what was taken back comes out of the bin as a draft, also when its Outbox is gone or another one has
// the name since: in an Outbox it would look as if it waited.
func TestTakenBackIntoADeletedOutbox(t *testing.T) {
	for _, again := range []bool{false, true} {
		w := newWaits(t)
		ctx := t.Context()
		p := w.hold(t, submitted)
		if _, _, err := w.s.Expunge(ctx, p.Mailbox, one(p), false); err != nil {
			t.Fatal(err)
		}
		if err := w.s.DeleteMailbox(ctx, 1, store.OutboxName); err != nil {
			t.Fatal(err)
		}
		want := "Drafts 1"
		if again {
			w.hold(t, submitted)
			want = "Drafts 1, Outbox 1"
		}
		var refs []uint64
		for page, err := range w.s.Gone(ctx, 1) {
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range page {
				refs = append(refs, g.Ref)
			}
		}
		if _, err := w.s.Undelete(ctx, 1, refs, ""); err != nil || w.where(t) != want {
			t.Error(err, w.where(t))
		}
	}
}

// TestOwnCopy: what the house puts into Sent stands there once, whatever the client does.
func TestOwnCopy(t *testing.T) {
	w := newWaits(t)
	ctx := t.Context()
	sent, err := w.s.Mailbox(ctx, 1, "Sent")
	if err != nil {
		t.Fatal(err)
	}
	own := func(raw string) {
		t.Helper()
		d := store.Delivery{Account: 1, Use: store.UseSent, Own: true, Flags: store.Seen}
		if _, err := w.s.Deliver(ctx, storetest.Arrival(t, w.s, raw), []store.Delivery{d}); err != nil {
			t.Fatal(err)
		}
	}
	appended := func(raw ...string) []store.UID {
		t.Helper()
		var all []store.AppendMessage
		for _, r := range raw {
			all = append(all, store.AppendMessage{Arrival: storetest.Arrival(t, w.s, r), Flags: store.Seen | store.Flagged, Keywords: []string{"mine"}})
		}
		_, uids, err := w.s.Append(ctx, sent.ID, all)
		if err != nil {
			t.Fatal(err)
		}
		return uids
	}
	own("Received: by us\r\n" + submitted)
	other := strings.Replace(submitted, "03:04:05", "03:04:06", 1)
	if got := fmt.Sprint(appended(submitted), appended(other), appended(other, submitted), appended("Subject: no name\r\n\r\n")); got != "[1] [2] [3 1] [4]" {
		t.Error(got)
	}
	rows := storetest.Rows(t, w.s, 1, "Sent")
	if rows[0].Flags&store.Flagged == 0 || rows[0].Flags>>8 == 0 {
		t.Errorf("flags %x", rows[0].Flags)
	}
	third := strings.Replace(submitted, "one@", "three@", 1)
	appended(third) // the client was first
	own(third)
	if rows := storetest.Rows(t, w.s, 1, "Sent"); len(rows) != 5 {
		t.Errorf("%d messages", len(rows))
	}
	if _, _, err := w.s.Expunge(ctx, sent.ID, []store.UIDRange{{First: 1, Last: 1}}, false); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(appended(submitted)); got != "[6]" {
		t.Error("the first one is gone: it is stored anew,", got)
	}
}

// TestDeliverTwo: the sender's copy has what the others' has not.
func TestDeliverTwo(t *testing.T) {
	w := newWaits(t)
	storetest.Account(t, w.s, w.db, 2)
	extra := 0
	_, err := w.s.DeliverTwo(context.Background(), store.Two{
		Theirs: storetest.Arrival(t, w.s, submitted), To: []store.Delivery{{Account: 2, Received: time.Now()}},
		Own: storetest.Arrival(t, w.s, "Bcc: x@y.test\r\n"+submitted), Mine: store.Delivery{Account: 1, Use: store.UseSent, Own: true},
		Extra: func(*kv.Tx, kv.Entry) error { extra++; return nil },
	})
	if err != nil || extra != 1 {
		t.Fatal(err, extra)
	}
	for id, want := range map[mail.AccountID]string{1: "Bcc: x@y.test\r\n" + submitted, 2: submitted} {
		name := map[mail.AccountID]string{1: "Sent", 2: "INBOX"}[id]
		if rows := storetest.Rows(t, w.s, id, name); len(rows) != 1 || storetest.Text(t, w.s, rows[0]) != want {
			t.Errorf("account %d: %v", id, rows)
		}
	}
}
