package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// retryBroken is when an entry comes back whose settling failed: the disk may be full.
const retryBroken = time.Minute

// Run schedules until ctx ends, then waits for what is in flight. An item goes to the first transport whose Route does
// not pass it. Run once only. An error means that results cannot be stored any more.
func (q *Queue) Run(ctx context.Context, transports ...Transport) error {
	q.transports = transports
	if err := q.fill(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("read the queue: %w", err)
	}
	var work sync.WaitGroup
	// Attempts outlive ctx by the grace, so that a message in the middle of its DATA is not sent twice.
	grace, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var broken error
	for ctx.Err() == nil {
		q.mu.Lock()
		if broken = q.broken; broken != nil {
			q.mu.Unlock()
			break
		}
		jobs, wake := q.sched.next(q.now())
		q.mu.Unlock()
		for _, j := range jobs {
			work.Go(func() { q.do(grace, j) })
		}
		q.sleep(ctx, wake)
	}
	timer := time.AfterFunc(q.o.Grace, stop)
	defer timer.Stop()
	work.Wait()
	return broken
}

// end stops the queue: nothing can be settled any more, so that every attempt would send its message once more.
func (q *Queue) end(err error) {
	q.mu.Lock()
	q.broken = fmt.Errorf("the queue stops, results cannot be stored: %w", err)
	q.mu.Unlock()
	q.poke()
}

func (q *Queue) now() int64 { return q.o.Now().UnixMilli() }

// sleep waits until wake, a change of the schedule, or the end. It looks at the clock every minute, which somebody may have set.
func (q *Queue) sleep(ctx context.Context, wake int64) {
	var due <-chan time.Time
	if wake != math.MaxInt64 {
		t := time.NewTimer(min(time.UnixMilli(wake).Sub(q.o.Now()), time.Minute))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-q.wake:
	case <-ctx.Done():
	}
}

func (q *Queue) do(ctx context.Context, j job) {
	switch j.kind {
	case jobRoute:
		q.route(ctx, j)
	case jobDeliver:
		a := q.attempt(ctx, j)
		// The host is free for the next attempt as soon as it has answered: its connections do not wait for our disk. Results that
		// are not stored yet are few (limits.unsettled), and stored together.
		q.mu.Lock()
		if a != nil {
			q.sched.done(j, a.worst(), q.now())
		} else {
			q.sched.idle(j)
		}
		q.mu.Unlock()
		q.poke()
		if a != nil {
			q.settle(ctx, a)
		}
	case jobDefer:
		q.deferTickets(ctx, j)
	}
	q.mu.Lock()
	for _, t := range j.tickets {
		q.sched.release(t, q.now()+retryBroken.Milliseconds())
	}
	q.mu.Unlock()
	q.poke()
}

// route asks the transports for the way of a stream.
func (q *Queue) route(ctx context.Context, j job) {
	key, r, err := q.find(ctx, j.stream.Stream)
	q.mu.Lock()
	defer q.mu.Unlock()
	if err == nil {
		q.sched.routed(j.stream, key, r, q.now())
		return
	}
	refused, ok := errors.AsType[Result](err)
	if !ok {
		refused = Result{Verdict: Later, Status: "4.4.3", Text: "no way to the domain was found: " + err.Error()}
	}
	rest := time.Minute
	if refused.Verdict == Never {
		rest = 0
	}
	q.sched.unroutable(j.stream, refused, q.now()+rest.Milliseconds())
}

// find returns the way of a stream. Entries that wait only for their report need none.
func (q *Queue) find(ctx context.Context, s Stream) (key hostKey, r Route, err error) {
	defer q.recovered(&err)
	if s.Tries < 0 {
		return hostKey{transport: -1, name: "reports"}, Route{}, nil
	}
	for i, t := range q.transports {
		r, err := t.Route(ctx, s)
		if errors.Is(err, ErrPass) {
			continue
		}
		return hostKey{transport: i, name: r.Host}, r, err
	}
	return hostKey{}, Route{}, Result{Verdict: Later, Status: "4.3.5", Text: "no transport takes mail for " + string(s.To)}
}

