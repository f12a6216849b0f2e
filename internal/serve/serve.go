// Package serve runs listeners: accept loop, limits, PROXY protocol, one
// goroutine with a context and a recover for each connection, graceful shutdown.
//
// Group is the whole; conn.go is the life of one connection, limit.go counts them.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// ErrShutdown is the cause of a handler's ctx when the house shuts down: say farewell and return.
var ErrShutdown = errors.New("serve: shutting down")

// Handler serves one connection and returns when it is done; the Group closes the connection afterwards.
// ctx ends with ErrShutdown; an idle handler then says farewell, a busy one finishes what is in flight first.
type Handler func(ctx context.Context, c *Conn)

// Service is one listener and what serves it.
type Service struct {
	Name     string // "smtp", "submission", "submissions", "pop3", "pop3s", "imap", "imaps", "lmtp", ...
	Listener net.Listener
	TLS      *tls.Config // implicit TLS when not nil
	Handler  Handler
	Busy     string // line sent (with CRLF) before a connection over the limits is closed
	Max      int    // connections of this service at once; 0: the Group's
}

// Options of a Group. The zero value of a limit means its default.
type Options struct {
	Logger        *slog.Logger
	Metrics       *metrics.Set
	MaxConns      int            // in all; 5,000
	MaxPerAddress int            // from one address (IPv6: one /64); loopback is not counted; 100
	ProxyFrom     []netip.Prefix // peers whose PROXY header is required and believed

	// Listen gives who hears a new connection, and what to call at its end; nil: nobody.
	Listen func(c *Conn) (ear wire.Listener, done func())
}

const (
	defaultMaxConns      = 5000 // at 30 KB each they fit a small VPS
	defaultMaxPerAddress = 100  // an office behind one address, 20 IMAP connections each
)

// Group is the listeners of the house.
type Group struct {
	o      Options
	ctx    context.Context // of all handlers
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // connections

	accepting sync.WaitGroup // accept loops
	closing   chan struct{}  // closed when they are to end
	ids       atomic.Uint64
	quiet     *logx.Limiter // for events that a client can repeat
	counts

	open    *prometheus.GaugeVec
	total   *prometheus.CounterVec
	refused *prometheus.CounterVec
	broken  *prometheus.CounterVec
	panics  prometheus.Counter

	mu        sync.Mutex // guards what follows
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	byID      map[uint64]*Conn // those that are served
	stopped   bool
}

// New returns a Group without services.
func New(o Options) *Group {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxConns <= 0 {
		o.MaxConns = defaultMaxConns
	}
	if o.MaxPerAddress <= 0 {
		o.MaxPerAddress = defaultMaxPerAddress
	}
	g := &Group{
		o:       o,
		quiet:   logx.NewLimiter(time.Minute, nil),
		counts:  counts{services: map[string]int{}, addresses: map[netip.Prefix]int{}},
		conns:   map[net.Conn]struct{}{},
		closing: make(chan struct{}),
		byID:    map[uint64]*Conn{},
		open:    o.Metrics.Gauges("connections", "Connections that are open.", "service"),
		total:   o.Metrics.Counters("connections_total", "Connections taken.", "service"),
		refused: o.Metrics.Counters("connections_refused_total", "Connections closed because of a limit or a missing PROXY header.", "service", "reason"),
		broken:  o.Metrics.Counters("tls_handshakes_failed_total", "TLS handshakes that failed on implicit-TLS services.", "service"),
		panics:  o.Metrics.Counter("panics_total", "Connections ended by a fault of the program; the log has the stack."),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Go starts a service.
func (g *Group) Go(s Service) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		s.Listener.Close()
		return
	}
	g.listeners = append(g.listeners, s.Listener)
	g.open.WithLabelValues(s.Name).Add(0) // the series is there before the first connection
	g.total.WithLabelValues(s.Name).Add(0)
	g.accepting.Go(func() { g.accept(s) })
}

// accept takes connections until the listener is closed. A lack of descriptors or memory is waited out.
func (g *Group) accept(s Service) {
	const first, longest = 5 * time.Millisecond, time.Second
	pause := first
	for {
		nc, err := s.Listener.Accept()
		if err == nil {
			pause = first
			g.keep(nc)
			g.wg.Go(func() { g.serve(s, nc) })
			continue
		}
		if g.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if skipped, ok := g.quiet.Allow("accept " + s.Name); ok {
			g.o.Logger.Error(logx.AcceptFailed, "service", s.Name, "error", err, "skipped", skipped)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, longest)
		case <-g.closing:
			return
		}
	}
}

// keep notes nc for Shutdown. One that came while that begins is served: it is told so, and not cut off.
func (g *Group) keep(nc net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[nc] = struct{}{}
}

func (g *Group) forget(nc net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, nc)
}

// Shutdown stops accepting, cancels the handlers' ctx (cause ErrShutdown), which ends idle waits at
// once and lets what is in flight finish, and closes what is left when ctx ends. It returns when every handler has returned.
func (g *Group) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	if !g.stopped {
		close(g.closing)
	}
	g.stopped = true
	listeners := g.listeners
	g.listeners = nil
	g.mu.Unlock()
	var errs []error
	for _, l := range listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	g.accepting.Wait() // nobody is kept from now on
	g.cancel(ErrShutdown)
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		g.mu.Lock()
		for nc := range g.conns {
			nc.Close()
		}
		g.mu.Unlock()
		<-done
		errs = append(errs, context.Cause(ctx))
	}
	return errors.Join(errs...)
}
