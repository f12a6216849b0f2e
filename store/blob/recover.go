package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// Record is a logged record as Replay finds it. Meta ends with the callback.
type Record struct {
	LSN   LSN
	End   LSN
	Place LSN // of the body; 0 without
	Size  int64
	Meta  []byte
}

// link is a log segment of the chain. Its end is what its successor's header says; 0: it is the last one.
type link struct {
	number uint32
	end    int64
}

// Replay hands every durable record from from on to fn, in log order, and learns where the log ends; between Open and
// Start. Damage before the end that a later segment or record vouches for is ErrDamaged: nothing is skipped silently. The
// bytes of a write that was cut short by a crash are passed over. It returns where the log ends.
func (l *Log) Replay(ctx context.Context, from LSN, fn func(Record) error) (LSN, error) {
	chain, err := l.chain(from)
	if err != nil {
		return 0, err
	}
	if n := from.Segment(); l.spares.next <= n {
		l.spares.next = n + 1 // numbers are never given twice, even when files are gone
	}
	end := from
	for _, k := range chain {
		end, err = l.replaySegment(ctx, k, from, fn)
		if err != nil {
			return 0, err
		}
	}
	if n := len(chain); n > 0 {
		l.tail.before, l.tail.last = chain[n-1].number, chain[n-1].number
	}
	l.tail.last = max(l.tail.last, from.Segment())
	l.tail.synced = end
	return end, nil
}

// chain finds the log segments from from's on, in order. It begins with the newest segment that has a header, and goes back by what
// each header says about the one before: a segment that nobody names was given up, and nothing in it counts.
func (l *Log) chain(from LSN) ([]link, error) {
	numbers, err := l.segments.list()
	if err != nil {
		return nil, err
	}
	var chain []link
	var head prologue
	for _, n := range slices.Backward(numbers) {
		g, err := l.prologue(n)
		if errors.Is(err, ErrDamaged) {
			err = l.mayIgnore(n)
		}
		if err != nil {
			return nil, err
		}
		if g.kind == segmentLog {
			head = g
			break
		}
	}
	if head.number == 0 || head.number < from.Segment() {
		if from == 0 {
			return nil, nil
		}
		return nil, fmt.Errorf("the tables have reached %s, but that log segment is gone: %w", from, ErrDamaged)
	}
	chain = append(chain, link{number: head.number})
	for head.number > from.Segment() && head.before != 0 && head.durable > from {
		end := head.durable.Offset()
		if head.durable.Segment() != head.before || head.before >= head.number {
			return nil, fmt.Errorf("segment %08x names %s as the end of %08x: %w", head.number, head.durable, head.before, ErrDamaged)
		}
		head, err = l.prologue(head.before)
		if err != nil {
			return nil, fmt.Errorf("the log is needed from %s on: %w", from, err)
		}
		chain = append(chain, link{number: head.number, end: end})
	}
	if head.before == 0 && from != 0 && head.number != from.Segment() {
		return nil, fmt.Errorf("the tables have reached %s, the log begins with segment %08x: %w", from, head.number, ErrDamaged)
	}
	slices.Reverse(chain)
	return chain, nil
}

// prologue reads a segment's header.
func (l *Log) prologue(number uint32) (prologue, error) {
	g, err := l.segments.hold(number)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return prologue{}, fmt.Errorf("log segment %08x is gone: %w", number, ErrDamaged)
		}
		return prologue{}, err
	}
	defer l.segments.release(g)
	p := make([]byte, segmentHeader)
	n, err := g.file.ReadAt(p, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return prologue{}, fmt.Errorf("read segment %08x: %w", number, err)
	}
	return parsePrologue(p[:n], number, l.o.UUID, g.seed)
}

// mayIgnore says whether a segment without a good header held nothing that counts: it was made ahead, a body was never finished, or
// the first write was cut short. A record in it that knows of a durable one before it says otherwise.
func (l *Log) mayIgnore(number uint32) error {
	g, err := l.segments.hold(number)
	if err != nil {
		return err
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		return err
	}
	at, ok, err := s.witness(0, lsn(number, 0))
	if ok {
		return fmt.Errorf("segment %08x has lost its header, but the record at %s was written after others were durable: %w", number, at, ErrDamaged)
	}
	return err
}

// replaySegment hands the records of one segment to fn and returns where it ends.
func (l *Log) replaySegment(ctx context.Context, k link, from LSN, fn func(Record) error) (LSN, error) {
	g, err := l.segments.hold(k.number)
	if err != nil {
		return 0, err
	}
	defer l.segments.release(g)
	if k.end == 0 {
		// What is read now may stand in the page cache only: the run before was killed between its write and its sync. Before
		// the tables build on it, it is made durable.
		if err := l.harden(k.number, from); err != nil {
			return 0, fmt.Errorf("sync log segment %08x: %w", k.number, err)
		}
	}
	s, err := l.scan(g, k.end)
	if err != nil {
		return 0, err
	}
	at := int64(segmentHeader)
	if from.Segment() == k.number {
		at = max(at, from.Offset())
	}
	if at > s.limit {
		return 0, fmt.Errorf("the tables have reached %s, the log ends at %s: %w", from, lsn(k.number, s.limit), ErrDamaged)
	}
	for at < s.limit {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		h, rec, err := s.record(at)
		if errors.Is(err, ErrDamaged) && k.end == 0 {
			w, ok, werr := s.witness(at, lsn(k.number, at))
			if ok {
				return 0, fmt.Errorf("%w; the record at %s was written after it was durable", err, w)
			}
			if werr != nil {
				return 0, werr
			}
			break
		}
		if err != nil {
			return 0, err
		}
		at += h.length()
		if h.kind != recordMail {
			continue
		}
		rec.End = lsn(k.number, at)
		if err := fn(rec); err != nil {
			return 0, err
		}
	}
	return lsn(k.number, at), nil
}

