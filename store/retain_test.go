package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

const keepTime = 30 * 24 * time.Hour

// clock is a time that a test moves while the store's background looks at it.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// keeping is a store with account 1 and a clock.
func keeping(t *testing.T, quota ...store.Quota) (*storetest.House, *clock) {
	t.Helper()
	c := newClock()
	h := storetest.Start(t, storetest.Options{Now: c.now})
	storetest.Account(t, h.Store, h.DB, 1, quota...)
	return h, c
}

func goneOf(t *testing.T, s *store.Store, id mail.AccountID) (all []store.Gone) {
	t.Helper()
	for page, err := range s.Gone(t.Context(), id) {
		if err != nil {
			t.Fatalf("gone of account %d: %v", id, err)
		}
		all = append(all, page...)
	}
	return all
}

func refs(list []store.Gone) (out []uint64) {
	for _, g := range list {
		out = append(out, g.Ref)
	}
	return out
}

func text(subject string) string {
	return "Subject: " + subject + "\r\nMessage-ID: <" + subject + "@alpha.test>\r\n\r\nHello.\r\n"
}

func TestExpungedComesBack(t *testing.T) {
	h, now := keeping(t)
	s := h.Store
	for i := range 3 {
		storetest.Message(t, s, 1, "Sent", text(fmt.Sprint("m", i)))
	}
	sent := boxID(t, s, 1, "Sent")
	change := store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen | store.Deleted, Keywords: []string{"Red", "Blue"}}
	before, _, err := s.SetFlags(t.Context(), sent, uids(2), change)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Expunge(t.Context(), sent, everything(), true); err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage(t.Context(), 1)
	if err != nil || u.Messages != 2 {
		t.Errorf("usage %+v, %v; what is gone must not count", u, err)
	}
	gone := goneOf(t, s, 1)
	if len(gone) != 1 {
		t.Fatalf("gone %+v", gone)
	}
	g := gone[0]
	if g.Was != sent || g.Name != "Sent" || !g.Expunged.Equal(now.now()) || !slices.Equal(g.Keywords, []string{"Red", "Blue"}) ||
		g.Flags&(store.Seen|store.Deleted) != store.Seen || g.ID != before[0].ID || storetest.Text(t, s, g.Message) != text("m1") {
		t.Errorf("gone %+v", g)
	}
	h.Reopen()
	s = h.Store
	out, err := s.Undelete(t.Context(), 1, refs(gone), "")
	if err != nil || len(out) != 1 || out[0].Mailbox != "Sent" || !slices.Equal(out[0].To, []store.UID{4}) {
		t.Fatalf("undelete %+v, %v", out, err)
	}
	back := storetest.Rows(t, s, 1, "Sent")[2]
	names, _ := s.Keywords(t.Context(), sent)
	if back.ID != g.ID || back.Thread != g.Thread || !back.Received.Equal(g.Received) || back.Flags != before[0].Flags&^store.Deleted || len(names) != 2 {
		t.Errorf("came back as %+v, keywords %v; was %+v", back, names, before[0])
	}
	if left := goneOf(t, s, 1); len(left) != 0 {
		t.Errorf("still gone: %+v", left)
	}
	_, err = s.Undelete(t.Context(), 1, refs(gone), "")
	wantErr(t, "undelete again", err, store.ErrNoMessage)
	_, err = s.Undelete(t.Context(), 1, []uint64{1 << 40}, "")
	wantErr(t, "undelete what never was", err, store.ErrNoMessage)
	_, err = s.Undelete(t.Context(), 7, []uint64{1}, "")
	wantErr(t, "undelete of nobody", err, store.ErrNoAccount)
}

