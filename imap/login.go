package imap

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// startTLS answers STARTTLS (RFC 9051 section 6.2.1). What came in clear behind the command is thrown away by the wire.
func (c *conn) startTLS(ctx context.Context, r *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	switch {
	case c.w.TLS() != nil:
		return bad("TLS is on already")
	case c.s.o.TLS == nil:
		return bad("STARTTLS is not offered here")
	}
	r.text = "begin TLS now"
	r.after = func(ctx context.Context) error {
		if err := c.flush(); err != nil {
			return err
		}
		if err := c.w.StartTLS(ctx, c.s.o.TLS); err != nil {
			return broken{err}
		}
		return nil
	}
	return nil
}

// login answers LOGIN (RFC 9051 section 6.2.3).
func (c *conn) login(ctx context.Context, r *request) error {
	c.d.SP()
	user := c.d.AString()
	c.d.SP()
	password := c.d.AString()
	if err := c.d.End(); err != nil {
		return err
	}
	id, err := c.s.auth.Login(ctx, c.client(), user, password)
	if err != nil {
		return c.refused(err)
	}
	return c.entered(r, id)
}

// entered makes the connection the account's.
func (c *conn) entered(r *request, id auth.Identity) error {
	if err := c.s.sessions.enter(id.Account, c, c.s.o.MaxPerAccount, c.s.auth); err != nil {
		return err
	}
	c.who, c.state, c.failed = id, authenticated, 0
	c.stale.Store(true) // what changed between the proof and this was not rung for
	c.limit.Stop()
	r.code, r.text = "CAPABILITY "+c.capabilities(), "logged in"
	return nil
}

// refused counts failed logins; the directory slows them down, finish ends the connection after some.
func (c *conn) refused(err error) error {
	if errors.Is(err, auth.ErrCredentials) {
		c.failed++
	}
	return err
}

// forget takes the account from the connection.
func (c *conn) forget() {
	if c.who.Account != 0 {
		c.s.sessions.leave(c.who.Account, c)
	}
	c.who = auth.Identity{}
}

// standing ends the session of an account that was disabled, removed or given another password. It is asked at every command
// and wait, and costs nothing while the account does not change.
func (c *conn) standing(ctx context.Context) error {
	if !c.stale.Swap(false) || c.who.Account == 0 {
		return nil
	}
	switch err := c.s.auth.Standing(ctx, c.who, auth.DoorIMAP); {
	case errors.Is(err, auth.ErrCredentials):
		return bye(goimap.ResponseCodeAuthenticationFailed, "the password has changed, log in again")
	case errors.Is(err, auth.ErrDoorClosed), errors.Is(err, auth.ErrNoAccount):
		return bye(goimap.ResponseCodeAuthorizationFailed, "this account may not use IMAP any more")
	case err != nil:
		c.stale.Store(true) // the directory cannot be read now: asked again at the next command
		c.log.WarnContext(ctx, logx.IMAPError, "command", "standing", "error", err)
	}
	return nil
}

// unauthenticate answers UNAUTHENTICATE (RFC 8437): everything of the account is forgotten, what was enabled too.
func (c *conn) unauthenticate(_ context.Context, r *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.deselect()
	c.forget()
	c.state, c.enabled, c.began = notAuthenticated, enabled{}, c.s.now()
	c.limit.Reset(loginPhase + c.s.o.LoginTimeout)
	r.code = "CAPABILITY " + c.capabilities()
	return nil
}

// authenticate answers AUTHENTICATE (RFC 9051 section 6.2.2), with an initial response (RFC 4959) or without.
func (c *conn) authenticate(ctx context.Context, r *request) error {
	c.d.SP()
	mechanism := c.d.Keyword()
	var response []byte
	if c.d.TrySP() {
		var err error
		if response, err = decodeSASL(c.d.Base64()); err != nil {
			c.d.Fail("the initial response is not base64")
		}
	}
	if err := c.d.End(); err != nil {
		return err
	}
	var id auth.Identity
	server, err := c.s.auth.SASL(context.WithoutCancel(ctx), c.client(), mechanism, func(who auth.Identity) { id = who })
	if err != nil {
		return c.refused(err)
	}
	for {
		challenge, done, err := server.Next(response)
		if err != nil {
			return c.refused(err)
		}
		if done && len(challenge) == 0 {
			break
		}
		if response, err = c.ask(ctx, challenge); err != nil {
			return err
		}
		if done { // RFC 9051 has no place for data in its OK: the client answers the last challenge with nothing
			break
		}
	}
	if id.Account == 0 {
		return no(goimap.ResponseCodeAuthenticationFailed, "not authenticated")
	}
	return c.entered(r, id)
}

// ask sends a challenge and reads the response; "*" gives the exchange up.
func (c *conn) ask(ctx context.Context, challenge []byte) ([]byte, error) {
	b := append(c.w.AvailableBuffer(), "+ "...)
	b = base64.StdEncoding.AppendEncode(b, challenge)
	c.w.Write(append(b, "\r\n"...))
	if err := c.flush(); err != nil {
		return nil, err
	}
	if err := c.wait(ctx, c.s.o.LoginTimeout); err != nil {
		return nil, err
	}
	line, err := c.readLine()
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, bad("authentication given up")
	}
	response, err := base64.StdEncoding.DecodeString(string(line))
	if err != nil {
		c.d.Refuse(line)
		return nil, bad("the response is not base64")
	}
	return response, nil
}

// decodeSASL decodes an initial response: "=" is one without octets (RFC 4959 section 3).
func decodeSASL(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	if strings.TrimSpace(s) == "" {
		return nil, errors.New("empty")
	}
	return base64.StdEncoding.DecodeString(s)
}