// RemoveStray removes segments that hold nothing: made ahead and never used, bodies that no record names. known says which are
// referred to; it is asked for all but the segments that Replay went through. Between Replay and Start.
func (l *Log) RemoveStray(known func(number uint32) bool) (removed int, err error) {
	numbers, err := l.segments.list()
	if err != nil {
		return 0, err
	}
	for _, n := range numbers {
		if n == l.tail.before || known(n) {
			continue
		}
		g, err := l.prologue(n)
		if err == nil && g.kind == segmentLog {
			continue // it was given up or is all applied; compaction's, not ours
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return removed, err
		}
		if n == numbers[len(numbers)-1] { // the highest number stays known
			size, err := l.FileSize(n)
			if err != nil {
				return removed, err
			}
			if size == 0 {
				continue
			}
			made, err := l.spares.create(1)
			if err != nil {
				return removed, err
			}
			made[0].file.Close()
		}
		if err := l.segments.drop(n); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// scanner reads records of one segment through a window.
type scanner struct {
	file   vfs.File
	number uint32
	seed   uint32
	frames uint32
	limit  int64 // the segment's end

	buf []byte
	at  int64 // where buf begins
}

func (l *Log) scan(g *segment, end int64) (*scanner, error) {
	size, err := g.file.Size()
	if err != nil {
		return nil, err
	}
	if end > size {
		return nil, fmt.Errorf("segment %08x has %d octets, its successor says %d: %w", g.number, size, end, ErrDamaged)
	}
	if end == 0 {
		end = size
	}
	return &scanner{file: g.file, number: g.number, seed: g.seed, frames: l.codec.seed, limit: end}, nil
}

const window = 1 << 20

// bytes returns n octets at off; they are good until the next call.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	if off+n > s.limit {
		return nil, fmt.Errorf("segment %08x ends before %x: %w", s.number, off+n, ErrDamaged)
	}
	if off < s.at || off+n > s.at+int64(len(s.buf)) {
		want := min(max(n, window), s.limit-off)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.at = s.buf[:want], off
		m, err := s.file.ReadAt(s.buf, off)
		s.buf = s.buf[:m]
		if int64(m) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = ErrDamaged
			}
			return nil, fmt.Errorf("read segment %08x at %x: %w", s.number, off, err)
		}
	}
	return s.buf[off-s.at:][:n], nil
}

// head reads and checks header and meta at off. Both are good until the next read.
func (s *scanner) head(off int64) (h header, meta []byte, err error) {
	p, err := s.bytes(off, recordHeader)
	if err != nil {
		return h, nil, err
	}
	if h, err = parseHeader(p, lsn(s.number, off), s.limit); err != nil {
		return h, nil, err
	}
	if p, err = s.bytes(off, recordHeader+int64(h.meta)); err != nil {
		return h, nil, err
	}
	meta = p[recordHeader:]
	return h, meta, h.check(p, meta, s.seed)
}

// record reads and checks the whole record at off.
func (s *scanner) record(off int64) (header, Record, error) {
	h, meta, err := s.head(off)
	if err != nil {
		return h, Record{}, err
	}
	rec := Record{LSN: h.at, Meta: slices.Clone(meta)}
	switch {
	case h.flags&flagElsewhere != 0:
		rec.Place, rec.Size = LSN(binary.BigEndian.Uint64(meta)), int64(binary.BigEndian.Uint64(meta[8:]))
		rec.Meta = rec.Meta[elsewhereLen:]
	case h.frames > 0:
		rec.Place, rec.Size = h.at, int64(h.raw)-int64(h.head)
	}
	return h, rec, s.body(&h, off+recordHeader+int64(h.meta))
}

// body checks frame table and frames.
func (s *scanner) body(h *header, off int64) error {
	frames, err := s.frameTable(h, off)
	if err != nil {
		return err
	}
	for i, f := range frames {
		p, err := s.bytes(f.offset, int64(f.stored))
		if err != nil {
			return err
		}
		if checksum(s.frames, p) != f.crc {
			return fmt.Errorf("frame %d of the record at %s: checksum differs: %w", i, h.at, ErrDamaged)
		}
	}
	return nil
}

// frameTable reads and checks the frame table of a record whose meta ends at off: the frames in the order they are read in.
func (s *scanner) frameTable(h *header, off int64) ([]placed, error) {
	tableAt, framesAt := off, off+frameEntry*int64(h.frames)
	if h.flags&flagLate != 0 {
		tableAt, framesAt = off+int64(h.stored), off
	}
	p, err := s.bytes(tableAt, frameEntry*int64(h.frames))
	if err != nil {
		return nil, err
	}
	if checksum(s.seed, p) != h.bcrc {
		return nil, fmt.Errorf("frame table of the record at %s: checksum differs: %w", h.at, ErrDamaged)
	}
	frames, err := parseTable(p, h)
	if err != nil {
		return nil, err
	}
	return place(nil, frames, int(h.lead), framesAt), nil
}

// witness looks behind off for a record that was written when synced was durable already.
func (s *scanner) witness(off int64, synced LSN) (LSN, bool, error) {
	for off = (off + alignment - 1) &^ (alignment - 1); off+recordHeader <= s.limit; off += alignment {
		p, err := s.bytes(off, 4)
		if err != nil {
			return 0, false, err
		}
		if binary.BigEndian.Uint32(p) != recordMagic {
			continue
		}
		h, _, err := s.head(off)
		if err == nil && h.prevSynced > synced {
			return h.at, true, nil
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return 0, false, err
		}
	}
	return 0, false, nil
}
