package serve

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// Conn is an accepted connection with what is known about it.
type Conn struct {
	net.Conn                // the *tls.Conn of an implicit-TLS service, handshake done
	ID       string         // unique in the process, for logs
	Service  string         // name of the Service
	Remote   netip.AddrPort // the client's, from PROXY protocol where it is trusted; zero for unix sockets
	Local    netip.AddrPort
	ear      wire.Listener

	raw      net.Conn // as it was accepted
	implicit bool     // TLS
	life     life
}

// Listener hears what goes over the connection; nil: nobody.
func (c *Conn) Listener() wire.Listener { return c.ear }

// Unwrap is what Conn adds knowledge to; internal/wire reads and writes that directly.
func (c *Conn) Unwrap() net.Conn { return c.Conn }

const (
	proxyTimeout = 10 * time.Second // for the PROXY header of a trusted peer
	busyTimeout  = time.Second      // for the Busy line: it fits the socket's buffer or is not sent
)

// serve is the life of one connection.
func (g *Group) serve(s Service, nc net.Conn) {
	defer g.forget(nc)
	defer nc.Close()
	n := g.ids.Add(1)
	c := &Conn{Conn: nc, ID: strconv.FormatUint(n, 36), Service: s.Name, Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()), raw: nc, implicit: s.TLS != nil}
	c.life.began = time.Now()
	ctx, cancel := context.WithCancel(logx.With(g.ctx, slog.String("service", s.Name), slog.String("conn", c.ID)))
	defer cancel()
	defer g.survive(ctx)
	if err := g.proxied(c); err != nil {
		g.refuse(ctx, s, c, "proxy", err)
		return
	}
	release, reason := g.enter(s, c.Remote.Addr(), g.o)
	if reason != "" {
		g.refuse(ctx, s, c, reason, nil)
		return
	}
	defer release()
	g.known(n, c)
	defer g.gone(n)
	g.total.WithLabelValues(s.Name).Inc()
	open := g.open.WithLabelValues(s.Name)
	open.Inc()
	defer open.Dec()
	if s.TLS != nil {
		t := tls.Server(c.Conn, s.TLS)
		if err := handshake(ctx, t); err != nil {
			g.broken.WithLabelValues(s.Name).Inc()
			g.o.Logger.DebugContext(ctx, logx.TLSFailed, "remote", c.Remote.Addr(), "error", err)
			return
		}
		c.Conn = t
	}
	if g.o.Listen != nil {
		if ear, done := g.o.Listen(c); ear != nil {
			c.ear = ear
			defer done()
		}
	}
	s.Handler(ctx, c)
}

// handshakeLonger is what a handshake has left when the house stops: enough for a client on the other side of the world, who is then
// told so in its protocol, and not cut off.
const handshakeLonger = 700 * time.Millisecond

func handshake(ctx context.Context, t *tls.Conn) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(handshakeLonger):
			cancel()
		case <-inner.Done():
		}
	})
	defer stop()
	return wire.Handshake(inner, t)
}

// survive makes a panic the end of this connection and of nothing else, be it in the handler or before it.
func (g *Group) survive(ctx context.Context) {
	if p := recover(); p != nil {
		g.panics.Inc()
		g.o.Logger.ErrorContext(ctx, logx.ConnPanic, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
}

// refuse says the Busy line, where the client could read it, and why in log and metrics.
func (g *Group) refuse(ctx context.Context, s Service, c *Conn, reason string, err error) {
	g.refused.WithLabelValues(s.Name, reason).Inc()
	if skipped, ok := g.quiet.Allow(s.Name + " " + reason + " " + group(c.Remote.Addr()).String()); ok {
		g.o.Logger.WarnContext(ctx, logx.ConnRefused, "remote", c.Remote.Addr(), "reason", reason, "error", err, "skipped", skipped)
	}
	if s.TLS != nil || s.Busy == "" || reason == "proxy" {
		return
	}
	if c.SetWriteDeadline(time.Now().Add(busyTimeout)) == nil {
		_, _ = c.Write([]byte(s.Busy + "\r\n")) // the connection is closed next, whatever became of it
	}
}

// errNoProxy: a peer that ProxyFrom lists did not begin with a PROXY header.
var errNoProxy = errors.New("no PROXY header from a peer of proxy_from")

// proxied reads the PROXY header of a trusted peer and takes the client's addresses from it.
func (g *Group) proxied(c *Conn) error {
	if !g.trusted(c.Remote.Addr()) {
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(proxyTimeout)); err != nil {
		return err
	}
	br := bufio.NewReaderSize(c.Conn, 4<<10)
	h, err := proxyproto.Read(br)
	if errors.Is(err, proxyproto.ErrNoProxyProtocol) {
		return errNoProxy
	}
	if err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	// LOCAL is the proxy itself asking how we are: the socket's own addresses stay.
	if from, to, ok := h.TCPAddrs(); ok && h.Command.IsProxy() {
		c.Remote, c.Local = addrPort(from), addrPort(to)
	}
	if n := br.Buffered(); n > 0 {
		rest, _ := br.Peek(n)
		c.Conn = wire.Ahead(c.Conn, rest)
	}
	return nil
}

func (g *Group) trusted(a netip.Addr) bool {
	for _, p := range g.o.ProxyFrom {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// addrPort returns the address of a TCP socket, an IPv4 one in its plain form; zero for others.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
