package wire

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// waiter is what an idle wait needs.
type waiter struct {
	raw   syscall.RawConn    // nil: wait by reading one byte
	probe func(uintptr) bool // tryRead, bound once
	one   [1]byte
	armed bool            // a read deadline is set
	ctx   context.Context // whose end Interrupts; watched once, not at every wait
	stop  func() bool

	mu          sync.Mutex // guards what follows
	waiting     bool
	interrupted bool
}

// past is a deadline that wakes a read at once.
var past = time.Unix(1, 0)

// WaitReadable waits until a byte can be read, holding no buffer meanwhile; d bounds the wait (0: the read timeout).
// The end of ctx (its cause is returned), or Interrupt (ErrInterrupted), ends it. ErrTimeout of a
// WaitReadable leaves the connection usable, unlike that of a read.
func (c *Conn) WaitReadable(ctx context.Context, d time.Duration) error {
	if c.in.r < c.in.w {
		return nil
	}
	if c.in.err != nil {
		return c.in.err
	}
	c.in.release()
	if d <= 0 {
		d = c.in.timeout
	}
	c.watch(ctx)
	if err := c.beginWait(ctx, d); err != nil {
		return err
	}
	var err error
	if c.wait.raw != nil {
		if err = c.wait.raw.Read(c.wait.probe); err == nil && c.in.w == 0 {
			err = c.in.err
		}
	} else {
		err = c.readOne()
	}
	c.wait.mu.Lock()
	c.wait.waiting = false
	interrupted := c.wait.interrupted
	c.wait.interrupted = false
	c.wait.mu.Unlock()
	switch {
	case err == nil:
		if interrupted { // both at once: the byte is kept, the interrupt waits for its turn
			c.wait.mu.Lock()
			c.wait.interrupted = true
			c.wait.mu.Unlock()
		}
		return nil
	case !errors.Is(err, os.ErrDeadlineExceeded):
		c.in.err = err
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case interrupted:
		return ErrInterrupted
	}
	return ErrTimeout
}

// watch makes the end of ctx interrupt the waits.
func (c *Conn) watch(ctx context.Context) {
	if c.wait.ctx == ctx || ctx.Done() == nil {
		return
	}
	if c.wait.stop != nil {
		c.wait.stop()
	}
	c.wait.ctx, c.wait.stop = ctx, context.AfterFunc(ctx, c.Interrupt)
}

// beginWait sets the deadline, under the lock that Interrupt takes, so that neither overwrites the other's.
func (c *Conn) beginWait(ctx context.Context, d time.Duration) error {
	c.wait.mu.Lock()
	defer c.wait.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.wait.interrupted {
		c.wait.interrupted = false
		return ErrInterrupted
	}
	var t time.Time
	if d > 0 {
		t = time.Now().Add(d)
	}
	// Always set: an Interrupt may have left a deadline in the past.
	c.wait.armed, c.wait.waiting = true, true
	return c.nc.SetReadDeadline(t)
}

// readOne waits with a buffer of one byte.
func (c *Conn) readOne() error {
	n, err := c.nc.Read(c.wait.one[:])
	if n == 0 {
		return err
	}
	c.in.room()
	c.received(c.wait.one[:])
	c.in.buf[0] = c.wait.one[0]
	c.in.w = 1
	return nil
}

// Interrupt ends the WaitReadable that is going on, or the next one, with ErrInterrupted. It may be called from any goroutine.
func (c *Conn) Interrupt() {
	c.wait.mu.Lock()
	defer c.wait.mu.Unlock()
	c.wait.interrupted = true
	if c.wait.waiting {
		_ = c.nc.SetReadDeadline(past) // fails only on a closed connection, whose wait has ended
	}
}
