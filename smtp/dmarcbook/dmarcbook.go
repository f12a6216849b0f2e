// Package dmarcbook keeps over restarts what DMARC reports are made of (RFC
// 7489 section 7.2): counts of the mail that came in, by author's policy and
// source, until their report is on its way; and the reports that others sent
// about our domains.
//
// Start at Book. It stands in side.db: losing it loses no mail. counts.go is
// what we owe others, received.go what they told us, waiting.go the messages
// that are still to be read.
package dmarcbook

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables of this package in side.db.
const (
	// A: Period (9 octets), domain, 0 -> header; the same, then a hash of the row's key -> Row as JSON.
	tabCounts kv.Table = "A"
	// M: 'r', a hash of who sent it and of its id -> Received as JSON; 'p', LSN -> Waiting as JSON.
	tabReceived kv.Table = "M"
)

const (
	flushEvery = 30 * time.Second // counts of the time since may be lost with the power
	patience   = 10 * time.Second // of one change of the tables
	day        = 24 * time.Hour
)

// Options of a Book. The zero value of a number or duration means its default.
type Options struct {
	Side    *kv.Side
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time // time.Now

	Keep     time.Duration // reports received; 90 days
	MaxSize  int           // octets of all of them; 64 MiB
	MaxRows  int           // counted for a domain and period with all details; 2,000
	MaxTotal int           // counted for all domains of a period; 50,000
	Every    time.Duration // how often counts are written; 30 s
}

// Book is the memory. Its methods may be called concurrently.
type Book struct {
	o   Options
	log *slog.Logger

	missed   prometheus.Counter
	received *prometheus.CounterVec
	told     *prometheus.CounterVec

	mu     sync.Mutex
	counts map[countKey]*pending // since the last flush

	changes atomic.Uint64 // of the reports received

	size int // octets of reports received, about; of the writer of side.db alone
}

// New returns a Book over open tables.
func New(o Options) *Book {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.MaxSize, 64 << 20}, {&o.MaxRows, 2000}, {&o.MaxTotal, 50_000}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Every == 0 {
		o.Every = flushEvery
	}
	if o.Keep == 0 {
		o.Keep = 90 * day
	}
	return &Book{o: o, log: o.Logger, counts: map[countKey]*pending{},
		missed:   o.Metrics.Counter("dmarc_uncounted_total", "Messages that no DMARC report will tell of, because there were too many different sources to count."),
		told:     o.Metrics.Counters("reports_told_total", "What others' reports count: messages in our domains' names (kind dmarc), connections to our hosts (tls), by result (good, bad).", "kind", "result"),
		received: o.Metrics.Counters("reports_received_total", "Reports of other hosts about our domains, by kind (dmarc, tls) and result (kept, again, refused).", "kind", "result"),
	}
}

// Run writes counts down and forgets what is too old, until ctx ends.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(b.o.Every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			b.Flush(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
		b.Flush(ctx)
		if n%120 == 0 { // every hour
			b.Forget()
		}
	}
}

// Forget removes what nobody needs any more.
func (b *Book) Forget() {
	now := b.o.Now()
	b.o.Side.Later(func(tx *kv.Tx) error {
		forgetCounts(tx, now)
		b.forgetReceived(tx, now)
		return nil
	})
}

// Received counts a report that came in: kind dmarc or tls; result kept, again or refused.
func (b *Book) Received(kind, result string) { b.received.WithLabelValues(kind, result).Inc() }

// Told counts what a report says that is new.
func (b *Book) Told(kind string, good, bad int64) {
	b.told.WithLabelValues(kind, "good").Add(float64(good))
	b.told.WithLabelValues(kind, "bad").Add(float64(bad))
}

// update is one change of the tables, with bounded patience.
func (b *Book) update(ctx context.Context, what string, fn func(tx *kv.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := b.o.Side.Update(ctx, fn)
	if err != nil {
		b.log.WarnContext(ctx, logx.DMARCBookFailed, "what", what, "error", err)
	}
	return err
}

// drop removes keys, some thousands at a time so that nobody waits long for the writer.
func drop(tx *kv.Tx, t kv.Table, keys [][]byte) {
	for _, key := range keys[:min(len(keys), 5000)] {
		tx.Delete(t, key)
	}
}
