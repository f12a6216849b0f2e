package dialogue

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Line is one line of a connection.
type Line struct {
	Time    time.Time `json:"time"`
	Conn    string    `json:"conn"`
	Service string    `json:"service"`
	Remote  string    `json:"remote,omitempty"`
	Client  bool      `json:"client"` // the client said it; else we did
	Text    string    `json:"text"`
	Lost    uint64    `json:"lost,omitempty"` // so many lines before this one did not fit: the reader was too slow
}

// Want says which connections are written down: those of an account, from the moment they began, or those from an address.
type Want struct {
	Account uint32 // 0: any
	Address netip.Addr
	Bodies  bool // messages too
}

const (
	room     = 2048 // lines that wait for the reader of a trace
	before   = 300  // lines of a connection that are kept until its account is known
	maxConns = 5000 // connections that one trace looks at
)

// Hub knows who looks at connections. While nobody does, a new connection costs one atomic read.
type Hub struct {
	now    func() time.Time
	active atomic.Int32

	mu     sync.Mutex // guards what follows
	traces map[*Trace]struct{}
	ended  bool
}

// NewHub returns a Hub; now may be nil.
func NewHub(now func() time.Time) *Hub {
	if now == nil {
		now = time.Now
	}
	return &Hub{now: now, traces: map[*Trace]struct{}{}}
}

// Trace is what one reader gets. Connections never wait for it.
type Trace struct {
	hub   *Hub
	want  Want
	lines chan Line
	done  chan struct{}
	off   atomic.Bool

	mu    sync.Mutex // guards what follows
	lost  uint64
	conns map[string]*listening
}

// Begin writes down connections that begin from now on. Close it.
func (h *Hub) Begin(w Want) *Trace {
	t := &Trace{hub: h, want: w, lines: make(chan Line, room), done: make(chan struct{}), conns: map[string]*listening{}}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		close(t.done)
		return t
	}
	h.traces[t] = struct{}{}
	h.active.Add(1)
	return t
}

// Next waits for a line; false: ctx has ended, or there is no more.
func (t *Trace) Next(ctx context.Context) (Line, bool) {
	select {
	case l := <-t.lines:
		return l, true
	default:
	}
	select {
	case l := <-t.lines:
		return l, true
	case <-t.done:
	case <-ctx.Done():
	}
	return Line{}, false
}

// Close ends it.
func (t *Trace) Close() {
	t.hub.mu.Lock()
	defer t.hub.mu.Unlock()
	if _, ok := t.hub.traces[t]; ok {
		delete(t.hub.traces, t)
		t.hub.active.Add(-1)
		t.off.Store(true)
		close(t.done)
	}
}

// End is for a house that stops.
func (h *Hub) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for t := range h.traces {
		t.off.Store(true)
		close(t.done)
	}
	h.active.Add(-int32(len(h.traces)))
	clear(h.traces)
}

// Conn is a connection that begins.
type Conn struct {
	ID, Service string
	Protocol    Protocol
	Remote      netip.Addr
}

// Listener hears a connection; nil: nobody wants it.
type Listener interface {
	Received([]byte)
	Sent([]byte)
	Closed()
}

// Watch gives the listener of a new connection.
func (h *Hub) Watch(c Conn) Listener {
	if h.active.Load() == 0 || c.Protocol == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var all several
	for t := range h.traces {
		if l := t.listen(c); l != nil {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// LoggedIn tells whose a connection is.
func (h *Hub) LoggedIn(conn string, account uint32) {
	if h.active.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for t := range h.traces {
		t.loggedIn(conn, account)
	}
}

// listening is one connection in one trace.
type listening struct {
	*Recorder
	t    *Trace
	c    Conn
	held []Line // until the account is known
	live bool   // it is wanted
	mute atomic.Bool
}

func (t *Trace) listen(c Conn) *listening {
	if t.want.Address.IsValid() && t.want.Address.Unmap() != c.Remote.Unmap() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) >= maxConns {
		return nil
	}
	l := &listening{t: t, c: c, live: t.want.Account == 0}
	l.Recorder = NewRecorder(c.Protocol, t.want.Bodies, l.line)
	t.conns[c.ID] = l
	return l
}

func (l *listening) line(client bool, text string) {
	line := Line{Time: l.t.hub.now(), Conn: l.c.ID, Service: l.c.Service, Client: client, Text: text}
	if l.c.Remote.IsValid() {
		line.Remote = l.c.Remote.Unmap().String()
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if !l.live {
		if len(l.held) == before {
			l.held = l.held[1:]
		}
		l.held = append(l.held, line)
		return
	}
	l.t.give(line)
}

// give needs t.mu.
func (t *Trace) give(line Line) {
	line.Lost = t.lost
	select {
	case t.lines <- line:
		t.lost = 0
	default:
		t.lost++
	}
}

func (t *Trace) loggedIn(conn string, account uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.conns[conn]
	if l == nil || t.want.Account == 0 {
		return
	}
	if account != t.want.Account {
		l.held, l.live = nil, false
		l.mute.Store(true)
		delete(t.conns, conn)
		return
	}
	l.live = true
	for _, line := range l.held {
		t.give(line)
	}
	l.held = nil
}

func (l *listening) quiet() bool { return l.mute.Load() || l.t.off.Load() }

// several is a connection that more than one may want.
type several []*listening

func (s several) Received(b []byte) {
	for _, l := range s {
		if !l.quiet() {
			l.Recorder.Received(b)
		}
	}
}

func (s several) Sent(b []byte) {
	for _, l := range s {
		if !l.quiet() {
			l.Recorder.Sent(b)
		}
	}
}

// Closed forgets the connection.
func (s several) Closed() {
	for _, l := range s {
		if !l.quiet() {
			l.line(false, "(closed)")
		}
		l.t.mu.Lock()
		l.held = nil
		delete(l.t.conns, l.c.ID)
		l.t.mu.Unlock()
	}
}
