package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// Found is a record as Salvage reads it. Meta ends with the callback.
type Found struct {
	Record
	Note   NoteKind // 0: mail
	Broken error    // header and meta are good, the body is not
}

// Hole is a range of a log segment that was durable and holds no record that can be read.
type Hole struct {
	Segment  uint32
	From, To int64
	Err      error
}

// Salvage hands every record from from on that can still be read to found, notes included, in log order, and what cannot be read
// to hole. It stops at nothing but an error of its callbacks, writes nothing, and needs nothing but the folder: it is for repair, after
// Open and in the place of Replay. It returns where the log ends.
func (l *Log) Salvage(ctx context.Context, from LSN, found func(Found) error, hole func(Hole) error) (LSN, error) {
	links, err := l.survey(from, hole)
	if err != nil {
		return 0, err
	}
	end := from
	for _, k := range links {
		at, err := l.salvageSegment(ctx, k, from, found, hole)
		if err != nil {
			return 0, err
		}
		end = max(end, at)
	}
	return end, nil
}

// remnant is a log segment that may be read.
type remnant struct {
	number uint32
	end    int64 // that its successor vouches for; 0: nobody does
	last   bool  // the run that wrote it was the last one
}

// survey says which log segments count, and up to where. Where a header is lost, more is read rather than less: what was refused
// with 4xx may then be there all the same.
func (l *Log) survey(from LSN, hole func(Hole) error) ([]remnant, error) {
	numbers, err := l.segments.list()
	if err != nil {
		return nil, err
	}
	var v survey
	for _, n := range slices.Backward(numbers) {
		if n < from.Segment() {
			break
		}
		g, err := l.prologue(n)
		if errors.Is(err, ErrForeign) {
			return nil, err
		}
		if err != nil {
			lost, herr := l.headless(n)
			if herr != nil {
				return nil, herr
			}
			if lost { // else nothing was ever written to it
				v.holes = append(v.holes, Hole{Segment: n, To: segmentHeader, Err: err})
				v.out, v.known = append(v.out, remnant{number: n, last: len(v.out) == 0}), false
			}
			continue
		}
		if g.kind == segmentLog {
			v.add(g)
		}
	}
	v.missing(from)
	slices.Reverse(v.out)
	slices.Reverse(v.holes)
	for _, h := range v.holes {
		if err := hole(h); err != nil {
			return nil, err
		}
	}
	return v.out, nil
}

type survey struct {
	out   []remnant // newest first
	holes []Hole
	next  prologue // of the log segment behind
	known bool     // next is a good header
}

// add takes the next older log segment.
func (v *survey) add(g prologue) {
	n := g.number
	r := remnant{number: n, last: len(v.out) == 0}
	switch {
	case !v.known:
	case v.next.before == 0:
		r.last = true // a repair began the log anew behind it
	case n > v.next.before:
		return // given up: what its last writers were told did not count
	case n < v.next.before:
		v.gone()
	case v.next.durable.Segment() == n:
		r.end = v.next.durable.Offset()
	}
	v.out, v.next, v.known = append(v.out, r), g, true
}

// gone tells that the segment before next is not there.
func (v *survey) gone() {
	v.holes = append(v.holes, Hole{Segment: v.next.before, To: v.next.durable.Offset(), Err: fmt.Errorf("log segment %08x is gone: %w", v.next.before, ErrDamaged)})
}

// missing tells of segments that are gone before the oldest one that is there.
func (v *survey) missing(from LSN) {
	n := from.Segment()
	switch {
	case n == 0 || len(v.out) > 0 && v.out[len(v.out)-1].number == n:
	case v.known && v.next.before > n:
		v.gone()
		fallthrough
	case len(v.out) == 0 || v.known && v.next.before != 0 && v.next.durable > from:
		v.holes = append(v.holes, Hole{Segment: n, From: from.Offset(), To: from.Offset(), Err: fmt.Errorf("log segment %08x is gone: %w", n, ErrDamaged)})
	}
}

// headless says whether a segment without a good header holds a log record all the same.
func (l *Log) headless(number uint32) (bool, error) {
	g, err := l.segments.hold(number)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		return false, err
	}
	for at := int64(segmentHeader); ; {
		next, ok := s.next(at)
		if !ok {
			return false, nil
		}
		if h, _, err := s.head(next); err == nil && h.flags&flagLate == 0 {
			return true, nil
		}
		at = next + alignment
	}
}

func (l *Log) salvageSegment(ctx context.Context, k remnant, from LSN, found func(Found) error, hole func(Hole) error) (LSN, error) {
	g, err := l.segments.hold(k.number)
	if err != nil {
		return 0, err
	}
	defer l.segments.release(g)
	size, err := g.file.Size()
	if err != nil {
		return 0, err
	}
	s, err := l.scan(g, min(k.end, size))
	if err != nil {
		return 0, err
	}
	at := int64(segmentHeader)
	if from.Segment() == k.number {
		at = max(at, from.Offset())
	}
	for at < s.limit {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		h, rec, err := s.record(at)
		if rec.LSN == 0 {
			next, ok := s.resume(at, &k)
			if !ok {
				break
			}
			if err := hole(Hole{Segment: k.number, From: at, To: next, Err: err}); err != nil {
				return 0, err
			}
			at = next
			continue
		}
		at += h.length()
		rec.End = lsn(k.number, at)
		f := Found{Record: rec, Broken: err}
		if h.kind != recordMail {
			f.Note = NoteKind(h.kind)
		}
		if err := found(f); err != nil {
			return 0, err
		}
	}
	if k.end > 0 && at < k.end {
		if err := hole(Hole{Segment: k.number, From: at, To: k.end, Err: fmt.Errorf("segment %08x ends at %x, its successor says %x: %w", k.number, at, k.end, ErrDamaged)}); err != nil {
			return 0, err
		}
	}
	return lsn(k.number, at), nil
}

