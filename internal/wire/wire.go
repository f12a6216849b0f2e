// Package wire is the line-protocol kernel that SMTP, LMTP, POP3 and IMAP stand
// on: bounded lines, dot coding, literals, deadlines and pooled buffers.
//
// Read in this order: Conn, then read.go (lines, raw bytes), wait.go (idle
// without a buffer), write.go, dot.go, tls.go.
package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

var (
	// ErrLineTooLong: the line passed its bound. The rest of it has been read and thrown away; the stream stands at the next line.
	ErrLineTooLong = errors.New("wire: line too long")
	// ErrTimeout: the deadline of one read or write passed. The connection is of no use any more (but see WaitReadable).
	ErrTimeout = errors.New("wire: timeout")
	// ErrInterrupted: Interrupt ended a WaitReadable. The connection is as good as before.
	ErrInterrupted = errors.New("wire: wait interrupted")
	// ErrTooBig: a dot-coded body passed its limit; it has been read to its end.
	ErrTooBig = errors.New("wire: message too big")
	// ErrBareCR and ErrBareLF: the body had a CR or LF that stands alone; it ended at CRLF.CRLF all the same.
	ErrBareCR = errors.New("wire: bare CR in message")
	ErrBareLF = errors.New("wire: bare LF in message")
)

// bufferSize is what one read or write of the network moves at most: a TLS record carries no more (RFC 8446 section 5.1).
const bufferSize = 16 << 10

// buffers is shared by all connections, so that the thousands that are idle hold none; it is a cache, not state.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// Options of a Conn.
type Options struct {
	ReadTimeout  time.Duration // one read may wait this long for the next bytes, a line for its end; 0: no limit
	WriteTimeout time.Duration // one flush may take this long without progress; 0: no limit
}

// Listener hears what goes over a connection in clear, TLS and compression taken off. It must not keep the slices, nor wait.
type Listener interface {
	Received([]byte)
	Sent([]byte)
}

// heard is implemented by connections that somebody listens to; nil: nobody.
type heard interface{ Listener() Listener }

// Conn is a buffered connection. Its buffers come from a pool when the first
// byte needs them and go back when it waits idle. One goroutine reads, one (the same or another) writes.
type Conn struct {
	nc    net.Conn
	ear   Listener             // nil: nobody
	state *tls.ConnectionState // nil: in clear
	in    reader
	out   writer
	wait  waiter
}

// inner is implemented by connections that only add knowledge to another one.
type inner interface{ Unwrap() net.Conn }

// New wraps c. A connection with an Unwrap method (serve.Conn) is replaced by what it wraps.
func New(c net.Conn, o Options) *Conn {
	w := &Conn{}
	if h, ok := c.(heard); ok {
		w.ear = h.Listener()
	}
	if u, ok := c.(inner); ok {
		c = u.Unwrap()
	}
	w.in.timeout, w.out.timeout = o.ReadTimeout, o.WriteTimeout
	w.use(c)
	if t, ok := c.(*tls.Conn); ok {
		s := t.ConnectionState()
		w.state = &s
	}
	return w
}

// use makes nc the connection that is read and written.
func (c *Conn) use(nc net.Conn) {
	c.nc, c.wait.raw, c.wait.probe = nc, nil, nil
	// A plain socket is waited for by the poller alone; other connections by a read of one byte.
	if s, ok := nc.(syscall.Conn); ok && canProbe {
		if raw, err := s.SyscallConn(); err == nil {
			c.wait.raw, c.wait.probe = raw, c.tryRead
		}
	}
}

// SetReadTimeout changes the read timeout for the reads that follow.
func (c *Conn) SetReadTimeout(d time.Duration) { c.in.timeout = d }

// TLS returns the state, nil when the connection is in clear.
func (c *Conn) TLS() *tls.ConnectionState { return c.state }

// NetConn is the connection underneath (the *tls.Conn once TLS is on).
func (c *Conn) NetConn() net.Conn { return c.nc }

// Close gives the buffers back and closes the connection. What was not flushed is lost.
func (c *Conn) Close() error {
	c.in.release()
	c.out.release()
	if c.in.err == nil {
		c.in.err = net.ErrClosed
	}
	if c.out.err == nil {
		c.out.err = net.ErrClosed
	}
	if c.wait.stop != nil {
		c.wait.stop()
	}
	return c.nc.Close()
}
