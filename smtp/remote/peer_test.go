package remote

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// A script is what one connection hears and says:
//
//	S: text      a line to the client
//	C: text      the line that must come; a star at its end stands for anything
//	DATA         lines up to the dot must come
//	STARTTLS     the handshake, as "S: 220" has promised
//	BREAK        a handshake that fails here
//	BREAK2       a handshake that fails there
//	CLOSE        the connection ends here
//	CRAWL        one octet is read every five seconds
//	SILENCE      nothing is said any more
//
// Behind the last line the peer answers RSET and QUIT with 250 and 221.
type net2 struct {
	t       *testing.T
	mu      sync.Mutex
	scripts map[string][]string // by address and port: one for each connection, in order
	dialled []string
	data    []string // messages that came in whole
	cert    tls.Certificate
	wg      sync.WaitGroup
}

const ehlo = "S: 220 %s ESMTP\nC: EHLO mail.alpha.test\n"

// hello is the usual beginning, with what EHLO offers.
func hello(name string, offers ...string) string {
	return fmt.Sprintf(ehlo, name) + offer(name, offers...)
}

func offer(name string, offers ...string) string {
	s := ""
	for i, line := range append([]string{name + " says hello"}, offers...) {
		dash := "-"
		if i == len(offers) {
			dash = " "
		}
		s += "S: 250" + dash + line + "\n"
	}
	return s
}

const takes = "C: MAIL FROM:<alice@alpha.test>*\nS: 250 2.1.0 ok\nC: RCPT TO:<carol@beta.test>*\nS: 250 2.1.5 ok\nC: DATA\nS: 354 go on\nDATA\nS: 250 2.0.0 taken\n"

func (n *net2) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialled = append(n.dialled, to.String())
	list := n.scripts[to.String()]
	if len(list) == 0 {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	n.scripts[to.String()] = list[1:]
	if list[0] == "HANG" {
		n.mu.Unlock()
		<-ctx.Done()
		n.mu.Lock()
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	n.wg.Go(func() { n.play(server, list[0]) })
	return client, nil
}

func (n *net2) play(nc net.Conn, script string) {
	defer func() { nc.Close() }()
	r := bufio.NewReader(nc)
	for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		switch verb, text, _ := strings.Cut(line, " "); verb {
		case "S:":
			if _, err := io.WriteString(nc, text+"\r\n"); err != nil {
				n.t.Errorf("saying %q: %v", text, err)
				return
			}
		case "C:":
			got, err := r.ReadString('\n')
			got = strings.TrimRight(got, "\r\n")
			want, open := strings.CutSuffix(text, "*")
			if err != nil || got != want && !(open && strings.HasPrefix(got, want)) {
				n.t.Errorf("the client said %q (%v), want %q", got, err, text)
				return
			}
		case "DATA":
			n.readData(r)
		case "STARTTLS":
			t := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{n.cert}})
			if err := t.Handshake(); err != nil {
				n.t.Errorf("handshake: %v", err)
				return
			}
			nc, r = t, bufio.NewReader(t)
		case "BREAK":
			r.ReadByte() // the client hello
			io.WriteString(nc, "this is no TLS\r\n")
			return
		case "BREAK2": // the client breaks the handshake off
			if err := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{n.cert}}).Handshake(); err == nil {
				r = bufio.NewReader(nc)
				r.ReadByte() // TLS 1.3: its alert comes behind our side's handshake
			}
			return
		case "CLOSE":
			return
		case "CRAWL":
			for b := make([]byte, 1); ; <-time.After(5 * time.Second) {
				if _, err := nc.Read(b); err != nil {
					return
				}
			}
		case "SILENCE":
			io.Copy(io.Discard, r)
			return
		}
	}
	for { // whoever waits here may be used again, or told to go
		got, err := r.ReadString('\n')
		switch strings.TrimSpace(got) {
		case "RSET":
			io.WriteString(nc, "250 2.0.0 reset\r\n")
		case "QUIT":
			io.WriteString(nc, "221 2.0.0 bye\r\n")
			return
		default:
			if err == nil {
				n.t.Errorf("the client said %q behind the end of the script", got)
			}
			return
		}
	}
}

