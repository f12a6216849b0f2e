package serve

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Open is one open connection, as operators see it.
type Open struct {
	ID      string
	Service string
	Remote  netip.AddrPort // invalid: a unix socket
	Began   time.Time
	Who     string    // who has logged in; empty: nobody
	Doing   string    // the last command
	Since   time.Time // when it came; zero: none has
	TLS     bool      // from its beginning
}

// life is what is known of a connection while it is open.
type life struct {
	began time.Time
	who   atomic.Pointer[string]
	doing atomic.Pointer[string]
	since atomic.Int64 // Unix nanoseconds
}

// Does notes the command that a client has given: for those who look, nothing else.
func (c *Conn) Does(command string) {
	c.life.doing.Store(&command)
	c.life.since.Store(time.Now().UnixNano())
}

// Whose notes who has logged in on a connection.
func (g *Group) Whose(id, who string) {
	if c := g.find(id); c != nil {
		c.life.who.Store(&who)
	}
}

// Conns lists what is open, the oldest first.
func (g *Group) Conns() []Open {
	g.mu.Lock()
	all := slices.Collect(maps.Values(g.byID))
	g.mu.Unlock()
	out := make([]Open, 0, len(all))
	for _, c := range all {
		o := Open{ID: c.ID, Service: c.Service, Remote: c.Remote, Began: c.life.began, TLS: c.implicit}
		if p := c.life.who.Load(); p != nil {
			o.Who = *p
		}
		if p := c.life.doing.Load(); p != nil {
			o.Doing, o.Since = *p, time.Unix(0, c.life.since.Load())
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Open) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// End closes a connection at once, whatever it does: what it was told is done stays done. false: there is none.
func (g *Group) End(id string) bool {
	c := g.find(id)
	if c == nil {
		return false
	}
	_ = c.raw.Close() // its handler sees that it is gone
	return true
}

// find is the connection with an id; nil: there is none.
func (g *Group) find(id string) *Conn {
	n, err := strconv.ParseUint(id, 36, 64)
	if err != nil || n == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byID[n]
}

// known lists a connection whose PROXY header has been read.
func (g *Group) known(n uint64, c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byID[n] = c
}

func (g *Group) gone(n uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byID, n)
}
