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

// The copy of a full mailbox waits for room. When its life is over and its sender may not be told, or there is none, it is filed all the
// same: a report on what the owner sent would be lost else. That of a proven sender goes back.
func TestFullMailboxOfUnproven(t *testing.T) {
	for name, c := range map[string]struct {
		from     string
		unproven bool
	}{"unproven": {"stranger@far.test", true}, "proven": {"stranger@far.test", false}, "report": {"", false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options{})
				r.run()
				e := mail.Envelope{Unproven: c.unproven, Recipients: []mail.Recipient{{Address: parse(t, "bob@alpha.test")}}}
				short := time.Duration(0) // of mail from <>
				if c.from != "" {
					e.From, short = parse(t, c.from), 3*24*time.Hour
				}
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
				<-time.After(23*time.Hour + short)
				synctest.Wait()
				if n := len(r.texts("bob@alpha.test")); n != 0 {
					t.Errorf("the full mailbox has %d before the end of its life", n)
				}
				<-time.After(3 * 24 * time.Hour)
				synctest.Wait()
				want, back := 0, 2 // late, then failed
				if c.unproven || c.from == "" {
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