func (n *net2) readData(r *bufio.Reader) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			n.t.Errorf("in the message: %v", err)
			return
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(line)
	}
	n.mu.Lock()
	n.data = append(n.data, b.String())
	n.mu.Unlock()
}

// outside is a carrier with its DNS and the hosts that it can reach.
type outside struct {
	*Carrier
	net  *net2
	zone *dns.Zone
}

func newOutside(t *testing.T, o Options, zone []string, scripts map[string][]string) *outside {
	t.Helper()
	z, err := dns.NewZone(zone...)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := cert.NewAuthority("test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("mx.beta.test", "smart.test")
	if err != nil {
		t.Fatal(err)
	}
	n := &net2{t: t, scripts: scripts, cert: leaf}
	o.Resolver = z.Client(dns.Options{})
	o.Hostname, o.Dial = "mail.alpha.test", n.dial
	if o.Source == nil { // with a reverse name that leads back
		o.Source = func(context.Context, netip.AddrPort) (netip.Addr, error) {
			return netip.MustParseAddr("2001:db8::99"), nil
		}
		z.Add("mail.alpha.test. AAAA 2001:db8::99")
		z.AddReverse(netip.MustParseAddr("2001:db8::99"), "mail.alpha.test.")
	}
	o.Own = []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	if o.Choose == nil {
		o.Choose = func(n int) int { return n - 1 } // equals stay in the order of DNS
	}
	for _, h := range o.SmartHosts {
		if h.Roots != nil {
			h.Roots.AppendCertsFromPEM(ca.PEM())
		}
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{RootCAs: ca.Pool()}
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		n.wg.Wait()
		for addr, left := range n.scripts {
			if len(left) > 0 {
				t.Errorf("%s still waits for %d connections", addr, len(left))
			}
		}
	})
	return &outside{c, n, z}
}

const message = "From: alice@alpha.test\r\nSubject: x\r\n\r\nHello\r\n.dot\r\n"

func envelopeTo(t *testing.T, to ...string) mail.Envelope {
	e := mail.Envelope{From: parse(t, "alice@alpha.test")}
	for _, a := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: parse(t, a)})
	}
	return e
}

func parse(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// carry routes and delivers one message, and prints what came of each recipient.
func (o *outside) carry(t *testing.T, e mail.Envelope, content string) []string {
	t.Helper()
	s := queue.Stream{From: e.From.Domain, To: e.Recipients[0].Address.Domain}
	r, err := o.Route(t.Context(), s)
	if err != nil {
		return []string{show(err.(queue.Result))}
	}
	return o.over(t, r, e, content)
}

func (o *outside) over(t *testing.T, r queue.Route, e mail.Envelope, content string) (out []string) {
	a := queue.Attempt{Item: queue.Item{ID: "1", Domain: e.Recipients[0].Address.Domain, Envelope: e, Size: int64(len(content))},
		Content: io.NewSectionReader(strings.NewReader(content), 0, int64(len(content)))}
	results := o.Deliver(t.Context(), r, a).Results
	if len(results) != len(e.Recipients) {
		t.Fatalf("%d results for %d recipients", len(results), len(e.Recipients))
	}
	for _, x := range results {
		out = append(out, show(x))
	}
	return out
}

func show(r queue.Result) string {
	s := map[queue.Verdict]string{queue.Done: "done", queue.Later: "later", queue.Never: "never"}[r.Verdict]
	s += map[queue.HostState]string{queue.HostSlow: " (slow)", queue.HostDown: " (down)"}[r.Host]
	if r.Verdict == queue.Done {
		s += map[queue.Handoff]string{queue.Relayed: " relayed", queue.Passed: " passed"}[r.Handoff]
	}
	return fmt.Sprintf("%s %d %s %s: %s {%s}", s, r.Code, r.Status, r.Remote, r.Text, r.Detail)
}
