package local

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// Members outside that do not exist are left out: an account that forwards to one keeps its mail here, an alias that leads to nobody
// else is refused.
func TestForwardToNobody(t *testing.T) {
	r := newRig(t, Options{})
	gone, there := parse(t, "gone@away.test"), parse(t, "dora@away.test")
	list := limit.NewList(limit.ListOptions{DB: r.db})
	for _, from := range []string{"zoe@good.test", "max@good.test"} { // for everybody
		list.Heard(limit.Failure{To: parse(t, "secret@away.test"), From: parse(t, from), Code: 550, Status: "5.1.1", Text: "5.1.1 <secret@away.test>: no such user", Host: "mx.away.test"})
	}
	noted, cancel := context.WithCancel(t.Context())
	cancel()
	list.Run(noted)
	r.o.Suppressed = list
	if _, err := list.Add(t.Context(), gone, 0, ""); err != nil {
		t.Fatal(err)
	}
	alice := auth.Destination{Account: r.id["alice@alpha.test"], Address: parse(t, "alice@alpha.test")}
	carol := auth.Destination{Account: r.id["carol@beta.test"], Address: parse(t, "carol@beta.test")}
	for _, c := range []struct {
		name   string
		route  auth.Route
		back   bool
		local  []auth.Destination
		remote []mail.Address
		refuse int
	}{
		{"all are there", auth.Route{Remote: []mail.Address{there}}, false, nil, []mail.Address{there}, 0},
		{"one is gone", auth.Route{Remote: []mail.Address{gone, there}}, false, nil, []mail.Address{there}, 0},
		{"the only one outside is gone", auth.Route{Local: []auth.Destination{alice}, Remote: []mail.Address{gone}}, false, []auth.Destination{alice}, nil, 0},
		{"nobody is left", auth.Route{Remote: []mail.Address{gone}}, false, nil, nil, 550},
		{"nobody is left, and whose it was is no stranger's business", auth.Route{Remote: []mail.Address{parse(t, "secret@away.test")}}, false, nil, nil, 550},
		{"an account forwards there", auth.Route{Remote: []mail.Address{gone}, Forwards: []auth.Forward{{From: alice, To: gone}}}, false, []auth.Destination{alice}, nil, 0},
		{"two do, and one keeps a copy", auth.Route{Local: []auth.Destination{carol}, Remote: []mail.Address{gone}, Forwards: []auth.Forward{{From: alice, To: gone}, {From: carol, To: gone}}},
			false, []auth.Destination{carol, alice}, nil, 0},
		{"a report on forwarded mail", auth.Route{Remote: []mail.Address{gone}}, true, nil, []mail.Address{gone}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := r.NewTransaction(1000)
			defer x.Reset()
			err := x.Add(t.Context(), Recipient{Recipient: mail.Recipient{Address: parse(t, "team@alpha.test")}, Route: c.route, Back: c.back})
			no, refused := errors.AsType[*gosmtp.SMTPError](err)
			if refused != (c.refuse != 0) || refused && (no.Code != c.refuse || !strings.Contains(no.Message, "team@alpha.test")) || !refused && err != nil {
				t.Fatalf("%v", err)
			}
			if refused && (strings.Contains(no.Message, "secret") || strings.Contains(no.Message, "away.test")) {
				t.Errorf("tells where it leads: %s", no.Message)
			}
			if refused {
				return
			}
			if got := x.To[0].Route; !slices.Equal(got.Local, c.local) || !slices.Equal(got.Remote, c.remote) || len(got.Forwards) != 0 {
				t.Errorf("leads to %+v", got)
			}
		})
	}
}

// What goes on is charged when the message is taken, and not when it is refused.
func TestForwardsAreCounted(t *testing.T) {
	waits := parse(t, "full@alpha.test")
	x := Recipient{Route: auth.Route{Remote: []mail.Address{parse(t, "dora@away.test"), waits}}, waits: []mail.Address{waits}}
	if got := x.forwards(); len(got) != 1 || got[0].Local != "dora" {
		t.Errorf("counted %v", got)
	}
	x.Back = true
	if got := x.forwards(); got != nil {
		t.Errorf("a report counts %v", got)
	}
}

// A message that waits for its time goes on when that has come, and is charged then: not now as well.
func TestScheduledForwardIsChargedOnce(t *testing.T) {
	r := newRig(t, Options{})
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	r.o.Limits = limit.New(limit.Options{Side: side, Settings: limit.Settings{Forward: limit.Limits{RecipientsHour: 1}}})
	dora := []mail.Address{parse(t, "dora@away.test")}
	for _, later := range []bool{true, false} {
		x := r.NewTransaction(1000)
		x.Envelope.From = parse(t, "alice@alpha.test")
		if later {
			x.Envelope.Release.At = time.Now().Add(time.Hour)
		}
		if err := x.Add(t.Context(), Recipient{Recipient: mail.Recipient{Address: parse(t, "out@alpha.test")}, Route: auth.Route{Remote: dora}}); err != nil {
			t.Fatal(err)
		}
		if err := x.Deliver(t.Context(), r.queue.NewID(), storetest.Arrival(t, r.store, "\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
		x.Reset()
		if full := r.o.Limits.Forward(dora...).Ask(t.Context()) != nil; full == later {
			t.Errorf("scheduled %v: charged %v", later, full)
		}
	}
}

// Out of the queue too, where all mail comes from that waited for its time.
func TestQueuedForwardToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		list := limit.NewList(limit.ListOptions{DB: r.db})
		if _, err := list.Add(t.Context(), parse(t, "dora@away.test"), 0, ""); err != nil {
			t.Fatal(err)
		}
		r.o.Suppressed = list
		r.enqueue("carol@beta.test", "team@alpha.test", "out@alpha.test")
		r.run()
		<-time.After(time.Minute)
		synctest.Wait()
		if len(r.away) != 0 {
			t.Errorf("%q were tried", r.away)
		}
		if n := len(r.texts("alice@alpha.test")); n != 1 {
			t.Errorf("alice has %d", n)
		}
		if got := strings.Join(r.texts("carol@beta.test"), ""); !strings.Contains(got, "out@alpha.test leads to an address that does not exist") || strings.Contains(got, "away.test") {
			t.Errorf("carol reads %s", got)
		}
	})
}
