package queue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tables are all rows that the queue and the Outbox have.
func (h *house) tables() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := h.db.View(h.t.Context(), func(tx *kv.Tx) error {
		for _, table := range []kv.Table{rows, dues, "c", "j", "m", "n", "h", "x"} {
			for k, v := range tx.Scan(table, nil, nil) {
				all[fmt.Sprintf("%s %x", table, k)] = fmt.Sprintf("%x", v)
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// TestRepairOfTheOutbox: what waited, went, was taken back or came into Sent after the daily copy stands where it stood, octet for octet.
func TestRepairOfTheOutbox(t *testing.T) {
	h := newHouse(t, Options{Hostname: "mail.alpha.test"})
	h.kv.Plain = true
	h.close()
	h.open()
	h.account()
	now := time.Now()
	h.q.o.Now = func() time.Time { return now }
	later := func(n int) store.UID {
		e := envelope(t, "alice@alpha.test", fmt.Sprintf("a%d@beta.test", n), fmt.Sprintf("b%d@gamma.test", n))
		e.Release = mail.Release{At: now.Add(time.Hour), Asked: "for;3600"}
		_, uid := h.later(e, fmt.Sprintf("Message-ID: <%d@alpha.test>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\n\r\nx\r\n", n))
		return uid
	}
	before := later(0)
	later(1)
	if err := h.db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	later(2)
	back := later(3)
	later(4)
	for _, uid := range []store.UID{before, back} {
		if done, err := h.expunge(uid, uid == back); err != nil || !done {
			t.Fatal(done, err)
		}
	}
	later(5)
	now = now.Add(2 * time.Hour)
	for _, it := range h.list()[:3] {
		h.q.letGo(t.Context(), it.Number)
	}
	for _, it := range h.list() {
		if !it.Waits && it.Domain == "beta.test" { // one of them has gone
			err := h.db.Update(t.Context(), func(tx *kv.Tx) error { return h.q.replace(tx, it.Number, 0, nil) })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(h.db.SettleAll(t.Context()), h.db.SyncJournal(t.Context())); err != nil {
		t.Fatal(err)
	}
	want := h.tables()
	folder := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(folder, os.DirFS(h.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "meta.db")); err != nil {
		t.Fatal(err)
	}
	r, err := kv.OpenRepair(t.Context(), kv.Options{Dir: folder, Plain: true}, kv.BaseDay)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(r.DB, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(r.DB, s, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if problems, err := s.Check(t.Context(), false); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if _, err := r.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := &house{t: t, dir: folder}
	again.open()
	defer again.close()
	got := again.tables()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %.80s, was %.80s", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, were %d", len(got), len(want))
	}
}
