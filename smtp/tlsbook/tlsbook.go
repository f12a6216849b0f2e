// Package tlsbook keeps over restarts what the house learns of other hosts'
// TLS: the MTA-STS policies of domains (RFC 8461), the best TLS that each host
// has shown, and the day's counts for TLS reports (RFC 8460).
//
// Start at Book. It stands in side.db: losing it loses no mail. policies.go is
// the Cache of tlspolicy.Engine, hosts.go the memory, counts.go the counts.
package tlsbook

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables of this package in side.db.
const (
	tabPolicy kv.Table = "P" // domain -> tlspolicy.Entry as JSON
	tabHost   kv.Table = "H" // host -> Host as JSON
	tabCount  kv.Table = "C" // day, 0, domain -> Domain as JSON
	tabReport kv.Table = "L" // end u64, id -> Received as JSON
)

const (
	flushEvery = 30 * time.Second // counts of the time since may be lost with the power
	patience   = 10 * time.Second // of one change of the tables
)

// Options of a Book.
type Options struct {
	Side   *kv.Side
	Logger *slog.Logger
	Now    func() time.Time // time.Now
	Every  time.Duration    // how often counts are written; 30 s
}

// Book is the memory. Its methods may be called concurrently.
type Book struct {
	o   Options
	log *slog.Logger

	changes atomic.Uint64 // of the reports received

	mu     sync.Mutex
	counts map[countKey]*Domain // since the last flush
}

// New returns a Book over open tables.
func New(o Options) *Book {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every == 0 {
		o.Every = flushEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Book{o: o, log: o.Logger, counts: map[countKey]*Domain{}}
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
			b.forget()
		}
	}
}

// view reads one row; false: there is none, or it cannot be read.
func view[T any](b *Book, t kv.Table, key string, out *T) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found := false
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		if v := tx.Get(t, []byte(key)); v != nil {
			found = json.Unmarshal(v, out) == nil
		}
		return nil
	})
	if err != nil {
		b.log.Warn(logx.TLSBookFailed, "key", key, "error", err)
	}
	return found && err == nil
}

// put writes one row; the next view sees it.
func (b *Book) put(t kv.Table, key string, row any) {
	text, err := json.Marshal(row)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err = b.o.Side.Update(ctx, func(tx *kv.Tx) error {
			tx.Put(t, []byte(key), text)
			return nil
		})
	}
	if err != nil {
		b.log.Warn(logx.TLSBookFailed, "key", key, "error", err)
	}
}

// forget removes what nobody needs any more.
func (b *Book) forget() {
	now := b.o.Now()
	b.o.Side.Later(func(tx *kv.Tx) error {
		forgetPolicies(tx, now)
		forgetHosts(tx, now)
		forgetCounts(tx, now)
		forgetReports(tx, now)
		return nil
	})
}

// drop deletes the rows for which old says so, some thousands at a time.
func drop[T any](tx *kv.Tx, t kv.Table, old func(key []byte, row T) bool) {
	const most = 2000
	var gone [][]byte
	for key, v := range tx.Scan(t, nil, nil) {
		var row T
		if err := json.Unmarshal(v, &row); err != nil || old(key, row) {
			if gone = append(gone, append([]byte(nil), key...)); len(gone) == most {
				break
			}
		}
	}
	for _, key := range gone {
		tx.Delete(t, key)
	}
}
