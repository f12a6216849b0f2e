package smtp

import (
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// greet says 220, or what the desk has against this client.
func (c *conn) greet() bool {
	if g, ok := c.s.o.Desk.(Greeter); ok {
		if err := g.Greet(c.ctx, c.peer); err != nil {
			c.fail("greeting", err)
			c.closing = "refused"
			return false
		}
	}
	protocol := " ESMTP posthouse"
	if c.s.o.LMTP {
		protocol = " LMTP posthouse"
	}
	c.answer(220, noCode(), c.s.o.Hostname+protocol)
	return true
}

// ehlo is EHLO and LHLO: a new session, and the extensions in one reply (RFC 5321 section 4.1.1.1).
func (c *conn) ehlo(args string) {
	if !c.introduced(args, true) {
		return
	}
	lines := []string{c.s.o.Hostname + " greets " + args}
	lines = append(lines, "PIPELINING", "SIZE "+strconv.FormatInt(c.s.o.MaxSize, 10), "8BITMIME", "CHUNKING", "SMTPUTF8",
		"ENHANCEDSTATUSCODES", "DSN", "LIMITS RCPTMAX="+strconv.Itoa(c.s.o.MaxRecipients)+" MAILMAX="+strconv.Itoa(c.s.o.MaxMails))
	if c.s.o.TLS != nil && c.state&inTLS == 0 {
		lines = append(lines, "STARTTLS")
	}
	if c.state&inTLS != 0 { // RFC 8689 section 2: only where TLS is on
		lines = append(lines, "REQUIRETLS")
	}
	if _, ok := c.session.(Holder); ok && c.s.o.FutureRelease > 0 {
		lines = append(lines, c.future())
	}
	if m := c.mechanisms(); len(m) > 0 && c.state&authed == 0 {
		lines = append(lines, "AUTH "+strings.Join(m, " "))
	}
	c.answer(250, noCode(), lines...)
}

// helo is the way of RFC 821.
func (c *conn) helo(args string) {
	if c.introduced(args, false) {
		c.answer(250, noCode(), c.s.o.Hostname+" greets "+args)
	}
}

// introduced makes the desk's session for the client under its name. It ends a transaction that is open (RFC 5321 section 4.1.4).
func (c *conn) introduced(name string, extended bool) bool {
	if name == "" || len(name) > 255 || strings.ContainsAny(name, " \t") {
		c.bad(501, code(5, 5, 4), "Give your host name")
		return false
	}
	for _, b := range []byte(name) {
		if b > '~' {
			c.bad(501, code(5, 5, 4), "Give your host name in ASCII")
			return false
		}
	}
	peer := c.peer
	peer.Hello, peer.Extended = name, extended
	c.endTransaction()
	if c.state&authed != 0 && c.session != nil {
		// RFC 4954 section 4: AUTH holds for the connection; a second EHLO must not lose it, and the session is who has it.
		c.peer = peer
		return true
	}
	c.logout()
	c.state &^= greeted
	session, err := c.s.o.Desk.NewSession(c.ctx, peer)
	if err != nil {
		c.fail("EHLO", err)
		return false
	}
	c.peer, c.session = peer, session
	c.state |= greeted
	return true
}

// endTransaction forgets MAIL and RCPT.
func (c *conn) endTransaction() {
	if c.session != nil && c.state&transaction != 0 {
		c.session.Reset()
	}
	c.state &^= transaction
	c.size, c.utf8, c.from, c.rcpts = 0, false, "", c.rcpts[:0]
}

// starttls is RFC 3207: everything that was learned in clear is forgotten, and what was sent behind STARTTLS dropped.
func (c *conn) starttls(string) {
	if c.s.o.TLS == nil {
		c.bad(502, code(5, 5, 1), "STARTTLS is not offered")
		return
	}
	c.answer(220, code(2, 0, 0), "Ready for TLS")
	c.endTransaction()
	c.logout()
	if err := c.c.StartTLS(c.wait, c.s.o.TLS); err != nil {
		c.s.o.Logger.InfoContext(c.ctx, logx.SMTPTLS, "remote", c.peer.Remote.Addr(), "error", err)
		c.closing = "tls"
		return
	}
	c.state = inTLS
	c.peer.TLS, c.peer.Hello, c.peer.Extended = c.c.TLS(), "", false
}

// mechanisms lists what AUTH offers now.
func (c *conn) mechanisms() []string {
	if a, ok := c.session.(gosmtp.AuthSession); ok && c.s.o.Auth {
		return a.AuthMechanisms()
	}
	return nil
}
