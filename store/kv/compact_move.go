package kv

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/blob"
)

const (
	moveRows   = 500     // bodies whose rows one commit rewrites, about
	copyOctets = 1 << 20 // copied before compaction pauses
	maxSweeps  = 4       // rows that others write meanwhile are caught by the next sweep
	removeMost = 256     // segments that one commit removes
)

// broken reports whether one of the bodies that live in a segment is known not to be readable.
func (c *compactor) broken(n uint32, places []uint64) bool {
	listed, ok := c.damaged[n]
	if !ok || len(places) == 0 {
		return false
	}
	_, alive := slices.BinarySearch(places, listed)
	if listed != 0 && !alive { // it was given up
		delete(c.damaged, n)
	}
	return listed == 0 || alive
}

// sparse is a segment that is worth compacting.
type sparse struct {
	number uint32
	live   int64 // octets, estimated
	share  float64
	places []uint64 // as in a window
	to     []blob.LSN
}

// find is where the body at a place has gone.
func (s *sparse) find(at blob.LSN) (blob.LSN, bool) {
	i := sort.Search(len(s.places), func(i int) bool { return int64(s.places[i]>>32) >= at.Offset() })
	if i == len(s.places) || int64(s.places[i]>>32) != at.Offset() {
		return 0, false
	}
	return s.to[i], true
}

// move empties segments, those with the least in them first, so many at a time that their bodies fill one new segment.
func (r *round) move(ctx context.Context, thin []*sparse) error {
	slices.SortFunc(thin, func(a, b *sparse) int {
		return cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.number, b.number))
	})
	for len(thin) > 0 {
		free, err := r.c.db.log.Free()
		if err != nil {
			return err
		}
		room := min(r.c.db.o.SegmentSize, free)
		n, octets := 0, int64(0)
		for n < len(thin) && (n == 0 || octets+thin[n].live <= room) {
			octets += thin[n].live
			n++
		}
		if octets > free {
			return fmt.Errorf("%d octets of live mail have to be copied before their segments can go: %w", octets, ErrFull)
		}
		if err := r.empty(ctx, thin[:n]); err != nil {
			return err
		}
		thin = thin[n:]
	}
	return nil
}

// empty copies what lives in a group of segments, rewrites the rows and removes the segments.
func (r *round) empty(ctx context.Context, group []*sparse) (err error) {
	m, err := r.copy(ctx, group)
	if err != nil || len(m.from) == 0 {
		return err
	}
	defer func() {
		if !m.noted && !m.doubt { // no row names it
			_ = r.c.db.log.Drop(m.target) // the next start removes what stays
		}
	}()
	for range maxSweeps {
		if err := r.sweep(ctx, m); err != nil {
			return err
		}
		var clean []uint32
		for n := range m.from {
			if !m.strange[n] {
				clean = append(clean, n)
			}
		}
		slices.Sort(clean)
		if m.noted {
			// The journal says where the bodies are now before the disk forgets where they were.
			if err := r.c.db.SyncJournal(ctx); err != nil {
				return err
			}
		}
		if err := r.remove(ctx, clean); err != nil {
			return err
		}
		for n := range m.from {
			if r.segments[n] == nil {
				delete(m.from, n)
			}
		}
		if len(m.from) == 0 {
			return nil
		}
	}
	return nil // what others keep writing waits for the next round
}

// moving is a group of segments whose bodies were copied.
type moving struct {
	from    map[uint32]*sparse
	target  uint32
	usage   blob.Usage
	noted   bool            // the target has its row in table g
	doubt   bool            // or it may have: the commit failed
	strange map[uint32]bool // segments with a place that was not copied
}

// copy copies the live bodies into a new segment and makes it durable. A segment with a body that cannot be read is left out.
func (r *round) copy(ctx context.Context, group []*sparse) (*moving, error) {
	m := &moving{from: map[uint32]*sparse{}}
	into, err := r.c.db.log.NewCopy()
	if err != nil {
		return nil, err
	}
	defer into.Discard()
	m.target = into.Number()
	for _, s := range group {
		s.to = make([]blob.LSN, 0, len(s.places))
		for len(s.to) < len(s.places) && err == nil {
			err = r.c.work(ctx, func() error { return s.copySome(into) })
		}
		switch {
		case err == nil:
			m.from[s.number] = s
			r.out.Moved += len(s.to)
		case errors.Is(err, ErrDamaged):
			r.c.report(s.number, s.places[len(s.to)], err)
			r.out.Damaged++
			err = nil
		default:
			return nil, err
		}
	}
	if len(m.from) == 0 {
		return m, nil
	}
	m.usage = into.Usage()
	if err := r.c.work(ctx, into.Finish); err != nil {
		return nil, err
	}
	r.out.Copied += m.usage.File
	r.c.metrics.copied.Add(float64(m.usage.File))
	return m, nil
}

// copySome copies the next bodies of a segment.
func (s *sparse) copySome(into *blob.Copy) error {
	for before := into.Size(); len(s.to) < len(s.places) && into.Size()-before < copyOctets; {
		to, err := into.Add(placeAt(s.number, s.places[len(s.to)]))
		if err != nil {
			return err
		}
		s.to = append(s.to, to)
	}
	return nil
}