// resume finds where to go on behind a record that cannot be read; false: the segment ends there.
func (s *scanner) resume(at int64, k *remnant) (int64, bool) {
	next, ok := s.next(at + alignment)
	if k.end > 0 {
		if !ok {
			return 0, false // the caller tells of the rest
		}
		return next, true
	}
	if !ok || !k.last {
		return next, ok
	}
	// The last bytes of the last run: a batch that was cut short, unless a later one knows that it was durable.
	_, vouched, err := s.witness(at, lsn(s.number, at))
	return next, err == nil && vouched
}

// next finds the next record header with a good checksum; octets that the disk does not give are passed over.
func (s *scanner) next(off int64) (int64, bool) {
	const block = 4096
	for off = (off + alignment - 1) &^ (alignment - 1); off+recordHeader <= s.limit; {
		p, err := s.bytes(off, recordHeader)
		if err != nil {
			off = off&^(block-1) + block
			continue
		}
		if binary.BigEndian.Uint32(p) == recordMagic {
			if _, _, err := s.head(off); err == nil {
				return off, true
			}
		}
		off += alignment
	}
	return 0, false
}

// Ident is what a segment's header says in clear, and the seed of its checksums.
type Ident struct {
	Number uint32
	UUID   [16]byte
	seed   uint32
}

// Of says whether the segment was written with the store key.
func (id Ident) Of(key [32]byte) bool { return secrets{key}.segment(id.Number) == id.seed }

// Identify reads the header of a segment without the store key. A CRC can be undone: what it begins with follows from the octets and
// their checksum, and the records of the segment prove it. False: it has no header, or an unsound one.
func Identify(f vfs.File, number uint32) (Ident, bool) {
	p := make([]byte, segmentHeader)
	if n, err := f.ReadAt(p, 0); n < segmentHeader || err != nil && !errors.Is(err, io.EOF) {
		return Ident{}, false
	}
	be := binary.BigEndian
	if string(p[:8]) != segmentMagic || be.Uint32(p[12:]) != number || p[10] != segmentLog {
		return Ident{}, false
	}
	return Ident{Number: number, UUID: [16]byte(p[16:32]), seed: undoCRC(be.Uint32(p[60:]), p[:60])}, true
}

// undoCRC finds the seed with which checksum(seed, p) is sum.
func undoCRC(sum uint32, p []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var at [256]byte // the top octets of the table's entries are all different
	for i, v := range table {
		at[v>>24] = byte(i)
	}
	state := ^sum
	for _, c := range slices.Backward(p) {
		i := at[state>>24]
		state = (state^table[i])<<8 | uint32(i^c)
	}
	return ^state
}

// FindNotes hands the notes of a log segment to fn without the store key, damage passed over. False: the segment has no sound header.
func FindNotes(fsys vfs.FS, dir string, number uint32, fn func(Ident, NoteKind, []byte) error) (bool, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, segmentName(number)), os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	id, ok := Identify(f, number)
	if !ok {
		return false, nil
	}
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	s := &scanner{file: f, number: number, seed: id.seed, limit: size}
	for at := int64(segmentHeader); ; {
		next, ok := s.next(at)
		if !ok {
			return true, nil
		}
		h, meta, err := s.head(next)
		if err != nil {
			return true, err
		}
		at = next + h.length()
		if h.kind == recordMail {
			continue
		}
		if err := fn(id, NoteKind(h.kind), meta); err != nil {
			return true, err
		}
	}
}

// Begin makes an empty log segment behind all others, durable, and returns where it begins: nothing before it will be replayed. For
// repair, which has read what is before it.
func (l *Log) Begin() (LSN, error) {
	made, err := l.spares.create(1)
	if err != nil {
		return 0, err
	}
	f, n := made[0].file, made[0].number
	_, err = f.WriteAt(prologue{kind: segmentLog, number: n}.bytes(l.o.UUID, l.segments.secrets.segment(n)), 0)
	if err == nil {
		err = f.Datasync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return 0, fmt.Errorf("begin a log segment: %w", err)
	}
	return lsn(n, segmentHeader), nil
}

// HoldsBodies says that the segment is no log segment.
func (l *Log) HoldsBodies(number uint32) bool {
	g, err := l.prologue(number)
	return err == nil && g.kind == segmentBody
}

// List names the segments of a folder in order.
func List(fsys vfs.FS, dir string) ([]uint32, error) { return newSegments(fsys, dir, secrets{}).list() }
