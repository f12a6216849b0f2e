package remote

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// poolKey says which connections are alike: one that was made for a host, an address, a policy (with the name that it
// verified, which is the host's) and a login serves only the same again.
type poolKey struct {
	host   string
	addr   netip.AddrPort
	policy string
	user   string
}

// pool keeps connections for a short while, in the hope of more mail.
type pool struct {
	idle time.Duration
	uses int

	mu     sync.Mutex
	conns  map[poolKey][]*resting
	all    int // connections in conns
	closed bool
	work   sync.WaitGroup // good-byes being said
}

type resting struct {
	*conn
	timer *time.Timer
}

const (
	maxResting    = 4   // connections that wait under one key as long as they may
	maxBusy       = 64  // and a second only
	maxAllResting = 200 // and in all: each is a file that is open
)

func newPool(o Options) *pool {
	return &pool{idle: o.Idle, uses: o.MaxUses, conns: map[poolKey][]*resting{}}
}

// take returns the connection that came last; nil when there is none.
func (p *pool) take(key poolKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.conns[key]
	if len(list) == 0 {
		return nil
	}
	r := list[len(list)-1]
	p.set(key, list[:len(list)-1])
	p.all--
	r.timer.Stop()
	return r.conn
}

func (p *pool) set(key poolKey, list []*resting) {
	if len(list) == 0 {
		delete(p.conns, key)
		return
	}
	p.conns[key] = list
}

// give keeps a connection that lives, or says good-bye when it has served long enough.
func (p *pool) give(k *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.conns[k.key])
	if p.closed || k.uses >= p.uses || n >= maxBusy || p.all >= maxAllResting {
		p.quit(k)
		return
	}
	wait := p.idle
	if n >= maxResting { // between two messages of a busy host
		wait = min(wait, time.Second)
	}
	r := &resting{conn: k}
	r.timer = time.AfterFunc(wait, func() { p.expire(r) })
	p.conns[k.key] = append(p.conns[k.key], r)
	p.all++
}

func (p *pool) expire(r *resting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.conns[r.key]
	for i, x := range list {
		if x == r {
			p.set(r.key, append(list[:i:i], list[i+1:]...))
			p.all--
			p.quit(r.conn)
			return
		}
	}
}

// quit says good-bye beside; the caller holds mu.
func (p *pool) quit(k *conn) {
	p.work.Go(func() { k.Quit(context.Background()) }) // nobody cares for its answer
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for key, list := range p.conns {
		for _, r := range list {
			r.timer.Stop()
			p.quit(r.conn)
		}
		delete(p.conns, key)
	}
	p.mu.Unlock()
	p.work.Wait()
}
