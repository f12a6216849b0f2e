package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// HandshakeTimeout is how long a TLS handshake may take in all.
const HandshakeTimeout = 30 * time.Second

// StartTLS throws away what was read ahead in clear, does the server's handshake
// within its deadline and goes on inside TLS. After an error the connection must be closed.
func (c *Conn) StartTLS(ctx context.Context, config *tls.Config) error {
	return c.startTLS(ctx, func(nc net.Conn) *tls.Conn { return tls.Server(nc, config) })
}

// StartTLSClient is the client's side of it.
func (c *Conn) StartTLSClient(ctx context.Context, config *tls.Config) error {
	return c.startTLS(ctx, func(nc net.Conn) *tls.Conn { return tls.Client(nc, config) })
}

func (c *Conn) startTLS(ctx context.Context, wrap func(net.Conn) *tls.Conn) error {
	if err := c.Flush(); err != nil {
		return err
	}
	// RFC 3207 section 4.2, RFC 9051 section 6.2.1: nothing learned in clear survives; commands smuggled in behind STARTTLS least of all.
	c.in.release()
	if c.in.err != nil {
		return c.in.err
	}
	t := wrap(c.nc)
	if err := Handshake(ctx, t); err != nil {
		c.in.err, c.out.err = err, err
		return err
	}
	c.use(t)
	c.wait.armed = false
	s := t.ConnectionState()
	c.state = &s
	return nil
}

// Handshake runs the handshake of t within HandshakeTimeout.
func Handshake(ctx context.Context, t *tls.Conn) error {
	if err := t.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	// In a goroutine of its own: its calls go deep, and the stack they need would stay with a connection that idles for hours.
	// A panic (of a certificate callback) comes back to the caller, who has the recover.
	var err error
	var fault any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { fault = recover() }()
		err = t.HandshakeContext(ctx)
	}()
	<-done
	if fault != nil {
		panic(fault)
	}
	if err != nil {
		return fmt.Errorf("TLS handshake: %w", readError(err))
	}
	if err := t.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	return nil
}

// Layer puts another layer (COMPRESS, RFC 4978) between the connection and the network: wrap gets the
// connection used until now, with what was read ahead in front, and returns the one to use from now on. Output is flushed first.
func (c *Conn) Layer(wrap func(net.Conn) net.Conn) error {
	if err := c.Flush(); err != nil {
		return err
	}
	nc := c.nc
	if c.in.r < c.in.w {
		nc = Ahead(nc, append([]byte(nil), c.in.buf[c.in.r:c.in.w]...))
	}
	c.in.release()
	c.use(wrap(nc))
	return nil
}

// Ahead is nc with what was read from it already in front. It keeps rest until that is read.
func Ahead(nc net.Conn, rest []byte) net.Conn { return &ahead{Conn: nc, rest: rest} }

type ahead struct {
	net.Conn
	rest []byte
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		return a.Conn.Read(p)
	}
	n := copy(p, a.rest)
	if a.rest = a.rest[n:]; len(a.rest) == 0 {
		a.rest = nil
	}
	return n, nil
}