// Each message finds its mailbox, whatever happened to it since.
func TestUndeletePlaces(t *testing.T) {
	h, _ := keeping(t)
	s := h.Store
	for _, name := range []string{"stays", "renamed", "deleted/deep", "again"} {
		if _, err := s.CreateMailbox(t.Context(), 1, name, 0); err != nil {
			t.Fatal(err)
		}
		storetest.Message(t, s, 1, name, text(name))
		if _, _, err := s.Expunge(t.Context(), boxID(t, s, 1, name), everything(), false); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "rename", s.RenameMailbox(t.Context(), 1, "renamed", "new"), nil)
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "deleted/deep"), nil)
	wantErr(t, "delete the parent", s.DeleteMailbox(t.Context(), 1, "deleted"), nil)
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "again"), nil)
	if _, err := s.CreateMailbox(t.Context(), 1, "again", 0); err != nil {
		t.Fatal(err)
	}
	gone := goneOf(t, s, 1)
	out, err := s.Undelete(t.Context(), 1, refs(gone), "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range out {
		names = append(names, r.Mailbox)
		if rows := storetest.Rows(t, s, 1, r.Mailbox); len(rows) != 1 {
			t.Errorf("%s has %d messages", r.Mailbox, len(rows))
		}
	}
	if want := []string{"stays", "new", "deleted/deep", "again"}; !slices.Equal(names, want) {
		t.Errorf("into %v; want %v", names, want)
	}
	if _, _, err := s.Expunge(t.Context(), boxID(t, s, 1, "again"), everything(), false); err != nil {
		t.Fatal(err)
	}
	out, err = s.Undelete(t.Context(), 1, refs(goneOf(t, s, 1)), "made/for it")
	if err != nil || len(out) != 1 || out[0].Mailbox != "made/for it" || len(storetest.Rows(t, s, 1, "made/for it")) != 1 {
		t.Errorf("into a new mailbox: %+v, %v", out, err)
	}
	_, err = s.Undelete(t.Context(), 1, []uint64{1}, "a//b")
	wantErr(t, "into a bad name", err, store.ErrBadName)
}

func TestDeletedMailboxIsKept(t *testing.T) {
	h, inbox := large(t, 40_000, nil)
	s := h.Store
	if _, _, err := s.SetFlags(t.Context(), inbox, uids(39_999), store.FlagsChange{Op: store.FlagsAdd, Keywords: []string{"Late"}}); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "rename INBOX", s.RenameMailbox(t.Context(), 1, "INBOX", "old"), nil)
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "old"), nil)
	if u, err := s.Usage(t.Context(), 1); err != nil || u.Messages != 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	gone := goneOf(t, s, 1) // whatever the background has done by now
	if len(gone) != 40_000 || gone[0].Name != "old" || !slices.Equal(gone[39_998].Keywords, []string{"Late"}) {
		t.Fatalf("%d are kept, the first from %q, one with %v", len(gone), gone[0].Name, gone[39_998].Keywords)
	}
	out, err := s.Undelete(t.Context(), 1, refs(gone), "")
	if err != nil || len(out) != 1 || len(out[0].To) != 40_000 {
		t.Fatalf("%d mailboxes, %v", len(out), err)
	}
	wantErr(t, "delete again", s.DeleteMailbox(t.Context(), 1, "old"), nil)
	s.SetKeep(0)
	wantErr(t, "purge", s.Purge(t.Context()), nil)
	wantErr(t, "prune", s.Prune(t.Context()), nil)
	if gone := goneOf(t, s, 1); len(gone) != 0 {
		t.Errorf("%d are kept, and nothing is to be", len(gone))
	}
}

func TestKeptForSoLong(t *testing.T) {
	h, now := keeping(t)
	s := h.Store
	sent := boxID(t, s, 1, "Sent")
	for i := range 5 {
		storetest.Message(t, s, 1, "Sent", text(fmt.Sprint(i)))
		now.advance(24 * time.Hour)
		if _, _, err := s.Expunge(t.Context(), sent, everything(), false); err != nil {
			t.Fatal(err)
		}
	}
	now.advance(keepTime - 2*24*time.Hour + time.Second)
	wantErr(t, "prune", s.Prune(t.Context()), nil)
	gone := goneOf(t, s, 1)
	if len(gone) != 2 || gone[0].Ref != 4 {
		t.Errorf("kept %+v; want the last two", gone)
	}
	s.SetKeep(0)
	wantErr(t, "prune", s.Prune(t.Context()), nil)
	if gone := goneOf(t, s, 1); len(gone) != 0 {
		t.Errorf("kept %+v; want none", gone)
	}
	storetest.Message(t, s, 1, "Sent", text("x"))
	if _, _, err := s.Expunge(t.Context(), sent, everything(), false); err != nil {
		t.Fatal(err)
	}
	if gone := goneOf(t, s, 1); len(gone) != 0 {
		t.Errorf("kept %+v; want none", gone)
	}
	if _, err := s.Bin(t.Context(), 1); err == nil {
		t.Error("there is a bin to look into, and nothing is kept")
	}
}

