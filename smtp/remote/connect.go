package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// conn is a connection that has been introduced, secured and, to a smart host, authenticated.
type conn struct {
	*smtp.Client
	key    poolKey
	to     candidate
	detail string // address and TLS, for results
	uses   int
	reused bool // it has waited in the pool, and nothing was said since
}

// connection takes one from the pool, or opens it. Its error is a queue.Result where a host said something.
func (c *Carrier) connection(ctx context.Context, w *way, to candidate, d demand) (*conn, error) {
	key := poolKey{host: to.host, addr: to.addr, policy: d.name}
	if w.smart != nil {
		key.user = w.smart.User
	}
	// Nothing of the last transaction is left on it (send). Whether it lives shows at MAIL: asking before would cost a round trip for
	// every message (RFC 5321 section 4.1.1.5 needs no RSET here).
	if k := c.pool.take(key); k != nil {
		k.reused = true
		return k, nil
	}
	return c.open(ctx, w, to, d, key)
}

// open makes a new connection: greeting, EHLO, TLS, login.
func (c *Carrier) open(ctx context.Context, w *way, to candidate, d demand, key poolKey) (*conn, error) {
	k, err := c.hello(ctx, w, to)
	if err != nil {
		return nil, err
	}
	note := ""
	if k.TLS() == nil && !d.clear {
		if k, note, err = c.secured(ctx, w, to, d, k); err != nil {
			return nil, err
		}
	}
	state := k.TLS()
	if err := c.authenticate(ctx, w, to, k); err != nil {
		k.Close()
		return nil, err
	}
	c.count.connected(state)
	detail := "[" + to.addr.Addr().String() + "] " + tlsName(state)
	if note != "" {
		detail += "; " + note
	}
	return &conn{Client: k, key: key, to: to, detail: detail}, nil
}

func tlsName(s *tls.ConnectionState) string {
	if s == nil {
		return "clear"
	}
	return tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
}

// hello dials and is introduced. Implicit TLS comes first where a smart host has it.
func (c *Carrier) hello(ctx context.Context, w *way, to candidate) (*smtp.Client, error) {
	dialCtx, cancel := context.WithTimeout(ctx, c.o.Connect)
	defer cancel()
	nc, err := c.o.Dial(dialCtx, to.addr)
	if err != nil {
		return nil, refusal(to, "4.4.1", "connect: "+plain(err))
	}
	if w.smart != nil && w.smart.TLS == Implicit {
		t := tls.Client(nc, c.tlsConfig(w, to, demand{smart: true}))
		if err := t.HandshakeContext(dialCtx); err != nil {
			nc.Close()
			return nil, refusal(to, "4.7.5", "TLS: "+plain(err))
		}
		nc = t
	}
	k := smtp.NewClient(nc, smtp.ClientOptions{Hostname: c.o.Hostname, Timeouts: c.o.Timeouts})
	if err := k.Hello(ctx); err != nil {
		k.Close()
		return nil, saidNo(to, "clear", err)
	}
	if !c.o.AllowLoopback && w.smart == nil && c.isUs(named(k)) {
		k.Close()
		return nil, c.loop(string(w.domain))
	}
	return k, nil
}

// named is the name by which the server introduced itself in its EHLO reply (RFC 5321 section 4.1.1.1).
func named(k *smtp.Client) string {
	if lines := k.HelloReply().Lines; len(lines) > 0 {
		name, _, _ := strings.Cut(lines[0], " ")
		return name
	}
	return ""
}

// authenticate logs in to a smart host. A refusal is temporary: the operator can put the password right.
func (c *Carrier) authenticate(ctx context.Context, w *way, to candidate, k *smtp.Client) error {
	if w.smart == nil || w.smart.User == "" {
		return nil
	}
	offered := k.Mechanisms()
	var m gosasl.Client
	switch {
	case slices.Contains(offered, "PLAIN"):
		m = gosasl.NewPlainClient("", w.smart.User, w.smart.Password)
	case slices.Contains(offered, "LOGIN"):
		m = gosasl.NewLoginClient(w.smart.User, w.smart.Password)
	default:
		return refusal(to, "4.7.0", fmt.Sprintf("the smart host offers no login that is known here (%s)", strings.Join(offered, " ")))
	}
	if err := k.Auth(ctx, m); err != nil {
		r := saidNo(to, tlsName(k.TLS()), err)
		c.log.WarnContext(ctx, logx.RemoteLogin, "host", to.host, "user", w.smart.User, "error", err)
		return r
	}
	return nil
}

// refusal is a Result for a host that could not be spoken to.
func refusal(to candidate, status, text string) queue.Result {
	return queue.Result{Verdict: queue.Later, Status: status, Text: to.where() + ": " + text, Detail: "[" + to.addr.Addr().String() + "]", Host: queue.HostDown}
}

// saidNo is a Result for a host that refused before a transaction, or broke off.
func saidNo(to candidate, security string, err error) queue.Result {
	no, ok := errors.AsType[*smtp.ReplyError](err)
	if !ok {
		return refusal(to, "4.4.2", plain(err))
	}
	r := translate(no.Reply, to, "["+to.addr.Addr().String()+"] "+security)
	r.Verdict = queue.Later // another host, or another day: RFC 5321 section 3.1 says nothing about the message here
	r.Status = "4" + r.Status[1:]
	if r.Host == queue.HostWell {
		r.Host = queue.HostDown
	}
	r.Text = no.Command + ": " + r.Text
	return r
}

// plain is an error in words that a sender may read.
func plain(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok { // "connect: connection refused": the caller says what was done
		err = call.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}
