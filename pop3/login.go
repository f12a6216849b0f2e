package pop3

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// capa answers CAPA (RFC 2449 section 5).
func (c *session) capa(context.Context, []string) error {
	c.ok("capabilities follow")
	for _, line := range []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER", "EXPIRE NEVER"} {
		c.say(line)
	}
	if delay := c.s.o.LoginDelay; delay > 0 {
		c.say("LOGIN-DELAY " + strconv.Itoa(int((delay+time.Second-1)/time.Second)))
	}
	if mechanisms := c.s.o.Auth.Mechanisms(c.client()); len(mechanisms) > 0 {
		c.say("USER")
		c.say("SASL " + strings.Join(mechanisms, " "))
	}
	if c.s.o.TLS != nil && c.w.TLS() == nil {
		c.say("STLS")
	}
	c.say("IMPLEMENTATION posthouse")
	c.say(".")
	return nil
}

// stls answers STLS (RFC 2595 section 4). What came in clear behind it is thrown away by the wire.
func (c *session) stls(ctx context.Context, _ []string) error {
	switch {
	case c.w.TLS() != nil:
		return refuse("TLS is on already")
	case c.s.o.TLS == nil:
		return refuse("STLS is not offered here")
	case c.utf8: // RFC 6856 section 2.1
		return refuse("no STLS after UTF8")
	}
	c.ok("begin TLS")
	if err := c.w.StartTLS(ctx, c.s.o.TLS); err != nil {
		c.s.log.DebugContext(ctx, logx.TLSFailed, "remote", c.peer.Remote.Addr(), "error", err)
		return errClose
	}
	c.user = ""
	return nil
}

// enableUTF8 answers UTF8 (RFC 6856 section 2.1).
func (c *session) enableUTF8(context.Context, []string) error {
	c.utf8 = true
	c.ok("UTF-8 mode")
	return nil
}

// userName answers USER; it never tells whether there is such a user.
func (c *session) userName(_ context.Context, args []string) error {
	if len(c.s.o.Auth.Mechanisms(c.client())) == 0 { // before the client sends its password in clear
		return auth.ErrNeedTLS
	}
	c.user = strings.TrimSpace(args[0])
	c.ok("now PASS")
	return nil
}

// password answers PASS; all behind the first space is the password.
func (c *session) password(ctx context.Context, args []string) error {
	if c.user == "" {
		return refuse("USER first")
	}
	user := c.user
	c.user = ""
	id, err := c.s.o.Auth.Login(ctx, c.client(), user, args[0])
	if err != nil {
		return c.loginFailed(err)
	}
	return c.enter(ctx, id)
}

// auth answers AUTH (RFC 5034); without a mechanism it lists them, as many servers do.
func (c *session) auth(ctx context.Context, args []string) error {
	if len(args) == 0 {
		c.ok("mechanisms follow")
		for _, m := range c.s.o.Auth.Mechanisms(c.client()) {
			c.say(m)
		}
		c.say(".")
		return nil
	}
	var id auth.Identity
	server, err := c.s.o.Auth.SASL(ctx, c.client(), args[0], func(who auth.Identity) { id = who })
	if err != nil {
		return err
	}
	var response []byte
	if len(args) == 2 {
		if response, err = decodeResponse(args[1]); err != nil {
			return err
		}
	}
	if err := c.converse(server, response); err != nil {
		return c.loginFailed(err)
	}
	return c.enter(ctx, id)
}

// converse plays a mechanism to its end.
func (c *session) converse(server gosasl.Server, response []byte) error {
	for {
		challenge, done, err := server.Next(response)
		if err != nil || done {
			return err
		}
		b := append(c.w.AvailableBuffer(), "+ "...)
		c.w.Write(append(base64.StdEncoding.AppendEncode(b, challenge), "\r\n"...))
		if err := c.w.Flush(); err != nil {
			return errClose
		}
		line, err := c.w.ReadLine(maxSASLLine)
		switch {
		case errors.Is(err, wire.ErrLineTooLong):
			return refuse("response too long")
		case err != nil:
			return errClose
		case string(line) == "*": // RFC 5034 section 4
			return refuse("authentication cancelled")
		}
		if response, err = decodeResponse(string(line)); err != nil {
			return err
		}
	}
}

// decodeResponse reads base64; "=" is the empty response (RFC 5034 section 4).
func decodeResponse(text string) ([]byte, error) {
	if text == "=" {
		return []byte{}, nil
	}
	response, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, refuse("not base64")
	}
	if response == nil {
		response = []byte{}
	}
	return response, nil
}

// loginFailed ends a connection that goes on guessing; the directory slows it down before that.
func (c *session) loginFailed(err error) error {
	if !errors.Is(err, auth.ErrCredentials) {
		return err
	}
	if c.failed++; c.failed >= maxFailedLogins {
		return &refusal{code: "AUTH", text: "too many failed logins", last: true}
	}
	return err
}

// enter opens the maildrop of who has logged in.
func (c *session) enter(ctx context.Context, id auth.Identity) error {
	if err := c.s.o.Sessions.enter(id.Account, &c.s.o); err != nil {
		return err
	}
	drop, err := openMaildrop(ctx, c.s.o.Store, id.Account)
	if err != nil {
		c.s.o.Sessions.leave(id.Account)
		return err
	}
	c.stranger.Stop()
	c.who, c.drop, c.state = id, drop, transaction
	c.errors = 0
	c.ok("maildrop has " + drop.summary())
	return nil
}

// standing ends the session of an account that was disabled, removed or given another password. What such a session marked is
// not deleted: QUIT is asked as well.
func (c *session) standing(ctx context.Context) error {
	err := c.s.o.Auth.Standing(ctx, c.who, auth.DoorPOP3)
	switch {
	case errors.Is(err, auth.ErrCredentials):
		return &refusal{code: "AUTH", text: "the password has changed, log in again", last: true}
	case errors.Is(err, auth.ErrDoorClosed), errors.Is(err, auth.ErrNoAccount):
		return &refusal{code: "SYS/PERM", text: "this account may not use POP3 any more", last: true}
	case err != nil: // the directory cannot be read now; the store will say so where it matters
		c.s.log.WarnContext(ctx, logx.POP3Error, "account", uint32(c.who.Account), "error", err)
	}
	return nil
}