func TestBinHoldsTheQuota(t *testing.T) {
	h, _ := keeping(t, store.Quota{Bytes: 10_000})
	s := h.Store
	sent := boxID(t, s, 1, "Sent")
	for i := range 30 {
		storetest.Message(t, s, 1, "Sent", aMail(i, 1000))
		if _, _, err := s.Expunge(t.Context(), sent, everything(), false); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "prune", s.Prune(t.Context()), nil)
	gone := goneOf(t, s, 1)
	if n := len(gone); n < 7 || n > 10 || gone[n-1].Ref != 30 {
		t.Errorf("%d are kept, the last is %d", n, gone[n-1].Ref)
	}
	_, err := s.Undelete(t.Context(), 1, refs(gone), "")
	wantErr(t, "undelete", err, nil)
	storetest.Message(t, s, 1, "Sent", aMail(1, 500))
	if _, _, err := s.Expunge(t.Context(), sent, uids(31, 32, 33), false); err != nil {
		t.Fatal(err)
	}
	err = h.DB.Update(t.Context(), func(tx *kv.Tx) error { return s.SetQuota(tx, 1, store.Quota{Bytes: 5000}) })
	wantErr(t, "set quota", err, nil)
	before := goneOf(t, s, 1)
	_, err = s.Undelete(t.Context(), 1, refs(before), "new")
	wantErr(t, "undelete above the quota", err, store.ErrOverQuota)
	if after := goneOf(t, s, 1); len(after) != len(before) {
		t.Errorf("a refused undelete changed %d to %d", len(before), len(after))
	}
	if _, err := s.Mailbox(t.Context(), 1, "new"); err == nil {
		t.Error("a refused undelete made a mailbox")
	}
}

// All bins together hold a tenth of the disk; the oldest mail of all accounts goes first.
func TestBinsHoldATenthOfTheDisk(t *testing.T) {
	now := newClock()
	fs := vfstest.New()
	h := storetest.Start(t, storetest.Options{Now: now.now, KV: kv.Options{Memory: true, FS: fs}})
	s := h.Store
	for i := range mail.AccountID(3) {
		storetest.Account(t, s, h.DB, i+1)
	}
	for i := range 30 {
		id := mail.AccountID(i%3 + 1)
		storetest.Message(t, s, id, "Sent", aMail(i, 10_000))
		now.advance(time.Minute)
		if _, _, err := s.Expunge(t.Context(), boxID(t, s, id, "Sent"), everything(), false); err != nil {
			t.Fatal(err)
		}
	}
	freed, err := s.GiveUp(t.Context(), 45_000)
	if err != nil || freed < 45_000 || freed > 55_200 {
		t.Errorf("gave up %d, %v", freed, err)
	}
	count := func() (n []int) {
		for i := range mail.AccountID(3) {
			n = append(n, len(goneOf(t, s, i+1)))
		}
		return n
	}
	if got := count(); !slices.Equal(got, []int{8, 8, 9}) {
		t.Errorf("left %v; want the oldest five gone", got)
	}
	fs.SetCapacity(2_000_000)
	wantErr(t, "prune", s.Prune(t.Context()), nil)
	if got := count(); !slices.Equal(got, []int{6, 6, 7}) {
		t.Errorf("left %v; want 19 of 10,000 octets on a disk of 2,000,000", got)
	}
	freed, err = s.GiveUp(t.Context(), 1<<40)
	if got := count(); err != nil || freed < 190_000 || !slices.Equal(got, []int{0, 0, 0}) {
		t.Errorf("gave up all: %d, %v; left %v", freed, err, got)
	}
}

