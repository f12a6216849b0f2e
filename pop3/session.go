package pop3

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
	"github.com/posthouse-mail/posthouse/store"
)

// session is one connection.
type session struct {
	s     *Server
	w     *wire.Conn
	peer  *serve.Conn
	began time.Time

	stranger *time.Timer // closes the connection of a client that does not log in

	state  state
	user   string // from USER, waiting for PASS
	utf8   bool   // UTF8 was given (RFC 6856)
	who    auth.Identity
	drop   *maildrop // in transaction
	errors int
	failed int // logins
	sent   int // messages
}

func newSession(s *Server, c *serve.Conn) *session {
	w := wire.New(c, wire.Options{ReadTimeout: s.o.Idle, WriteTimeout: s.o.WriteTimeout})
	return &session{s: s, w: w, peer: c, began: s.o.Now(), state: authorization}
}

// run is the life of the connection.
func (c *session) run(ctx context.Context) {
	defer c.w.Close()
	defer c.leave(ctx)
	c.stranger = time.AfterFunc(loginWait, func() { c.peer.Close() })
	defer c.stranger.Stop()
	// No <timestamp>: APOP would need passwords in clear.
	c.ok(c.s.o.Hostname + " POP3 ready")
	for {
		line, err := c.next(ctx)
		switch {
		case errors.Is(err, wire.ErrLineTooLong):
			c.count("other", false)
			err = refuse("line too long")
		case err == nil:
			err = c.command(ctx, line)
		case !errors.Is(err, serve.ErrShutdown): // gone, or silent too long: RFC 1939 section 3 closes without a word and deletes nothing
			return
		}
		if c.answer(ctx, err) {
			c.w.Flush()
			return
		}
	}
}

// next reads a command line; before it waits it sends what is due, so that pipelined commands share their flushes.
func (c *session) next(ctx context.Context) ([]byte, error) {
	if ctx.Err() != nil { // also between pipelined commands
		return nil, context.Cause(ctx)
	}
	if !c.w.HasLine() {
		if err := c.w.Flush(); err != nil {
			return nil, err
		}
	}
	if c.w.Buffered() == 0 {
		if err := c.w.WaitReadable(ctx, c.s.o.Idle); err != nil {
			return nil, err
		}
	}
	return c.w.ReadLine(maxLine)
}

// answer tells the client of an error and reports whether the connection ends.
func (c *session) answer(ctx context.Context, err error) (ends bool) {
	switch {
	case err == nil:
		return false
	case errors.Is(err, errClose):
		return true
	}
	r, internal := translate(err)
	if internal {
		c.s.log.ErrorContext(ctx, logx.POP3Error, "account", uint32(c.who.Account), "error", err)
	}
	if !errors.Is(err, store.ErrNoMessage) { // that one is the doing of another program
		c.errors++
	}
	if c.errors >= maxErrors {
		r = &refusal{text: "too many errors", last: true}
	}
	if r.code != "" {
		c.say("-ERR [" + r.code + "] " + r.text)
	} else {
		c.say("-ERR " + r.text)
	}
	return r.last
}

// command finds and runs one command.
func (c *session) command(ctx context.Context, line []byte) error {
	if !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0 {
		c.count("other", false)
		return refuse("not UTF-8 text")
	}
	word, rest, given := bytes.Cut(line, []byte(" "))
	cmd := find(word)
	if cmd == nil {
		c.count("other", false)
		return refuse("unknown command")
	}
	c.peer.Does(cmd.name)
	if cmd.states&c.state == 0 {
		c.count(cmd.name, false)
		if c.state == authorization {
			return refuse("log in first")
		}
		return refuse("not after the login")
	}
	if c.state == transaction {
		if err := c.standing(ctx); err != nil {
			c.count(cmd.name, false)
			return err
		}
	}
	args, err := cmd.arguments(string(rest), given)
	if err == nil {
		err = cmd.run(c, ctx, args)
	}
	c.count(cmd.name, err == nil || errors.Is(err, errClose))
	return err
}

func (c *session) count(name string, good bool) {
	answer := "ok"
	if !good {
		answer = "err"
	}
	c.s.commands.WithLabelValues(name, answer).Inc()
}

// say writes a line; errors of the connection stick and show at the next read or flush.
func (c *session) say(line string) {
	c.w.WriteString(line)
	c.w.WriteString("\r\n")
}

func (c *session) ok(text string) { c.say("+OK " + text) }

// client is who the directory is asked about.
func (c *session) client() auth.Client {
	return auth.Client{Door: auth.DoorPOP3, Remote: c.peer.Remote.Addr(), TLS: c.w.TLS(), Conn: c.peer.ID}
}

// leave ends the session in the server's books.
func (c *session) leave(ctx context.Context) {
	if c.drop == nil {
		return
	}
	c.s.o.Sessions.leave(c.who.Account)
	c.s.log.InfoContext(ctx, logx.POP3Session, "account", uint32(c.who.Account), "messages", len(c.drop.rows),
		"sent", c.sent, "deleted", c.drop.deleted, slog.Duration("took", c.s.o.Now().Sub(c.began)))
}
