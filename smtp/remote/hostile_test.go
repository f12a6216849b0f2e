package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// stages of a session, by what the client has said before.
func stages() []string { return []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} }

// evil is a host that is honest up to a stage. It counts what it could say there.
type evil struct {
	stage string
	act   func(w io.Writer)
	said  atomic.Int64
}

func (e *evil) Write(nc net.Conn, p []byte) (int, error) {
	n, err := nc.Write(p)
	e.said.Add(int64(n))
	return n, err
}

// counted is what an act writes through.
type counted struct {
	e  *evil
	nc net.Conn
}

func (c counted) Write(p []byte) (int, error) { return c.e.Write(c.nc, p) }

// serve plays the host until the client goes.
func (e *evil) serve(nc net.Conn) {
	defer nc.Close()
	reply := func(stage, text string) bool {
		if stage == e.stage {
			e.act(counted{e, nc})
			return false
		}
		_, err := io.WriteString(nc, text+"\r\n")
		return err == nil
	}
	r := bufio.NewReader(nc)
	if !reply("greeting", "220 mx.beta.test") {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		text := "250 2.0.0 ok"
		switch verb {
		case "EHLO":
			text = "250-mx.beta.test\r\n250 ENHANCEDSTATUSCODES"
		case "DATA":
			text = "354 go on"
		case "QUIT":
			text = "221 bye"
		}
		if !reply(verb, text) {
			return
		}
		if verb != "DATA" {
			continue
		}
		for line != ".\r\n" {
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
		}
		if !reply(".", "250 2.0.0 taken") {
			return
		}
	}
}

// repeat says p again and again until nobody listens.
func repeat(w io.Writer, p string, every time.Duration) {
	for _, err := io.WriteString(w, p); err == nil; _, err = io.WriteString(w, p) {
		if every > 0 {
			<-time.After(every)
		}
	}
}

// acts are what a hostile or broken host does instead of answering.
func acts() map[string]func(w io.Writer) {
	return map[string]func(w io.Writer){
		"closes":              func(io.Writer) {},
		"is a web server":     func(w io.Writer) { io.WriteString(w, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"speaks binary":       func(w io.Writer) { io.WriteString(w, "\x16\x03\x01\x00\xff\x00\r\n") },
		"has odd codes":       func(w io.Writer) { io.WriteString(w, "999 ok\r\n250 ok\r\n") },
		"has short codes":     func(w io.Writer) { io.WriteString(w, "25\r\n") },
		"one octet a second":  func(w io.Writer) { dripped := dripper{w}; repeat(dripped, "250-x\r\n", 0) },
		"endless lines":       func(w io.Writer) { repeat(w, "250-and so on\r\n", 0) },
		"endless slow lines":  func(w io.Writer) { repeat(w, "250-and so on\r\n", 10*time.Second) },
		"a line of megabytes": func(w io.Writer) { io.WriteString(w, "250 "); repeat(w, strings.Repeat("x", 1<<16), 0) },
		"a bare LF for ever":  func(w io.Writer) { repeat(w, "\n", 0) },
		"silence":             func(w io.Writer) { <-time.After(24 * time.Hour) },
	}
}

// dripper writes an octet a second.
type dripper struct{ w io.Writer }

func (d dripper) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.w.Write(p[i : i+1]); err != nil {
			return i, err
		}
		<-time.After(time.Second)
	}
	return len(p), nil
}

// TestHostileHosts: whatever a host does at whatever stage, the attempt ends in bounded time without reading much. Before the message's end
// it is the next host's turn; behind it nobody else gets the message, since this one may have it (RFC 1047), and it is tried again later.
func TestHostileHosts(t *testing.T) {
	for _, stage := range stages() {
		for name, act := range acts() {
			t.Run(stage+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bad := &evil{stage: stage, act: act}
					good := &evil{}
					o := newOutside(t, Options{}, twoMX(), nil)
					o.meet(map[string]*evil{mx: bad, "192.0.2.2:25": good})
					begin := time.Now()
					r := o.once(t, "carol@beta.test")
					if took := time.Since(begin); took > 25*time.Minute {
						t.Errorf("it took %v", took)
					}
					if n := bad.said.Load(); n > 64<<10 {
						t.Errorf("%d octets of it were read", n)
					}
					switch {
					case stage == "." && (r.Verdict != queue.Later || r.Status != "4.4.2" || !strings.Contains(r.Text, "may have been taken") || slices.Contains(o.net.dialled, "192.0.2.2:25")):
						t.Errorf("%s; dialled %v", show(r), o.net.dialled)
					case stage != "." && (r.Verdict != queue.Done || r.Remote != "second.beta.test"):
						t.Error(show(r))
					}
					// Alone it is one to come back to, with something to say of it.
					o = newOutside(t, Options{}, oneMX(), nil)
					o.meet(map[string]*evil{mx: {stage: stage, act: act}})
					if r := o.once(t, "carol@beta.test"); r.Verdict != queue.Later || !strings.Contains(r.Text, "mx.beta.test [192.0.2.1]") {
						t.Error(show(r))
					}
				})
			})
		}
	}
}

