package queue

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// crowd puts n entries for n/4 domains into the tables, due in an hour and later.
func (h *house) crowd(n int) {
	h.t.Helper()
	now := time.Now().UnixMilli()
	for from := 0; from < n; from += 10_000 {
		err := h.db.Update(context.Background(), func(tx *kv.Tx) error {
			for i := from; i < min(from+10_000, n); i++ {
				domain := mail.Domain(fmt.Sprintf("some-domain-%d.example.test", i/4))
				e := &entry{id: "0123456789abc", domain: domain, from: mail.Address{Local: "alice", Domain: "alpha.test"}, place: 1, size: 4096, created: now, attempts: 1,
					recipients: []recipient{{Recipient: mail.Recipient{Address: mail.Address{Local: fmt.Sprint("user", i), Domain: domain}},
						result: Result{Verdict: Later, Status: "4.4.1", Text: "mx.example.test [192.0.2.1]: connect: no answer in time"}}}}
				h.q.write(tx, uint64(i+1), now+3_600_000+int64(i), e)
			}
			tx.Put(dues, numberKey(0), numberKey(uint64(n)))
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// BenchmarkStart fills the schedule from the tables: 100,000 entries in less than a second and 50 MB.
func BenchmarkStart(b *testing.B) {
	const n = 100_000
	h := newHouse(b, Options{})
	h.crowd(n)
	fresh := func() {
		h.q.sched = newSchedule(h.q.sched.limits)
	}
	for b.Loop() {
		fresh()
		if err := h.q.fill(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
	fresh()
	before := heapBytes()
	if err := h.q.fill(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(heapBytes()-before)/n, "B/entry")
	runtime.KeepAlive(h)
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestHundredThousandEntries holds what does not depend on the machine: 500 octets an entry.
func TestHundredThousandEntries(t *testing.T) {
	const n = 100_000
	h := newHouse(t, Options{})
	h.crowd(n)
	before := heapBytes()
	start := time.Now()
	if err := h.q.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	per := (heapBytes() - before) / n
	t.Logf("%d octets an entry, read in %v", per, took)
	if per > 500 || len(h.q.sched.tickets) != n {
		t.Errorf("%d octets for each of %d entries", per, len(h.q.sched.tickets))
	}
	if jobs, _ := h.q.sched.next(time.Now().UnixMilli()); len(jobs) != 0 {
		t.Errorf("%d jobs, and nothing is due", len(jobs))
	}
	jobs, _ := h.q.sched.next(time.Now().Add(24 * time.Hour).UnixMilli())
	if len(jobs) != h.q.sched.limits.askers {
		t.Errorf("%d routes are asked for at once", len(jobs))
	}
}

// instant takes everything at once.
type instant struct{ done chan struct{} }

func (i instant) Route(_ context.Context, s Stream) (Route, error) {
	return Route{Host: "mx." + string(s.To), Limit: 64}, nil
}

func (i instant) Deliver(_ context.Context, _ Route, a Attempt) Outcome {
	i.done <- struct{}{}
	return Fail(len(a.Envelope.Recipients), Result{Verdict: Done, Code: 250, Status: "2.0.0", Handoff: Passed})
}

// BenchmarkThrough measures a message's way through the queue, from its part to its settled row, with hosts that take at once.
func BenchmarkThrough(b *testing.B) {
	h := newHouse(b, Options{})
	i := instant{make(chan struct{}, 1<<16)}
	h.run(i)
	const senders = 20
	for b.Loop() {
		for s := range senders {
			go func() {
				for n := range 50 {
					h.send(envelope(b, "alice@alpha.test", fmt.Sprintf("m%d@d%d.test", n, s)), sample)
				}
			}()
		}
		for range senders * 50 {
			<-i.done
		}
	}
	b.ReportMetric(float64(b.N*senders*50)/b.Elapsed().Seconds(), "messages/s")
}
