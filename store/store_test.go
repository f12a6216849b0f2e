package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

const aText = "Subject: hello\r\nMessage-ID: <1@alpha.test>\r\n\r\nHello.\r\n"

func everything() []store.UIDRange { return []store.UIDRange{{First: 1, Last: 0xffffffff}} }

func uids(u ...store.UID) (out []store.UIDRange) {
	for _, u := range u {
		out = append(out, store.UIDRange{First: u, Last: u})
	}
	return out
}

// house is a store with account 1.
func house(t *testing.T) *storetest.House {
	t.Helper()
	h := storetest.Start(t, storetest.Options{})
	storetest.Account(t, h.Store, h.DB, 1)
	return h
}

func boxID(t testing.TB, s *store.Store, id mail.AccountID, name string) store.MailboxID {
	t.Helper()
	b, err := s.Mailbox(context.Background(), id, name)
	if err != nil {
		t.Fatalf("mailbox %q: %v", name, err)
	}
	return b.ID
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func TestNewAccount(t *testing.T) {
	h := house(t)
	boxes, err := h.Store.Mailboxes(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]store.SpecialUse{
		"INBOX": 0, "Drafts": store.UseDrafts, "Sent": store.UseSent, "Junk": store.UseJunk, "Trash": store.UseTrash, "Archive": store.UseArchive,
	}
	for _, b := range boxes {
		use, ok := want[b.Name]
		if !ok || b.Use != use || !b.Subscribed || b.ID == 0 {
			t.Errorf("unexpected mailbox %+v", b)
		}
		delete(want, b.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error { return h.Store.CreateAccount(tx, 1, store.Quota{}) })
	wantErr(t, "the same account again", err, store.ErrExists)
	_, err = h.Store.Mailboxes(t.Context(), 2)
	wantErr(t, "mailboxes of nobody", err, store.ErrNoAccount)
	_, err = h.Store.Usage(t.Context(), 2)
	wantErr(t, "usage of nobody", err, store.ErrNoAccount)
	_, err = h.Store.Reserve(t.Context(), 2, 5)
	wantErr(t, "quota of nobody", err, store.ErrNoAccount)
}

func TestDeliveredMessage(t *testing.T) {
	h := house(t)
	when := time.Date(2020, 5, 6, 7, 8, 9, 0, time.FixedZone("", 7200))
	lsn, err := h.Store.Deliver(t.Context(), storetest.Arrival(t, h.Store, aText), []store.Delivery{
		{Account: 1, Mailbox: "inbox", Flags: store.Seen | 1<<40, Keywords: []string{"$Junk", "Red", "not ok"}, Received: when},
		{Account: 1, Mailbox: "No such/mailbox"},
		{Account: 1, Mailbox: "a\x00b"},
		{Account: 1, Mailbox: "Junk"},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := storetest.Rows(t, h.Store, 1, "INBOX")
	if len(rows) != 3 || len(storetest.Rows(t, h.Store, 1, "Junk")) != 1 {
		t.Fatalf("INBOX has %+v", rows)
	}
	m := rows[0]
	if m.UID != 1 || m.Flags != store.Seen|store.Junk|1<<8 || m.ID != uint64(lsn) || int(m.Size) != len(aText) || !m.Received.Equal(when) {
		t.Errorf("row %+v", m)
	}
	if words, err := h.Store.Keywords(t.Context(), boxID(t, h.Store, 1, "INBOX")); err != nil || !slices.Equal(words, []string{"Red"}) {
		t.Errorf("keywords %q, %v", words, err)
	}
	if got := storetest.Text(t, h.Store, m); got != aText {
		t.Errorf("text %q", got)
	}
	b, err := h.Store.Open(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if root, err := b.Root(); err != nil || root.Envelope == nil || root.Envelope.Subject != "hello" {
		t.Errorf("structure %+v, %v", root, err)
	}
	if m := storetest.Message(t, h.Store, 1, "Drafts", ""); m.Size != 0 || storetest.Text(t, h.Store, m) != "" {
		t.Errorf("the empty message is %+v", m)
	}
	_, err = h.Store.Deliver(t.Context(), storetest.Arrival(t, h.Store, aText), []store.Delivery{{Account: 9}})
	wantErr(t, "delivery to nobody", err, store.ErrNoAccount)
}

// Fields that are put in front later move the structure along: every part is found where it is.
func TestPrependedFields(t *testing.T) {
	h := house(t)
	const text = "Subject: two\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nside\r\n--b--\r\n"
	const front = "Authentication-Results: mx.example.org;\r\n none\r\n"
	for _, size := range []int{0, 200 << 10} {
		whole := text + strings.Repeat("epilogue\r\n", size/10)
		w, err := h.Store.NewMessage(t.Context(), int64(len(whole)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, whole); err != nil {
			t.Fatal(err)
		}
		if err := w.Prepend([]byte(front)); err != nil {
			t.Fatal(err)
		}
		a, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if a.Size() != int64(len(front+whole)) || a.Summary().Size != a.Size() {
			t.Errorf("size %d, summary %d", a.Size(), a.Summary().Size)
		}
		if _, err := h.Store.Deliver(t.Context(), a, []store.Delivery{{Account: 1, Mailbox: "INBOX"}}); err != nil {
			t.Fatal(err)
		}
		rows := storetest.Rows(t, h.Store, 1, "INBOX")
		b, err := h.Store.Open(t.Context(), rows[len(rows)-1])
		if err != nil {
			t.Fatal(err)
		}
		root, err := b.Root()
		if err != nil {
			t.Fatal(err)
		}
		want, err := message.Scan(strings.NewReader(front + whole))
		if err != nil || !reflect.DeepEqual(root, want.Root) {
			t.Errorf("%d octets: the stored structure is not that of the message: %+v %v", size, root, err)
		}
		if got := storetest.Text(t, h.Store, rows[len(rows)-1]); got != front+whole {
			t.Errorf("%d octets: the text differs", size)
		}
		b.Close()
	}
}

func TestAppendIsAllOrNothing(t *testing.T) {
	h := house(t)
	s := h.Store
	drafts := boxID(t, s, 1, "Drafts")
	var many []store.AppendMessage
	for i := range 100 {
		many = append(many, store.AppendMessage{Arrival: storetest.Arrival(t, s, fmt.Sprintf("Subject: %d\r\n\r\n", i)), Flags: store.Draft})
	}
	valid, got, err := s.Append(t.Context(), drafts, many)
	if err != nil || len(got) != 100 || got[0] != 1 || got[99] != 100 {
		t.Fatalf("append: %v, %v", got, err)
	}
	if st, _ := s.State(t.Context(), drafts); st.UIDValidity != valid || st.Exists != 100 {
		t.Errorf("state %+v; want validity %d", st, valid)
	}
	bad := []store.AppendMessage{
		{Arrival: storetest.Arrival(t, s, aText)},
		{Arrival: storetest.Arrival(t, s, aText), Keywords: []string{"two words"}},
	}
	_, _, err = s.Append(t.Context(), drafts, bad)
	wantErr(t, "append with a bad keyword", err, store.ErrKeyword)
	_, _, err = s.Append(t.Context(), drafts, bad[:1])
	wantErr(t, "append of what is used up", err, store.ErrNoMessage)
	_, _, err = s.Append(t.Context(), 999, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText)}})
	wantErr(t, "append to a mailbox that is gone", err, store.ErrNoMailbox)
	_, _, err = s.Append(t.Context(), drafts, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText), UIDL: "sp ace"}})
	wantErr(t, "append with a bad unique-id", err, store.ErrKeyword)
	if st, _ := s.State(t.Context(), drafts); st.Exists != 100 || st.UIDNext != 101 {
		t.Errorf("after refused appends: %+v", st)
	}
}