// A draft that is saved every minute is kept once.
func TestDraftsAreKeptOnce(t *testing.T) {
	h, _ := keeping(t)
	s := h.Store
	drafts := boxID(t, s, 1, "Drafts")
	save := func(id, body string) {
		t.Helper()
		raw := "Subject: x\r\nMessage-ID: <" + id + ">\r\nReferences: <root@alpha.test>\r\n\r\n" + body + "\r\n"
		_, got, err := s.Append(t.Context(), drafts, []store.AppendMessage{{Arrival: storetest.Arrival(t, s, raw), Flags: store.Draft | store.Seen}})
		if err != nil {
			t.Fatal(err)
		}
		if got[0] > 1 {
			if _, _, err := s.Expunge(t.Context(), drafts, []store.UIDRange{{First: 1, Last: got[0] - 1}}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 20 {
		save("one@alpha.test", fmt.Sprint("one ", i))
	}
	for i := range 20 {
		save("two@alpha.test", fmt.Sprint("two ", i))
	}
	gone := goneOf(t, s, 1)
	if len(gone) != 2 || !strings.HasSuffix(storetest.Text(t, s, gone[0].Message), "one 19\r\n") || !strings.HasSuffix(storetest.Text(t, s, gone[1].Message), "two 18\r\n") {
		t.Fatalf("kept %d drafts, %+v", len(gone), gone)
	}
	// a client that marks them and expunges later has several at once
	for i := range 3 {
		storetest.Message(t, s, 1, "Drafts", fmt.Sprintf("Message-ID: <three@alpha.test>\r\n\r\n%d\r\n", i))
	}
	if _, _, err := s.SetFlags(t.Context(), drafts, everything(), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Draft}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Expunge(t.Context(), drafts, everything(), false); err != nil {
		t.Fatal(err)
	}
	if gone = goneOf(t, s, 1); len(gone) != 3 {
		t.Errorf("kept %d drafts, want one of each letter", len(gone))
	}
	// the same in another mailbox is mail like all
	for range 3 {
		storetest.Message(t, s, 1, "Sent", text("same"))
	}
	if _, _, err := s.Expunge(t.Context(), boxID(t, s, 1, "Sent"), everything(), false); err != nil {
		t.Fatal(err)
	}
	if gone = goneOf(t, s, 1); len(gone) != 6 {
		t.Errorf("kept %d, want all that were no drafts", len(gone))
	}
	if _, err := s.Undelete(t.Context(), 1, refs(gone), ""); err != nil {
		t.Fatal(err)
	}
}

// More keywords than a mailbox has room for come into one bin, and all come back.
func TestKeptKeywords(t *testing.T) {
	h, _ := keeping(t)
	s := h.Store
	want := map[string]string{}
	for box := range 3 {
		name := fmt.Sprint("box", box)
		made, err := s.CreateMailbox(t.Context(), 1, name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			m := storetest.Message(t, s, 1, name, text(fmt.Sprint(box, i)))
			word := fmt.Sprintf("w%d-%d", box, i)
			want[storetest.Text(t, s, m)] = word
			if _, _, err := s.SetFlags(t.Context(), made.ID, uids(m.UID), store.FlagsChange{Op: store.FlagsAdd, Keywords: []string{word}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Expunge(t.Context(), made.ID, everything(), false); err != nil {
			t.Fatal(err)
		}
	}
	gone := goneOf(t, s, 1)
	for _, g := range gone {
		if word := want[storetest.Text(t, s, g.Message)]; !slices.Equal(g.Keywords, []string{word}) {
			t.Errorf("kept with %v; want %s", g.Keywords, word)
		}
	}
	bin, err := s.Bin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), bin.ID, everything(), boxID(t, s, 1, "INBOX")); err == nil {
		t.Error("90 keywords went into one mailbox")
	}
	if _, _, err := s.Move(t.Context(), bin.ID, uids(90), boxID(t, s, 1, "INBOX")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Undelete(t.Context(), 1, refs(gone[:89]), ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"box0", "box1", "box2", "INBOX"} {
		words, err := s.Keywords(t.Context(), boxID(t, s, 1, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range storetest.Rows(t, s, 1, name) {
			word := want[storetest.Text(t, s, m)]
			if i := slices.Index(words, word); i < 0 || m.Flags != 1<<(8+i) {
				t.Errorf("%s: uid %d came back with flags %#x of %v; want %s", name, m.UID, m.Flags, words, word)
			}
		}
	}
}
