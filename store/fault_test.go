package store_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// inMemory is a store on a file system that can fail.
func inMemory(t *testing.T) (*storetest.House, *vfstest.FS) {
	t.Helper()
	fs := vfstest.New()
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Memory: true, FS: fs, SegmentSize: 1 << 20}})
	storetest.Account(t, h.Store, h.DB, 1)
	return h, fs
}

// try takes a message in and delivers it, or says why not.
func try(t *testing.T, s *store.Store, text string) error {
	t.Helper()
	w, err := s.NewMessage(t.Context(), int64(len(text)))
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		w.Discard()
		return err
	}
	a, err := w.Finish()
	if err != nil {
		return err
	}
	_, err = s.Deliver(t.Context(), a, []store.Delivery{{Account: 1}})
	return err
}

// The n-th operation of the log's files fails: what was answered is there once, what was refused at most once, and the
// next message goes through.
func TestFailingLog(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for n := 1; ; n += step {
		h, fs := inMemory(t)
		failed, left := false, n
		fs.SetFail(func(op vfstest.Op) error {
			if left--; left == 0 {
				failed = true
				return syscall.EIO
			}
			return nil
		})
		answered := map[string]bool{}
		for i := range 12 {
			text := aMail(i, 100+i%3*60_000) // every third has a segment of its own
			answered[text] = try(t, h.Store, text) == nil
		}
		fs.SetFail(nil)
		last := aMail(99, 500)
		if err := try(t, h.Store, last); err != nil {
			t.Fatalf("operation %d failed; the next message: %v", n, err)
		}
		answered[last] = true
		found := map[string]int{}
		for _, m := range storetest.Rows(t, h.Store, 1, "INBOX") {
			found[storetest.Text(t, h.Store, m)]++
		}
		for text, yes := range answered {
			if found[text] > 1 || yes && found[text] == 0 {
				t.Errorf("operation %d failed: a message answered %v is there %d times", n, yes, found[text])
			}
		}
		if u, err := h.Store.Usage(t.Context(), 1); err != nil || int(u.Messages) != len(found) {
			t.Errorf("operation %d failed: usage %+v, %v", n, u, err)
		}
		if !failed {
			if n < 20 {
				t.Errorf("only %d operations", n)
			}
			return
		}
	}
}

// A full disk refuses mail, and loses none; flags and deletes go on.
func TestFullDisk(t *testing.T) {
	h, fs := inMemory(t)
	s := h.Store
	fs.SetCapacity(9 << 20)
	kept := 0
	var err error
	for err == nil && kept < 10_000 {
		if err = try(t, s, aMail(kept, 20_000)); err == nil {
			kept++
		}
	}
	if !errors.Is(err, kv.ErrFull) || kept == 0 {
		t.Fatalf("after %d messages: %v; want ErrFull", kept, err)
	}
	inbox := boxID(t, s, 1, "INBOX")
	rows, _, err := s.SetFlags(t.Context(), inbox, everything(), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Deleted})
	if err != nil || len(rows) != kept {
		t.Errorf("flags on a full disk: %d rows, %v; want %d", len(rows), err, kept)
	}
	if gone, _, err := s.Expunge(t.Context(), inbox, uids(1, 2, 3), true); err != nil || len(gone) != 3 {
		t.Errorf("expunge on a full disk: %v, %v", gone, err)
	}
	fs.SetCapacity(0)
	wantErr(t, "delivery when there is room again", try(t, s, aText), nil)
}

