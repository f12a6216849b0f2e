package local

import (
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// A queued message whose body moves between the carrier's answer and the transaction is placed with its body all the same, in mailboxes
// and in the queue.
func TestPlaceAfterCompaction(t *testing.T) {
	r := newRig(t, Options{})
	r.enqueue("alice@alpha.test", "team@alpha.test")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.db.SettleAll(t.Context()))
	it := r.waiting()[0]
	out := r.Transport().Deliver(t.Context(), queue.Route{}, queue.Attempt{Item: it})
	_, err := r.db.Roll(t.Context())
	must(err)
	_, err = r.db.Log(t.Context(), kv.Record{})
	must(err)
	must(r.db.SettleAll(t.Context()))
	done, err := r.db.Compact(t.Context(), true)
	must(err)
	if now := r.waiting()[0].Place; done.Moved == 0 || now == it.Place {
		t.Fatalf("%+v; the body is still at %s", done, now)
	}
	must(r.db.Update(t.Context(), out.Apply))
	if got := r.texts("alice@alpha.test"); len(got) != 1 || got[0] != text {
		t.Errorf("alice has %q", got)
	}
	found := false
	for _, other := range r.waiting() {
		if other.Domain == mail.Domain("away.test") {
			b, err := r.store.OpenAt(t.Context(), other.Place)
			must(err)
			must(b.Close())
			found = true
		}
	}
	if !found {
		t.Errorf("the member outside is not in the queue: %+v", r.waiting())
	}
}