// A door never sees the lag between log and tables.
func TestDeliveredIsSeenAtOnce(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 500
	}
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Memory: true}})
	storetest.Account(t, h.Store, h.DB, 1)
	id := boxID(t, h.Store, 1, "INBOX")
	for i := range rounds {
		storetest.Deliver(t, h.Store, 1, "INBOX", aText)
		want := uint32(i + 1)
		switch i % 3 {
		case 0:
			if st, err := h.Store.State(t.Context(), id); err != nil || st.Exists != want {
				t.Fatalf("round %d: state %+v, %v", i, st, err)
			}
		case 1:
			if runs, err := h.Store.UIDs(t.Context(), id); err != nil || len(runs) != 1 || runs[0].Last != want {
				t.Fatalf("round %d: uids %v, %v", i, runs, err)
			}
		case 2:
			if u, err := h.Store.Usage(t.Context(), 1); err != nil || u.Messages != uint64(want) {
				t.Fatalf("round %d: usage %+v, %v", i, u, err)
			}
		}
	}
}

func TestConcurrentWork(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	s := h.Store
	for id := mail.AccountID(1); id <= 3; id++ {
		storetest.Account(t, s, h.DB, id)
	}
	var delivered [3]int
	var mu sync.Mutex
	var wg sync.WaitGroup
	names := []string{"INBOX", "Archive", "Trash"}
	for w := range 12 {
		r := rand.New(rand.NewPCG(uint64(w), 1))
		wg.Go(func() {
			for range 40 {
				acct := mail.AccountID(1 + r.IntN(3))
				box := boxID(t, s, acct, names[r.IntN(3)])
				other := boxID(t, s, acct, names[r.IntN(3)])
				var err error
				switch r.IntN(7) {
				case 0, 1, 2:
					storetest.Deliver(t, s, acct, names[r.IntN(3)], aText)
					mu.Lock()
					delivered[acct-1]++
					mu.Unlock()
				case 3:
					_, _, err = s.SetFlags(t.Context(), box, everything(), store.FlagsChange{Op: store.FlagsOp(1 + r.IntN(2)), Flags: store.Flags(r.Uint32()) & 0xff})
				case 4, 5:
					_, _, err = s.Move(t.Context(), box, uids(store.UID(1+r.IntN(60))), other)
				case 6:
					_, err = s.Changes(t.Context(), box, store.ModSeq(r.IntN(200)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, want := range delivered {
		u, err := s.Usage(t.Context(), mail.AccountID(i+1))
		if err != nil || u.Messages != uint64(want) || u.Bytes != uint64(want*len(aText)) {
			t.Errorf("account %d: %+v, %v; want %d messages", i+1, u, err, want)
		}
	}
}

func TestQuota(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	s := h.Store
	size := uint64(len(aText))
	storetest.Account(t, s, h.DB, 1, store.Quota{Bytes: 3 * size, Messages: 10})
	inbox, trash := boxID(t, s, 1, "INBOX"), boxID(t, s, 1, "Trash")

	r1, err := s.Reserve(t.Context(), 1, int64(2*size))
	wantErr(t, "reserve two", err, nil)
	_, err = s.Reserve(t.Context(), 1, int64(2*size))
	wantErr(t, "reserve two more", err, store.ErrOverQuota)
	r2, err := s.Reserve(t.Context(), 1, int64(size))
	wantErr(t, "reserve the rest", err, nil)
	_, _, err = s.Append(t.Context(), inbox, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText)}})
	wantErr(t, "append beside reservations", err, store.ErrOverQuota)
	_, _, err = s.Append(t.Context(), inbox, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText), Reservation: r2}})
	wantErr(t, "append with its reservation", err, nil)
	r2.Release()
	r2.Release()
	storetest.Deliver(t, s, 1, "INBOX", aText)
	r1.Release()
	_, err = s.Reserve(t.Context(), 1, int64(size)+1)
	wantErr(t, "reserve more than is left, the delivery not applied yet", err, store.ErrOverQuota)
	if st, err := s.State(t.Context(), inbox); err != nil || st.Exists != 2 {
		t.Fatalf("state %+v, %v", st, err)
	}
	_, err = s.Copy(t.Context(), inbox, everything(), trash)
	wantErr(t, "copy two where one fits", err, store.ErrOverQuota)
	_, _, err = s.Move(t.Context(), inbox, everything(), trash)
	wantErr(t, "move inside the account", err, nil)
	storetest.Deliver(t, s, 1, "INBOX", aText)
	storetest.Deliver(t, s, 1, "INBOX", aText) // RCPT was accepted: it is kept even if that overshoots
	u, err := s.Usage(t.Context(), 1)
	if err != nil || u.Bytes != 4*size || u.Messages != 4 {
		t.Errorf("usage %+v, %v", u, err)
	}
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "Trash"), nil)
	if u, err = s.Usage(t.Context(), 1); err != nil || u.Messages != 2 {
		t.Errorf("usage after DELETE %+v, %v", u, err)
	}
	_, err = s.Reserve(t.Context(), 1, int64(2*size))
	wantErr(t, "reserve beside two", err, store.ErrOverQuota)
}

