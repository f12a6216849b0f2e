package logx

import (
	"sync"
	"time"
)

// maxKeys bounds the memory of a Limiter: a hostile client may choose its keys.
const maxKeys = 1024

// Limiter lets the first event of a key through, and after that one in each
// interval; the events between are counted, and the next one that passes tells how many they were.
type Limiter struct {
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex // guards seen
	seen map[string]*limited
}

type limited struct {
	last    time.Time
	skipped int
}

// NewLimiter returns a Limiter; now is the clock (nil: the real one).
func NewLimiter(every time.Duration, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{every: every, now: now, seen: make(map[string]*limited)}
}

// Allow reports whether the event may be logged now, and how many like it were not logged before it.
func (l *Limiter) Allow(key string) (skipped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	e := l.seen[key]
	if e == nil {
		if len(l.seen) >= maxKeys {
			l.forget(now)
		}
		l.seen[key] = &limited{last: now}
		return 0, true
	}
	if now.Sub(e.last) < l.every {
		e.skipped++
		return 0, false
	}
	skipped = e.skipped
	e.last, e.skipped = now, 0
	return skipped, true
}

// forget drops the keys whose interval is over, or all of them when none is.
func (l *Limiter) forget(now time.Time) {
	for key, e := range l.seen {
		if now.Sub(e.last) >= l.every {
			delete(l.seen, key)
		}
	}
	if len(l.seen) >= maxKeys {
		clear(l.seen)
	}
}
