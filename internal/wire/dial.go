package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// DialOptions is how Dial connects.
type DialOptions struct {
	Address string                                                               // host:port
	TLS     *tls.Config                                                          // TLS from the first octet; nil: in clear
	Dial    func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer's
	Timeout time.Duration                                                        // of the connection alone; 30 s
	Options
}

// Dial connects to a server. The connection is closed when ctx ends, for as long as it lives.
func Dial(ctx context.Context, o DialOptions) (*Conn, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	dial := o.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	dialCtx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	nc, err := dial(dialCtx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	bound := &bound{Conn: nc}
	bound.unbind = context.AfterFunc(ctx, func() { _ = nc.Close() }) // whoever reads or writes gets the error
	if o.TLS == nil {
		return New(bound, o.Options), nil
	}
	t := tls.Client(bound, o.TLS)
	if err := Handshake(ctx, t); err != nil {
		return nil, errors.Join(err, bound.Close())
	}
	return New(t, o.Options), nil
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	unbind func() bool
}

func (b *bound) Close() error {
	b.unbind()
	return b.Conn.Close()
}
