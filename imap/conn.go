package imap

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// conn is one connection. One goroutine runs it; only Interrupt of w comes from others.
type conn struct {
	s    *Server
	peer *serve.Conn
	w    *wire.Conn
	d    syntax.Decoder
	log  *slog.Logger

	state   states
	who     auth.Identity
	began   time.Time
	bad     int // BAD answers in a row
	failed  int // logins
	enabled enabled
	box     *mailbox // nil: none selected
	program string   // what the client calls itself (ID)

	stale atomic.Bool // the account has changed; set by the directory's ring
	limit *time.Timer // closes the connection of who does not log in
}

// enabled is what ENABLE (RFC 5161) or a CONDSTORE enabling command (RFC 7162 section 3.1) switched on.
type enabled struct {
	condstore bool
	rev2      bool // IMAP4rev2
	utf8      bool // UTF8=ACCEPT
}

// names reports whether mailbox names travel as UTF-8 (RFC 6855 section 3, RFC 9051 section 5.1).
func (e enabled) names() bool { return e.rev2 || e.utf8 }

func newConn(s *Server, sc *serve.Conn, w *wire.Conn) *conn {
	c := &conn{s: s, peer: sc, w: w, log: s.log, state: notAuthenticated, began: s.now()}
	c.d = syntax.NewDecoder(source{c}, c.limits())
	// await ends the phase with a BYE; this is for who sends one octet a minute in the middle of a command.
	c.limit = time.AfterFunc(loginPhase+s.o.LoginTimeout, func() { _ = sc.Close() })
	return c
}

// limits of commands; before login they are small, and non-synchronizing literals too (LITERAL-, RFC 7888 section 5).
func (c *conn) limits() syntax.Limits {
	if c.state == notAuthenticated {
		return syntax.Limits{Line: maxLoginLine, Literal: 4096, Command: maxLine, NonSync: 4096, Skip: maxLine}
	}
	return syntax.Limits{Line: maxLine, Literal: maxString, Command: maxCommand, Skip: max(4*c.s.o.MaxMessage, 64<<20)}
}

// source is the connection as the decoder sees it.
type source struct{ c *conn }

func (s source) ReadLine(max int) ([]byte, error) { return s.c.w.ReadLine(max) }

func (s source) CopyTo(w io.Writer, n int64) (writeErr, err error) { return s.c.w.CopyTo(w, n) }

// Continue asks for a literal.
func (s source) Continue() error {
	s.c.w.WriteString("+ OK\r\n")
	return s.c.w.Flush()
}

// close gives up what the connection holds.
func (c *conn) close() {
	c.limit.Stop()
	c.deselect()
	c.forget()
	c.w.Close()
}

// serve greets and answers commands; the error says why the connection ends.
func (c *conn) serve(ctx context.Context) error {
	c.untagged("OK", "CAPABILITY "+c.capabilities(), "posthouse is ready")
	for {
		if err := c.await(ctx); err != nil {
			return err
		}
		if err := c.step(ctx); err != nil {
			return err
		}
	}
}

// await waits for a command. Answers are sent before it waits, and share one write when commands were pipelined.
func (c *conn) await(ctx context.Context) error {
	if !c.w.HasLine() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	limit := c.s.o.IdleTimeout
	if c.state == notAuthenticated {
		limit = min(c.s.o.LoginTimeout, loginPhase-c.s.now().Sub(c.began))
		if limit <= 0 {
			return bye("", "no login in time")
		}
	}
	return c.wait(ctx, limit)
}

// wait waits for an octet, holding no buffer.
func (c *conn) wait(ctx context.Context, limit time.Duration) error {
	for {
		err := c.w.WaitReadable(ctx, limit)
		switch {
		case err == nil && ctx.Err() == nil:
			return nil
		case ctx.Err() != nil:
			return bye(goimap.ResponseCodeUnavailable, "the server is going down")
		case errors.Is(err, wire.ErrInterrupted): // or a bell that rang when IDLE had ended
			if err := c.standing(ctx); err != nil {
				return err
			}
		case errors.Is(err, wire.ErrTimeout):
			return bye("", "no command for too long")
		default:
			return broken{err}
		}
	}
}

// step reads one command, runs it and answers it. A command that has begun is finished even when ctx ends.
func (c *conn) step(ctx context.Context) error {
	working := context.WithoutCancel(ctx)
	if err := c.standing(working); err != nil {
		return err
	}
	c.d.Limits, c.d.UTF8 = c.limits(), c.enabled.names()
	tag, name, err := c.d.Next()
	r := &request{tag: tag}
	if err == nil {
		var found *request
		if found, err = c.lookup(tag, name); err == nil {
			r = found
			c.peer.Does(r.name)
			err = r.run(c, c.waiting(ctx, working, r), r)
		}
	}
	lost := c.d.Finish()
	if lost != nil && !errors.Is(lost, syntax.ErrLost) {
		return lost
	}
	if err = c.finish(working, r, err); err != nil {
		return err
	}
	if lost != nil {
		return bye(goimap.ResponseCodeTooBig, "the rest of the command is too long to be skipped")
	}
	return nil
}