// The syncs that each answer waits for are counted: they are what the design was chosen for.
func TestSyncsPerAnswer(t *testing.T) {
	h := house(t)
	s := h.Store
	inbox := boxID(t, s, 1, "INBOX")
	drafts := boxID(t, s, 1, "Drafts")
	storetest.Message(t, s, 1, "INBOX", aText)
	large := "Subject: large\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 20_000)
	for _, c := range []struct {
		what              string
		log, body, tables uint64
		do                func() error
	}{
		{"APPEND", 1, 0, 2, func() error { storetest.Message(t, s, 1, "Drafts", aText); return nil }},
		{"MULTIAPPEND of 3", 1, 0, 2, func() error {
			var msgs []store.AppendMessage
			for i := range 3 {
				msgs = append(msgs, store.AppendMessage{Arrival: storetest.Arrival(t, s, fmt.Sprint("Subject: ", i, "\r\n\r\n"))})
			}
			_, _, err := s.Append(t.Context(), drafts, msgs)
			return err
		}},
		{"STORE", 0, 0, 2, func() error {
			_, _, err := s.SetFlags(t.Context(), inbox, uids(1), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen})
			return err
		}},
		{"STORE that changes nothing", 0, 0, 0, func() error {
			_, _, err := s.SetFlags(t.Context(), inbox, uids(1), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen})
			return err
		}},
		{"MOVE", 0, 0, 2, func() error { _, _, err := s.Move(t.Context(), inbox, uids(1), drafts); return err }},
		{"EXPUNGE of nothing", 0, 0, 0, func() error { _, _, err := s.Expunge(t.Context(), inbox, everything(), true); return err }},
		{"SELECT", 0, 0, 0, func() error { _, err := s.State(t.Context(), inbox); return err }},
		{"a delivery, seen", 1, 0, 2, func() error {
			storetest.Deliver(t, s, 1, "INBOX", aText)
			_, err := s.State(t.Context(), inbox)
			return err
		}},
		{"a large APPEND", 1, 1, 2, func() error { storetest.Message(t, s, 1, "Drafts", large); return nil }},
	} {
		before := h.DB.Counts()
		wantErr(t, c.what, c.do(), nil)
		after := h.DB.Counts()
		log, body, tables := after.Log.Syncs-before.Log.Syncs, after.Log.BodySyncs-before.Log.BodySyncs, after.CommitSyncs-before.CommitSyncs
		if log != c.log || body != c.body || tables != c.tables {
			t.Errorf("%s: %d syncs of the log, %d of a body, %d of the tables; want %d, %d, %d", c.what, log, body, tables, c.log, c.body, c.tables)
		}
	}
}