// meet lets the carrier reach these hosts, any number of times.
func (o *outside) meet(hosts map[string]*evil) {
	o.o.Dial = func(_ context.Context, to netip.AddrPort) (net.Conn, error) {
		o.net.mu.Lock()
		defer o.net.mu.Unlock()
		o.net.dialled = append(o.net.dialled, to.String())
		e := hosts[to.String()]
		if e == nil {
			return nil, fmt.Errorf("nobody at %s", to)
		}
		client, server := net.Pipe()
		o.net.wg.Go(func() { e.serve(server) })
		return client, nil
	}
}

// once carries a message and returns what came of its recipient.
func (o *outside) once(t *testing.T, to string) queue.Result {
	t.Helper()
	e := envelopeTo(t, to)
	r, err := o.Route(t.Context(), queue.Stream{From: e.From.Domain, To: e.Recipients[0].Address.Domain})
	if err != nil {
		return err.(queue.Result)
	}
	a := queue.Attempt{Item: queue.Item{ID: "1", Domain: e.Recipients[0].Address.Domain, Envelope: e, Size: int64(len(message))},
		Content: io.NewSectionReader(strings.NewReader(message), 0, int64(len(message)))}
	results := o.Deliver(t.Context(), r, a).Results
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	return results[0]
}

// TestHostileWords: an answer that is one, with characters that are not for logs, reports and terminals. It counts, and is cleaned.
func TestHostileWords(t *testing.T) {
	for _, words := range []string{
		"\x00\x1b[31mred\x1b[0m\x07", "caf\xe9 \xff\xfe", "\u009b31m and \u0085", "\u202egpj.exe\u2066x\u2069", "a\rb\rc", strings.Repeat("long ", 700), "\u2028next\u2029", "\ufeff",
		"250 2.0.0 taken", "5.1.1 5.1.1 5.1.1", "999.999.999 x", "-1.2.3 x",
	} {
		for _, stage := range stages()[2:] {
			synctest.Test(t, func(t *testing.T) {
				o := newOutside(t, Options{}, oneMX(), nil)
				o.meet(map[string]*evil{mx: {stage: stage, act: func(w io.Writer) { io.WriteString(w, "550-"+words+"\r\n550 "+words+"\r\n") }}})
				r := o.once(t, "carol@beta.test")
				if strings.Contains(words, "\r") { // a bare CR is no line end and no character of a line: whatever is made of it, it is no delivery
					if r.Verdict == queue.Done {
						t.Errorf("%q: %s", words, show(r))
					}
				} else if r.Verdict != queue.Never || r.Code != 550 || r.Status[0] != '5' {
					t.Errorf("%q to %s: %s", words, stage, show(r))
				}
				harmless(t, r)
			})
		}
	}
}

func harmless(t *testing.T, r queue.Result) {
	t.Helper()
	for _, s := range []string{r.Text, r.Status, r.Remote, r.Detail} {
		if !utf8.ValidString(s) || len(s) > 2200 {
			t.Errorf("%d octets: %.100q", len(s), s)
		}
		for _, c := range s {
			if unicode.IsControl(c) || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c == 0x2028 || c == 0x2029 {
				t.Errorf("%U in %.200q", c, s)
			}
		}
	}
}

