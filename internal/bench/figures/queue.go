package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const waitingEntries = 100_000

// waitingRoom is the queue with 100,000 entries for 25,000 domains that have been tried once: what they cost in memory, and how long
// a start takes with them. All of it is one process: the store is opened, then the queue reads what waits.
func (b *bench) waitingRoom() error {
	if err := b.makeQueue(); err != nil {
		return err
	}
	ctx := context.Background()
	begin := time.Now()
	q, o, set, err := b.openQueue(0)
	if err != nil {
		return err
	}
	defer o.drop()
	opened := time.Since(begin)
	for range 3 { // what made the entries goes, and what its finalizers held
		debug.FreeOSMemory()
	}
	anon, all := anonymous(), resident()
	begin = time.Now()
	ctx, stop := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() { over <- q.Run(ctx, deferring{}) }()
	for entries(set) < waitingEntries {
		if time.Since(begin) > time.Minute {
			stop()
			return errors.Join(fmt.Errorf("%d entries were read", entries(set)), <-over)
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(begin)
	loaded := anonymous()
	for range 3 {
		debug.FreeOSMemory()
	}
	kept, mapped := anonymous()-anon, resident()-all
	stop()
	if err := <-over; err != nil {
		return err
	}
	b.add(kept <= 50, fmt.Sprintf("anonymous memory of %d queued entries for %d domains", waitingEntries, waitingEntries/4), "at most 50 MB",
		"%.1f MB, %.0f octets each (%.1f MB while they are read; %.1f MB with the pages of the tables, which the kernel takes back as it likes)",
		kept, kept*1e6/waitingEntries, loaded-anon, mapped)
	b.add(opened+took < time.Second, "start with them, until all are scheduled", "less than 1 s", "%.0f ms (store %.0f ms, queue %.0f ms)",
		1e3*(opened+took).Seconds(), 1e3*opened.Seconds(), 1e3*took.Seconds())
	return nil
}

// makeQueue fills a store with the entries. They are due in an hour and have a result.
func (b *bench) makeQueue() error {
	q, o, set, err := b.openQueue(time.Hour)
	if err != nil {
		return err
	}
	const each = 10_000
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for from := 0; from < waitingEntries; from += each {
		a, err := o.arrival(fixed(4096, 1)[0])
		if err != nil {
			return err
		}
		var parts []kv.Part
		for i := from; i < from+each; i++ {
			e := mail.Envelope{From: mail.Address{Local: "alice", Domain: "alpha.example"}}
			e.Recipients = []mail.Recipient{{Address: mail.Address{Local: fmt.Sprint("user", i), Domain: mail.Domain(fmt.Sprintf("some-domain-%d.example.net", i/4))}}}
			parts = append(parts, q.Part(q.NewID(), e))
		}
		if _, err := o.s.Deliver(ctx, a, nil, parts...); err != nil {
			return err
		}
	}
	if err := o.db.SettleAll(ctx); err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() { over <- q.Run(ctx, deferring{}) }()
	for deferred(set) < waitingEntries {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return errors.Join(<-over, o.db.Close())
}

// openQueue opens the store with its queue, whose clock is that much ahead.
func (b *bench) openQueue(ahead time.Duration) (*queue.Queue, *opened, *metrics.Set, error) {
	set := metrics.New()
	var q *queue.Queue
	o, err := b.openWith("queue", kv.Options{}, func(db *kv.DB, s *store.Store) (err error) {
		q, err = queue.New(db, s, queue.Options{Metrics: set, Now: func() time.Time { return time.Now().Add(ahead) }})
		return err
	})
	return q, o, set, err
}

// deferring is a carrier that finds no way now.
type deferring struct{}

func (deferring) Route(context.Context, queue.Stream) (queue.Route, error) {
	return queue.Route{}, queue.Result{Verdict: queue.Later, Status: "4.4.1", Text: "mx.example.net [192.0.2.1]: connect: no answer in time"}
}

func (deferring) Deliver(_ context.Context, _ queue.Route, a queue.Attempt) queue.Outcome {
	return queue.Fail(len(a.Envelope.Recipients), queue.Result{Verdict: queue.Later})
}

func entries(set *metrics.Set) int  { return int(metric(set, "queue_entries")) }
func deferred(set *metrics.Set) int { return int(metric(set, "queue_results_total")) }

// metric is the sum of a metric over its labels.
func metric(set *metrics.Set, name string) (sum float64) {
	families, err := set.Registry().Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() != metrics.Prefix+name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}
