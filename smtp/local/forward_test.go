package local

import (
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// TestOwnForwards: what an account forwards and keeps goes on in its own name; everything else as before.
func TestOwnForwards(t *testing.T) {
	at := func(s string) mail.Address {
		a, err := mail.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	alice := auth.Destination{Account: 1, Address: at("alice@alpha.test")}
	route := func(keep bool) auth.Route {
		r := auth.Route{Remote: []mail.Address{at("x@away.test"), at("dora@away.test")}, Forwards: []auth.Forward{{From: alice, To: at("x@away.test")}}}
		if keep {
			r.Local = []auth.Destination{alice}
		}
		return r
	}
	from := mail.Envelope{From: at("zoe@good.test"), Unproven: true, EnvelopeID: "hers", UTF8: true}
	for _, c := range []struct {
		name string
		keep bool
		from mail.Envelope
		own  int
	}{{"kept", true, from, 1}, {"not kept", false, from, 0}, {"a report", true, mail.Envelope{}, 0}} {
		to := Recipient{Recipient: mail.Recipient{Address: at("team@alpha.test"), Notify: mail.NotifySuccess}, Route: route(c.keep)}
		before := to.Route.Remote
		own := ownForwards(&to, &c.from)
		if len(own) != c.own || len(to.Route.Remote) != 2-c.own || before[0] != at("x@away.test") {
			t.Errorf("%s: %+v, and %v", c.name, own, to.Route.Remote)
		}
		if c.own == 1 && (own[0].From != alice.Address || own[0].Unproven || own[0].EnvelopeID != "" || !own[0].UTF8 || own[0].Recipients[0].Notify != 0) {
			t.Errorf("%s: %+v", c.name, own[0])
		}
	}
}