func TestQuotaRace(t *testing.T) {
	h := storetest.Start(t, storetest.Options{})
	s := h.Store
	storetest.Account(t, s, h.DB, 1, store.Quota{Messages: 10})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				r, err := s.Reserve(context.Background(), 1, 10)
				if err != nil {
					continue
				}
				storetest.Deliver(t, s, 1, "INBOX", aText)
				r.Release()
			}
		})
	}
	wg.Wait()
	if u, err := s.Usage(t.Context(), 1); err != nil || u.Messages > 10 || u.Messages == 0 {
		t.Errorf("usage %+v, %v; want at most 10 messages", u, err)
	}
}

// What was delivered a moment ago counts once, wherever it is on its way to the tables: a mailbox with room is never called full.
func TestQuotaCountsOnce(t *testing.T) {
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Memory: true, FS: vfstest.New(), Pace: time.Hour}})
	s := h.Store
	storetest.Account(t, s, h.DB, 1, store.Quota{Messages: 3})
	inbox, trash := boxID(t, s, 1, "INBOX"), boxID(t, s, 1, "Trash")
	storetest.Message(t, s, 1, "INBOX", aText)
	storetest.Deliver(t, s, 1, "INBOX", aText)
	_, err := s.Copy(t.Context(), inbox, uids(1), trash) // in the commit that takes the delivery in
	wantErr(t, "copy beside a delivery", err, nil)
	_, err = s.Copy(t.Context(), inbox, uids(1), trash)
	wantErr(t, "copy of a fourth", err, store.ErrOverQuota)

	h = storetest.Start(t, storetest.Options{KV: kv.Options{Memory: true, FS: vfstest.New(), Pace: 1}})
	s = h.Store
	storetest.Account(t, s, h.DB, 1, store.Quota{Messages: 2})
	inbox = boxID(t, s, 1, "INBOX")
	for range 300 {
		storetest.Deliver(t, s, 1, "INBOX", aText)
		for range 20 { // the commit comes somewhere in between
			r, err := s.Reserve(t.Context(), 1, 10)
			if err != nil {
				t.Fatal(err)
			}
			r.Release()
		}
		if _, _, err := s.Expunge(t.Context(), inbox, everything(), false); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMailboxErrors(t *testing.T) {
	h := house(t)
	s := h.Store
	create := func(name string, use store.SpecialUse) error {
		_, err := s.CreateMailbox(t.Context(), 1, name, use)
		return err
	}
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"create INBOX", create("inbox", 0), store.ErrExists},
		{"create with a second \\Sent", create("Sent 2", store.UseSent), store.ErrUseTaken},
		{"create \\All", create("Everything", store.UseAll), store.ErrUseTaken},
		{"create \\Important", create("Important/", store.UseImportant), nil},
		{"create it again", create("Important", 0), store.ErrExists},
		{"create a bad name", create("a//b", 0), store.ErrBadName},
		{"create deep", create("x/y/z", 0), nil},
		{"delete the middle", s.DeleteMailbox(t.Context(), 1, "x/y"), nil},
		{"delete it again", s.DeleteMailbox(t.Context(), 1, "x/y"), store.ErrNoMailbox},
		{"rename into its child", s.RenameMailbox(t.Context(), 1, "x", "x/y/w"), store.ErrBadName},
		{"rename over another", s.RenameMailbox(t.Context(), 1, "x", "Trash"), store.ErrExists},
		{"rename to INBOX", s.RenameMailbox(t.Context(), 1, "x", "inbox"), store.ErrExists},
		{"rename what is not there", s.RenameMailbox(t.Context(), 1, "q", "r"), store.ErrNoMailbox},
		{"rename so that a child gets too deep", s.RenameMailbox(t.Context(), 1, "x", strings.Repeat("d/", 30)+"d"), store.ErrBadName},
		{"delete INBOX", s.DeleteMailbox(t.Context(), 1, "InBox"), store.ErrReserved},
		{"delete in another account", s.DeleteMailbox(t.Context(), 5, "Trash"), store.ErrNoAccount},
		{"subscribe what is not there", s.Subscribe(t.Context(), 1, "later", true), nil},
	} {
		wantErr(t, c.what, c.err, c.want)
	}
	boxes, err := s.Mailboxes(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range boxes {
		if b.ID != 0 {
			names = append(names, b.Name)
		} else if b.Name != "later" || !b.Subscribed {
			t.Errorf("subscription without mailbox: %+v", b)
		}
	}
	if want := []string{"Archive", "Drafts", "INBOX", "Important", "Junk", "Sent", "Trash", "x", "x/y/z"}; !slices.Equal(names, want) {
		t.Errorf("mailboxes %q; want %q", names, want)
	}
}