// TestHostileTLS: a host that offers TLS and means something else. Without a policy the mail goes in clear over a new connection, which is
// what a host without TLS would get; with one it waits.
func TestHostileTLS(t *testing.T) {
	start := hello("mx", "STARTTLS") + "C: STARTTLS\n"
	clear := hello("mx", "STARTTLS") + takes
	must := policy(tlspolicy.Verdict{Kind: tlspolicy.STS, Required: true, Verify: func(tls.ConnectionState) error { return nil }})
	inside := "STARTTLS\nC: EHLO mail.alpha.test\n" + offer("mx") + takes
	for _, c := range []struct {
		name, script string
		way          string // "again": in clear over a new connection; "same": in clear over this one; "tls": it comes to TLS
	}{
		{"garbage in the handshake", start + "S: 220 go\nBREAK\n", "again"},
		{"closes behind 220", start + "S: 220 go\nCLOSE\n", "again"},
		{"silence behind 220", start + "S: 220 go\nSILENCE\n", "again"},
		{"plain text behind 220", start + "S: 220 go\r\n250 2.0.0 injected\nCLOSE\n", "again"},
		{"250 is not 220", start + "S: 250 go\n" + takes, "same"},
		{"502", start + "S: 502 what\n" + takes, "same"},
		{"454", start + "S: 454 4.7.0 not now\n" + takes, "same"},
		{"closes at STARTTLS", start + "CLOSE\n", "again"},
		{"answers in the same breath", start + "S: 220 go\r\n250-injected\r\n250 AUTH PLAIN\n" + inside, "tls"},
		{"stripped", hello("mx") + takes, "same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			open := map[string][]string{mx: {c.script}}
			security := "clear"
			switch c.way {
			case "again":
				open[mx] = append(open[mx], clear)
			case "tls":
				security = "TLS 1.3"
			}
			rule{scripts: open, want: []string{"done relayed 250 2.0.0 mx.beta.test: 2.0.0 taken {[192.0.2.1] " + security}}.run(t)
			strict := rule{options: must, scripts: map[string][]string{mx: {strings.TrimSuffix(c.script, takes)}}, want: []string{"later 0 4.7.5"}, dialled: []string{mx}}
			if c.way == "tls" {
				strict = rule{options: must, scripts: map[string][]string{mx: {c.script}}, want: []string{"done relayed 250 2.0.0 mx.beta.test: 2.0.0 taken {[192.0.2.1] TLS 1.3"}}
			}
			strict.run(t)
		})
	}
}

