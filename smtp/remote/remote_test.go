package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

const mx = "192.0.2.1:25"

func oneMX() []string {
	return []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. A 192.0.2.1"}
}

func twoMX() []string {
	return []string{"beta.test. MX 20 second.beta.test.", "beta.test. MX 10 mx.beta.test.", "mx.beta.test. A 192.0.2.1", "second.beta.test. A 192.0.2.2"}
}

// rule is one rule of delivery: who can be reached, and what comes of a message.
type rule struct {
	name    string
	options Options
	zone    []string
	scripts map[string][]string
	change  func(e *mail.Envelope)
	to      []string // carol@beta.test when empty
	content string
	want    []string // each a prefix of a result
	dialled []string // when given
}

func (c rule) run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if c.zone == nil {
			c.zone = oneMX()
		}
		if c.to == nil {
			c.to = []string{"carol@beta.test"}
		}
		if c.content == "" {
			c.content = message
		}
		o := newOutside(t, c.options, c.zone, c.scripts)
		e := envelopeTo(t, c.to...)
		if c.change != nil {
			c.change(&e)
		}
		got := o.carry(t, e, c.content)
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
		if c.dialled != nil && !slices.Equal(o.net.dialled, c.dialled) {
			t.Errorf("dialled %v, want %v", o.net.dialled, c.dialled)
		}
		for _, d := range o.net.data {
			if want := strings.ReplaceAll(c.content, "\r\n.dot", "\r\n..dot"); d != want {
				t.Errorf("the message went out as %q", d)
			}
		}
	})
}