// Rows are copied out without an allocation for each.
func TestMessagesDoNotAllocate(t *testing.T) {
	h, inbox := large(t, 20_000, nil)
	n := testing.AllocsPerRun(5, func() {
		for _, err := range h.Store.Messages(t.Context(), inbox, everything()) {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if n > 20_000/4 {
		t.Errorf("%.0f allocations for 20,000 rows", n)
	}
}

// afterFault is what clients know after a run in which one operation of the disk failed.
type afterFault struct {
	t      *testing.T
	h      *storetest.House
	sent   map[string]int // by text: how often it may be in INBOX
	kept   map[string]int // how often it must be there
	seen   map[string]bool
	copied []string // must stand in Archive; nil: the copy was refused
	left   int
}

func (a *afterFault) run() {
	a.sent, a.kept, a.seen = map[string]int{}, map[string]int{}, map[string]bool{}
	for i := range 4 {
		a.deliver(aMail(i, 100+i%2*90_000)) // every second has a segment of its own
	}
	a.append(aMail(20, 300))
	a.append(aMail(21, 80_000))
	ctx, s := a.t.Context(), a.h.Store
	inbox, err := s.Mailbox(ctx, 1, "INBOX")
	archive, err2 := s.Mailbox(ctx, 1, "Archive")
	if err != nil || err2 != nil {
		return
	}
	if rows, _, err := s.SetFlags(ctx, inbox.ID, everything(), store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen}); err == nil {
		for _, m := range rows {
			a.seen[fmt.Sprint(m.UID)] = true
		}
	}
	if got, err := s.Copy(ctx, inbox.ID, everything(), archive.ID); err == nil {
		for _, u := range got.To {
			a.copied = append(a.copied, fmt.Sprint(u))
		}
	}
	if gone, _, err := s.Expunge(ctx, inbox.ID, uids(1), false); err == nil && len(gone) == 1 {
		delete(a.seen, "1")
		a.left = 1
	} else if err != nil {
		a.left = -1 // it may be gone
	}
	_, _ = a.h.DB.Compact(ctx, true) // its errors are the disk's
	a.deliver(aMail(30, 200))
}

func (a *afterFault) deliver(text string) {
	a.sent[text]++
	if try(a.t, a.h.Store, text) == nil {
		a.kept[text]++
	}
}

func (a *afterFault) append(text string) {
	a.sent[text]++
	w, err := a.h.Store.NewMessage(a.t.Context(), int64(len(text)))
	if err != nil {
		return
	}
	if _, err := w.Write([]byte(text)); err != nil {
		w.Discard()
		return
	}
	arrival, err := w.Finish()
	if err != nil {
		return
	}
	inbox, err := a.h.Store.Mailbox(a.t.Context(), 1, "INBOX")
	if err != nil {
		arrival.Discard()
		return
	}
	if _, _, err := a.h.Store.Append(a.t.Context(), inbox.ID, []store.AppendMessage{{Arrival: arrival}}); err == nil {
		a.kept[text]++
	}
}

// check compares, after another start.
func (a *afterFault) check(what string) {
	found, flagged := map[string]int{}, map[string]bool{}
	lost := 0
	for _, m := range storetest.Rows(a.t, a.h.Store, 1, "INBOX") {
		found[storetest.Text(a.t, a.h.Store, m)]++
		flagged[fmt.Sprint(m.UID)] = m.Flags&store.Seen != 0
	}
	for text, n := range a.sent {
		if found[text] > n {
			a.t.Errorf("%s: %.20q is there %d times; sent %d times", what, text, found[text], n)
		}
		lost += max(a.kept[text]-found[text], 0)
	}
	if a.left >= 0 && lost > a.left || a.left < 0 && lost > 1 {
		a.t.Errorf("%s: %d messages that were answered are gone; %d were removed", what, lost, a.left)
	}
	for uid := range a.seen {
		if yes, there := flagged[uid]; there && !yes {
			a.t.Errorf("%s: uid %s has lost its flag", what, uid)
		}
	}
	if n := len(storetest.Rows(a.t, a.h.Store, 1, "Archive")); a.copied != nil && n != len(a.copied) {
		a.t.Errorf("%s: %d copies; %d were answered", what, n, len(a.copied))
	}
	a.h.Check()
}

// Every kind of operation fails once, at its first, second, third ... time, until a run meets none; with the errors of a
// broken and of a full disk. What was answered is there after the next start, and every octet of it is checked.
func TestEveryOperationFails(t *testing.T) {
	total, least := 0, 20
	if testing.Short() {
		least = 8
	}
	for _, kind := range []string{"write", "sync", "syncdir", "open", "read", "rename", "truncate", "remove", "allocate", "link"} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			if full := errors.Is(cause, syscall.ENOSPC); full && kind != "write" && kind != "allocate" && kind != "open" {
				continue
			}
			step := 1
			if testing.Short() {
				step = 5
			}
			for n := 1; ; n += step {
				fs := vfstest.New()
				h := storetest.Start(t, storetest.Options{KV: kv.Options{FS: fs, SegmentSize: 64 << 10, TableGrowth: 64 << 10, Pace: 1, DayEvery: -1, CompactShare: 1}})
				storetest.Account(t, h.Store, h.DB, 1)
				left, hit := n, false
				fs.SetFail(func(op vfstest.Op) error {
					if op.Kind == kind {
						if left--; left == 0 {
							hit = true
							return cause
						}
					}
					return nil
				})
				a := &afterFault{t: t, h: h}
				a.run()
				fs.SetFail(nil)
				what := fmt.Sprintf("%s %d (%v)", kind, n, cause)
				h.Reopen()
				a.check(what)
				if t.Failed() {
					t.Fatal(what)
				}
				h.Close()
				if !hit {
					break
				}
				total++
			}
		}
	}
	t.Logf("%d failures", total)
	if total < least {
		t.Errorf("only %d operations failed", total)
	}
}
