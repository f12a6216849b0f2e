package smtp

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	gosmtp "github.com/emersion/go-smtp"
)

// auth is AUTH mechanism [initial-response] (RFC 4954 section 4).
func (c *conn) auth(args string) {
	a, ok := c.session.(gosmtp.AuthSession)
	if !ok || !c.s.o.Auth {
		c.bad(502, code(5, 5, 1), "AUTH is not offered")
		return
	}
	name, ir, initial := strings.Cut(args, " ")
	name = strings.ToUpper(name)
	offered := a.AuthMechanisms()
	switch {
	case name == "":
		c.bad(501, code(5, 5, 4), "Write AUTH mechanism")
		return
	case len(offered) == 0 && c.state&inTLS == 0:
		c.bad(538, code(5, 7, 11), "Passwords need TLS, say STARTTLS first")
		return
	case !slices.Contains(offered, name):
		c.bad(504, code(5, 5, 4), "Mechanism not offered")
		return
	}
	var response []byte
	if initial {
		if response, ok = c.decodeResponse(strings.Trim(ir, " \t")); !ok {
			return
		}
	}
	mechanism, err := a.Auth(name)
	if err != nil {
		c.refuseAuth(err)
		return
	}
	for {
		challenge, done, err := mechanism.Next(response)
		if err != nil {
			c.refuseAuth(err)
			return
		}
		if done {
			break
		}
		c.answer(334, noCode(), base64.StdEncoding.EncodeToString(challenge))
		line, ok := c.readLine(maxAuthLine)
		if !ok {
			return
		}
		if string(line) == "*" {
			c.bad(501, code(5, 7, 0), "Authentication cancelled")
			return
		}
		if response, ok = c.decodeResponse(string(line)); !ok {
			return
		}
	}
	c.state |= authed
	c.answer(235, code(2, 7, 0), "Authenticated")
}

// decodeResponse reads base64; "=" is the empty initial response (RFC 4954 section 4).
func (c *conn) decodeResponse(s string) ([]byte, bool) {
	if s == "=" || s == "" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		c.bad(501, code(5, 5, 2), "Not base64")
		return nil, false
	}
	return b, true
}

// authWeight is how many errors a failed login counts for.
const authWeight = 4

// refuseAuth answers a failed login: what the desk says, else 535 5.7.8, which tells nothing.
func (c *conn) refuseAuth(err error) {
	c.tally.errors += authWeight
	if _, ok := errors.AsType[*gosmtp.SMTPError](err); ok {
		c.fail("AUTH", err)
		return
	}
	c.answer(535, code(5, 7, 8), "Authentication failed")
}
