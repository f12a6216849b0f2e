package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// recordCopy is the kind of a record with a body that compaction moved; its meta is the places that the body had before, u64 each,
// the first one first.
const recordCopy byte = 4

// copyBuffer is how much of a copy is gathered before it is written.
const copyBuffer = 1 << 20

// Copy is a body segment that takes bodies out of other segments. They come as they are: the frames octet for octet, each
// checked, under a header of their own whose meta names the places that the body had before, u64 each, the first one first.
// Many share the segment. None counts before Finish. Not for concurrent use.
type Copy struct {
	log    *Log
	seg    *segment
	buf    []byte
	at     int64 // where buf begins
	source *scanner
	from   *segment // of source
	raw    int64
	err    error // of a write
}

// NewCopy begins a segment.
func (l *Log) NewCopy() (*Copy, error) {
	g, err := l.spares.take(0)
	if err != nil {
		return nil, err
	}
	return &Copy{log: l, seg: g, at: segmentHeader}, nil
}

// Number is the segment's.
func (c *Copy) Number() uint32 { return c.seg.number }

// Size is the length of the segment so far.
func (c *Copy) Size() int64 { return c.at + int64(len(c.buf)) }

// Usage is what Measure would tell of the segment.
func (c *Copy) Usage() Usage {
	return Usage{File: c.Size(), Raw: c.raw, Stored: c.Size() - segmentHeader}
}

// Add copies the body at a place and returns its new one. Bodies are best given in the order of their places. ErrDamaged says
// that this one cannot be read as it was written; the copy is good for others. After a failed write it is of no use.
func (c *Copy) Add(at LSN) (LSN, error) {
	if c.err != nil {
		return 0, c.err
	}
	before := len(c.buf)
	to, raw, err := c.add(at)
	if err != nil {
		c.buf = c.buf[:before]
		return 0, fmt.Errorf("copy body %s: %w", at, err)
	}
	c.raw += raw
	if len(c.buf) >= copyBuffer {
		if c.err = c.flush(); c.err != nil {
			return 0, c.err
		}
	}
	return to, nil
}

func (c *Copy) add(at LSN) (to LSN, raw int64, err error) {
	if err := c.open(at.Segment()); err != nil {
		return 0, 0, err
	}
	h, meta, err := c.source.head(at.Offset())
	if err != nil {
		return 0, 0, unreadable(err)
	}
	if h.frames == 0 || h.flags&flagElsewhere != 0 {
		return 0, 0, fmt.Errorf("there is no body: %w", ErrDamaged)
	}
	var before []byte
	if h.kind == recordCopy {
		before = append(before, meta...)
	}
	before = binary.BigEndian.AppendUint64(before, uint64(at))
	frames, err := c.source.frameTable(&h, at.Offset()+recordHeader+int64(h.meta))
	if err != nil {
		return 0, 0, unreadable(err)
	}
	to = lsn(c.seg.number, c.Size())
	n := header{
		kind: recordCopy, meta: uint32(len(before)), head: h.head, frames: h.frames, stored: h.stored, raw: h.raw, at: to,
	}
	begin := len(c.buf)
	c.buf = append(c.buf, make([]byte, recordHeader)...)
	c.buf = append(c.buf, before...)
	table := len(c.buf)
	for _, f := range frames {
		c.buf = f.frame.append(c.buf)
	}
	n.bcrc = checksum(c.seg.seed, c.buf[table:])
	n.put(c.buf[begin:])
	putCRC(c.buf[begin:], headerCRC(c.buf[begin:begin+recordHeader], before, c.seg.seed))
	for i, f := range frames {
		p, err := c.source.bytes(f.offset, int64(f.stored))
		if err != nil {
			return 0, 0, unreadable(err)
		}
		if checksum(c.source.frames, p) != f.crc {
			return 0, 0, fmt.Errorf("frame %d: checksum differs: %w", i, ErrDamaged)
		}
		c.buf = append(c.buf, p...)
	}
	for len(c.buf)%alignment != 0 {
		c.buf = append(c.buf, 0)
	}
	return to, int64(h.raw) - int64(h.head), nil
}

