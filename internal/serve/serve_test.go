package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a listener that tests feed with connections and errors.
type gate struct {
	in   chan any
	once sync.Once
	done chan struct{}
}

func newGate() *gate { return &gate{in: make(chan any), done: make(chan struct{})} }

func (g *gate) Accept() (net.Conn, error) {
	select {
	case x := <-g.in:
		if err, ok := x.(error); ok {
			return nil, err
		}
		return x.(net.Conn), nil
	case <-g.done:
		return nil, net.ErrClosed
	}
}
func (g *gate) Close() error   { g.once.Do(func() { close(g.done) }); return nil }
func (g *gate) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection that comes from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr))
}

// dial gives the client's end of a connection from addr.
func (g *gate) dial(addr string) net.Conn {
	a, b := net.Pipe()
	g.in <- from{b, addr}
	return a
}

func line(t *testing.T, c net.Conn) string {
	t.Helper()
	l, err := wire.New(c, wire.Options{}).ReadLine(1000)
	if err != nil {
		return err.Error()
	}
	return string(l)
}

// hello greets and serves until the client or the house ends it.
func hello(ctx context.Context, c *Conn) {
	w := wire.New(c, wire.Options{})
	w.WriteString("hello " + c.Remote.String() + "\r\n")
	w.Flush()
	for {
		if err := w.WaitReadable(ctx, 0); err != nil {
			if err == ErrShutdown {
				w.WriteString("bye\r\n")
				w.Flush()
			}
			return
		}
		l, err := w.ReadLine(100)
		if err != nil {
			return
		}
		if string(l) == "PANIC" {
			panic("as told")
		}
		w.WriteString("got " + string(l) + "\r\n")
		w.Flush()
	}
}

func TestLimits(t *testing.T) {
	set := metrics.New()
	g := New(Options{MaxConns: 6, MaxPerAddress: 2, Metrics: set})
	defer force(g)
	small, large := newGate(), newGate()
	g.Go(Service{Name: "small", Listener: small, Handler: hello, Busy: "421 busy", Max: 1})
	g.Go(Service{Name: "large", Listener: large, Handler: hello, Busy: "421 busy"})
	try := func(at *gate, addr, want string) net.Conn {
		t.Helper()
		c := at.dial(addr)
		if got := line(t, c); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
		return c
	}
	one := try(small, "192.0.2.1:1", "hello")
	try(small, "192.0.2.2:1", "421 busy")
	try(large, "192.0.2.1:2", "hello")
	try(large, "192.0.2.1:3", "421 busy")
	try(large, "[2001:db8::1]:1", "hello")
	try(large, "[2001:db8::ffff:1]:1", "hello")
	try(large, "[2001:db8::2]:1", "421 busy")
	try(large, "127.0.0.1:1", "hello")
	try(large, "127.0.0.1:1", "hello")
	try(large, "127.0.0.1:1", "421 busy") // in all
	if n := testutil.ToFloat64(g.refused.WithLabelValues("large", "address")); n != 2 {
		t.Error("refused by address:", n)
	}
	one.Close()
	for { // its place is free when its handler has seen the end
		c := small.dial("192.0.2.1:1")
		got := line(t, c)
		c.Close()
		if got == "hello 192.0.2.1:1" {
			break
		}
	}
}

// force ends g without waiting for clients.
func force(g *Group) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = g.Shutdown(ctx)
}

