package kv

import (
	"context"
	"sync"
)

// holds keep segment files where they are.
type holds struct {
	mu   sync.Mutex // also held while segments are removed, so that Hold waits for that
	n    int
	free chan struct{} // closed when n is 0
}

func (h *holds) init() {
	h.free = make(chan struct{})
	close(h.free)
}

// Hold keeps every segment file that the tables name where it is until release is called: nothing is compacted or removed
// meanwhile. It waits for a removal that is under way, so it must not be called inside an Update closure. Holds nest; release
// may be called twice.
func (db *DB) Hold() (release func()) {
	h := &db.compactor.holds
	h.mu.Lock()
	if h.n == 0 {
		h.free = make(chan struct{})
	}
	h.n++
	h.mu.Unlock()
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.n--; h.n == 0 {
			close(h.free)
		}
	})
}

// await waits until nobody holds.
func (h *holds) await(ctx context.Context) error {
	for {
		h.mu.Lock()
		n, free := h.n, h.free
		h.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pins are segments that hold bodies which no row names yet, and an Update that is on its way will (KeepUpdate).
type pins struct {
	mu sync.Mutex
	n  map[uint32]int
}

func (p *pins) add(segments ...uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range segments {
		p.n[n]++
	}
}

func (p *pins) drop(segments ...uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range segments {
		if p.n[n]--; p.n[n] == 0 {
			delete(p.n, n)
		}
	}
}

func (p *pins) has(n uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n[n] > 0
}
