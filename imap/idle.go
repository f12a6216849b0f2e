package imap

import (
	"context"
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// idle answers IDLE (RFC 9051 section 6.3.13). The bell interrupts the wait and carries nothing: what happened is read
// from the store. While it waits the connection holds no buffer and no second goroutine.
func (c *conn) idle(ctx context.Context, _ *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.w.WriteString("+ idling\r\n")
	if c.box != nil {
		bell := c.s.store.WatchFunc(c.box.id, c.w.Interrupt)
		defer bell.Close()
	}
	for {
		if err := c.standing(ctx); err != nil {
			return err
		}
		// The bell hangs by now: what came before it is told here, what comes after rings.
		if c.box != nil {
			if err := c.update(context.WithoutCancel(ctx), true); err != nil {
				return c.failedIdle(ctx, err)
			}
		}
		if err := c.flush(); err != nil {
			return err
		}
		err := c.w.WaitReadable(ctx, keepAlive)
		switch {
		case err == nil:
			return c.endIdle()
		case ctx.Err() != nil:
			return bye(goimap.ResponseCodeUnavailable, "the server is going down")
		case errors.Is(err, wire.ErrTimeout):
			c.untagged("OK", "", "still here")
		case !errors.Is(err, wire.ErrInterrupted):
			return broken{err}
		}
	}
}

// failedIdle ends the connection: an answer now would have the client's DONE come as a command.
func (c *conn) failedIdle(ctx context.Context, err error) error {
	var end *goodbye
	if errors.As(err, &end) {
		return err
	}
	c.log.ErrorContext(ctx, logx.IMAPError, "command", "idle", "error", err)
	return bye(goimap.ResponseCodeUnavailable, "the mailbox cannot be read now")
}

// endIdle reads DONE.
func (c *conn) endIdle() error {
	line, err := c.readLine()
	if err == nil && !strings.EqualFold(string(line), "DONE") {
		c.d.Refuse(line) // a client that forgot DONE may have begun a command with a literal
		return bad("IDLE ends with DONE")
	}
	return err
}