func TestHosts(t *testing.T) {
	for _, c := range []rule{
		{name: "taken", scripts: map[string][]string{mx: {hello("mx.beta.test") + takes}},
			want: []string{"done relayed 250 2.0.0 mx.beta.test: 2.0.0 taken {[192.0.2.1] clear}"}},
		{name: "preference", zone: twoMX(), scripts: map[string][]string{mx: {hello("mx.beta.test") + takes}}, want: []string{"done"}, dialled: []string{mx}},
		{name: "the next when the first cannot be reached", zone: twoMX(), scripts: map[string][]string{"192.0.2.2:25": {hello("second") + takes}},
			want: []string{"done relayed 250 2.0.0 second.beta.test"}, dialled: []string{mx, "192.0.2.2:25"}},
		{name: "equals in chance's order", options: Options{Choose: func(int) int { return 0 }},
			zone:    []string{"beta.test. MX 10 a.test.", "beta.test. MX 10 b.test.", "beta.test. MX 10 c.test.", "a.test. A 192.0.2.1", "b.test. A 192.0.2.2", "c.test. A 192.0.2.3"},
			want:    []string{"later (down) 0 4.4.1 : a.test [192.0.2.1]: connect: connection refused"},
			dialled: []string{"192.0.2.2:25", "192.0.2.3:25", mx}},
		{name: "implicit MX", zone: []string{"beta.test. A 192.0.2.1"}, scripts: map[string][]string{mx: {hello("beta.test") + takes}}, want: []string{"done"}},
		{name: "null MX", zone: []string{"beta.test. MX 0 ."}, want: []string{"never 556 5.1.10"}},
		{name: "no such domain", zone: []string{"other.test. A 192.0.2.1"}, want: []string{"never 0 5.1.2 : the domain beta.test has neither"}},
		{name: "several addresses, IPv4 first", zone: append(oneMX(), "mx.beta.test. AAAA 2001:db8::1", "mx.beta.test. A 192.0.2.7"),
			want: []string{"later (down)"}, dialled: []string{mx, "192.0.2.7:25", "[2001:db8::1]:25"}},
		{name: "IPv6 first", options: Options{IPv6First: true}, zone: append(oneMX(), "mx.beta.test. AAAA 2001:db8::1"),
			want: []string{"later (down)"}, dialled: []string{"[2001:db8::1]:25", mx}},
		{name: "no more addresses than allowed", options: Options{MaxAddresses: 2}, zone: append(oneMX(), "mx.beta.test. A 192.0.2.7", "mx.beta.test. A 192.0.2.8"),
			want: []string{"later (down)"}, dialled: []string{mx, "192.0.2.7:25"}},
		{name: "a host that does not answer", zone: twoMX(), scripts: map[string][]string{mx: {"HANG"}, "192.0.2.2:25": {hello("second") + takes}}, want: []string{"done"}},
		{name: "MX without address", zone: []string{"beta.test. MX 10 mx.beta.test."}, want: []string{"later (down) 0 4.4.4 : the mail server mx.beta.test has no address"}},
		{name: "address literal", to: []string{"carol@[192.0.2.1]"}, scripts: map[string][]string{mx: {hello("mx") + strings.ReplaceAll(takes, "carol@beta.test", "carol@[192.0.2.1]")}},
			want: []string{"done"}},
		{name: "other port", options: Options{Port: 2525}, want: []string{"later (down)"}, dialled: []string{"192.0.2.1:2525"}},
		{name: "loop by name", zone: []string{"beta.test. MX 10 mail.alpha.test.", "beta.test. MX 20 mx.beta.test.", "mail.alpha.test. A 192.0.2.9"}, want: []string{"never 0 5.4.6"}, dialled: []string{}},
		{name: "better hosts than we are left", zone: []string{"beta.test. MX 10 mx.beta.test.", "beta.test. MX 20 other.test.", "beta.test. MX 20 mail.alpha.test.", "beta.test. MX 30 worse.test.",
			"mx.beta.test. A 192.0.2.1", "other.test. A 192.0.2.2", "worse.test. A 192.0.2.3"}, want: []string{"later (down)"}, dialled: []string{mx}},
		{name: "loop by address", zone: []string{"beta.test. MX 10 alias.test.", "alias.test. A 198.51.100.1"}, want: []string{"never 0 5.4.6"}, dialled: []string{}},
		{name: "behind our own address", zone: append(oneMX(), "beta.test. MX 20 alias.test.", "beta.test. MX 30 worse.test.", "alias.test. A 198.51.100.1", "worse.test. A 192.0.2.3"),
			want: []string{"later (down)"}, dialled: []string{mx}},
		{name: "loop by greeting", scripts: map[string][]string{mx: {hello("MAIL.alpha.test")}}, want: []string{"never 0 5.4.6"}},
		{name: "we are only the second host, by greeting", zone: twoMX(), scripts: map[string][]string{"192.0.2.2:25": {hello("mail.alpha.test")}}, want: []string{"later (down) 0 4.4.1"}},
		{name: "loopback", zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. A 127.0.0.1"}, want: []string{"never 0 5.4.4 : the address 127.0.0.1 of mx.beta.test is a loopback"}, dialled: []string{}},
		{name: "loopback in IPv6's clothes", zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. AAAA ::ffff:127.0.0.1"}, want: []string{"later (down) 0 4.4.4"}, dialled: []string{}},
		{name: "private", zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. A 10.0.0.1"}, want: []string{"later (down) 0 4.4.4"}, dialled: []string{}},
		{name: "private beside public", zone: append(oneMX(), "mx.beta.test. A 10.0.0.1"), want: []string{"later (down) 0 4.4.1"}, dialled: []string{mx}},
		{name: "loopback allowed", options: Options{AllowLoopback: true}, zone: []string{"beta.test. MX 10 mail.alpha.test.", "mail.alpha.test. A 127.0.0.1"},
			scripts: map[string][]string{"127.0.0.1:25": {hello("mail.alpha.test") + takes}}, want: []string{"done"}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestDNSFailureIsTemporary(t *testing.T) {
	o := newOutside(t, Options{}, oneMX(), nil)
	o.zone.Fail("beta.test")
	_, err := o.Route(t.Context(), queue.Stream{To: "beta.test"})
	if r, ok := errors.AsType[queue.Result](err); !ok || r.Verdict != queue.Later || r.Status != "4.4.3" {
		t.Errorf("got %v", err)
	}
	o.zone.Fail("mx.beta.test")
	o.zone.Add("gamma.test. MX 10 mx.beta.test.")
	if got := o.carry(t, envelopeTo(t, "x@gamma.test"), message); !strings.HasPrefix(got[0], "later (down) 0 4.4.3") {
		t.Errorf("got %s", got)
	}
}

// Domains behind the same hosts share their limits. One that names a stranger beside them does not: what the stranger does would
// be held against the others.
func TestRouteKey(t *testing.T) {
	o := newOutside(t, Options{}, []string{"a.test. MX 10 z.mx.", "a.test. MX 10 b.mx.", "c.test. MX 5 b.mx.", "c.test. MX 5 z.mx.", "c.test. MX 10 a.mx.",
		"d.test. MX 10 b.mx."}, nil)
	for d, want := range map[mail.Domain]string{"a.test": "b.mx z.mx", "c.test": "b.mx z.mx", "d.test": "b.mx"} {
		if r, err := o.Route(t.Context(), queue.Stream{To: d}); err != nil || r.Host != want {
			t.Errorf("%s goes by %q, %v", d, r.Host, err)
		}
	}
}

// A host that takes an octet now and then ends nothing and refuses nothing: the attempt ends all the same.
func TestCrawlingHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutside(t, Options{}, oneMX(), map[string][]string{mx: {hello("mx") + "C: MAIL*\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nCRAWL\n"}})
		begin := time.Now()
		got := o.carry(t, envelopeTo(t, "carol@beta.test"), message+strings.Repeat("Hello, and this is a long one.\r\n", 500))
		if took := time.Since(begin); took > 65*time.Minute {
			t.Errorf("it took %v", took)
		}
		if !strings.HasPrefix(got[0], "later (slow) 0 4.4.2") {
			t.Error(got)
		}
	})
}

// Thousands of hosts that took a message do not hold thousands of connections.
func TestRestingConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone, scripts := []string{}, map[string][]string{}
		for i := range maxAllResting + 5 {
			zone = append(zone, fmt.Sprintf("d%d.test. MX 10 mx%d.test.", i, i), fmt.Sprintf("mx%d.test. A 192.0.3.%d", i, i%250+1))
			addr := fmt.Sprintf("192.0.3.%d:25", i%250+1)
			scripts[addr] = append(scripts[addr], hello("mx")+strings.ReplaceAll(takes, "beta.test", fmt.Sprintf("d%d.test", i)))
		}
		o := newOutside(t, Options{}, zone, scripts)
		for i := range maxAllResting + 5 {
			if got := o.carry(t, envelopeTo(t, fmt.Sprintf("carol@d%d.test", i)), message); !strings.HasPrefix(got[0], "done") {
				t.Fatal(got)
			}
		}
		if n := len(o.pool.conns); n != maxAllResting {
			t.Errorf("%d connections wait", n)
		}
	})
}

