package kv

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/blob"
)

const (
	maxUpdates = 1024        // of one batch
	retryFull  = time.Second // between tries to apply what a full disk keeps out
)

var (
	errAgain   = errors.New("kv: redo the batch without the operation that failed")
	errNothing = errors.New("kv: nothing to commit")
)

// committer is the only writer of the tables: logged records in log order, then what clients want by arrival.
type committer struct {
	db      *DB
	metrics commitMetrics
	wake    chan struct{} // cap 1
	ended   chan struct{}

	aside     atomic.Int64 // rows of table z
	unapplied atomic.Int64 // durable records that are not in the tables

	mu       sync.Mutex
	lag      lag
	updates  []*mutation
	progress chan struct{} // closed and renewed when lag.applied moved or the state below changed
	stalled  error         // a full disk keeps records out of the tables; tried again
	failed   error         // the committer has ended
	closing  bool
}

// mutation is one Update.
type mutation struct {
	fn    func(tx *Tx) error
	state atomic.Int32 // waiting, then taken by the committer or abandoned by its caller
	over  bool         // it has failed with err and is not run again
	err   error
	done  chan error
}

const (
	waiting int32 = iota
	taken
	abandoned
)

func newCommitter(db *DB) *committer {
	return &committer{
		db: db, metrics: newCommitMetrics(db.o.Metrics), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		lag: lag{debts: map[uint32]debt{}}, progress: make(chan struct{}),
	}
}

// batch is what goes into one commit.
type batch struct {
	entries  []*logged
	updates  []*mutation
	commit   []func()
	segments map[uint32]bool // new rows of table g
}

// logged takes a batch from the logger, durable and in log order, before its senders are told.
func (c *committer) logged(items []*blob.Item) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range items {
		e := it.Tag.(*logged)
		e.at = now
		if e.held != nil { // before the committer can apply it, and its sender sees the list after this
			segments := []uint32{e.LSN.Segment(), e.Place.Segment()}
			*e.held = append(*e.held, segments...)
			c.db.compactor.pins.add(segments...)
		}
		c.lag.add(e)
	}
	c.unapplied.Add(int64(len(items)))
	c.poke()
}

func (c *committer) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// admit holds the logger back while the tables lag too far. Without a committer it lets in what the backlog holds.
func (c *committer) admit() error {
	for {
		c.mu.Lock()
		progress := c.progress
		full := c.lag.backlog >= c.db.o.Backlog
		err := c.failed
		if err == nil {
			err = c.stalled
		}
		late := err == nil && !c.lag.oldest.IsZero() && time.Since(c.lag.oldest) >= c.db.o.BacklogAge
		if full || late {
			c.lag.wanted = c.lag.last
			c.poke()
		}
		c.mu.Unlock()
		if !full && !late {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the log may not run further ahead of the tables: %w", err)
		}
		<-progress
	}
}

func (c *committer) update(ctx context.Context, fn func(tx *Tx) error) error {
	m := &mutation{fn: fn, done: make(chan error, 1)}
	c.mu.Lock()
	if err := c.refusal(); err != nil {
		c.mu.Unlock()
		return err
	}
	c.updates = append(c.updates, m)
	c.poke()
	c.mu.Unlock()
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		if m.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		return <-m.done
	}
}

// refusal says why no Update is taken; c.mu is held.
func (c *committer) refusal() error {
	if c.failed != nil {
		return c.failed
	}
	if c.closing {
		return ErrClosed
	}
	return nil
}

func (c *committer) settle(ctx context.Context, account uint32) error {
	if c.unapplied.Load() == 0 {
		return nil
	}
	c.mu.Lock()
	d, ok := c.lag.debts[account]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	return c.await(ctx, d.last)
}

func (c *committer) settleAll(ctx context.Context) error {
	if c.unapplied.Load() == 0 {
		return nil
	}
	c.mu.Lock()
	last := c.lag.last
	c.mu.Unlock()
	return c.await(ctx, last)
}