// TestHostileAddresses: a stranger's domain cannot make us speak to ourselves or to the network behind us.
func TestHostileAddresses(t *testing.T) {
	const never, later, goes = "never 0 5.4.4", "later (down) 0 4.4.4", "later (down) 0 4.4.1"
	for record, want := range map[string]string{
		"A 127.0.0.1": never, "A 127.255.255.254": never, "AAAA ::1": never, "A 0.0.0.0": never, "A 0.0.0.1": never, "AAAA ::": never, "A 255.255.255.255": never, "A 240.0.0.1": never,
		"A 224.0.0.1": never, "AAAA ff02::1": never, "AAAA 100::1": never, "A 169.254.169.254": never, "AAAA fe80::1": never,
		"AAAA 64:ff9b::7f00:1": never, "AAAA 2002:7f00:1::1": never, "AAAA ::127.0.0.1": never, "AAAA 2002:a9fe:a9fe::": never,
		"A 10.0.0.1": later, "A 172.31.255.1": later, "A 192.168.1.1": later, "A 100.64.0.1": later, "A 198.18.0.1": later, "A 192.0.0.8": later, "AAAA fd00::1": later, "AAAA fec0::1": later,
		"AAAA 64:ff9b::a00:1": later, "AAAA 2002:c0a8:101::1": later, "AAAA 64:ff9b:1::1": later,
		"A 192.0.2.1": goes, "AAAA 2001:db8::1": goes, "AAAA 64:ff9b::c000:201": goes, "AAAA 2002:c000:201::1": goes, "A 100.128.0.1": goes, "A 172.32.0.1": goes,
	} {
		c := rule{zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. " + record}, want: []string{want}}
		if want != goes {
			c.dialled = []string{}
		}
		t.Run(record, c.run)
	}
	for name, c := range map[string]rule{
		"never beside private":  {zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. A 127.0.0.1", "mx.beta.test. A 10.0.0.1"}, want: []string{later}, dialled: []string{}},
		"never beside dead":     {zone: append(oneMX(), "beta.test. MX 20 x.test.", "x.test. A 127.0.0.1"), want: []string{"later 0 4.4.4"}, dialled: []string{mx}},
		"a number for a name":   {zone: []string{"beta.test. MX 10 127.0.0.1."}, want: []string{never}, dialled: []string{}},
		"a literal of loopback": {to: []string{"carol@[127.0.0.1]"}, want: []string{never}, dialled: []string{}},
		"a literal in IPv6":     {to: []string{"carol@[IPv6:::1]"}, want: []string{never}, dialled: []string{}},
	} {
		t.Run(name, c.run)
	}
}

// TestHostileNames: MX records in numbers, in circles, and of names that are no hosts.
func TestHostileNames(t *testing.T) {
	thousand := []string{}
	for i := range 1000 {
		thousand = append(thousand, fmt.Sprintf("beta.test. MX %d mx%d.beta.test.", i%7, i), fmt.Sprintf("mx%d.beta.test. A 192.0.2.%d", i, i%200+1))
	}
	dead := func(from string, n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(from, i))
		}
		return list
	}
	for name, c := range map[string]rule{
		"an MX that is an alias":    {zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. CNAME real.test.", "real.test. A 192.0.2.1"}, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		"a domain that is an alias": {zone: []string{"beta.test. CNAME gamma.test.", "gamma.test. MX 10 mx.beta.test.", "mx.beta.test. A 192.0.2.1"}, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		"an alias of itself":        {zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. CNAME mx.beta.test."}, want: []string{"later (down) 0 4.4."}, dialled: []string{}},
		"aliases in a circle":       {zone: []string{"beta.test. MX 10 a.test.", "a.test. CNAME b.test.", "b.test. CNAME a.test."}, want: []string{"later (down) 0 4.4."}, dialled: []string{}},
		"the domain in a circle":    {zone: []string{"beta.test. CNAME b.test.", "b.test. CNAME beta.test."}, want: []string{""}, dialled: []string{}},
		"an alias of us":            {zone: []string{"beta.test. MX 10 mx.beta.test.", "mx.beta.test. CNAME us.test.", "us.test. A 198.51.100.1"}, want: []string{"never 0 5.4.6"}, dialled: []string{}},
		"null MX beside others":     {zone: append(oneMX(), "beta.test. MX 0 ."), scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		"null MX twice":             {zone: []string{"beta.test. MX 0 .", "beta.test. MX 10 ."}, want: []string{"never"}, dialled: []string{}},
		"the domain as its own MX":  {zone: []string{"beta.test. MX 10 beta.test.", "beta.test. A 192.0.2.1"}, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
	} {
		t.Run(name, c.run)
	}
	synctest.Test(t, func(t *testing.T) {
		o := newOutside(t, Options{}, thousand, nil)
		r, err := o.Route(t.Context(), queue.Stream{To: "beta.test"})
		if err != nil || len(r.Host) > 255 {
			t.Errorf("%d octets for the host's name, %v", len(r.Host), err)
		}
		if got := o.carry(t, envelopeTo(t, "carol@beta.test"), message); !strings.HasPrefix(got[0], "later (down) 0 4.4.1") || len(o.net.dialled) != 8 {
			t.Errorf("%s; %d dialled", got, len(o.net.dialled))
		}
	})
	// Thirty exchangers of equal rank whose name servers say nothing, and one that takes mail.
	synctest.Test(t, func(t *testing.T) {
		o := newOutside(t, Options{}, append(dead("beta.test. MX 10 dead%d.test.", 29), "beta.test. MX 20 mx.beta.test.", "mx.beta.test. A 192.0.2.1"),
			map[string][]string{mx: {hello("mx") + takes}})
		o.o.Resolver = mute{o.o.Resolver}
		begin := time.Now()
		if got := o.carry(t, envelopeTo(t, "carol@beta.test"), message); !strings.HasPrefix(got[0], "done") || time.Since(begin) > time.Minute {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
	})
}

// mute is a resolver whose names called dead are not answered for.
type mute struct{ dns.Resolver }

func (m mute) IP(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	if !strings.HasPrefix(host, "dead") {
		return m.Resolver.IP(ctx, host)
	}
	select {
	case <-time.After(10 * time.Second):
		return nil, false, fmt.Errorf("no answer about %s", host)
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// A message for a hundred recipients at a host that answers each just in time is over within the attempt's time.
func TestHostJustInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutside(t, Options{}, oneMX(), nil)
		client, server := net.Pipe()
		o.o.Dial = func(context.Context, netip.AddrPort) (net.Conn, error) { return client, nil }
		o.net.wg.Go(func() {
			defer server.Close()
			r := bufio.NewReader(server)
			for text, err := "220 mx", error(nil); err == nil; text = "250 ok" {
				if _, err = io.WriteString(server, text+"\r\n"); err == nil {
					_, err = r.ReadString('\n')
				}
				<-time.After(290 * time.Second)
			}
		})
		var to []string
		for i := range 100 {
			to = append(to, fmt.Sprintf("u%d@beta.test", i))
		}
		begin := time.Now()
		got := o.carry(t, envelopeTo(t, to...), message)
		if took := time.Since(begin); took > 61*time.Minute || !strings.HasPrefix(got[0], "later (slow)") {
			t.Errorf("%s after %v", got[0], took)
		}
	})
}
