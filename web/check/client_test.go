package check_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/web/check"
)

// clientWorld is a house with doors of its own, that a mail program might meet.
type clientWorld struct {
	t     *testing.T
	o     check.ClientOptions
	doors map[string]func(net.Conn) // by port
	shown *tls.Config
	dials atomic.Int32
}

// newClientWorld has all doors as they should be, with a certificate for the names given; none: the right ones.
func newClientWorld(t *testing.T, names []string, lines ...string) *clientWorld {
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if names == nil {
		names = []string{"mx.one.test", "autoconfig.one.test", "autodiscover.one.test"}
	}
	pair, err := ca.Leaf(names...)
	if err != nil {
		t.Fatal(err)
	}
	shown := &tls.Config{Certificates: []tls.Certificate{pair}}
	w := &clientWorld{t: t}
	w.o.Options = options(t, nil, append([]string{"autoconfig.one.test. CNAME mx.one.test.", "autodiscover.one.test. CNAME mx.one.test."}, lines...)...)
	w.o.Roots, w.o.Domain, w.o.Address = ca.Pool(), w.o.Domains[0], "alice@one.test"
	w.o.Doors = []check.Door{{Protocol: "IMAP", Port: 993, TLS: true}, {Protocol: "POP3", Port: 995, TLS: true}, {Protocol: "SMTP", Port: 465, TLS: true}, {Protocol: "IMAP", Port: 143}, {Protocol: "SMTP", Port: 587}, {Protocol: "POP3", Port: 110}}
	secure := func(answers func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) { answers(tls.Server(c, shown)) }
	}
	w.doors = map[string]func(net.Conn){
		"993": secure(says("* OK ready", imapSays, nil)), "143": says("* OK ready", imapSays, shown),
		"995": secure(says("+OK ready", popSays, nil)), "110": says("+OK ready", popSays, shown),
		"465": secure(says("220 mx.one.test ready", smtpSays, nil)), "587": says("220 mx.one.test ready", smtpSays, shown),
		"443": secure(w.pages), "80": w.pages,
	}
	w.shown = shown
	w.o.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		w.dials.Add(1)
		_, port, _ := net.SplitHostPort(address)
		answers := w.doors[port]
		if answers == nil {
			return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("connection refused")}
		}
		ours, theirs := net.Pipe()
		go answers(theirs)
		return ours, nil
	}
	return w
}

// says is a door that greets and answers commands; with shown it does STARTTLS.
func says(greeting string, reply map[string]string, shown *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		defer c.Close()
		fmt.Fprint(c, greeting+"\r\n")
		in, shown := bufio.NewScanner(c), shown // each connection begins in clear
		for in.Scan() {
			word := strings.TrimPrefix(in.Text(), "a ")
			verb, _, _ := strings.Cut(word, " ")
			fmt.Fprint(c, strings.ReplaceAll(reply[verb], "\n", "\r\n")+"\r\n")
			if (verb == "STARTTLS" || verb == "STLS") && shown != nil {
				t := tls.Server(c, shown)
				c, in, shown = t, bufio.NewScanner(t), nil
			}
			if verb == "LOGOUT" || verb == "QUIT" {
				return
			}
		}
	}
}

var (
	imapSays = map[string]string{"CAPABILITY": "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=LOGIN\na OK done", "STARTTLS": "a OK begin", "LOGOUT": "* BYE\na OK bye"}
	popSays  = map[string]string{"CAPA": "+OK\nUSER\nSASL PLAIN\n.", "STLS": "+OK begin", "QUIT": "+OK"}
	smtpSays = map[string]string{"EHLO": "250-mx.one.test\n250 AUTH PLAIN LOGIN", "STARTTLS": "220 begin", "QUIT": "221 bye"}
)

// mute is a door for submission that offers no way to sign in.
func (w *clientWorld) mute() func(net.Conn) {
	return says("220 ready", map[string]string{"EHLO": "250 mx", "STARTTLS": "220 begin"}, w.shown)
}

// pages is the web house, as far as programs ask it.
func (w *clientWorld) pages(c net.Conn) {
	defer c.Close()
	q, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	a := httptest.NewRecorder()
	switch q.URL.Path {
	case "/mail/config-v1.1.xml":
		fmt.Fprint(a, "<clientConfig><hostname>mx.one.test</hostname></clientConfig>")
	case "/autodiscover/autodiscover.xml":
		fmt.Fprint(a, "<Autodiscover><Server>mx.one.test</Server></Autodiscover>")
	case "/email.mobileconfig":
		fmt.Fprint(a, "signed: com.apple.mail.managed, and more")
	default:
		a.WriteHeader(http.StatusNotFound)
	}
	_ = a.Result().Write(c)
}