// unreadable is ErrDamaged for whatever keeps octets that were durable from being read.
func unreadable(err error) error {
	if errors.Is(err, ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// open makes the segment the one that is read.
func (c *Copy) open(number uint32) error {
	if c.from != nil && c.from.number == number {
		return nil
	}
	c.closeSource()
	g, err := c.log.segments.hold(number)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return err
	}
	s, err := c.log.scan(g, 0)
	if err != nil {
		c.log.segments.release(g)
		return err
	}
	s.limit = aligned(s.limit)
	if c.source != nil {
		s.buf = c.source.buf[:0]
	}
	c.source, c.from = s, g
	return nil
}

func (c *Copy) closeSource() {
	if c.from != nil {
		c.log.segments.release(c.from)
		c.from = nil
	}
}

func (c *Copy) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	l := c.log
	if err := l.room.ask(int64(len(c.buf))); err != nil {
		return fmt.Errorf("write body segment %08x: %w", c.seg.number, err)
	}
	n, err := c.seg.file.WriteAt(c.buf, c.at)
	l.counts.bodyBytes.Add(uint64(n))
	l.counts.written.Add(float64(n))
	if err != nil {
		return fmt.Errorf("write body segment %08x: %w", c.seg.number, err)
	}
	c.at += int64(len(c.buf))
	c.buf = c.buf[:0]
	return nil
}

// Finish makes the segment durable: its header is written last, so that one cut short by a crash is none. After an error nothing
// of it counts and the file is gone.
func (c *Copy) Finish() error {
	l := c.log
	if c.err == nil {
		c.err = c.flush()
	}
	if c.err == nil {
		_, c.err = c.seg.file.WriteAt(prologue{kind: segmentBody, number: c.seg.number}.bytes(l.o.UUID, c.seg.seed), 0)
	}
	if c.err == nil {
		c.err = l.datasync(c.seg.file, &l.counts.bodySyncs)
	}
	if c.err != nil {
		err := fmt.Errorf("make body segment %08x durable: %w", c.seg.number, c.err)
		l.counts.failures.Inc()
		c.Discard()
		return err
	}
	c.close()
	return nil
}

// Discard gives the segment up. After Finish it does nothing.
func (c *Copy) Discard() {
	if c.seg != nil {
		c.log.segments.drop(c.seg.number) // the next start removes what stays
	}
	c.close()
}

func (c *Copy) close() {
	c.closeSource()
	if c.seg != nil {
		c.log.segments.release(c.seg)
	}
	c.seg, c.buf, c.source = nil, nil, nil
	if c.err == nil {
		c.err = ErrUsed
	}
}

// aligned is where the record behind n octets would begin: the last record of a body segment has no padding.
func aligned(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// Usage is what a segment holds.
type Usage struct {
	File   int64 // octets of the file
	Raw    int64 // octets of the bodies in it, as they arrived
	Stored int64 // octets of the records that hold them
}

// Measure reads a segment's record headers from the first on, as far as they are good.
func (l *Log) Measure(number uint32) (Usage, error) {
	g, err := l.segments.hold(number)
	if err != nil {
		return Usage{}, err
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{File: s.limit}
	s.limit = aligned(s.limit)
	for at := int64(segmentHeader); at < s.limit; {
		h, _, err := s.head(at)
		if errors.Is(err, ErrDamaged) {
			break // the end of a log segment is not always the end of its file
		}
		if err != nil {
			return Usage{}, err
		}
		if h.frames > 0 {
			u.Raw += int64(h.raw) - int64(h.head)
			u.Stored += h.length()
		}
		at += h.length()
	}
	return u, nil
}

// BodyOf is where the body of the record at a place of the log stands; 0 when it has none.
func (l *Log) BodyOf(at LSN) (LSN, error) {
	g, err := l.segments.hold(at.Segment())
	if err != nil {
		return 0, err
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		return 0, err
	}
	h, meta, err := s.head(at.Offset())
	switch {
	case err != nil:
		return 0, err
	case h.flags&flagElsewhere != 0:
		return LSN(binary.BigEndian.Uint64(meta)), nil
	case h.frames == 0:
		return 0, nil
	}
	return at, nil
}

// FileSize is the length of a segment's file.
func (l *Log) FileSize(number uint32) (int64, error) {
	st, err := l.o.FS.Stat(l.segments.path(number))
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// IsLog reports whether the segment is one of the log; false for bodies, and for files that were made ahead or never finished.
func (l *Log) IsLog(number uint32) (bool, error) {
	g, err := l.prologue(number)
	if errors.Is(err, ErrDamaged) {
		return false, nil
	}
	return err == nil && g.kind == segmentLog, err
}

// Free is how many octets the folder's file system has for bodies.
func (l *Log) Free() (int64, error) {
	free, err := l.o.FS.Free(l.o.Dir)
	return max(free-l.o.Floor, 0), err
}
