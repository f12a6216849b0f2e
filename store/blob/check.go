package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Checked is what Check found in a segment.
type Checked struct {
	Log     bool  // a log segment; else of bodies
	Records int   // good ones
	End     int64 // behind the last good record
	Size    int64 // of the file
	Before  LSN   // of a log segment: how far the log before it counts, 0: it is the first
	Problem error // why reading ended before Size; nil: every octet was checked
}

// Check reads a segment front to back and checks every record, every body in it included. What follows the first record that is not good
// may be the rest of a write that failed: whether it is damage say those who refer to it, and the next segment's Before.
func (l *Log) Check(ctx context.Context, number uint32) (c Checked, err error) {
	p, err := l.prologue(number)
	if err != nil {
		return c, err
	}
	g, err := l.segments.hold(number)
	if err != nil {
		return c, err
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		return c, err
	}
	c = Checked{Log: p.kind == segmentLog, Before: p.durable, Size: s.limit, End: segmentHeader}
	s.limit = (s.limit + alignment - 1) &^ (alignment - 1) // the last record of a body segment has no padding
	for c.End < s.limit {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		h, _, err := s.record(c.End)
		if errors.Is(err, ErrDamaged) {
			c.Problem = err
			break
		}
		if err != nil {
			return c, err
		}
		c.Records++
		c.End += h.length()
	}
	return c, nil
}

// Tail lists the log segments from from's to last, and the segments of the bodies that their records from from on name.
func (l *Log) Tail(ctx context.Context, from LSN, last uint32) ([]uint32, error) {
	numbers, err := l.segments.list()
	if err != nil {
		return nil, err
	}
	var out []uint32
	for _, n := range numbers {
		if n < from.Segment() || n > last {
			continue
		}
		p, err := l.prologue(n)
		if errors.Is(err, ErrDamaged) {
			continue // made ahead, or being written; one that counts and is damaged is named by its successor
		}
		if err != nil {
			return nil, err
		}
		if p.kind != segmentLog {
			continue
		}
		out = append(out, n)
		places, err := l.elsewhere(ctx, n, from)
		if err != nil {
			return nil, err
		}
		out = append(out, places...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// elsewhere lists the body segments that the records of a log segment name.
func (l *Log) elsewhere(ctx context.Context, number uint32, from LSN) ([]uint32, error) {
	g, err := l.segments.hold(number)
	if err != nil {
		return nil, err
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		return nil, err
	}
	at := int64(segmentHeader)
	if from.Segment() == number {
		at = max(at, from.Offset())
	}
	var out []uint32
	for at < s.limit {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, meta, err := s.head(at)
		if errors.Is(err, ErrDamaged) {
			break // Check says whether it is damage
		}
		if err != nil {
			return nil, fmt.Errorf("segment %08x: %w", number, err)
		}
		if h.flags&flagElsewhere != 0 {
			out = append(out, LSN(binary.BigEndian.Uint64(meta)).Segment())
		}
		at += h.length()
	}
	return out, nil
}