func (w *clientWorld) run(program string) map[string][]check.Step {
	w.o.Program = program
	all := make(map[string][]check.Step)
	for _, s := range check.Client(w.t.Context(), w.o) {
		all[s.Step] = append(all[s.Step], s)
	}
	return all
}

// TestClientWorks: each program finds its settings in its own way, and connects; one that takes any door tries all.
func TestClientWorks(t *testing.T) {
	w := newClientWorld(t, nil, "_imaps._tcp.one.test. SRV 0 1 993 mx.one.test.", "_submissions._tcp.one.test. SRV 0 1 465 mx.one.test.")
	for program, says := range map[string]string{
		check.Thunderbird: "https://autoconfig.one.test/mail", check.Android: "https://autoconfig.one.test/mail", check.Outlook: "https://autodiscover.one.test/",
		check.Mac: "https://mx.one.test/email", check.IPhone: "profile", check.Other: "records in the DNS",
	} {
		got := w.run(program)
		doors := 2
		if program == check.Other {
			doors = 6
		}
		if n := len(got["receive"]) + len(got["send"]); n != doors || len(got["settings"]) != 1 {
			t.Errorf("%s: %d doors, %d ways to the settings", program, n, len(got["settings"]))
		}
		for _, steps := range got {
			for _, s := range steps {
				if s.State != check.OK || s.Mends != "" {
					t.Errorf("%s: %+v", program, s)
				}
			}
		}
		if s := got["settings"][0]; !strings.Contains(s.Found, says) {
			t.Errorf("%s: %s", program, s.Found)
		}
	}
}

// TestClientFails: what is wrong is said, and who can mend it.
func TestClientFails(t *testing.T) {
	for what, c := range map[string]struct {
		names []string // of the certificate
		spoil func(*clientWorld)
		step  string
		state check.State
		says  string
	}{
		"another name's certificate": {[]string{"www.one.test"}, nil, "receive", check.Wrong, "the certificate there is for another name"},
		"an unknown authority":       {nil, func(w *clientWorld) { w.o.Roots = x509.NewCertPool() }, "send", check.Wrong, "from an authority that nobody knows"},
		"a closed port":              {nil, func(w *clientWorld) { delete(w.doors, "993") }, "receive", check.Wrong, "connection refused"},
		"no way to sign in": {nil, func(w *clientWorld) {
			w.doors["587"], w.o.Doors = w.mute(), []check.Door{{Protocol: "SMTP", Port: 587}}
		}, "send", check.Wrong, "no way to sign in is offered"},
		"another program's door": {nil, func(w *clientWorld) { w.doors["993"] = w.doors["465"] }, "receive", check.Wrong, `it answers "220 mx.one.test ready"`},
		"a door without STARTTLS": {nil, func(w *clientWorld) {
			w.doors["587"], w.o.Doors = says("220 ready", map[string]string{"EHLO": "250 mx", "STARTTLS": "502 no"}, nil), []check.Door{{Protocol: "SMTP", Port: 587}}
		}, "send", check.Wrong, "it answers 502"},
		"a door that talks for ever": {nil, func(w *clientWorld) {
			w.doors["110"], w.o.Doors = says("+OK", map[string]string{"STLS": strings.Repeat("x", 100<<10)}, nil), []check.Door{{Protocol: "POP3", Port: 110}}
		}, "receive", check.Wrong, "it answers"},
		"no settings": {nil, func(w *clientWorld) { delete(w.doors, "443"); delete(w.doors, "80") }, "settings", check.Warning, "does not find the settings by itself"},
	} {
		w := newClientWorld(t, c.names)
		if c.spoil != nil {
			c.spoil(w)
		}
		got := w.run(check.Thunderbird)[c.step]
		if len(got) == 0 || got[0].State != c.state || !strings.Contains(got[0].Found, c.says) || got[0].Mends != check.Operator || got[0].Advice == "" {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// TestClientElsewhere: a name that leads to others is said to, and nobody connects there.
func TestClientElsewhere(t *testing.T) {
	for _, program := range []string{check.Thunderbird, check.Outlook} {
		w := newClientWorld(t, nil)
		w.o.Options.Resolver = options(t, nil, "autoconfig.one.test. A 192.0.2.1", "autodiscover.one.test. A 192.0.2.1", "one.test. A 10.0.0.1").Resolver
		w.o.Doors, w.o.Local = nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		s := w.run(program)["settings"][0]
		if s.State != check.Warning || !strings.Contains(s.Found, "192.0.2.1, which is not this server") || w.dials.Load() != 0 {
			t.Errorf("%s: %+v; %d connections", program, s, w.dials.Load())
		}
	}
}
