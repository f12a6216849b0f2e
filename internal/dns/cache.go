package dns

import (
	"sync"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	maxTTL         = time.Hour       // a moved mail exchanger is noticed within this
	maxNegativeTTL = 5 * time.Minute // a new domain is too
	failureTTL     = time.Second     // RFC 9520 section 3.2: failures are kept as well, at least this long
	maxCachedSize  = 4 << 10         // larger answers are rare and not kept, so that entries bound the memory
)

// question is what the cache and the single flights are keyed by.
type question struct {
	name string // lower case, with final dot
	kind uint16
}

// answer is a finished lookup, also one that failed.
type answer struct {
	records []miekg.RR // of the asked type only; never written to
	secure  bool
	err     error
	ttl     time.Duration // 0: not to be kept
	size    int
}

type cached struct {
	answer
	until time.Time
}

// cache is bounded by its number of entries. When it is full, something old or
// random makes room: the next lookup pays, nothing breaks.
type cache struct {
	mu      sync.Mutex
	entries map[question]cached
	max     int
}

func newCache(max int) *cache { return &cache{entries: make(map[question]cached), max: max} }

func (c *cache) find(q question, now time.Time) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[q]
	if !ok {
		return answer{}, false
	}
	if !now.Before(e.until) {
		delete(c.entries, q)
		return answer{}, false
	}
	return e.answer, true
}

func (c *cache) keep(q question, a answer, now time.Time) {
	if a.ttl <= 0 || a.size > maxCachedSize {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.entries[q]; !there && len(c.entries) >= c.max {
		c.evict(now)
	}
	c.entries[q] = cached{answer: a, until: now.Add(a.ttl)}
}

// evict looks at a few entries, which a map gives in random order, and drops
// the expired of them, or the last one.
func (c *cache) evict(now time.Time) {
	const sample = 8
	seen := 0
	for q, e := range c.entries {
		seen++
		if !now.Before(e.until) || seen == sample {
			delete(c.entries, q)
		}
		if seen == sample {
			break
		}
	}
	if len(c.entries) >= c.max { // a cache smaller than the sample
		for q := range c.entries {
			delete(c.entries, q)
			break
		}
	}
}
