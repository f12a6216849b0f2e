package blob

import (
	"context"
	"fmt"
	"math"
)

// control runs fn on the logger's goroutine, between two batches.
func (l *Log) control(ctx context.Context, fn func() error) error {
	p := &pending{do: fn, done: make(chan error, 1)}
	if err := l.queue.add(p); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		if p.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		return <-p.done
	}
}

// Roll ends the active log segment and returns the number of the last log segment that counts (0: none): it, and all log segments
// before it, are complete and never written again. Bodies that records up to there name are complete too: they are
// durable before their record is.
func (l *Log) Roll(ctx context.Context) (closed uint32, err error) {
	err = l.control(ctx, func() error {
		l.roll()
		closed = l.tail.before
		return nil
	})
	return closed, err
}

// roll is the logger's.
func (l *Log) roll() {
	t := &l.tail
	_ = l.syncTail() // what fails here does not count, and the next segment says so
	if t.active != nil {
		l.segments.release(t.active)
		t.active = nil
	}
}

// Ahead makes all segments that are begun from now on have numbers more than n above those given so far, and begins a log segment
// there, durable: no later start goes back below it.
func (l *Log) Ahead(ctx context.Context, n uint32) error {
	err := l.control(ctx, func() error {
		l.roll()
		last, err := l.spares.ahead(n, l.tail.last)
		if err == nil {
			l.tail.last = last
		}
		return err
	})
	if err != nil {
		return err
	}
	return l.Append(ctx) // no record, but the header
}

// ahead gives up the spares and moves the numbers; above is the highest number of the log. It returns the number that all new
// segments are above of.
func (s *spares) ahead(n, above uint32) (last uint32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := max(s.next, above+1)
	if uint64(next)+uint64(n) >= math.MaxUint32 {
		return 0, fmt.Errorf("segment numbers end at %d, no room for %d more after %d; move the mail into a new data folder", uint32(math.MaxUint32), n, next)
	}
	s.next = next + n
	s.floor = s.next
	s.stale, s.ready = append(s.stale, s.ready...), nil
	return s.next - 1, nil
}
