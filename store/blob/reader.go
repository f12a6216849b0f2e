package blob

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// FirstRead is how much of a record is read at once when nobody says better: the whole of most messages.
const FirstRead = 16 << 10

const (
	leastRead = 4 << 10 // header, frame table, head and header block of most messages
	mostRead  = 64 << 10
)

// Reader reads one stored body; it holds its segment until Close. Its methods may be called concurrently.
type Reader struct {
	log *Log
	seg *segment
	h   header

	mu     sync.Mutex
	few    [2]placed // room for the frames of most bodies
	frames []placed
	first  []byte // the beginning of the record, as stored
	at     int64  // where first begins in the segment
	cur    int    // the frame that raw is of, -1: none
	raw    []byte // pooled
}

// placed is a frame and where it stands: offset in the segment, from in the raw octets.
type placed struct {
	frame
	offset, from int64
}

// OpenBody opens a stored body.
func (l *Log) OpenBody(at LSN) (*Reader, error) { return l.OpenBodyAhead(at, FirstRead) }

// OpenBodyAhead is OpenBody for who knows how much of the record will be wanted: so many octets are read with its header, in
// bounds.
func (l *Log) OpenBodyAhead(at LSN, n int64) (*Reader, error) {
	r, err := l.openBody(at, int(min(max(n, leastRead), mostRead)))
	if err != nil {
		l.hit(at, err)
		return nil, fmt.Errorf("open body %s: %w", at, err)
	}
	return r, nil
}

// WholeBody is how much of a record to read for the whole of a body of size octets: about what they are packed. A long body
// stands elsewhere than the first frames of its record.
func WholeBody(size int64) int64 {
	if size > memoryBody {
		return leastRead
	}
	return size - size/4 + 1<<10
}