func TestMailboxLimit(t *testing.T) {
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Memory: true}})
	storetest.Account(t, h.Store, h.DB, 1)
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := range 200 {
				name := fmt.Sprintf("box %d-%d", w, i)
				if _, err := h.Store.CreateMailbox(context.Background(), 1, name, 0); err != nil && !errors.Is(err, store.ErrLimit) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	boxes, err := h.Store.Mailboxes(t.Context(), 1)
	if err != nil || len(boxes) != 10_000 {
		t.Errorf("%d mailboxes, %v; want the limit of 10,000", len(boxes), err)
	}
}

func TestKeywordLimitAndCopy(t *testing.T) {
	h := house(t)
	s := h.Store
	inbox, trash := boxID(t, s, 1, "INBOX"), boxID(t, s, 1, "Trash")
	storetest.Message(t, s, 1, "INBOX", aText)
	storetest.Message(t, s, 1, "Trash", aText)
	add := func(id store.MailboxID, words ...string) error {
		_, _, err := s.SetFlags(t.Context(), id, uids(1), store.FlagsChange{Op: store.FlagsAdd, Keywords: words})
		return err
	}
	for i := range 56 {
		wantErr(t, "keyword", add(inbox, fmt.Sprint("k", i)), nil)
	}
	wantErr(t, "keyword 57", add(inbox, "k56"), store.ErrLimit)
	wantErr(t, "a known one in another case", add(inbox, "K55"), nil)
	wantErr(t, "first keywords of Trash", add(trash, "t0", "t1", "k7"), nil)
	_, err := s.Copy(t.Context(), inbox, uids(1), trash)
	wantErr(t, "copy with 56 keywords to a mailbox with two of its own", err, store.ErrLimit)
	if _, _, err := s.SetFlags(t.Context(), inbox, uids(1), store.FlagsChange{Op: store.FlagsReplace, Keywords: []string{"k7", "k55", "$Forwarded"}}); err != nil {
		t.Fatal(err)
	}
	c, err := s.Copy(t.Context(), inbox, uids(1), trash)
	if err != nil || len(c.To) != 1 || c.To[0] != 2 {
		t.Fatalf("copy: %+v, %v", c, err)
	}
	words, err := s.Keywords(t.Context(), trash)
	if err != nil || !slices.Equal(words, []string{"t0", "t1", "k7", "k55"}) {
		t.Errorf("keywords of Trash: %q, %v", words, err)
	}
	if rows := storetest.Rows(t, s, 1, "Trash"); rows[1].Flags != store.Forwarded|1<<10|1<<11 {
		t.Errorf("flags of the copy: %#x", rows[1].Flags)
	}
}

