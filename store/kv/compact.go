package kv

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// Compaction gives the disk space of dead mail back. A round has three steps, repeated over windows of segments so that memory
// is bounded (compact_mark.go, compact_move.go):
//
//	mark     scan all rows that name bodies, in short snapshots: what lives in each segment of the window
//	remove   segments of which nothing lives lose their row in table g, then their file
//	move     the live bodies of segments that are mostly dead are copied into a new body segment, which is synced;
//	         the rows that name them are rewritten, at most moveRows bodies a commit, each row as it is then; then remove
//
// Why a removed segment is named by nobody: at the commit that removes it, on the committer's goroutine,
//
//	rows      that were written since the scan began were seen by the watch (compact_watch.go), all others by the scan;
//	          after the commit no row can come to name it, because a row gets a place only from a row in the same
//	          transaction, from the record that is being applied, or from KeepUpdate (Refer);
//	records   that are not applied stand in log segments from applied's on, which are never touched, and their large bodies in
//	          segments without a row in g: that row comes with the record;
//	KeepUpdate  pins what its Update will name, from before its record can be applied until its commit is over;
//	table z   names records, whose segments stay;
//	readers   hold the open file; who has only a place looks the row up again.
//
// Why a crash at any point loses nothing: a new segment without a row in g is removed at the next start, and its row comes with the
// first row that names it; a removed segment loses its row first, and the file that stays is removed at the next
// start (bodies) or by the next round (log). Rows that were not rewritten name the old segment, which is there as long as
// one of them does.

// Compacted is what a round of compaction found and did.
type Compacted struct {
	Segments int   // that hold mail, before it
	Octets   int64 // of their files
	Live     int64 // of these, as far as can be told without reading them
	Removed  int   // segments
	Freed    int64 // octets of their files
	Moved    int   // bodies
	Copied   int64 // octets written for them
	Damaged  int   // segments that stay as they are because a body in them cannot be read
	Waiting  int64 // octets of log segments that repair needs until the tables are copied again
}

const (
	compactEvery = 15 * time.Minute
	compactFirst = time.Minute // after the start
	compactBelow = 0.6
	compactFull  = 0.98 // what is below it is compacted when everything is asked for
	compactShare = 0.1
)

// compactor is the state of compaction.
type compactor struct {
	db      *DB
	holds   holds
	pins    pins
	watch   watch
	order   []Table // that name bodies
	metrics *compactMetrics
	window  int // places that a window may hold

	wake  chan struct{} // cap 1
	turn  chan struct{} // cap 1: one round at a time
	hurry atomic.Int32  // callers of Compact: no pauses

	damaged map[uint32]uint64 // segments with a body that cannot be read, and which one as a window lists it; told once in this run; the round's

	life   context.Context // ends with Close
	end    context.CancelFunc
	mu     sync.Mutex
	closed bool
	rounds sync.WaitGroup
}

func newCompactor(db *DB) *compactor {
	c := &compactor{
		db: db, metrics: newCompactMetrics(db.o.Metrics), window: 1 << 20,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), damaged: map[uint32]uint64{},
	}
	c.holds.init()
	c.pins.n = map[uint32]int{}
	c.watch.tables = map[Table]Places{}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// RunCompaction compacts in the background, at a bounded pace, until ctx ends or the database is closed.
func (db *DB) RunCompaction(ctx context.Context) error {
	c := db.compactor
	timer := time.NewTimer(min(compactFirst, db.o.CompactEvery))
	defer timer.Stop()
	last := uint64(math.MaxUint64) // rows changed at the last round
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.life.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		timer.Reset(db.o.CompactEvery)
		changes := c.watch.changes.Load()
		if changes == last {
			continue
		}
		_, err := c.run(ctx, false)
		switch {
		case err == nil:
			last = changes
		case ctx.Err() != nil, errors.Is(err, ErrClosed):
			return nil
		default:
			db.o.Logger.ErrorContext(ctx, logx.StoreCompactFailed, "error", err)
		}
	}
}

