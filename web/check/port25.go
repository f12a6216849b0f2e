package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/spam"
)

// maxTalk bounds what is read in a dialogue: whoever answers there may be anybody.
const maxTalk = 64 << 10

// talk is a dialogue on port 25, in clear at first.
type talk struct {
	conn net.Conn
	text *textproto.Conn
	stop func() bool
}

// bounded reads no more than maxTalk of a connection.
type bounded struct {
	net.Conn
	in io.Reader
}

func (b bounded) Read(p []byte) (int, error) { return b.in.Read(p) }

// greet opens a dialogue and says who we are.
func (r *run) greet(ctx context.Context, a netip.Addr) (*talk, error) {
	c, err := r.Dial(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(r.SMTPPort)))
	if err != nil {
		return nil, err
	}
	t := &talk{conn: c, stop: context.AfterFunc(ctx, func() { c.Close() })}
	t.over(c)
	if _, _, err := t.text.ReadResponse(220); err != nil {
		t.close()
		return nil, fmt.Errorf("its greeting: %w", err)
	}
	if _, err := t.say(250, "EHLO %s", r.Site.Hostname); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *talk) over(c net.Conn) {
	t.text = textproto.NewConn(bounded{c, io.LimitReader(c, maxTalk)})
}

func (t *talk) close() {
	t.stop()
	_ = t.conn.Close()
}

// say gives a command and reads the reply; expect 0: any.
func (t *talk) say(expect int, format string, a ...any) (string, error) {
	if err := t.text.PrintfLine(format, a...); err != nil {
		return "", err
	}
	code, text, err := t.text.ReadResponse(expect)
	return fmt.Sprint(code, " ", text), err
}