func placeAt(segment uint32, listed uint64) blob.LSN {
	return blob.LSN(uint64(segment)<<32 | listed>>32)
}

// sweep rewrites all rows that name the segments. Rows that were written by others since it began are left to the watch.
func (r *round) sweep(ctx context.Context, m *moving) error {
	m.strange = map[uint32]bool{}
	if err := r.c.watch.switchOn(ctx, r.c.db); err != nil {
		return err
	}
	for _, t := range r.c.order {
		places := r.c.watch.tables[t]
		var keys [][]byte
		found := 0
		look := func(at blob.LSN, _ int64) blob.LSN {
			if m.from[at.Segment()] != nil {
				found++
			}
			return at
		}
		row := func(k, v []byte) (bool, error) {
			before := found
			_, err := places(k, v, look)
			if found > before {
				keys = append(keys, bytes.Clone(k))
			}
			return found < moveRows, err
		}
		rewrite := func() error {
			some := keys
			keys, found = nil, 0
			if len(some) == 0 {
				return nil
			}
			return r.rewrite(ctx, m, t, some)
		}
		if err := r.scan(ctx, t, row, rewrite); err != nil {
			return err
		}
	}
	return nil
}

// rewrite is one commit: each row as it is now, with the new places of its bodies. With the first one comes the row of
// the segment where they are.
func (r *round) rewrite(ctx context.Context, m *moving, t Table, keys [][]byte) error {
	places := r.c.watch.tables[t]
	strange := map[uint32]bool{}
	target := segmentInfo{kind: segmentOfCopies, Usage: m.usage}
	wrote := false
	err := r.c.db.Update(ctx, func(tx *Tx) error {
		wrote = false
		move := func(at blob.LSN, _ int64) blob.LSN {
			s := m.from[at.Segment()]
			if s == nil {
				return at
			}
			to, ok := s.find(at)
			if !ok {
				strange[at.Segment()] = true
				return at
			}
			return to
		}
		for _, k := range keys {
			v := tx.Get(t, k)
			if v == nil {
				continue
			}
			v, err := places(k, v, move)
			if err != nil {
				return fmt.Errorf("row %x of table %s: %w", k, t, err)
			}
			if v != nil {
				tx.Put(t, k, v)
				wrote = true
			}
		}
		if wrote && !m.noted {
			tx.Put(tableSegments, segmentKey(m.target), target.encode())
			tx.OnCommit(func() { r.c.db.known[m.target] = true })
		}
		return nil
	})
	if err != nil {
		sure := errors.Is(err, ErrFull) || errors.Is(err, ctx.Err())
		m.doubt = m.doubt || !sure || errors.Is(err, ErrClosed)
		return err
	}
	m.noted = m.noted || wrote
	for n := range strange {
		m.strange[n] = true
	}
	return nil
}

// remove removes segments that no row names: those of them that the watch has not seen since the scan that says so began, and that
// nobody holds.
func (r *round) remove(ctx context.Context, numbers []uint32) error {
	for len(numbers) > 0 {
		some := numbers[:min(len(numbers), removeMost)]
		numbers = numbers[len(some):]
		for done := false; !done; {
			err := r.c.work(ctx, func() (err error) {
				done, err = r.removeSome(ctx, some)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// removeSome takes the rows of table g away in one commit and then the files. false: somebody holds the segments.
func (r *round) removeSome(ctx context.Context, numbers []uint32) (bool, error) {
	c, db := r.c, r.c.db
	c.holds.mu.Lock()
	defer c.holds.mu.Unlock()
	if c.holds.n > 0 {
		return false, nil
	}
	var gone []uint32
	err := db.Update(ctx, func(tx *Tx) error {
		gone = gone[:0]
		if !c.watch.on {
			return errors.New("kv: segments may not be removed while nobody watches what is written") // a bug of ours
		}
		if c.watch.blind != nil {
			return c.watch.blind
		}
		for _, n := range numbers {
			if c.watch.seen[n] || c.pins.has(n) {
				continue
			}
			if r.segments[n] != nil { // a stray file of the log has no row
				tx.Delete(tableSegments, segmentKey(n))
			}
			gone = append(gone, n)
		}
		tx.OnCommit(func() {
			for _, n := range gone {
				delete(db.known, n)
			}
		})
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, n := range gone {
		size, err := db.log.FileSize(n)
		if err == nil {
			db.keepForRollback(n)
			err = db.log.Drop(n)
		}
		delete(r.segments, n)
		delete(c.damaged, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil { // no row names it; a later round or the next start takes it away
			db.o.Logger.Warn(logx.StoreCompactFailed, "segment", n, "error", err)
			continue
		}
		r.out.Removed++
		r.out.Freed += size
		c.metrics.removed.Inc()
		c.metrics.freed.Add(float64(size))
	}
	return true, nil
}

// report tells once in a run of the program that a segment stays because a body in it cannot be read; 0: the file is missing.
func (c *compactor) report(n uint32, listed uint64, err error) {
	if _, ok := c.damaged[n]; ok {
		return
	}
	c.damaged[n] = listed
	c.metrics.damaged.Inc()
	c.db.o.Logger.Error(logx.StoreCompactDamaged, "segment", n, "error", err)
}