// WakeCompaction makes RunCompaction look at once.
func (db *DB) WakeCompaction() {
	select {
	case db.compactor.wake <- struct{}{}:
	default:
	}
}

// Compact runs a round now, without pauses; full: also for segments of which only a little is dead.
func (db *DB) Compact(ctx context.Context, full bool) (Compacted, error) {
	db.compactor.hurry.Add(1)
	defer db.compactor.hurry.Add(-1)
	return db.compactor.run(ctx, full)
}

// run is one round, when its turn comes.
func (c *compactor) run(ctx context.Context, full bool) (Compacted, error) {
	if !c.db.started.Load() {
		return Compacted{}, errNotStarted
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return Compacted{}, ErrClosed
	}
	c.rounds.Add(1)
	c.mu.Unlock()
	defer c.rounds.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done(): // without the turn nothing may be touched: the watch is another round's
		if c.life.Err() != nil {
			return Compacted{}, ErrClosed
		}
		return Compacted{}, ctx.Err()
	}
	out, err := c.round(ctx, full)
	if c.life.Err() != nil && errors.Is(err, context.Canceled) {
		err = ErrClosed
	}
	return out, err
}

// round looks at all segments, and again when a copy of the tables for repair lets log segments go.
func (c *compactor) round(ctx context.Context, full bool) (Compacted, error) {
	begin := time.Now()
	r := &round{c: c, below: c.db.o.CompactBelow}
	if full {
		r.below = compactFull
	}
	defer c.watch.switchOff(ctx, c.db)
	if err := c.closeGap(ctx); err != nil {
		return r.out, err
	}
	err := r.run(ctx)
	if wait := r.out.Waiting; err == nil && (wait > 4*c.db.o.SegmentSize || full && wait > 0) {
		if err = c.db.CopyDay(ctx); err == nil {
			err = r.again(ctx)
		}
	}
	c.metrics.round(&r.out, time.Since(begin))
	if r.out.Removed > 0 || r.out.Moved > 0 {
		c.db.o.Logger.InfoContext(ctx, logx.StoreCompacted, "segments", r.out.Removed, "freed", r.out.Freed,
			"moved", r.out.Moved, "copied", r.out.Copied, "took", time.Since(begin))
	}
	return r.out, err
}

// closeGap copies the tables when the journal may not say where the bodies are that earlier rounds have moved: a repair would look for
// them in segments that this round removes. Where it cannot be done the disk's space goes before a repair that may never be.
func (c *compactor) closeGap(ctx context.Context) error {
	s := c.db.scribe
	s.day.Lock() // a copy that is under way has taken the gap on itself, and may fail
	gap := s.gap.Load()
	s.day.Unlock()
	if !gap {
		return ctx.Err()
	}
	if err := c.db.CopyDay(ctx); err != nil {
		c.db.o.Logger.WarnContext(ctx, logx.StoreDay, "error", err)
	}
	return ctx.Err()
}

// close ends the rounds.
func (c *compactor) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.rounds.Wait()
}

// work runs one bounded piece of work, when nobody holds the segments and the tables do not lag, and then pauses so long that
// compaction has its share of the time and no more.
func (c *compactor) work(ctx context.Context, piece func() error) error {
	for {
		if err := c.holds.await(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		laden, err := c.db.committer.laden()
		if err != nil {
			return err
		}
		if !laden {
			break
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := piece(); err != nil || c.hurry.Load() > 0 {
		return err
	}
	took := float64(time.Since(begin))
	return sleep(ctx, time.Duration(took/c.db.o.CompactShare-took))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// laden: the tables are behind the log by more than half of what they may be. The error is why they cannot catch up: then nobody knows
// how long they will be.
func (c *committer) laden() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lag.backlog <= c.db.o.Backlog/2 {
		return false, nil
	}
	if c.failed != nil {
		return true, c.failed
	}
	return true, c.stalled
}
