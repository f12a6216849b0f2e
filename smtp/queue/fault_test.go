package queue

import (
	"context"
	"testing"

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
