package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/posthouse-mail/posthouse/store/blob"
)

const (
	scanOctets = 2 << 20 // of rows in one snapshot: about a millisecond
	lastBound  = 1 << 32 // behind all segments
)

// again is run after something that lets more go.
func (r *round) again(ctx context.Context) error {
	r.out.Waiting, r.out.Damaged, r.out.Live, r.out.Octets = 0, 0, 0, 0
	return r.run(ctx)
}

func (r *round) run(ctx context.Context) error {
	var full error // what is dead as a whole goes all the same
	for from := uint64(0); from < lastBound; {
		if err := r.c.watch.switchOn(ctx, r.c.db); err != nil {
			return err
		}
		if err := r.survey(ctx); err != nil {
			return err
		}
		w, err := r.mark(ctx, from)
		if err != nil {
			return err
		}
		if err := r.clear(ctx, w); errors.Is(err, ErrFull) {
			full = err
		} else if err != nil {
			return err
		}
		from = w.to
	}
	if err := r.strayLogs(ctx); err != nil {
		return err
	}
	return full
}

// clear removes what is dead in a window and moves what lives in segments that are mostly dead.
func (r *round) clear(ctx context.Context, w *window) error {
	all := r.within(w)
	if err := r.measure(ctx, all); err != nil {
		return err
	}
	var dead []uint32
	var thin []*sparse
	for _, n := range all {
		s := r.segments[n]
		places := w.places(n)
		var raw int64
		for _, p := range places {
			raw += int64(p & 0xffffffff)
		}
		live := s.live(raw)
		r.out.Octets += s.File
		r.out.Live += live
		share := float64(live) / float64(max(s.File, 1))
		switch {
		case s.kind == segmentOfLog && n >= r.applied, s.kind == segmentOfRescue, r.aside[n]:
		case r.c.broken(n, places):
			r.out.Damaged++
		case len(places) > 0 && share >= r.below:
		case !r.closed(n, s):
			r.out.Waiting += s.File - live
		case len(places) == 0:
			dead = append(dead, n)
		default:
			thin = append(thin, &sparse{number: n, live: live, share: share, places: places})
		}
	}
	if err := r.remove(ctx, dead); err != nil {
		return err
	}
	return r.move(ctx, thin)
}

// within lists the segments of table g in a window, in order.
func (r *round) within(w *window) []uint32 {
	var out []uint32
	for n := range r.segments {
		if uint64(n) >= w.from && uint64(n) < w.to {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// window is what lives in the segments from from on, up to to.
type window struct {
	from, to uint64
	lists    map[uint32]*[]uint64 // segment -> offset<<32 | octets of the body
	count    int
	limit    int

	near uint32 // the list that was used last
	list *[]uint64
}

// places is what lives in a segment, in order, each once.
func (w *window) places(n uint32) []uint64 {
	list := w.lists[n]
	if list == nil {
		return nil
	}
	slices.Sort(*list)
	*list = slices.CompactFunc(*list, func(a, b uint64) bool { return a>>32 == b>>32 })
	return *list
}

// add notes a place. When the window has too many it ends before the last segments.
func (w *window) add(at blob.LSN, size int64) {
	n := at.Segment()
	if uint64(n) < w.from || uint64(n) >= w.to {
		return
	}
	if w.list == nil || w.near != n {
		if w.list = w.lists[n]; w.list == nil {
			w.list = new([]uint64)
			w.lists[n] = w.list
		}
		w.near = n
	}
	p := uint64(at.Offset())<<32 | uint64(min(max(size, 0), 0xffffffff))
	if k := len(*w.list); k > 0 && (*w.list)[k-1] == p {
		return // copies of one message often stand together
	}
	*w.list = append(*w.list, p)
	if w.count++; w.count > w.limit {
		w.shrink()
	}
}

// shrink keeps the first segments, about half of the places; a single one is kept whatever it holds.
func (w *window) shrink() {
	numbers := make([]uint32, 0, len(w.lists))
	for n := range w.lists {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	w.count = 0
	for i, n := range numbers {
		w.count += len(w.places(n))
		if i > 0 && w.count > w.limit/2 {
			w.to = uint64(n)
			for _, gone := range numbers[i:] {
				delete(w.lists, gone)
			}
			w.count = 0
			for _, n := range numbers[:i] {
				w.count += len(*w.lists[n])
			}
			break
		}
	}
	w.limit = max(w.limit, 2*w.count)
	w.list = nil
}

// mark finds out what lives in the segments from from on, as many as there is memory for.
func (r *round) mark(ctx context.Context, from uint64) (*window, error) {
	w := &window{from: from, to: lastBound, lists: map[uint32]*[]uint64{}, limit: r.c.window}
	at := func(place blob.LSN, size int64) blob.LSN {
		w.add(place, size)
		return place
	}
	for _, t := range r.c.order {
		places := r.c.watch.tables[t]
		err := r.scan(ctx, t, func(k, v []byte) (bool, error) {
			_, err := places(k, v, at)
			return true, err
		}, nil)
		if err != nil {
			return nil, err
		}
	}
	return w, nil
}

var errPause = errors.New("kv: the snapshot is used up")

// scan walks a table in short snapshots. row may end one early by answering false; after each of them, then runs, if given.
func (r *round) scan(ctx context.Context, t Table, row func(k, v []byte) (bool, error), then func() error) error {
	var from []byte
	for done := false; !done; {
		err := r.c.work(ctx, func() error {
			octets := 0
			err := r.c.db.View(ctx, func(tx *Tx) error {
				for k, v := range tx.Scan(t, from, nil) {
					octets += len(k) + len(v)
					more, err := row(k, v)
					if err != nil {
						return fmt.Errorf("row %x of table %s: %w", k, t, err)
					}
					if !more || octets > scanOctets {
						from = append(bytes.Clone(k), 0)
						return errPause
					}
				}
				return nil
			})
			if err == nil {
				done = true
			}
			if errors.Is(err, errPause) {
				err = nil
			}
			if err == nil && then != nil {
				err = then()
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