func TestObjectIDsAndUIDLs(t *testing.T) {
	h := house(t)
	s := h.Store
	inbox, trash := boxID(t, s, 1, "INBOX"), boxID(t, s, 1, "Trash")
	m := storetest.Message(t, s, 1, "INBOX", aText)
	_, _, err := s.Append(t.Context(), inbox, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, aText), UIDL: "brought-along"}})
	wantErr(t, "append", err, nil)
	_, err = s.Copy(t.Context(), inbox, everything(), inbox)
	wantErr(t, "copy", err, nil)
	rows := storetest.Rows(t, s, 1, "INBOX")
	lists, err := s.UIDLs(t.Context(), inbox, rows)
	if err != nil || len(lists) != 4 || lists[1] != "brought-along" {
		t.Fatalf("unique-ids %q, %v", lists, err)
	}
	seen := map[string]bool{}
	for i, u := range lists {
		if seen[u] || len(u) > 70 || s.UIDL(inbox, rows[i]) != u {
			t.Errorf("unique-id %q is there twice, too long or not stable", u)
		}
		seen[u] = true
	}
	if rows[2].ID != m.ID || rows[2].Thread != m.Thread {
		t.Error("a copy lost its id or thread")
	}
	id := s.ObjectID('M', m.ID)
	letter, back, ok := s.ParseObjectID(id)
	if !ok || letter != 'M' || back != m.ID || len(id) != 17 {
		t.Errorf("object id %q came back as %c %d %v", id, letter, back, ok)
	}
	for _, bad := range []string{"", "M", id + "0", "M" + strings.Repeat("g", 16), strings.ToUpper(id[:1]) + strings.Repeat("F", 16)} {
		if _, _, ok := s.ParseObjectID(bad); ok {
			t.Errorf("object id %q was taken", bad)
		}
	}
	_, _, err = s.Move(t.Context(), inbox, uids(2), trash)
	wantErr(t, "move", err, nil) // its unique-id goes: Check would find a left one
	h.Reopen()
	after, err := h.Store.UIDLs(t.Context(), inbox, rows)
	if err != nil || after[0] != lists[0] || after[2] != lists[2] || h.Store.ObjectID('M', m.ID) != id {
		t.Errorf("ids changed with a new start: %q, %v", after, err)
	}
}