func (l *Log) openBody(at LSN, first int) (*Reader, error) {
	seg, err := l.segments.hold(at.Segment())
	if err != nil {
		return nil, err
	}
	r := &Reader{log: l, seg: seg, at: at.Offset(), cur: -1, first: l.pool.take(first)[:first]}
	if err := r.open(at); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// open reads header and frame table.
func (r *Reader) open(at LSN) error {
	n, err := r.seg.file.ReadAt(r.first, r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.first = r.first[:n]
	if n < recordHeader {
		return fmt.Errorf("the segment ends before it: %w", ErrDamaged)
	}
	h, err := parseHeader(r.first, at, maxRecord)
	if err != nil {
		return err
	}
	r.h = h
	if h.flags&flagElsewhere != 0 {
		return fmt.Errorf("the body stands elsewhere: %w", ErrDamaged)
	}
	if h.frames == 0 {
		return fmt.Errorf("the record has no body: %w", ErrDamaged)
	}
	meta, err := r.stored(r.at+recordHeader, int64(h.meta))
	if err != nil {
		return err
	}
	if err := h.check(r.first, meta, r.seg.seed); err != nil {
		return err
	}
	// Checked, so that the lengths are ours; still bounded by what the file holds, as stored reads.
	tableAt, framesAt := r.at+recordHeader+int64(h.meta), r.at+recordHeader+int64(h.meta)+frameEntry*int64(h.frames)
	if h.flags&flagLate != 0 {
		framesAt = tableAt
		tableAt += int64(h.stored)
	}
	table, err := r.stored(tableAt, frameEntry*int64(h.frames))
	if err != nil {
		return err
	}
	if checksum(r.seg.seed, table) != h.bcrc {
		return fmt.Errorf("frame table: checksum differs: %w", ErrDamaged)
	}
	frames, err := parseTable(table, &h)
	if err != nil {
		return err
	}
	r.frames = place(r.few[:0], frames, int(h.lead), framesAt)
	return nil
}

// place computes where the frames stand: the lead frames come first when read and last when stored.
func place(out []placed, frames []frame, lead int, offset int64) []placed {
	out = slices.Grow(out, len(frames))[:len(frames)]
	var from int64
	for i, f := range frames {
		out[i] = placed{frame: f, from: from}
		from += int64(f.raw)
	}
	for i := range out {
		k := (i + lead) % len(out)
		out[k].offset = offset
		offset += int64(out[k].stored)
	}
	return out
}

// stored returns n octets of the segment, out of first when they stand there.
func (r *Reader) stored(off, n int64) ([]byte, error) {
	if at := off - r.at; at >= 0 && at+n <= int64(len(r.first)) {
		return r.first[at : at+n], nil
	}
	size, err := r.seg.file.Size()
	if err != nil {
		return nil, err
	}
	if off+n > size {
		return nil, fmt.Errorf("the segment ends before it: %w", ErrDamaged)
	}
	p := make([]byte, n)
	_, err = r.seg.file.ReadAt(p, off)
	return p, err
}

// Size is the length in octets of the body.
func (r *Reader) Size() int64 { return int64(r.h.raw) - int64(r.h.head) }

// Run is how many octets from off on are best read at once: up to the end of a frame. off is within the body.
func (r *Reader) Run(off int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log == nil || off < 0 || off >= r.Size() {
		return 0
	}
	off += int64(r.h.head)
	f := &r.frames[r.frameAt(off)]
	return f.from + int64(f.raw) - off
}

// Head is what was given to Finish; it costs one frame.
func (r *Reader) Head() ([]byte, error) {
	p := make([]byte, r.h.head)
	if err := r.copy(p, 0); err != nil {
		return nil, err
	}
	return p, nil
}

// ReadAt reads the body without its head. Every frame is checked before an octet of it is given out.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read of body %s at %d", r.h.at, off)
	}
	n := min(int64(len(p)), r.Size()-off)
	if n <= 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if err := r.copy(p[:n], off+int64(r.h.head)); err != nil {
		return 0, err
	}
	if int(n) < len(p) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// copy fills p with raw octets from off on; they exist. A frame that is read whole is unpacked where it is wanted.
func (r *Reader) copy(p []byte, off int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 {
		i := r.frameAt(off)
		f := &r.frames[i]
		var n int
		var err error
		if whole := int(f.raw); off == f.from && whole <= len(p) && i != r.cur {
			n, err = whole, r.load(i, p[:whole])
		} else if err = r.keep(i); err == nil {
			n = copy(p, r.raw[off-f.from:])
		}
		if err != nil {
			if r.log != nil {
				r.log.hit(r.h.at, err)
			}
			return fmt.Errorf("body %s, frame %d: %w", r.h.at, i, err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// frameAt finds the frame of a raw octet; readers go forward, so the next one is tried first.
func (r *Reader) frameAt(off int64) int {
	in := func(i int) bool {
		return i >= 0 && i < len(r.frames) && off >= r.frames[i].from && off < r.frames[i].from+int64(r.frames[i].raw)
	}
	if in(r.cur) {
		return r.cur
	}
	if in(r.cur + 1) {
		return r.cur + 1
	}
	lo, hi := 0, len(r.frames)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if r.frames[mid].from <= off {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// keep makes frame i the current one.
func (r *Reader) keep(i int) error {
	if r.cur == i {
		return nil
	}
	if r.log == nil {
		return ErrClosed
	}
	if n := int(r.frames[i].raw); cap(r.raw) < n {
		r.log.pool.give(r.raw)
		r.raw = r.log.pool.take(n)
	}
	r.cur, r.raw = -1, r.raw[:r.frames[i].raw]
	if err := r.load(i, r.raw); err != nil {
		return err
	}
	r.cur = i
	return nil
}

// load fills raw with frame i.
func (r *Reader) load(i int, raw []byte) error {
	if r.log == nil {
		return ErrClosed
	}
	l, f := r.log, &r.frames[i]
	var stored []byte
	switch {
	case r.inFirst(f):
		at := f.offset - r.at
		stored = r.first[at : at+int64(f.stored)]
	case f.method == methodPlain:
		stored = raw
	default:
		scratch := l.pool.take(int(f.stored))
		defer l.pool.give(scratch)
		stored = scratch[:f.stored]
	}
	if err := r.fetch(stored, f.offset); err != nil {
		return err
	}
	return l.codec.decode(f.frame, stored, raw)
}

// fetch fills p with the octets from off on, if it is not them already. What first has of them is not read again.
func (r *Reader) fetch(p []byte, off int64) error {
	if at := off - r.at; len(p) > 0 && at >= 0 && at < int64(len(r.first)) {
		if &p[0] == &r.first[at] {
			return nil
		}
		n := copy(p, r.first[at:])
		p, off = p[n:], off+int64(n)
	}
	if len(p) == 0 {
		return nil
	}
	_, err := r.seg.file.ReadAt(p, off)
	return noEOF(err)
}

func (r *Reader) inFirst(f *placed) bool {
	return f.offset >= r.at && f.offset+int64(f.stored) <= r.at+int64(len(r.first))
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the segment ends before it: %w", ErrDamaged)
	}
	return err
}

// Close gives the segment back. It may be called twice.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log == nil {
		return nil
	}
	r.log.segments.release(r.seg)
	r.log.pool.give(r.first)
	r.log.pool.give(r.raw)
	r.log, r.first, r.raw, r.cur = nil, nil, nil, -1
	return nil
}
