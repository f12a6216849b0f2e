package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// segmentOfCopies is the kind of a segment that compaction wrote: many bodies, each with places it had before.
const segmentOfCopies byte = 'C'

// segmentOfRescue is the kind of a segment that stays whatever the tables say: repair could not tell what is in it.
const segmentOfRescue byte = 'K'

// segmentInfo is a row of table g: kind u8 | octets u64 | dead octets u64 (a hint), and once the segment was measured, octets of
// the bodies as they arrived u64 | octets of their records u64.
type segmentInfo struct {
	kind     byte
	measured bool
	dead     int64
	blob.Usage
}

func decodeSegment(v []byte) segmentInfo {
	be := binary.BigEndian
	if len(v) < 17 {
		return segmentInfo{kind: segmentOfLog}
	}
	s := segmentInfo{kind: v[0], dead: int64(be.Uint64(v[9:]))}
	s.File = int64(be.Uint64(v[1:]))
	if len(v) >= 33 {
		s.measured, s.Raw, s.Stored = true, int64(be.Uint64(v[17:])), int64(be.Uint64(v[25:]))
	}
	return s
}

func (s *segmentInfo) encode() []byte {
	be := binary.BigEndian
	v := be.AppendUint64([]byte{s.kind}, uint64(s.File))
	v = be.AppendUint64(v, uint64(s.dead))
	v = be.AppendUint64(v, uint64(s.Raw))
	return be.AppendUint64(v, uint64(s.Stored))
}

// live estimates the octets that bodies of raw octets in all take in the segment.
func (s *segmentInfo) live(raw int64) int64 {
	if s.Raw == 0 {
		return min(raw, s.Stored)
	}
	return min(int64(float64(raw)/float64(s.Raw)*float64(s.Stored)), s.Stored)
}

// round is one round of compaction.
type round struct {
	c     *compactor
	below float64
	out   Compacted

	segments map[uint32]*segmentInfo // of table g
	applied  uint32                  // log segments from it on are not touched
	floor    uint32                  // nor are those that repair needs
	aside    map[uint32]bool         // segments that table z names
}

// survey reads which segments there are.
func (r *round) survey(ctx context.Context) error {
	var aside []blob.LSN
	r.segments, r.aside = map[uint32]*segmentInfo{}, map[uint32]bool{}
	r.floor = r.c.db.journalFloor().Segment()
	err := r.c.db.View(ctx, func(tx *Tx) error {
		for k, v := range tx.Scan(tableSegments, nil, nil) {
			if len(k) == 4 {
				s := decodeSegment(v)
				r.segments[binary.BigEndian.Uint32(k)] = &s
			}
		}
		for k := range tx.Scan(tableAside, nil, nil) {
			if len(k) == 8 {
				aside = append(aside, blob.LSN(binary.BigEndian.Uint64(k)))
			}
		}
		if v := tx.Get(tableSettings, []byte(keyApplied)); len(v) == 8 {
			r.applied = blob.LSN(binary.BigEndian.Uint64(v)).Segment()
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, at := range aside {
		r.aside[at.Segment()] = true
		body, err := r.c.db.log.BodyOf(at)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.aside[body.Segment()] = true
	}
	r.out.Segments = len(r.segments)
	return nil
}

// closed reports whether a segment may be removed at all, dead or moved.
func (r *round) closed(n uint32, s *segmentInfo) bool {
	return !r.aside[n] && (s.kind != segmentOfLog || n < r.applied && n < r.floor)
}

// measure looks at segments that no round has looked at, and keeps what it found in table g.
func (r *round) measure(ctx context.Context, numbers []uint32) error {
	var fresh []uint32
	for _, n := range numbers {
		s := r.segments[n]
		if s.measured || s.kind == segmentOfLog && n >= r.applied {
			continue
		}
		err := r.c.work(ctx, func() (err error) {
			if s.kind == segmentOfBodies && s.File > 0 { // one body
				raw := s.File // what the row said so far
				s.File, err = r.c.db.log.FileSize(n)
				s.Raw, s.Stored = raw, s.File
				return err
			}
			s.Usage, err = r.c.db.log.Measure(n)
			return err
		})
		if errors.Is(err, fs.ErrNotExist) {
			r.c.report(n, 0, err) // mail is lost; told by Check too
			continue
		}
		if err != nil {
			return err
		}
		s.measured = true
		fresh = append(fresh, n)
	}
	return r.keep(ctx, fresh)
}

// keep writes rows of table g.
func (r *round) keep(ctx context.Context, numbers []uint32) error {
	const atOnce = 2000
	for len(numbers) > 0 {
		some := numbers[:min(len(numbers), atOnce)]
		numbers = numbers[len(some):]
		err := r.c.work(ctx, func() error {
			return r.c.db.Update(ctx, func(tx *Tx) error {
				for _, n := range some {
					tx.Put(tableSegments, segmentKey(n), r.segments[n].encode())
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// strayLogs removes log segments in which nothing that was applied has ever stood: given up after a failed write, or left by
// a removal that was cut short.
func (r *round) strayLogs(ctx context.Context) error {
	numbers, err := r.c.db.log.Segments()
	if err != nil {
		return err
	}
	var stray []uint32
	for _, n := range numbers {
		if n >= r.applied || n >= r.floor || r.segments[n] != nil {
			continue
		}
		isLog, err := r.c.db.log.IsLog(n)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if isLog {
			stray = append(stray, n)
		}
	}
	return r.remove(ctx, stray)
}