func TestThreads(t *testing.T) {
	h := house(t)
	thread := func(header string) uint64 {
		return storetest.Message(t, h.Store, 1, "INBOX", header+"\r\n\r\n").Thread
	}
	first := thread("Message-ID: <a@x>")
	if thread("Message-ID: <b@x>\r\nIn-Reply-To: <a@x>") != first || thread("Message-ID: <c@x>\r\nReferences: <a@x> <b@x>\r\nIn-Reply-To: <b@x>") != first {
		t.Error("answers are not in the thread of the first message")
	}
	if a, b := thread("Subject: none"), thread("Subject: none"); a == b || a == 0 {
		t.Error("messages without any message-id share a thread")
	}
}

func TestPlace(t *testing.T) {
	var body kv.Entry
	h := storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		db.Register('t', kv.Kind{Apply: func(tx *kv.Tx, e kv.Entry, _ []byte) error {
			tx.OnCommit(func() { body = e })
			return nil
		}})
	}}})
	s := h.Store
	storetest.Account(t, s, h.DB, 1)
	text := "Message-ID: <9@x>\r\nReferences: <1@x>\r\n\r\n"
	lsn, err := s.Deliver(t.Context(), storetest.Arrival(t, s, text), nil, kv.Part{Kind: 't'})
	wantErr(t, "log for the queue", err, nil)
	wantErr(t, "settle", h.DB.SettleAll(t.Context()), nil)
	place := func(d store.Delivery) error {
		return h.DB.Update(t.Context(), func(tx *kv.Tx) error { return s.Place(tx, body, d) })
	}
	wantErr(t, "place", place(store.Delivery{Account: 1, Mailbox: "Archive"}), nil)
	wantErr(t, "place where the mailbox is gone", place(store.Delivery{Account: 1, Mailbox: "gone"}), nil)
	wantErr(t, "place where the account is gone", place(store.Delivery{Account: 7}), store.ErrNoAccount)
	rows := storetest.Rows(t, s, 1, "Archive")
	if len(rows) != 1 || rows[0].ID != uint64(lsn) || storetest.Text(t, s, rows[0]) != text {
		t.Errorf("placed: %+v", rows)
	}
	if m := storetest.Message(t, s, 1, "INBOX", "Message-ID: <1@x>\r\n\r\n"); m.Thread != rows[0].Thread {
		t.Error("a placed message is not in its thread")
	}
}

