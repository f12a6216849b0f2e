package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestCancelOvertakesAttempt: an attempt that read its entry before the operator cancelled it, and is settled after that,
// does not bring it back.
func TestCancelOvertakesAttempt(t *testing.T) {
	for _, bounce := range []bool{true, false} {
		for _, from := range []string{"alice@sender.test", ""} {
			h := newHouse(t, Options{Hostname: "mail.sender.test"})
			h.send(envelope(t, from, "a@far.test", "b@far.test"), sample)
			if err := h.db.SettleAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			var e *entry
			if err := h.db.View(t.Context(), func(tx *kv.Tx) (err error) { e, _, err = load(tx, 1); return err }); err != nil {
				t.Fatal(err)
			}
			a := &attempt{number: 1, before: e, results: []Result{{Verdict: Later, Code: 451, Status: "4.3.0"}, {Verdict: Later, Code: 451, Status: "4.3.0"}}}
			if n, err := h.q.Cancel(t.Context(), Filter{}, bounce); n != 1 || err != nil {
				t.Fatalf("cancel: %d, %v", n, err)
			}
			h.q.settle(context.Background(), a)
			for _, it := range h.list() {
				if !bounce || from == "" {
					t.Errorf("bounce %v, from %q: it is back: %+v", bounce, from, it)
				}
			}
			err := h.db.View(t.Context(), func(tx *kv.Tx) error {
				e, due, err := load(tx, 1)
				if bounce && from != "" && (err != nil || e.waits() != 0 || len(e.recipients) != 2 || due > h.q.now()) {
					t.Errorf("the sender is owed a report, but: %+v due %d, %v", e, due, err)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			h.checkTables()
		}
	}
}

// TestEveryOperationFails: each kind of operation of the log's files fails at its first, second, third ... time while mail is taken, tried
// and reported on. What was answered comes to its one end: delivered or reported, once.
func TestEveryOperationFails(t *testing.T) {
	total := 0
	for _, kind := range []string{"write", "sync", "syncdir", "open", "read", "remove", "allocate"} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			if errors.Is(cause, syscall.ENOSPC) && kind != "write" && kind != "allocate" {
				continue
			}
			for n := 1; n <= 40; n++ {
				hit := false
				t.Run(fmt.Sprintf("%s %d %v", kind, n, cause), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { hit = failOnce(t, kind, n, cause) })
				})
				if !hit {
					break
				}
				total++
			}
		}
	}
	if total < 12 {
		t.Errorf("only %d operations failed", total)
	}
}

// failOnce reports whether the operation came at all.
func failOnce(t *testing.T, kind string, n int, cause error) (hit bool) {
	fs := vfstest.New()
	h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mail.sender.test"}, kv: kv.Options{FS: fs, SegmentSize: 32 << 10, DayEvery: -1}}
	h.open()
	t.Cleanup(h.close)
	m := &model{t: t, fate: map[string]*fate{}, held: map[string]bool{}}
	h.account()
	h.run(m)
	left, answered := n, 0
	fs.SetFail(func(op vfstest.Op) error {
		if op.Kind == kind {
			if left--; left == 0 {
				hit = true
				return cause
			}
		}
		return nil
	})
	for i, script := range []string{"d", "ld", "n", "lln", "lld", "nd"} {
		to := []string{fmt.Sprintf("%s-%d.0@d0.test", script, i), fmt.Sprintf("d-%d.1@d1.test", i)}
		m.mu.Lock()
		for _, a := range to {
			m.fate[address(t, a).String()] = &fate{from: "alice@sender.test"}
		}
		m.mu.Unlock()
		content := sample
		if i%2 == 1 {
			content += strings.Repeat("a line that makes it long enough for a segment of its own\r\n", 2000)
		}
		e := envelope(t, "alice@sender.test", to...)
		if i%3 > 0 { // it stands in the Outbox for a while
			e.Release.At = time.Now().Add(5 * time.Minute)
		}
		if trySend(h, e, content) {
			answered += min(i%3, 1)
		} else {
			m.mu.Lock()
			for _, a := range to {
				m.fate[address(t, a).String()].from = "" // no answer: once or not at all
			}
			m.mu.Unlock()
		}
		<-time.After(10 * time.Minute)
	}
	fs.SetFail(nil)
	<-time.After(time.Hour)
	synctest.Wait()
	h.close()
	h.open()
	h.run(m)
	for range 13 {
		<-time.After(12 * time.Hour)
	}
	synctest.Wait()
	m.check(h)
	if left := h.list(); len(left) != 0 {
		t.Errorf("%d entries outlive their time: %+v", len(left), left[0])
	}
	h.checkTables()
	if _, sent := h.box("Sent"); len(sent) < answered {
		t.Errorf("%d messages left the Outbox, Sent has %d", answered, len(sent))
	}
	if _, out := h.box(store.OutboxName); len(out) > 0 {
		t.Errorf("%d messages are still in the Outbox", len(out))
	}
	return hit
}

// trySend is send for a disk that may fail.
func trySend(h *house, e mail.Envelope, content string) bool {
	ctx := context.Background()
	w, err := h.store.NewMessage(ctx, 0)
	if err != nil {
		return false
	}
	if _, err := w.Write([]byte(content)); err != nil {
		w.Discard()
		return false
	}
	a, err := w.Finish()
	if err != nil {
		return false
	}
	if !e.Release.At.IsZero() {
		d := store.Delivery{Account: 1, Use: store.UseOutbox, Waits: h.q.Waits(h.q.NewID(), e)}
		_, err = h.store.Deliver(ctx, a, []store.Delivery{d})
		return err == nil
	}
	_, err = h.store.Deliver(ctx, a, nil, h.q.Part(h.q.NewID(), e))
	return err == nil
}