// await waits until the record at target is applied.
func (c *committer) await(ctx context.Context, target blob.LSN) error {
	for {
		c.mu.Lock()
		if c.lag.applied > target {
			c.mu.Unlock()
			return nil
		}
		err, progress := c.failed, c.progress
		if err == nil {
			err = c.stalled
		}
		if err == nil {
			c.lag.wanted = max(c.lag.wanted, target)
			c.poke()
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run commits until close, or until the tables cannot be written. Deliveries that are acknowledged already wait until Pace
// after the last commit began, so that many share one; whoever waits for an answer is served at once.
func (c *committer) run() {
	defer close(c.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var began time.Time
	for {
		select {
		case <-c.wake:
		case <-timer.C:
		}
		for {
			pace := c.db.o.Pace
			c.mu.Lock()
			urgent := len(c.updates) > 0 || c.lag.hurried() || c.closing || c.lag.backlog > c.db.o.Backlog/2
			work := len(c.lag.entries) > 0 || len(c.updates) > 0
			if c.stalled != nil {
				urgent, pace = len(c.updates) > 0 || c.closing, retryFull
			}
			since := time.Since(began)
			if c.lag.patient() {
				since = min(since, time.Since(c.lag.oldest))
			}
			closing, stalled := c.closing, c.stalled
			c.mu.Unlock()
			if !work && closing {
				return
			}
			if !work {
				break
			}
			if wait := pace - since; !urgent && wait > 0 {
				timer.Reset(wait)
				break
			}
			began = time.Now()
			err := c.commit(c.take())
			if c.isFailed() || err != nil && closing && stalled != nil {
				return
			}
		}
	}
}

func (c *committer) isFailed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed != nil
}

// take moves what waits into a batch. All records that are durable come before any update: who was told 250 and then
// asks for a change must find the message.
func (c *committer) take() *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &batch{entries: c.lag.take()}
	n := 0
	for _, m := range c.updates {
		if len(b.updates) == maxUpdates {
			break
		}
		n++
		if m.state.CompareAndSwap(waiting, taken) {
			b.updates = append(b.updates, m)
		}
	}
	c.updates = append([]*mutation(nil), c.updates[n:]...)
	return b
}

// commit brings the batch into the tables and tells everybody. It returns what kept it out.
func (c *committer) commit(b *batch) error {
	begin := time.Now()
	for {
		err := c.attempt(b)
		switch {
		case errors.Is(err, errAgain):
			continue
		case errors.Is(err, ErrFull):
			if c.db.reserve.release() {
				c.db.o.Logger.Warn(logx.StoreReserve)
				continue
			}
			c.stall(b, err)
			return err
		case err == nil || errors.Is(err, errNothing):
			c.metrics.commit(b, begin, err == nil)
			c.finish(b)
			c.db.reserve.restore()
			return nil
		default:
			c.fail(b, err)
			return err
		}
	}
}

// attempt runs the batch once. Operations that fail without having written cost nothing; after one that wrote and failed the
// answer is errAgain, and it is left out of the next attempt.
func (c *committer) attempt(b *batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic in the tables: %v\n%s", errFatal, r, debug.Stack())
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	j := c.db.journal
	b.commit, b.segments = b.commit[:0], nil
	j.reset()
	if len(b.updates) > 0 && !c.db.repairing {
		j.mark(c.db)
	}
	return c.db.engine.update(func(p pages) error {
		tx := &Tx{pages: p, writable: true, watch: &c.db.compactor.watch}
		for _, e := range b.entries {
			if err := c.apply(tx, b, e); err != nil {
				return err
			}
		}
		wrote, changes := len(b.entries) > 0, 0
		if !c.db.repairing {
			tx.journal = j
		}
		for _, m := range b.updates {
			if m.over {
				continue
			}
			if m.err = c.operate(tx, m.fn); m.err != nil {
				m.over = true
				if tx.wrote {
					return errAgain
				}
				continue
			}
			b.commit = append(b.commit, tx.commit...)
			if tx.wrote {
				wrote, changes = true, changes+1
			}
		}
		if err := c.db.countChanges(p, changes); err != nil {
			return fmt.Errorf("%w: %w", errFatal, err)
		}
		if err := c.db.enter(p); err != nil {
			return err
		}
		if n := len(b.entries); n > 0 {
			if err := p.put(tableSettings, []byte(keyApplied), lsnKey(b.entries[n-1].End)); err != nil {
				return fmt.Errorf("%w: %w", errFatal, err)
			}
		}
		if !wrote {
			return errNothing
		}
		return nil
	})
}

// operate runs one closure on a clean Tx. A panic in it is a bug that costs its caller an error, not all mail.
func (c *committer) operate(tx *Tx, fn func(tx *Tx) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.db.o.Logger.Error(logx.StorePanic, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			if err = fault(r); err == nil {
				err = fmt.Errorf("kv: panic in an operation: %v", r)
			}
		}
	}()
	tx.wrote, tx.err, tx.commit = false, nil, tx.commit[:0]
	if err := fn(tx); err != nil {
		return err
	}
	return tx.err
}

// apply brings one record into the tables, or sets it aside when it has failed twice: one bad record must not stop all mail.
func (c *committer) apply(tx *Tx, b *batch, e *logged) error {
	for e.aside == nil {
		err := c.operate(tx, func(tx *Tx) error { return c.db.applyParts(tx, e) })
		if err == nil {
			b.commit = append(b.commit, tx.commit...)
			break
		}
		e.failures++
		if e.failures >= 2 {
			e.aside = err
			c.metrics.aside.Inc()
			c.db.o.Logger.Error(logx.StoreAside, "lsn", e.LSN.String(), "error", err)
		}
		if tx.wrote {
			return errAgain
		}
	}
	p := tx.pages
	if e.aside != nil {
		b.commit = append(b.commit, func() { c.db.setAside(e) })
		if err := p.put(tableAside, lsnKey(e.LSN), asideValue(e.aside, e.Meta)); err != nil {
			return fmt.Errorf("%w: %w", errFatal, err)
		}
	}
	return c.db.noteSegments(p, b, e)
}

// setAside tells the owners of the parts that they will not be applied.
func (db *DB) setAside(e *logged) {
	db.committer.aside.Add(1)
	for part, err := range decodeParts(e.Meta) {
		if k := db.kinds[part.Kind]; err == nil && k.Aside != nil {
			k.Aside(part.Data)
		}
	}
}

// applyParts hands the parts to their owners.
func (db *DB) applyParts(tx *Tx, e *logged) error {
	for part, err := range decodeParts(e.Meta) {
		if err != nil {
			return err
		}
		k, ok := db.kinds[part.Kind]
		if !ok {
			return fmt.Errorf("record %s has a part of unknown kind %q: %w", e.LSN, part.Kind, ErrNewer)
		}
		if err := k.Apply(tx, e.entry(), part.Data); err != nil {
			return err
		}
	}
	return nil
}

// noteSegments gives segments that are referred to for the first time their row: the others are removed at start.
func (db *DB) noteSegments(p pages, b *batch, e *logged) error {
	note := func(l blob.LSN, kind byte, size int64) error {
		n := l.Segment()
		if db.known[n] || b.segments[n] {
			return nil
		}
		if b.segments == nil {
			b.segments = map[uint32]bool{}
		}
		b.segments[n] = true
		return p.put(tableSegments, segmentKey(n), segmentRow(kind, size))
	}
	if err := note(e.LSN, segmentOfLog, 0); err != nil {
		return fmt.Errorf("%w: %w", errFatal, err)
	}
	if e.Place == 0 || e.Place.Segment() == e.LSN.Segment() {
		return nil
	}
	if err := note(e.Place, segmentOfBodies, e.Size); err != nil {
		return fmt.Errorf("%w: %w", errFatal, err)
	}
	return nil
}

// finish tells everybody after the commit: callbacks in order, readers, clients.
func (c *committer) finish(b *batch) {
	for n := range b.segments {
		c.db.known[n] = true
	}
	for _, fn := range b.commit {
		c.callback(fn)
	}
	clear(b.commit)
	c.mu.Lock()
	c.lag.settle(b.entries)
	applied := c.lag.applied
	c.unapplied.Add(-int64(len(b.entries)))
	c.stalled = nil
	c.announce()
	c.mu.Unlock()
	c.db.write(applied)
	for _, m := range b.updates {
		m.done <- m.err
	}
}

func (c *committer) callback(fn func()) {
	defer func() {
		if r := recover(); r != nil {
			c.db.o.Logger.Error(logx.StorePanic, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	fn()
}

// announce wakes all who wait for progress; c.mu is held.
func (c *committer) announce() {
	close(c.progress)
	c.progress = make(chan struct{})
}

// stall keeps the records of a batch for later and answers its clients that the disk is full.
func (c *committer) stall(b *batch, err error) {
	c.mu.Lock()
	c.lag.put(b.entries)
	if c.stalled == nil {
		c.db.o.Logger.Error(logx.StoreFull, "error", err)
	}
	c.stalled = fmt.Errorf("%w: %w", ErrFull, err)
	c.announce()
	c.mu.Unlock()
	for _, m := range b.updates {
		if m.over {
			m.done <- m.err
			continue
		}
		m.done <- err
	}
}

// fail ends the committer: what stands in the tables' file after a failed write or sync is not known, so nothing is built on it.
// Acknowledged records are in the log; the next start applies them.
func (c *committer) fail(b *batch, err error) {
	c.db.o.Logger.Error(logx.StoreEnded, "records", len(b.entries), "error", err)
	c.db.markSuspect()
	c.mu.Lock()
	c.lag.put(b.entries)
	c.failed = fmt.Errorf("%w: the tables could not be written: %w", ErrClosed, err)
	updates := append(b.updates, c.updates...)
	c.updates = nil
	c.announce()
	failed := c.failed
	c.mu.Unlock()
	for i, m := range updates {
		if i >= len(b.updates) && !m.state.CompareAndSwap(waiting, taken) {
			continue
		}
		if m.over {
			m.done <- m.err
			continue
		}
		m.done <- failed
	}
}

// close commits what is left and ends the committer; nothing is logged any more.
func (c *committer) close() error {
	c.mu.Lock()
	c.closing = true
	c.poke()
	c.mu.Unlock()
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.updates {
		if m.state.CompareAndSwap(waiting, taken) {
			m.done <- ErrClosed
		}
	}
	c.updates = nil
	if c.failed == nil && len(c.lag.entries) > 0 {
		return c.stalled // they are in the log
	}
	return c.failed
}