// What is logged goes where its mailbox is when it is applied, whatever happened to the name in between.
func TestApplyAfterChanges(t *testing.T) {
	var orphans []mail.AccountID
	h := storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		s.SetOrphan(func(tx *kv.Tx, e kv.Entry, id mail.AccountID) error {
			tx.OnCommit(func() { orphans = append(orphans, id) })
			return nil
		})
	}}})
	s := h.Store
	storetest.Account(t, s, h.DB, 1)
	storetest.Account(t, s, h.DB, 2)
	old, foreign := boxID(t, s, 1, "Archive"), boxID(t, s, 2, "Archive")
	wantErr(t, "rename", s.RenameMailbox(t.Context(), 1, "Archive", "2024"), nil)
	deleted := boxID(t, s, 1, "Trash")
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "Trash"), nil)
	_, err := s.CreateMailbox(t.Context(), 1, "Trash", 0)
	wantErr(t, "make again", err, nil)
	for _, c := range []struct {
		part kv.Part
		into string
	}{
		{store.PartFor(1, old, "Archive"), "2024"},
		{store.PartFor(1, deleted, "Trash"), "Trash"},
		{store.PartFor(1, deleted, "Nowhere"), "INBOX"},
		{store.PartFor(1, foreign, "Drafts"), "Drafts"},
	} {
		before := len(storetest.Rows(t, s, 1, c.into))
		w, err := h.DB.NewBody(t.Context(), 0)
		wantErr(t, "body", err, nil)
		fmt.Fprint(w, aText)
		body, err := w.Finish(nil)
		wantErr(t, "finish", err, nil)
		_, err = h.DB.Log(t.Context(), kv.Record{Accounts: []uint32{1}, Parts: []kv.Part{c.part}, Body: body})
		wantErr(t, "log", err, nil)
		rows := storetest.Rows(t, s, 1, c.into)
		if len(rows) != before+1 {
			t.Errorf("%q did not get the message", c.into)
			continue
		}
		b, err := s.Open(t.Context(), rows[before])
		wantErr(t, "open", err, nil)
		if root, err := b.Root(); err != nil || root.Envelope.Subject != "hello" { // made again: there is no head
			t.Errorf("structure %+v, %v", root, err)
		}
		b.Close()
	}
	w, err := h.DB.NewBody(t.Context(), 0)
	wantErr(t, "body", err, nil)
	body, err := w.Finish(nil)
	wantErr(t, "finish", err, nil)
	_, err = h.DB.Log(t.Context(), kv.Record{Parts: []kv.Part{store.PartFor(77, 0, "INBOX")}, Body: body})
	wantErr(t, "log for nobody", err, nil)
	wantErr(t, "settle", h.DB.SettleAll(t.Context()), nil)
	if !slices.Equal(orphans, []mail.AccountID{77}) {
		t.Errorf("orphans %v; want account 77", orphans)
	}
}

