package store

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// What is kept for some days is given up by the store's own time, not by the clock's: a machine that starts in 1970 or ten years
// ahead must not lose mail by it. The store's time goes on while the house runs, and for as long as it was not running,
// as far as that can be true: at most a day for each start. Row "age" of table s says how late it is, and for some moments
// of the past which ModSeq was the last one then: what has a lower one is older.
const (
	rowAge = "age"

	mostStopped = 24 * time.Hour // that a start believes the clock
	ageMarks    = 100            // in the time for which mail is kept
	ageVersion  = 1
)

// age is the row.
type age struct {
	at    uint64 // seconds of the store's time
	clock int64  // what the clock said then
	marks []ageMark
}

type ageMark struct {
	at  uint64
	seq ModSeq
}

func (a *age) encode() []byte {
	b := append(make([]byte, 0, 17+16*len(a.marks)), ageVersion)
	b = binary.BigEndian.AppendUint64(b, a.at)
	b = binary.BigEndian.AppendUint64(b, uint64(a.clock))
	for _, m := range a.marks {
		b = binary.BigEndian.AppendUint64(b, m.at)
		b = binary.BigEndian.AppendUint64(b, m.seq)
	}
	return b
}

// loadAge reads the row. One that cannot be read is none: mail is kept for longer then.
func loadAge(tx *kv.Tx) (a age, there bool) {
	b := tx.Get(tabCounters, []byte(rowAge))
	if len(b) < 17 || b[0] != ageVersion {
		return age{}, false
	}
	a = age{at: binary.BigEndian.Uint64(b[1:]), clock: int64(binary.BigEndian.Uint64(b[9:]))}
	for b = b[17:]; len(b) >= 16; b = b[16:] {
		a.marks = append(a.marks, ageMark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])})
	}
	return a, true
}

// stopwatch is the store's time in this process.
type stopwatch struct {
	mu    sync.Mutex
	begin time.Time // guarded by mu; zero: not begun. Differences to it are monotonic, whatever is done to the clock
	at    uint64    // guarded by mu: the store's time at begin
}

// ageNow is the row as it is to be now. due says that a mark should be set.
func (s *Store) ageNow(tx *kv.Tx) (a age, due bool) {
	now := s.now()
	a, there := loadAge(tx)
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	keep := time.Duration(s.keepTime.Load())
	if w.begin.IsZero() {
		w.begin, w.at = now, a.at
		if there {
			stopped := now.Unix() - a.clock
			w.at += uint64(min(max(stopped, 0), int64(min(mostStopped, keep/2)/time.Second)))
		}
	}
	a.at = max(a.at, w.at+uint64(max(now.Sub(w.begin), 0)/time.Second))
	a.clock = now.Unix()
	n := len(a.marks)
	return a, n == 0 || a.at-a.marks[n-1].at >= uint64(max(keep/ageMarks, time.Second)/time.Second)
}

// mark sets a mark when it is time: all that the store has until now is from before.
func (s *Store) mark(tx *kv.Tx) {
	a, due := s.ageNow(tx)
	if !due {
		return
	}
	a.marks = append(a.marks, ageMark{a.at, counter(tx, countModSeq)})
	if i := a.lastMark(time.Duration(s.keepTime.Load())); i > 0 {
		a.marks = slices.Delete(a.marks, 0, i)
	}
	tx.Put(tabCounters, []byte(rowAge), a.encode())
}

// lastMark is the place of the last mark that was set at least so long ago; -1: none.
func (a *age) lastMark(ago time.Duration) int {
	for i, m := range slices.Backward(a.marks) {
		if a.at-m.at >= uint64(max(ago, 0)/time.Second) {
			return i
		}
	}
	return -1
}

// oldEnough is the ModSeq up to which everything was there before the time for which mail is kept; 0: nothing was.
func (s *Store) oldEnough(ctx context.Context) (seq ModSeq, err error) {
	var due bool
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		var a age
		if a, due = s.ageNow(tx); len(a.marks) > 0 {
			if i := a.lastMark(time.Duration(s.keepTime.Load())); i >= 0 {
				seq = a.marks[i].seq
			}
		}
		return nil
	})
	if err == nil && due {
		err = s.db.Update(ctx, func(tx *kv.Tx) error {
			s.mark(tx)
			return nil
		})
	}
	return seq, err
}