// waiting is the context of a command: those that wait for the client in their middle have to hear of a shutdown.
func (c *conn) waiting(ctx, working context.Context, r *request) context.Context {
	if r.waits {
		return ctx
	}
	return working
}

// finish sends what the session has to learn, then the tagged answer to r.
func (c *conn) finish(ctx context.Context, r *request, err error) error {
	var end *goodbye
	if errors.As(err, &end) {
		if end.tagged {
			c.untagged("BYE", string(end.code), end.text)
			c.tagged(r, "OK", "", r.name+" completed")
			c.count(r, "ok")
			return errClosed
		}
		return err
	}
	if err == nil {
		return c.completed(ctx, r)
	}
	if dead(err) {
		return err
	}
	a := c.answerFor(ctx, err, r)
	if a.kind == goimap.StatusResponseTypeNo {
		c.bad = 0
		if e := c.tell(ctx, r); errors.As(e, &end) {
			return e
		}
	}
	c.tagged(r, string(a.kind), string(a.code), a.text)
	if a.kind != goimap.StatusResponseTypeBad {
		c.count(r, "no")
		if c.failed >= maxFailed {
			return bye("", "too many failed logins")
		}
		return nil
	}
	c.count(r, "bad")
	if c.bad++; c.bad >= maxBad {
		return bye("", "too many wrong commands")
	}
	return nil
}

// completed answers OK. What was done is said to be done even when the client's mailbox cannot be told about any more: a client
// that hears NO of an APPEND sends the message again.
func (c *conn) completed(ctx context.Context, r *request) error {
	c.bad = 0
	untold := c.tell(ctx, r)
	text := r.text
	if text == "" {
		text = r.title() + " completed"
	}
	c.tagged(r, "OK", r.code, text)
	c.count(r, "ok")
	var end *goodbye
	switch {
	case errors.As(untold, &end):
		return untold
	case untold != nil: // nothing was told, so that the next command tells it
		c.log.ErrorContext(ctx, logx.IMAPError, "command", r.label(), "error", untold)
	}
	if r.after != nil {
		return r.after(ctx)
	}
	return nil
}

// errClosed says that all is said.
var errClosed = errors.New("imap: closed")

// broken is an error of the connection itself, which nobody can be told any more.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// dead reports whether err is the connection's own.
func dead(err error) bool {
	var b broken
	return errors.As(err, &b)
}

// flush sends what is buffered.
func (c *conn) flush() error {
	if err := c.w.Flush(); err != nil {
		return broken{err}
	}
	return nil
}

// readLine reads a line that is no command: a response of AUTHENTICATE, the end of IDLE.
func (c *conn) readLine() ([]byte, error) {
	line, err := c.w.ReadLine(maxLoginLine)
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		c.d.Refuse(line)
		return nil, bad("line too long")
	case err != nil:
		return nil, broken{err}
	}
	return line, nil
}

// farewell says BYE where the connection still can, and logs why it ends.
func (c *conn) farewell(ctx context.Context, err error) {
	var end *goodbye
	switch {
	case errors.As(err, &end):
		c.untagged("BYE", string(end.code), end.text)
	case errors.Is(err, wire.ErrTimeout):
		c.untagged("BYE", "", "timeout")
	case !errors.Is(err, errClosed):
		c.log.DebugContext(ctx, logx.IMAPClosed, "error", err)
		return
	}
	_ = c.w.Flush() // the client may be gone, which is what ends the connection
	c.log.DebugContext(ctx, logx.IMAPClosed, "cause", err)
}

// title is the command as the client wrote it.
func (r *request) title() string {
	if r.byUID {
		return "UID " + r.name
	}
	return r.name
}

func (c *conn) count(r *request, result string) {
	c.s.counts.WithLabelValues(r.label(), result).Inc()
}

// tagged writes the answer to a command; without a tag it is untagged.
func (c *conn) tagged(r *request, kind, code, text string) {
	tag := r.tag
	if tag == "" {
		tag = "*"
	}
	c.line(tag, kind, code, text)
}

// untagged writes "* KIND [code] text".
func (c *conn) untagged(kind, code, text string) { c.line("*", kind, code, text) }

func (c *conn) line(tag, kind, code, text string) {
	b := c.w.AvailableBuffer()
	b = append(b, tag...)
	b = append(b, ' ')
	b = append(b, kind...)
	b = append(b, ' ')
	if code != "" {
		b = append(b, '[')
		b = append(b, code...)
		b = append(b, "] "...)
	}
	b = append(b, text...)
	c.w.Write(append(b, "\r\n"...))
}

// client is who the directory is asked about.
func (c *conn) client() auth.Client {
	return auth.Client{Door: auth.DoorIMAP, Remote: c.peer.Remote.Addr(), TLS: c.w.TLS(), Conn: c.peer.ID, Name: c.program}
}