func TestDeleteAccount(t *testing.T) {
	h := house(t)
	storetest.Account(t, h.Store, h.DB, 2)
	for range 3 {
		storetest.Message(t, h.Store, 2, "Junk", aText)
	}
	inbox := boxID(t, h.Store, 2, "INBOX")
	remove := func(tx *kv.Tx) error { return h.Store.DeleteAccount(tx, 2) }
	wantErr(t, "delete the account", h.DB.Update(t.Context(), remove), nil)
	wantErr(t, "delete it again", h.DB.Update(t.Context(), remove), store.ErrNoAccount)
	_, err := h.Store.Deliver(t.Context(), storetest.Arrival(t, h.Store, aText), []store.Delivery{{Account: 2}})
	wantErr(t, "deliver to a deleted account", err, store.ErrNoAccount)
	_, err = h.Store.Mailboxes(t.Context(), 2)
	wantErr(t, "mailboxes of a deleted account", err, store.ErrNoAccount)
	_, err = h.Store.State(t.Context(), inbox)
	wantErr(t, "state of its INBOX", err, store.ErrNoMailbox)
	for _, err := range h.Store.Messages(t.Context(), inbox, everything()) {
		wantErr(t, "messages of its INBOX", err, store.ErrNoMailbox)
	}
	_, _, err = h.Store.SetFlags(t.Context(), inbox, everything(), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen})
	wantErr(t, "flags in its INBOX", err, store.ErrNoMailbox)
}

// TestSpecial: a use is found whatever its mailbox is called now, without a look at the log.
func TestSpecial(t *testing.T) {
	h := house(t)
	if err := h.Store.RenameMailbox(t.Context(), 1, "Junk", "Pourriel"); err != nil {
		t.Fatal(err)
	}
	b, err := h.Store.Special(t.Context(), 1, store.UseJunk)
	if err != nil || b.Name != "Pourriel" || b.ID != boxID(t, h.Store, 1, "Pourriel") {
		t.Error(b, err)
	}
	if err := h.Store.DeleteMailbox(t.Context(), 1, "Pourriel"); err != nil {
		t.Fatal(err)
	}
	_, err = h.Store.Special(t.Context(), 1, store.UseJunk)
	wantErr(t, "without", err, store.ErrNoMailbox)
}

func TestBells(t *testing.T) {
	h := house(t)
	s := h.Store
	inbox, trash := boxID(t, s, 1, "INBOX"), boxID(t, s, 1, "Trash")
	var calls int
	var mu sync.Mutex
	bell, other, account := s.Watch(inbox), s.Watch(trash), s.WatchAccount(1)
	fn := s.WatchFunc(inbox, func() { mu.Lock(); calls++; mu.Unlock() })
	touched := 0
	all := s.WatchAll(func(accounts []mail.AccountID) {
		mu.Lock()
		defer mu.Unlock()
		touched++
		for _, a := range accounts {
			if a != 1 {
				t.Errorf("account %d was touched", a)
			}
		}
	})
	rings := func(b *store.Bell) bool {
		select {
		case <-b.C:
			return true
		default:
			return false
		}
	}
	expect := func(what string, inboxRings, trashRings, accountRings bool) {
		t.Helper()
		if a, b, c := rings(bell), rings(other), rings(account); a != inboxRings || b != trashRings || c != accountRings {
			t.Errorf("%s: INBOX rang %v, Trash %v, account %v", what, a, b, c)
		}
	}
	storetest.Message(t, s, 1, "INBOX", aText)
	expect("append", true, false, true)
	storetest.Deliver(t, s, 1, "INBOX", aText)
	if err := h.DB.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("delivery", true, false, true)
	s.SetFlags(t.Context(), inbox, uids(1), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen})
	expect("flags", true, false, true)
	s.SetFlags(t.Context(), inbox, uids(1), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen})
	expect("flags that were there", false, false, false)
	s.Move(t.Context(), inbox, uids(1), trash)
	expect("move", true, true, true)
	s.Expunge(t.Context(), inbox, uids(77), false)
	expect("expunge of nothing", false, false, false)
	s.CreateMailbox(t.Context(), 1, "new", 0)
	expect("create", false, false, true)
	s.DeleteMailbox(t.Context(), 1, "Trash")
	expect("delete", false, true, true)
	mu.Lock()
	defer mu.Unlock()
	if calls != 4 || touched != 6 {
		t.Errorf("the functions were called %d and %d times; want 4 and 6", calls, touched)
	}
	for _, b := range []*store.Bell{bell, other, account, fn, all} {
		b.Close()
		b.Close()
	}
}