func TestReplies(t *testing.T) {
	two := func(first string) map[string][]string {
		return map[string][]string{mx: {first}, "192.0.2.2:25": {hello("second") + takes}}
	}
	refusedAll := func(greeting string) map[string][]string {
		return map[string][]string{mx: {greeting}, "192.0.2.2:25": {greeting}}
	}
	begin := hello("mx.beta.test") + "C: MAIL FROM:<alice@alpha.test>*\n"
	for _, c := range []rule{
		{name: "554 greeting is the next one's turn", zone: twoMX(), scripts: two("S: 554 5.7.1 go away\n"), want: []string{"done"}},
		{name: "421 greeting is the next one's turn", zone: twoMX(), scripts: two("S: 421 4.3.2 busy\n"), want: []string{"done"}},
		{name: "EHLO refused", zone: twoMX(), scripts: two("S: 220 mx\nC: EHLO mail.alpha.test\nS: 451 4.3.0 no\n"), want: []string{"done"}},
		{name: "all greetings 554", zone: twoMX(), scripts: refusedAll("S: 554-5.7.1 go\nS: 554 5.7.1 away\n"),
			want: []string{"later (down) 554 4.7.1 second.beta.test: greeting: 5.7.1 go away"}},
		{name: "all greetings 421", zone: twoMX(), scripts: refusedAll("S: 421 4.3.2 busy\n"), want: []string{"later (slow) 421 4.3.2 second.beta.test"}},
		{name: "EHLO unknown, HELO taken", scripts: map[string][]string{mx: {"S: 220 mx\nC: EHLO mail.alpha.test\nS: 502 what\nC: HELO mail.alpha.test\nS: 250 mx\n" + takes}}, want: []string{"done"}},
		{name: "garbage", scripts: map[string][]string{mx: {"S: hello, this is a web server\nCLOSE\n"}}, want: []string{"later (down) 0 4.4.2"}},
		{name: "endless line", scripts: map[string][]string{mx: {"S: 220 " + strings.Repeat("x", 9000) + "\nCLOSE\n"}}, want: []string{"later (down) 0 4.4.2"}},
		{name: "lost in the greeting", zone: twoMX(), scripts: two("CLOSE\n"), want: []string{"done"}},
		{name: "lost before the message", zone: twoMX(), scripts: two(begin + "CLOSE\n"), want: []string{"done"}},
		{name: "lost before the message, nobody else", scripts: map[string][]string{mx: {begin + "CLOSE\n"}}, want: []string{"later 0 4.4.2"}},
		{name: "lost after the final dot: nobody else is asked", zone: twoMX(),
			scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go on\nDATA\nCLOSE\n"}},
			want:    []string{"later 0 4.4.2 : mx.beta.test [192.0.2.1]: the connection was lost behind the end"}, dialled: []string{mx}},
		{name: "MAIL 451", zone: twoMX(), scripts: map[string][]string{mx: {begin + "S: 451 4.3.0 not now\n"}}, want: []string{"later 451 4.3.0"}, dialled: []string{mx}},
		{name: "MAIL 421", scripts: map[string][]string{mx: {begin + "S: 421 4.7.0 too many\nCLOSE\n"}}, want: []string{"later (slow) 421 4.7.0"}},
		{name: "MAIL 550", scripts: map[string][]string{mx: {begin + "S: 550 5.7.1 spammer\n"}}, want: []string{"never 550 5.7.1 mx.beta.test: 5.7.1 spammer"}},
		{name: "RCPT 550 without code", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 550 no such user\nC: RSET\nS: 250 ok\n"}},
			want: []string{"never 550 5.0.0 mx.beta.test: no such user"}},
		{name: "RCPT greylisted", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 450 4.7.1 greylisted\nC: RSET\nS: 250 ok\n"}},
			want: []string{"later (slow) 450 4.7.1"}},
		{name: "452 after some: those later, the rest now", to: []string{"carol@beta.test", "dora@beta.test", "eve@beta.test"},
			scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: RCPT*\nS: 452 4.5.3 enough\nC: RCPT*\nS: 550 5.1.1 unknown\nC: DATA\nS: 354 go on\nDATA\nS: 250 2.0.0 taken\n"}},
			want:    []string{"done", "later 452 4.5.3", "never 550 5.1.1"}},
		{name: "552 after some is 452", to: []string{"carol@beta.test", "dora@beta.test", "eve@beta.test"},
			scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: RCPT*\nS: 552 too many recipients\nC: RCPT*\nS: 552 5.2.2 full\nC: DATA\nS: 354 go on\nDATA\nS: 250 2.0.0 taken\n"}},
			want:    []string{"done", "later 552 4.5.3", "never 552 5.2.2"}},
		{name: "DATA 554", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 554 5.6.0 no\n"}}, want: []string{"never 554 5.6.0"}},
		{name: "554 behind the message", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 554-5.7.1 spam\nS: 554 5.7.1 see our page\n"}},
			want: []string{"never 554 5.7.1 mx.beta.test: 5.7.1 spam see our page"}},
		{name: "451 behind the message", zone: twoMX(), scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 451 4.3.0 disk\n"}},
			want: []string{"later 451 4.3.0"}, dialled: []string{mx}},
		{name: "RCPT 550 and the connection ends", zone: twoMX(), scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 550 5.1.1 unknown\nCLOSE\n"}},
			want: []string{"never 550 5.1.1"}, dialled: []string{mx}},
		{name: "RCPT 421 and the connection ends", zone: twoMX(), to: []string{"carol@beta.test", "dora@beta.test"},
			scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 550 5.1.1 unknown\nC: RCPT*\nS: 421 4.7.0 too fast\nCLOSE\n"}},
			want:    []string{"never 550 5.1.1", "later (slow) 421 4.7.0"}, dialled: []string{mx}},
		{name: "RCPT 421 before the last", zone: twoMX(), to: []string{"carol@beta.test", "dora@beta.test"},
			scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 421 4.7.0 too fast\nCLOSE\n"}},
			want:    []string{"later (slow) 421 4.7.0", "later 0 4.4.2"}, dialled: []string{mx}},
		{name: "DATA 554 and the connection ends", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 554 5.7.1 no\nCLOSE\n"}},
			want: []string{"never 554 5.7.1"}},
		{name: "250 to DATA is no delivery", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 250 ok\n"}},
			want: []string{"later 0 4.4.2"}},
		{name: "354 behind the message is no delivery", scripts: map[string][]string{mx: {begin + "S: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 354 go\nCLOSE\n"}},
			want: []string{"later 354 4.0.0"}},
		{name: "a refusal tells more than silence", options: Options{MaxAddresses: 2}, zone: twoMX(), scripts: map[string][]string{mx: {"S: 554 5.7.1 you are on a list\n"}},
			want: []string{"later (down) 554 4.7.1 mx.beta.test: greeting: 5.7.1 you are on a list"}, dialled: []string{mx, "192.0.2.2:25"}},
		{name: "endless answers", scripts: map[string][]string{mx: {"S: 220 mx\nC: EHLO*\n" + strings.Repeat("S: 250-x\n", 199) + "S: 250-x\n"}}, want: []string{"later (down) 0 4.4.2"}},
		{name: "silence", options: Options{}, scripts: map[string][]string{mx: {hello("mx") + "C: MAIL*\nSILENCE\n"}}, want: []string{"later 0 4.4.2"}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestExtensions(t *testing.T) {
	mailFrom := "C: MAIL FROM:<alice@alpha.test>"
	rest := "S: 250 ok\nC: DATA\nS: 354 go on\nDATA\nS: 250 2.0.0 taken\n"
	dsn := func(e *mail.Envelope) {
		e.Return, e.EnvelopeID = mail.ReturnHeaders, "a b"
		e.Recipients[0].Notify = mail.NotifySuccess | mail.NotifyFailure
		e.Recipients[0].OriginalType, e.Recipients[0].Original = "RFC822", "c+d@x.test"
	}
	utf8 := func(e *mail.Envelope) { e.UTF8 = true }
	eight := func(e *mail.Envelope) { e.Body = mail.Body8BitMIME }
	for _, c := range []rule{
		{name: "DSN goes along", change: dsn, scripts: map[string][]string{mx: {hello("mx", "DSN", "PIPELINING") +
			mailFrom + " RET=HDRS ENVID=a+20b\nC: RCPT TO:<carol@beta.test> NOTIFY=SUCCESS,FAILURE ORCPT=RFC822;c+2Bd@x.test\nS: 250 ok\n" + rest}}, want: []string{"done passed"}},
		{name: "no DSN there", change: dsn, scripts: map[string][]string{mx: {hello("mx") + mailFrom + "\nS: 250 ok\nC: RCPT TO:<carol@beta.test>\n" + rest}}, want: []string{"done relayed"}},
		{name: "SIZE says it before", scripts: map[string][]string{mx: {hello("mx", "SIZE 20")}}, want: []string{"never 0 5.3.4 mx.beta.test: the message has 51 octets, and the mail server takes no more than 20"}},
		{name: "SIZE counts the fields of this copy", change: func(e *mail.Envelope) { e.Front = "List-Id: <x.test>\r\n" }, scripts: map[string][]string{mx: {hello("mx", "SIZE 60")}},
			want: []string{"never 0 5.3.4 mx.beta.test: the message has 70 octets, and the mail server takes no more than 60"}},
		{name: "SIZE fits", scripts: map[string][]string{mx: {hello("mx", "SIZE 51") + mailFrom + " SIZE=51\nS: 250 ok\nC: RCPT TO:<carol@beta.test>\n" + rest}}, want: []string{"done"}},
		{name: "8BITMIME", change: eight, content: "Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n",
			scripts: map[string][]string{mx: {hello("mx", "8BITMIME") + mailFrom + " BODY=8BITMIME\nS: 250 ok\nC: RCPT*\n" + rest}}, want: []string{"done"}},
		{name: "no 8BITMIME", change: eight, content: "Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n", scripts: map[string][]string{mx: {hello("mx")}}, want: []string{"never 0 5.6.3"}},
		{name: "no 8BITMIME, and nothing that needs it", change: eight, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "SMTPUTF8", to: []string{"käthe@beta.test"}, scripts: map[string][]string{mx: {hello("mx", "SMTPUTF8", "8BITMIME") + mailFrom + " SMTPUTF8\nS: 250 ok\nC: RCPT TO:<käthe@beta.test>\n" + rest}},
			want: []string{"done"}},
		{name: "no SMTPUTF8 for the address", to: []string{"käthe@beta.test"}, scripts: map[string][]string{mx: {hello("mx")}}, want: []string{"never 0 5.6.7"}},
		{name: "no SMTPUTF8 for the header", change: utf8, content: "Subject: Grüße\r\n\r\nx\r\n", scripts: map[string][]string{mx: {hello("mx")}}, want: []string{"never 0 5.6.7"}},
		{name: "no SMTPUTF8, and nothing that needs it", change: utf8, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "RCPTMAX", to: []string{"a@beta.test", "b@beta.test", "c@beta.test"}, scripts: map[string][]string{mx: {hello("mx", "LIMITS RCPTMAX=2") +
			mailFrom + "\nS: 250 ok\nC: RCPT TO:<a@beta.test>\nS: 250 ok\nC: RCPT TO:<b@beta.test>\n" + rest +
			mailFrom + "\nS: 250 ok\nC: RCPT TO:<c@beta.test>\n" + strings.Replace(rest, "250 2.0.0 taken", "450 4.2.0 later", 1)}},
			want: []string{"done", "done", "later 450 4.2.0"}},
		{name: "lost between two transactions", to: []string{"a@beta.test", "b@beta.test"}, scripts: map[string][]string{mx: {hello("mx", "LIMITS RCPTMAX=1") +
			mailFrom + "\nS: 250 ok\nC: RCPT TO:<a@beta.test>\n" + rest + "CLOSE\n"}}, want: []string{"done", "later 0 4.4.2"}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestTLS(t *testing.T) {
	start := hello("mx", "STARTTLS") + "C: STARTTLS\n"
	inside := "S: 220 go ahead\nSTARTTLS\nC: EHLO mail.alpha.test\n" + offer("mx") + takes
	must := policy(tlspolicy.Verdict{Kind: tlspolicy.STS, Required: true})
	wrong := policy(tlspolicy.Verdict{Kind: tlspolicy.DANE, Required: true, Verify: func(tls.ConnectionState) error {
		return &tlspolicy.Error{Type: "validation-failure", Reason: "no TLSA record fits"}
	}})
	for _, c := range []rule{
		{name: "opportunistic", scripts: map[string][]string{mx: {start + inside}}, want: []string{"done relayed 250 2.0.0 mx.beta.test: 2.0.0 taken {[192.0.2.1] TLS 1.3"}},
		{name: "handshake fails: once more in clear", scripts: map[string][]string{mx: {start + "S: 220 go ahead\nBREAK\n", hello("mx", "STARTTLS") + takes}},
			want: []string{"done relayed 250 2.0.0 mx.beta.test: 2.0.0 taken {[192.0.2.1] clear}"}, dialled: []string{mx, mx}},
		{name: "STARTTLS refused: on in clear", scripts: map[string][]string{mx: {start + "S: 454 4.7.0 not now\n" + takes}}, want: []string{"done"}, dialled: []string{mx}},
		{name: "required and given", options: must, scripts: map[string][]string{mx: {start + inside}}, want: []string{"done"}},
		{name: "required and not offered", options: must, scripts: map[string][]string{mx: {hello("mx")}},
			want: []string{"later 0 4.7.5 : mx.beta.test [192.0.2.1]: TLS required by the domain's policy (MTA-STS): it does not offer STARTTLS"}},
		{name: "required and broken", options: must, scripts: map[string][]string{mx: {start + "S: 220 go ahead\nBREAK\n"}}, want: []string{"later 0 4.7.5"}, dialled: []string{mx}},
		{name: "required and refused", options: must, scripts: map[string][]string{mx: {start + "S: 454 4.7.0 not now\n"}}, want: []string{"later 0 4.7.5"}},
		{name: "certificate does not fit", options: wrong, scripts: map[string][]string{mx: {start + "S: 220 go ahead\nBREAK2\n"}}, want: []string{"later 0 4.7.5 : mx.beta.test [192.0.2.1]: TLS required by the domain's policy (DANE): no TLSA record fits"}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestSmartHost(t *testing.T) {
	smart := func(change func(h *SmartHost)) Options {
		h := SmartHost{Host: "smart.test", User: "u", Password: "p"}
		change(&h)
		return Options{SmartHosts: []SmartHost{h}}
	}
	nobody := &tls.Config{RootCAs: x509.NewCertPool()}
	with := func(c *tls.Config, o Options) Options { o.TLS = c; return o }
	zone := append(oneMX(), "smart.test. A 192.0.2.5")
	const plain = "C: AUTH PLAIN AHUAcA==\n"
	secured := func(offers ...string) string {
		return hello("smart.test", "STARTTLS") + "C: STARTTLS\nS: 220 go\nSTARTTLS\nC: EHLO mail.alpha.test\n" + offer("smart.test", offers...)
	}
	for _, c := range []rule{
		{name: "STARTTLS and PLAIN", options: smart(func(*SmartHost) {}), zone: zone,
			scripts: map[string][]string{"192.0.2.5:587": {secured("AUTH LOGIN PLAIN") + plain + "S: 235 ok\n" + takes}}, want: []string{"done relayed 250 2.0.0 smart.test"}},
		{name: "implicit TLS and LOGIN", options: smart(func(h *SmartHost) { h.TLS = Implicit }), zone: zone,
			scripts: map[string][]string{"192.0.2.5:465": {"STARTTLS\n" + hello("smart.test", "AUTH LOGIN") + "C: AUTH LOGIN*\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 ok\n" + takes}}, want: []string{"done"}},
		{name: "no TLS offered: no password", options: smart(func(*SmartHost) {}), zone: zone,
			scripts: map[string][]string{"192.0.2.5:587": {hello("smart.test", "AUTH PLAIN")}}, want: []string{"later (down) 0 4.7.5"}},
		{name: "wrong name in the certificate", options: smart(func(h *SmartHost) { h.Host = "other.test" }), zone: append(zone, "other.test. A 192.0.2.6"),
			scripts: map[string][]string{"192.0.2.6:587": {hello("other.test", "STARTTLS") + "C: STARTTLS\nS: 220 go\nBREAK2\n"}}, want: []string{"later (down) 0 4.7.5"}},
		{name: "an authority that nobody knows", options: with(nobody, smart(func(*SmartHost) {})), zone: zone,
			scripts: map[string][]string{"192.0.2.5:587": {hello("smart.test", "STARTTLS") + "C: STARTTLS\nS: 220 go\nBREAK2\n"}}, want: []string{"later (down) 0 4.7.5"}},
		{name: "an authority of its own", options: with(nobody, smart(func(h *SmartHost) { h.Roots = x509.NewCertPool() })), zone: zone,
			scripts: map[string][]string{"192.0.2.5:587": {secured("AUTH PLAIN") + plain + "S: 235 ok\n" + takes}}, want: []string{"done"}},
		{name: "in clear, as told", options: smart(func(h *SmartHost) { h.TLS, h.User, h.Port = Clear, "", 26 }), zone: zone,
			scripts: map[string][]string{"192.0.2.5:26": {hello("smart.test", "STARTTLS") + takes}}, want: []string{"done"}},
		{name: "wrong password is not the message's end", options: smart(func(*SmartHost) {}), zone: zone,
			scripts: map[string][]string{"192.0.2.5:587": {secured("AUTH PLAIN") + plain + "S: 535 5.7.8 wrong\n"}}, want: []string{"later (down) 535 4.7.8 smart.test: AUTH: 5.7.8 wrong"}},
		{name: "private address, as told", options: smart(func(h *SmartHost) { h.TLS, h.User, h.Host = Clear, "", "10.0.0.9" }), zone: zone,
			scripts: map[string][]string{"10.0.0.9:587": {hello("smart.test") + takes}}, want: []string{"done"}},
		{name: "not for this sender", options: smart(func(h *SmartHost) { h.Senders = []mail.Domain{"other.test"} }), zone: zone,
			scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "not before some tries", options: smart(func(h *SmartHost) { h.After = 2 }), zone: zone,
			scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
	} {
		t.Run(c.name, c.run)
	}
	o := newOutside(t, smart(func(h *SmartHost) { h.After = 2 }), zone, nil)
	if r, err := o.Route(t.Context(), queue.Stream{From: "alpha.test", To: "beta.test", Tries: 2}); err != nil || r.Host != "smart smart.test" {
		t.Errorf("after two tries: %q, %v", r.Host, err)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := strings.ReplaceAll(takes, "carol@beta.test", "dora@gamma.test")
		o := newOutside(t, Options{}, append(oneMX(), "gamma.test. MX 10 mx.beta.test.", "delta.test. MX 10 other.test.", "other.test. A 192.0.2.1"),
			map[string][]string{mx: {hello("mx") + takes + second, hello("mx") + strings.ReplaceAll(takes, "carol@beta", "eve@delta"), hello("mx") + takes}})
		for _, to := range []string{"carol@beta.test", "dora@gamma.test", "eve@delta.test"} {
			// The last one's host has the same address and another name: it gets a connection of its own.
			if got := o.carry(t, envelopeTo(t, to), message); !strings.HasPrefix(got[0], "done") {
				t.Fatalf("%s: %s", to, got)
			}
		}
		if len(o.net.dialled) != 2 {
			t.Errorf("dialled %v", o.net.dialled)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if len(o.pool.conns) != 0 {
			t.Error("connections outlive their time")
		}
		if got := o.carry(t, envelopeTo(t, "carol@beta.test"), message); !strings.HasPrefix(got[0], "done") {
			t.Fatal(got)
		}
	})
}

// A host that closed the connection while it waited is asked anew, and not blamed.
func TestStaleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		again := "C: MAIL FROM*\nCLOSE\n"
		o := newOutside(t, Options{}, oneMX(), map[string][]string{mx: {hello("mx") + takes + again, hello("mx") + takes + "CLOSE\n", hello("mx") + takes}})
		for i := range 3 {
			if got := o.carry(t, envelopeTo(t, "carol@beta.test"), message); !strings.HasPrefix(got[0], "done") {
				t.Fatalf("message %d: %s", i, got)
			}
			synctest.Wait()
		}
	})
}

// What a host says of a connection that has waited, or carried enough, is nothing about the message: a new one tells.
func TestTiredConnection(t *testing.T) {
	for _, said := range []string{"421 4.4.2 timeout", "421 too many messages on this connection", "451 4.4.2 you were away for long", "503 5.5.1 sender already given"} {
		for then, want := range map[string]string{
			takes: "done",
			"C: MAIL FROM*\nS: 421 4.7.0 slow down\nCLOSE\n": "later (slow) 421 4.7.0", // the new one counts
			"C: MAIL FROM*\nS: 550 5.7.1 no\n":               "never 550 5.7.1",
		} {
			synctest.Test(t, func(t *testing.T) {
				o := newOutside(t, Options{}, oneMX(), map[string][]string{mx: {hello("mx") + takes + "C: MAIL FROM*\nS: " + said + "\nCLOSE\n", hello("mx") + then}})
				for i, want := range []string{"done", want} {
					if got := o.carry(t, envelopeTo(t, "carol@beta.test"), message); !strings.HasPrefix(got[0], want) {
						t.Errorf("%s: message %d: %s, want %s", said, i, got, want)
					}
				}
			})
		}
	}
}

func TestReturnPathStaysBehind(t *testing.T) {
	for in, want := range map[string]string{
		"Return-Path: <>\r\nSubject: x\r\n\r\n":              "Subject: x\r\n\r\n",
		"RETURN-path:\r\n <a@b.test>\r\nSubject: x\r\n\r\ny": "Subject: x\r\n\r\ny",
		"Subject: x\r\nReturn-Path: <>\r\n\r\n":              "Subject: x\r\nReturn-Path: <>\r\n\r\n",
		"Return-Path: " + strings.Repeat("x", 5000) + "\r\n": "Return-Path: " + strings.Repeat("x", 5000) + "\r\n",
		"": "", "Ret": "Ret",
	} {
		got, err := io.ReadAll(withoutReturnPath(io.NewSectionReader(strings.NewReader(in), 0, int64(len(in)))))
		if err != nil || string(got) != want {
			t.Errorf("%.40q became %.40q, %v", in, got, err)
		}
	}
}

// MAILMAX of LIMITS ends a connection, and so does our own bound.
func TestConnectionLimits(t *testing.T) {
	for _, c := range []struct {
		o     Options
		offer string
	}{{Options{}, "LIMITS MAILMAX=1"}, {Options{MaxUses: 1}, "HELP"}} {
		synctest.Test(t, func(t *testing.T) {
			o := newOutside(t, c.o, oneMX(), map[string][]string{mx: {hello("mx", c.offer) + takes, hello("mx") + takes}})
			for range 2 {
				if got := o.carry(t, envelopeTo(t, "carol@beta.test"), message); !strings.HasPrefix(got[0], "done") {
					t.Fatal(got)
				}
			}
		})
	}
}
