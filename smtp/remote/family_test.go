package remote

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/queue"
)

const mx6 = "[2001:db8::1]:25"

func bothFamilies() []string { return append(oneMX(), "mx.beta.test. AAAA 2001:db8::1") }

// IPv6 is used when the reverse name of our own address leads back to it, else only where there is no other way.
func TestIPv6(t *testing.T) {
	from := func(a string) func(context.Context, netip.AddrPort) (netip.Addr, error) {
		return func(context.Context, netip.AddrPort) (netip.Addr, error) { return netip.MustParseAddr(a), nil }
	}
	none := func(context.Context, netip.AddrPort) (netip.Addr, error) { return netip.Addr{}, errors.New("no route") }
	reverse := "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR mail.alpha.test."
	only6 := []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. AAAA 2001:db8::1"}
	for _, c := range []rule{
		{name: "named", options: Options{IPv6First: true, Source: from("2001:db8::6")}, zone: append(bothFamilies(), reverse, "mail.alpha.test. AAAA 2001:db8::6"),
			want: []string{"later (down)"}, dialled: []string{mx6, mx}},
		{name: "no name", options: Options{IPv6First: true, Source: from("2001:db8::6")}, zone: bothFamilies(), want: []string{"later (down)"}, dialled: []string{mx}},
		{name: "a name that does not lead back", options: Options{IPv6First: true, Source: from("2001:db8::6")}, zone: append(bothFamilies(), reverse, "mail.alpha.test. AAAA 2001:db8::7"),
			want: []string{"later (down)"}, dialled: []string{mx}},
		{name: "no way there", options: Options{IPv6First: true, Source: none}, zone: bothFamilies(), want: []string{"later (down)"}, dialled: []string{mx}},
		{name: "no name and no other way", options: Options{Source: from("2001:db8::6")}, zone: only6, want: []string{"later (down)"}, dialled: []string{mx6}},
		{name: "always", options: Options{IPv6First: true, IPv6: IPv6Always, Source: none}, zone: bothFamilies(), want: []string{"later (down)"}, dialled: []string{mx6, mx}},
		{name: "never", options: Options{IPv6: IPv6Never}, zone: only6, want: []string{"later (down) 0 4.4.4 : the mail server mx.beta.test has IPv6 addresses only"}, dialled: []string{}},
	} {
		t.Run(c.name, c.run)
	}
}

// A refusal over IPv6 for the reverse name is tried again over IPv4 at once, and IPv6 rests for an hour.
func TestNamelessOverIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := strings.Replace(takes, "250 2.0.0 taken", "550-5.7.1 [2001:db8::99] Our system has detected that this message does not meet IPv6\nS: 550 5.7.1 sending guidelines regarding PTR records", 1)
		o := newOutside(t, Options{IPv6First: true}, bothFamilies(), map[string][]string{mx6: {hello("mx") + no, hello("mx") + no}, mx: {hello("mx") + takes, hello("mx") + takes, "S: 554 5.7.25 no reverse name\n"}})
		for _, step := range []struct {
			after time.Duration
			dials []string
			want  string
		}{
			{0, []string{mx6, mx}, "done"},
			{time.Minute, []string{mx}, "done"},
			{2 * time.Hour, []string{mx6, mx}, "later"}, // what IPv4 then says counts
		} {
			<-time.After(step.after)
			o.net.dialled = nil
			got := o.carry(t, envelopeTo(t, "carol@beta.test"), message)
			if !strings.HasPrefix(got[0], step.want) || !slices.Equal(o.net.dialled, step.dials) {
				t.Errorf("%s over %v", got, o.net.dialled)
			}
			<-time.After(time.Minute)
			synctest.Wait()
		}
	})
	refused := "S: 550 5.7.25 no PTR for you\n"
	for _, c := range []rule{
		{name: "no other way", zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. AAAA 2001:db8::1"},
			scripts: map[string][]string{mx6: {hello("mx") + "C: MAIL*\n" + refused}}, want: []string{"never 550 5.7.25"}},
		{name: "another reason", options: Options{IPv6First: true}, zone: bothFamilies(),
			scripts: map[string][]string{mx6: {hello("mx") + "C: MAIL*\nS: 550 5.7.1 you are on a list\n"}}, want: []string{"never 550 5.7.1"}, dialled: []string{mx6}},
		{name: "one recipient was taken", options: Options{IPv6First: true}, zone: bothFamilies(), to: []string{"carol@beta.test", "dora@beta.test"},
			scripts: map[string][]string{mx6: {hello("mx") + "C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: RCPT*\n" + refused + "C: DATA\nS: 354 go\nDATA\nS: 250 ok\n"}},
			want:    []string{"done", "never 550 5.7.25"}, dialled: []string{mx6}},
		{name: "at the greeting", options: Options{IPv6First: true}, zone: append(bothFamilies(), "beta.test. MX 20 second.beta.test.", "second.beta.test. AAAA 2001:db8::2", "second.beta.test. A 192.0.2.2"),
			scripts: map[string][]string{mx6: {"S: 554 5.7.1 reverse DNS lookup failed\n"}, second: {hello("second") + takes}}, want: []string{"done"}, dialled: []string{mx6, mx, second}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestNameless(t *testing.T) {
	c := &Carrier{reverse: reverse()}
	for text, want := range map[string]bool{
		"5.7.1 PTR record setup invalid":   true,
		"5.7.1 reverse DNS does not match": true,
		"4.7.0 Please fix your rDNS":       true,
		"5.7.25 refused":                   true,
		"4.7.1 Client host rejected: cannot find your hostname, [2001:db8::1]": true,
		"5.7.1 no pointer record for your address":                             true,
		"5.7.1 spam": false,
		"5.1.1 no such user ptr@example.org; ptr":       false,
		"5.7.1 scripture":                               false,
		"5.7.1 the reverse of what you said":            false,
		"4.7.1 Client host rejected: no reverse-lookup": true,
	} {
		status, _, _ := strings.Cut(text, " ")
		if got := c.nameless(queue.Result{Verdict: queue.Never, Code: 550, Status: status, Text: text}); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
