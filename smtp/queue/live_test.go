package queue

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestBodyMovesDuringAttempt: the body of an entry gets another place while a carrier has it. What the carrier does in the
// transaction, the entry's new form, and its report all find it where it is then.
func TestBodyMovesDuringAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.sender.test"})
		h.send(envelope(t, "alice@alpha.test", "x@away.test"), "Subject: in the way\r\n\r\n") // its segment is worth compacting without it
		id := h.send(envelope(t, "alice@alpha.test", "a@d0.test", "b@d0.test"), sample)
		var first, second kv.Entry
		moved := func(a Attempt) Outcome {
			if a.ID != id {
				return Fail(1, Result{Verdict: Never, Status: "5.1.1"})
			}
			if _, err := h.q.Cancel(t.Context(), Filter{Domain: "away.test"}, false); err != nil && !errors.Is(err, ErrNoItem) && !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
			if err := h.compact(); err != nil {
				t.Error(err)
			}
			apply := func(tx *kv.Tx) (err error) {
				first = kv.Entry{Body: a.Place}
				second, err = h.q.Body(tx, a.Number)
				return err
			}
			return Outcome{Apply: apply, Results: []Result{{Verdict: Done, Status: "2.0.0"}, {Verdict: Later, Status: "4.2.2"}}}
		}
		h.run(&carrier{deliver: moved})
		<-time.After(time.Minute)
		synctest.Wait()
		if first.Body == 0 || second.Body == first.Body {
			t.Fatalf("the body stood at %s and then at %s", first.Body, second.Body)
		}
		for _, it := range h.list() {
			if it.ID == id && it.Place != second.Body {
				t.Errorf("the entry names %s; the body is at %s", it.Place, second.Body)
			}
		}
		if _, err := h.store.OpenAt(t.Context(), first.Body); err == nil {
			t.Error("the old segment is still there")
		}
	})
}

// TestBodyOfACancelledEntry: an entry that the operator has removed while a carrier had it is not delivered by the carrier's share of
// the transaction.
func TestBodyOfACancelledEntry(t *testing.T) {
	h := newHouse(t, Options{})
	err := h.db.View(t.Context(), func(tx *kv.Tx) error {
		_, err := h.q.Body(tx, 7)
		return err
	})
	if !errors.Is(err, ErrNoItem) {
		t.Error(err)
	}
	a := &attempt{number: 7, before: &entry{}, verdict: map[Verdict]int{}, apply: func(tx *kv.Tx) error {
		tx.Put("n", []byte("delivered"), nil)
		_, err := h.q.Body(tx, 7)
		return err
	}}
	a.after = a.before
	if err := h.db.Update(t.Context(), func(tx *kv.Tx) error { return h.q.settleRow(tx, a) }); !errors.Is(err, errGone) || a.verdict != nil {
		t.Errorf("%v, %v", err, a.verdict)
	}
}

// TestBodyPlaces: the place of a row can be read without the rest, and changed; what is no row is an error.
func TestBodyPlaces(t *testing.T) {
	for _, e := range []*entry{
		{}, {requireTLS: true, place: 3 << 40, size: 5},
		{id: "x", domain: "d.test", envid: "e", place: 1 << 40, size: 77, recipients: make([]recipient, 3)},
	} {
		row := appendEntry(nil, e)
		var at blob.LSN
		var octets int64
		same, err := bodyPlaces(nil, row, func(place blob.LSN, size int64) blob.LSN { at, octets = place, size; return place })
		if err != nil || same != nil || at != e.place || octets != e.size {
			t.Errorf("%x: %v, %x, %s, %d", row, err, same, at, octets)
		}
		other, err := bodyPlaces(nil, row, func(blob.LSN, int64) blob.LSN { return 5 })
		if err != nil {
			t.Fatal(err)
		}
		if at, octets, err = bodyOf(other); err != nil || at != 5 || octets != e.size {
			t.Errorf("%x: %v, %s, %d", other, err, at, octets)
		}
	}
	for _, row := range []string{"", "\x02", "\x02\x00\xff\x00\x00", "\x03\x00\x00\x00\x00", "\x01\x00\x00", "\x01\x00\x00\x00\xff"} {
		if _, err := bodyPlaces(nil, []byte(row), func(p blob.LSN, _ int64) blob.LSN { return p }); !errors.Is(err, errCorrupt) {
			t.Errorf("%q: %v", row, err)
		}
	}
}