func TestPanicClosesOneConnection(t *testing.T) {
	var log bytes.Buffer
	g := New(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	at := newGate()
	g.Go(Service{Name: "x", Listener: at, Handler: hello})
	a, b := at.dial("192.0.2.1:1"), at.dial("192.0.2.1:2")
	line(t, a)
	line(t, b)
	io.WriteString(a, "PANIC\r\n")
	if got := line(t, a); got != "EOF" {
		t.Error(got)
	}
	io.WriteString(b, "NOOP\r\n")
	if got := line(t, b); got != "got NOOP" {
		t.Error(got)
	}
	b.Close()
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if testutil.ToFloat64(g.panics) != 1 || !strings.Contains(log.String(), "as told") || !strings.Contains(log.String(), "serve_test.go") {
		t.Error("not logged with its stack:", log.String())
	}
}

func TestShutdownIdleAndBusy(t *testing.T) {
	g := New(Options{})
	at := newGate()
	working, finish := make(chan bool), make(chan bool)
	g.Go(Service{Name: "idle", Listener: at, Handler: hello})
	busyAt := newGate()
	g.Go(Service{Name: "busy", Listener: busyAt, Handler: func(ctx context.Context, c *Conn) {
		close(working)
		<-finish
		io.WriteString(c, "done\r\n")
	}})
	idle := at.dial("192.0.2.1:1")
	line(t, idle)
	busy := busyAt.dial("192.0.2.1:1")
	<-working
	ended := make(chan error)
	go func() { ended <- g.Shutdown(t.Context()) }()
	if got := line(t, idle); got != "bye" {
		t.Errorf("idle: %q", got)
	}
	close(finish)
	if got := line(t, busy); got != "done" {
		t.Errorf("busy: %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	late := newGate()
	g.Go(Service{Name: "late", Listener: late, Handler: hello})
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error("a service was started after Shutdown")
	}
}

func TestShutdownByForce(t *testing.T) {
	g := New(Options{})
	at := newGate()
	g.Go(Service{Name: "deaf", Listener: at, Handler: func(ctx context.Context, c *Conn) {
		io.WriteString(c, "hi\r\n")
		io.Copy(io.Discard, c) // does not care for ctx
	}})
	c := at.dial("192.0.2.1:1")
	line(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := line(t, c); got != "EOF" {
		t.Error(got)
	}
}

func TestProxy(t *testing.T) {
	g := New(Options{ProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	defer force(g)
	at := newGate()
	g.Go(Service{Name: "x", Listener: at, Handler: hello})
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x01\x00\x63\x00\x19"
	local := "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	tests := []struct{ addr, send, want string }{
		{"192.0.2.9:9", "", "hello 192.0.2.9:9"},
		{"10.1.1.1:9", "PROXY TCP4 198.51.100.7 192.0.2.1 99 25\r\n", "hello 198.51.100.7:99"},
		{"10.1.1.1:9", "PROXY TCP6 2001:db8::7 2001:db8::1 99 25\r\n", "hello [2001:db8::7]:99"},
		{"10.1.1.1:9", v2, "hello 198.51.100.7:99"},
		{"10.1.1.1:9", local, "hello 10.1.1.1:9"},
		{"10.1.1.1:9", "EHLO x\r\n", "EOF"},
		{"10.1.1.1:9", "PROXY TCP4 nonsense\r\n", "EOF"},
	}
	for _, tt := range tests {
		c := at.dial(tt.addr)
		go io.WriteString(c, tt.send)
		if got := line(t, c); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.send, got, tt.want)
		}
		c.Close()
	}
	c := at.dial("10.1.1.1:9") // what comes behind the header in the same packet is not lost
	go io.WriteString(c, "PROXY TCP4 198.51.100.7 192.0.2.1 99 25\r\nNOOP\r\n")
	if line(t, c) != "hello 198.51.100.7:99" || line(t, c) != "got NOOP" {
		t.Error("read-ahead was lost")
	}
	c.Close()
}

func TestSilentClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{ProxyFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		at := newGate()
		g.Go(Service{Name: "imaps", Listener: at, TLS: &tls.Config{}, Handler: hello, Busy: "* BYE"})
		for addr, want := range map[string]time.Duration{"192.0.2.1:1": wire.HandshakeTimeout, "10.1.1.1:1": proxyTimeout} {
			begin := time.Now()
			c := at.dial(addr)
			if got := line(t, c); got != "EOF" || time.Since(begin) < want || time.Since(begin) > want+10*time.Second {
				t.Errorf("%s: %q after %v", addr, got, time.Since(begin))
			}
		}
		if err := g.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAcceptWaitsOutLack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{})
		at := newGate()
		g.Go(Service{Name: "x", Listener: at, Handler: hello})
		begin := time.Now()
		for range 10 {
			at.in <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		}
		c := at.dial("192.0.2.1:1")
		if got := line(t, c); got != "hello 192.0.2.1:1" || time.Since(begin) < time.Second || time.Since(begin) > 10*time.Second {
			t.Error(got, time.Since(begin))
		}
		c.Close()
		g.Shutdown(t.Context())
	})
}

// TestPanicInHandshake: a certificate callback that panics ends one connection, and it is not counted any more.
func TestPanicInHandshake(t *testing.T) {
	g := New(Options{MaxConns: 1})
	defer force(g)
	at := newGate()
	g.Go(Service{Name: "imaps", Listener: at, Handler: hello, TLS: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("callback") }}})
	for range 3 {
		c := tls.Client(at.dial("192.0.2.1:1"), &tls.Config{ServerName: "mx.test"})
		if err := c.Handshake(); err == nil {
			t.Error("a handshake without a certificate")
		}
		c.Close()
	}
	if n := testutil.ToFloat64(g.panics); n != 3 {
		t.Error("panics:", n)
	}
}
