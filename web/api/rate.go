package api

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// What one token may ask for. A program that reads all accounts of a large house stays below it; one that has lost its mind stops there.
const (
	perSecond = 20
	burst     = 200
	atOnce    = 16 // requests; those that follow the log too
)

// rates counts the requests of tokens.
type rates struct {
	now func() time.Time

	mu  sync.Mutex
	all map[uint32]*rate // guarded by mu
}

type rate struct {
	left    float64
	last    time.Time
	running int
}

func newRates(now func() time.Time) *rates { return &rates{now: now, all: make(map[uint32]*rate)} }

// begin counts a request, or refuses it; done ends it.
func (x *rates) begin(token uint32) (done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, now := x.all[token], x.now()
	if r == nil {
		x.forget(now)
		r = &rate{left: burst, last: now}
		x.all[token] = r
	}
	r.left = min(burst, r.left+perSecond*max(0, now.Sub(r.last).Seconds()))
	r.last = now
	if r.left < 1 || r.running >= atOnce {
		return nil, &denied{status: http.StatusTooManyRequests, after: time.Second, text: "too many requests by this token: wait a second"}
	}
	r.left--
	r.running++
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		r.running--
	}, nil
}

// maxRates is how many tokens are remembered before those are forgotten that have asked for nothing lately. Tokens come and go.
const maxRates = 1024

// forget is called with mu held.
func (x *rates) forget(now time.Time) {
	if len(x.all) >= maxRates {
		maps.DeleteFunc(x.all, func(_ uint32, r *rate) bool { return r.running == 0 && now.Sub(r.last).Seconds() > burst/perSecond })
	}
}
