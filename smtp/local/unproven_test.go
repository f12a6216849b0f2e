package local

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// The address under which mail of an unproven sender goes on is ours, and leads nowhere back.
func TestUnprovenSender(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := forwarder(t, 1, &now)
	for _, from := range []string{"alice@example.org", strings.Repeat("a", 60) + "@example.org", "SRS0=abcd=ef=example.org=alice@one.test", "SRS1=abcd=one.test==ef=gh=example.org=alice@two.test"} {
		a := f.UnprovenSender(addr(t, from), "our.test")
		if a.Domain != "our.test" || !strings.HasPrefix(a.Local, "SRS") || len(a.Local) > mail.MaxLocal || a == f.Sender(addr(t, from), "our.test") {
			t.Errorf("%s leaves as %s", from, a)
		}
		if back, ours, err := f.Original(addr(t, a.String())); !ours || !errors.Is(err, ErrUnproven) {
			t.Errorf("%s comes back as %s, %v", a, back, err)
		}
	}
	if a := f.UnprovenSender(mail.Address{}, "our.test"); !a.IsNull() {
		t.Errorf("<> leaves as %s", a)
	}
}

// The copy of a full mailbox waits for room. When its life is over and its sender may not be told, it is filed all the same; that of a
// proven sender goes back.
func TestFullMailboxOfUnproven(t *testing.T) {
	for name, unproven := range map[string]bool{"unproven": true, "proven": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options{})
				r.run()
				e := mail.Envelope{From: parse(t, "stranger@far.test"), Unproven: unproven, Recipients: []mail.Recipient{{Address: parse(t, "bob@alpha.test")}}}
				id := r.queue.NewID()
				w, err := r.store.NewMessage(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte("Subject: large\r\n\r\n" + strings.Repeat("x", 5000) + "\r\n")); err != nil {
					t.Fatal(err)
				}
				a, err := w.Finish()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := r.store.Deliver(t.Context(), a, nil, r.queue.Part(id, e)); err != nil {
					t.Fatal(err)
				}
				<-time.After(4 * 24 * time.Hour)
				synctest.Wait()
				if n := len(r.texts("bob@alpha.test")); n != 0 {
					t.Errorf("the full mailbox has %d after four days", n)
				}
				<-time.After(2 * 24 * time.Hour)
				synctest.Wait()
				want, back := 0, 2 // late, then failed
				if unproven {
					want, back = 1, 0
				}
				reports := 0
				for _, to := range r.away {
					if strings.HasPrefix(to, "stranger@far.test") {
						reports++
					}
				}
				if n := len(r.texts("bob@alpha.test")); n != want || reports != back {
					t.Errorf("the mailbox has %d, %v were told", n, r.away)
				}
			})
		})
	}
}