// shake does STARTTLS as another host would and gives the certificate that it is shown.
func (r *run) shake(ctx context.Context, a netip.Addr) (*x509.Certificate, error) {
	t, err := r.greet(ctx, a)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if _, err := t.say(220, "STARTTLS"); err != nil {
		return nil, fmt.Errorf("STARTTLS is refused: %w", err)
	}
	c := tls.Client(t.conn, &tls.Config{ServerName: r.Site.Hostname, InsecureSkipVerify: true}) // who shows what is the question
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// startTLS looks at port 25 of each of our addresses as another host does.
func (r *run) startTLS(ctx context.Context) Result {
	addrs, err := r.hostAddresses(ctx)
	if err != nil {
		return unseen("nobody knows where "+r.Site.Hostname+" is", "")
	}
	var closed []string
	for _, a := range addrs {
		leaf, err := r.shake(ctx, a)
		if err != nil {
			closed = append(closed, fmt.Sprintf("%s: %s", a, plainTalk(err)))
			continue
		}
		if leaf.VerifyHostname(r.Site.Hostname) != nil {
			return wrong(fmt.Sprintf("port %d of %s shows a certificate for %s, not for %s", r.SMTPPort, a, cmpOr(strings.Join(leaf.DNSNames, ", "), "no name"), r.Site.Hostname), "is it this house that answers there?")
		}
		if r.Chain != nil && !r.ownKey(leaf) {
			return wrong(fmt.Sprintf("port %d of %s shows another certificate than this house has", r.SMTPPort, a), "is it this house that answers there? posthouse reload takes new files")
		}
	}
	if len(closed) > 0 {
		text := fmt.Sprintf("no TLS at port %d: %s", r.SMTPPort, strings.Join(closed, "; "))
		if len(closed) < len(addrs) || within(addrs, r.Local) {
			return wrong(text, "does the house run (posthouse status)? does a firewall hold the port back?")
		}
		return unseen(text, "seen from this machine, which may not reach its own public address; try from another network")
	}
	return ok("offered at %s, with this house's certificate", joined(addrs))
}

// plainTalk is why a dialogue failed, in words.
func plainTalk(err error) string {
	var reply *textproto.Error
	var op *net.OpError
	switch {
	case errors.As(err, &reply):
		return "it answers " + reply.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return "nobody answers in time"
	case errors.As(err, &op):
		if op.Timeout() {
			return "nobody answers in time"
		}
		return op.Err.Error()
	}
	return err.Error()
}

// foreign is a domain that is nobody's (RFC 2606): what is taken for it is taken for everybody.
const foreign = "relay-test.example.net"

// openRelay tries to have this house carry mail of strangers to strangers, in spellings that other servers fell for.
func (r *run) openRelay(ctx context.Context) Result {
	addrs, err := r.hostAddresses(ctx)
	if err != nil || len(addrs) == 0 {
		return unseen("nobody knows where "+r.Site.Hostname+" is", "")
	}
	own := r.Site.Hostname
	if len(r.Domains) > 0 {
		own = r.Domains[0].Name
	}
	senders := []string{"", "relay-test@" + foreign, "postmaster@" + own}
	failed := ""
	for _, a := range addrs {
		tried, taken, err := r.tryRelay(ctx, a, own, senders)
		switch {
		case taken != "":
			return wrong(fmt.Sprintf("port %d of %s takes mail of strangers to strangers: %s", r.SMTPPort, a, taken), "close it now, or others send junk through it within hours: does another server answer there? does a proxy before it hide who comes (listen.proxy_from)?")
		case err != nil:
			failed = fmt.Sprintf("%s: %s", a, plainTalk(err))
		case tried == 0:
			failed = fmt.Sprintf("%s: every sender was refused, or put off", a)
		}
	}
	if failed != "" {
		return unseen("not all could be tried: "+failed, "does the house run (posthouse status)? try again in some minutes")
	}
	return ok("mail of strangers to strangers is refused")
}

// tryRelay says what was taken, if anything was, and how many recipients were refused for good.
func (r *run) tryRelay(ctx context.Context, a netip.Addr, own string, senders []string) (refused int, taken string, err error) {
	t, err := r.greet(ctx, a)
	if err != nil {
		return 0, "", err
	}
	defer t.close()
	recipients := []string{
		"u@" + foreign, "u@[192.0.2.1]", "@" + own + ":u@" + foreign, `"u@` + foreign + `"`, "u%" + foreign, foreign + "!u",
	}
	for i, from := range senders {
		if reply, err := t.say(0, "MAIL FROM:<%s>", from); err != nil {
			return refused, "", err
		} else if reply[0] != '2' {
			continue
		}
		for j, to := range recipients {
			if i > 0 && j > 1 {
				break // the sender changes nothing about a spelling
			}
			reply, err := t.say(0, "RCPT TO:<%s>", to)
			if err != nil {
				return refused, "", err
			}
			switch reply[0] {
			case '2':
				return refused, fmt.Sprintf("MAIL FROM:<%s> RCPT TO:<%s> is answered %s", from, to, reply), nil
			case '5':
				refused++
			}
		}
		if _, err := t.say(250, "RSET"); err != nil {
			return refused, "", err
		}
	}
	_, _ = t.say(221, "QUIT")
	return refused, "", nil
}

// wayOut tries to reach mail hosts that many people know: providers close port 25.
func (r *run) wayOut(ctx context.Context) Result {
	if r.Relay != "" {
		return ok("mail leaves through %s", r.Relay)
	}
	if len(r.Probes) == 0 {
		return unseen("nobody was asked", "")
	}
	answers := make(chan string, len(r.Probes))
	for _, domain := range r.Probes {
		go func() { answers <- r.reach(ctx, domain) }()
	}
	closed := ""
	for range r.Probes {
		found := <-answers
		if host, reached := strings.CutPrefix(found, "reached "); reached {
			return ok("%s can be reached", host)
		}
		if found != "" {
			closed = found
		}
	}
	if closed == "" {
		return unseen("DNS does not say where others' mail hosts are", "is there a way out of this machine?")
	}
	return wrong("mail hosts of others cannot be reached at port 25: "+closed, "ask the provider to open port 25 on the way out, or send through a smart host ([[remote.smart_hosts]])")
}

// reach says "reached HOST", why not, or nothing when DNS does not tell.
func (r *run) reach(ctx context.Context, domain string) string {
	hosts, _, err := r.Resolver.MX(ctx, domain)
	if err != nil || len(hosts) == 0 {
		return ""
	}
	addrs, _, err := r.Resolver.IP(ctx, hosts[0].Host)
	if err != nil {
		return ""
	}
	v4, v6 := families(addrs)
	why := ""
	for _, a := range append(v4[:min(2, len(v4))], v6[:min(1, len(v6))]...) {
		c, err := r.Dial(ctx, "tcp", net.JoinHostPort(a.String(), strconv.Itoa(r.SMTPPort)))
		if err == nil {
			_ = c.Close()
			return "reached " + hosts[0].Host
		}
		why = cmpOr(why, hosts[0].Host+": "+plainTalk(err))
	}
	return why
}

// listed asks a list about our addresses. RFC 5782 section 5: a list has 127.0.0.2 and has not 127.0.0.1; an answer that it does not
// document is an error, never a listing.
func (r *run) listed(ctx context.Context, l spam.List) Result {
	name := strings.TrimSuffix(l.Zone, ".")
	addrs, err := r.hostAddresses(ctx)
	if err != nil {
		return unseen("nobody knows where "+r.Site.Hostname+" is", "")
	}
	const own = "most lists answer no public resolver: ask through one of your own (unbound on this machine)"
	for test, want := range map[string]bool{"127.0.0.2": true, "127.0.0.1": false} {
		means, odd, err := r.askList(ctx, l, netip.MustParseAddr(test))
		switch {
		case err != nil:
			return noAnswer(name, err)
		case odd != "":
			return unseen(name+" answers with "+odd+", which says nothing", own)
		case (means != "") != want:
			return unseen(name+" does not answer as a list does (RFC 5782 section 5)", own)
		}
	}
	asked := 0
	for _, a := range addrs {
		if !a.Is4() || a.IsPrivate() {
			continue // the lists here know IPv4
		}
		asked++
		means, odd, err := r.askList(ctx, l, a)
		switch {
		case err != nil:
			return noAnswer(name, err)
		case odd != "":
			return unseen(name+" answers with "+odd+", which says nothing", own)
		case means != "":
			return wrong(fmt.Sprintf("%s lists %s: %s", name, a, means), "find out why, end it (posthouse queue list, posthouse status: has a password been stolen?), then ask "+name+" to take it off")
		}
	}
	if asked == 0 {
		return unseen("the host has no public IPv4 address to ask about", "")
	}
	return ok("%s does not list this host", name)
}

// askList is what the list says of an address: the meaning of a documented answer, or the odd answer.
func (r *run) askList(ctx context.Context, l spam.List, a netip.Addr) (means, odd string, err error) {
	b := a.As4()
	name := fmt.Sprintf("%d.%d.%d.%d.%s", b[3], b[2], b[1], b[0], strings.TrimSuffix(l.Zone, "."))
	answers, _, err := r.Resolver.A(ctx, name)
	if errors.Is(err, dns.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	for _, x := range answers {
		if text, known := l.Meaning(x); known {
			means = text
			continue
		}
		odd = x.String()
	}
	if means != "" {
		odd = ""
	}
	return means, odd, nil
}