// recovered makes a panic of a transport a temporary failure of its item: the house goes on.
func (q *Queue) recovered(err *error) {
	if v := recover(); v != nil {
		q.log.Error(logx.QueuePanic, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = Result{Verdict: Later, Status: "4.3.0", Text: "internal error; the log has it"}
	}
}

// read loads an entry for an attempt. A nil entry: there is nothing to do, and the ticket knows what comes next.
func (q *Queue) read(ctx context.Context, t *ticket) *entry {
	var e *entry
	var due int64
	err := q.db.View(ctx, func(tx *kv.Tx) error {
		var err error
		e, due, err = load(tx, t.number)
		return err
	})
	switch {
	case errors.Is(err, errGone):
		q.committed(change{number: t.number, gone: true})
		return nil
	case err != nil:
		q.log.ErrorContext(ctx, logx.QueueBroken, "number", t.number, "error", err)
		return nil
	case e.held:
		q.committed(change{number: t.number, due: due, created: e.since(), told: e.told, held: true, stream: t.stream.Stream})
		return nil
	case e.timing.release > q.now() && due >= e.timing.release: // the clock was set back: its time is still to come
		q.committed(change{number: t.number, due: e.timing.release, created: e.since(), told: e.told, stream: t.stream.Stream})
		return nil
	case e.timing.box != store.Waiting{}:
		q.letGo(ctx, t.number)
		return nil
	}
	return e
}

// attempt makes one attempt, which is to be settled; nil: there was nothing to do.
func (q *Queue) attempt(ctx context.Context, j job) *attempt {
	t := j.tickets[0]
	e := q.read(ctx, t)
	if e == nil {
		return nil
	}
	a := &attempt{number: t.number, before: e}
	if e.waits() > 0 {
		out := q.deliver(ctx, j, a)
		if len(out.Results) != e.waits() {
			out = Fail(e.waits(), Result{Verdict: Later, Status: "4.3.0", Text: "internal error: the carrier lost count of the recipients"})
		}
		a.results, a.apply = out.Results, out.Apply
	}
	return a
}

// deliver opens the body and lets the transport try.
func (q *Queue) deliver(ctx context.Context, j job, a *attempt) (out Outcome) {
	n := a.before.waits()
	var err error
	defer func() {
		if err != nil {
			r, _ := errors.AsType[Result](err)
			out = Fail(n, r)
		}
	}()
	defer q.recovered(&err)
	body, openErr := q.open(ctx, a.number, a.before)
	if openErr != nil {
		q.log.ErrorContext(ctx, logx.QueueBroken, "id", a.before.id, "number", a.number, "error", openErr)
		if errors.Is(openErr, store.ErrDamaged) {
			return Fail(n, damagedBody())
		}
		return Fail(n, Result{Verdict: Later, Status: "4.3.0", Text: "the stored message cannot be read at the moment"})
	}
	defer body.Close()
	item := a.before.item(a.number, q.now())
	read := &bodyReader{body: body}
	out = q.transports[j.host.transport].Deliver(ctx, j.route, Attempt{Item: item, Content: io.NewSectionReader(read, 0, body.Size())})
	if damage := read.damage.Load(); damage != nil && !slices.ContainsFunc(out.Results, func(r Result) bool { return r.Verdict == Done }) {
		q.log.ErrorContext(ctx, logx.QueueBroken, "id", a.before.id, "number", a.number, "error", *damage)
		return Fail(n, damagedBody())
	}
	return out
}

// damagedBody ends the tries for a message that the disk does not give back: waiting would not mend it, and its sender may have it.
func damagedBody() Result {
	return Result{Verdict: Never, Status: "5.3.0", Text: "the stored message is damaged and cannot be sent: please send it again"}
}

// bodyReader notes that a body does not read back as it was written.
type bodyReader struct {
	body   *store.Body
	damage atomic.Pointer[error]
}

func (r *bodyReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.body.ReadAt(p, off)
	if errors.Is(err, store.ErrDamaged) {
		r.damage.Store(&err)
	}
	return n, err
}

// worst is the result that says most about the host: down before slow before well.
func (a *attempt) worst() (w Result) {
	for _, r := range a.results {
		if r.Host > w.Host {
			w = r
		}
	}
	return w
}

// item is the entry as others see it.
func (e *entry) item(number uint64, due int64) Item {
	it := Item{ID: e.id, Number: number, Domain: e.domain, Place: e.place, Size: e.size, Created: time.UnixMilli(e.created),
		Due: time.UnixMilli(due), Attempts: e.attempts, Held: e.held}
	it.Envelope.Release, it.Waits = e.timing.envelope(), e.timing.box != store.Waiting{}
	if e.last != 0 {
		it.Last = time.UnixMilli(e.last)
	}
	it.Envelope.From, it.Envelope.Body, it.Envelope.UTF8 = e.from, e.body, e.utf8
	it.Envelope.Return, it.Envelope.EnvelopeID, it.Envelope.RequireTLS = e.ret, e.envid, e.requireTLS
	it.Envelope.Unproven, it.Envelope.Front = e.unproven, e.front
	for i := range e.recipients {
		if r := &e.recipients[i]; r.state == waiting {
			it.Envelope.Recipients = append(it.Envelope.Recipients, r.Recipient)
			it.Results = append(it.Results, r.result)
		}
	}
	return it
}
