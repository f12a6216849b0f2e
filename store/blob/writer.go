package blob

import (
	"context"
	"fmt"
	"sync/atomic"
)

const (
	memoryBody = 64 << 10 // a longer body goes to a segment of its own while it arrives
	freeBuffer = 8 << 10  // a writer's first buffer, outside the budget: connections are limited elsewhere
)

// Writer takes a body while it arrives. Small ones stay in memory until they are logged with their record; longer
// ones, and all while the memory of all connections is used up, are written to a body segment of their own. Not for concurrent use.
type Writer struct {
	log   *Log
	buf   []byte // in memory: the body; streaming: the frame that is being filled
	held  int64  // of the budget
	size  int64
	err   error  // of a write: the body is lost
	front []byte // before everything else (Prepend)

	// While streaming.
	seg    *segment
	offset int64
	lead   []byte // the header block; stored last, together with the head
	stored uint64
	raw    uint64 // octets in frames
	table  []byte
}

// NewBody starts a body; size is what the sender announced, or 0.
func (l *Log) NewBody(ctx context.Context, size int64) (*Writer, error) {
	if err := l.room.ask(size); err != nil {
		return nil, err
	}
	w := &Writer{log: l}
	w.buf = l.pool.take(freeBuffer)
	if size > freeBuffer {
		w.grow(int(min(size, memoryBody)))
	}
	return w, ctx.Err()
}

// grow makes room for n octets in all, if the budget has them.
func (w *Writer) grow(n int) bool {
	if n <= cap(w.buf) {
		return true
	}
	l := w.log
	buf := l.pool.take(n)
	if more := int64(cap(buf)) - freeBuffer - w.held; more > 0 {
		if !l.budget.take(more) {
			l.pool.give(buf)
			return false
		}
		w.held += more
	}
	old := w.buf
	w.buf = append(buf, old...)
	l.pool.give(old)
	return true
}

// Write takes the next octets. After an error the body is lost.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	total := len(p)
	for len(p) > 0 {
		if len(w.buf) >= w.room() {
			switch {
			case w.seg != nil:
				w.err = w.flush()
			case len(w.buf) < memoryBody && w.grow(min(memoryBody, len(w.buf)+len(p))):
			default:
				w.err = w.stream()
			}
		}
		if w.err != nil {
			return 0, w.err
		}
		n := min(len(p), max(w.room()-len(w.buf), 0)) // 0 when the segment has just begun with a full buffer
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
	}
	w.size += int64(total)
	return total, nil
}

// maxFront bounds what Prepend takes.
const maxFront = 64 << 10

// Prepend puts octets before all that was written or will be: what is known of a message only when it has come whole, such as the
// results of its checks. Once, and before Finish.
func (w *Writer) Prepend(p []byte) error {
	switch {
	case w.err != nil:
		return w.err
	case len(p) > maxFront || w.front != nil:
		return fmt.Errorf("prepend %d octets: at most %d, once", len(p), maxFront)
	}
	w.front = append([]byte{}, p...)
	w.size += int64(len(p))
	return nil
}

// room is how many octets the buffer takes in all.
func (w *Writer) room() int { return min(cap(w.buf), frameFill) }

// stream begins the body segment.
func (w *Writer) stream() error {
	g, err := w.log.spares.take(0)
	if err != nil {
		return err
	}
	w.seg, w.offset = g, segmentHeader+recordHeader
	if n := headerBlock(w.buf); n > 0 {
		w.lead = append([]byte(nil), w.buf[:n]...)
		w.buf = w.buf[:copy(w.buf, w.buf[n:])]
	}
	w.grow(frameFill)
	return nil
}

// flush writes the filled frame.
func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.frame(w.buf); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	w.grow(frameFill)
	return nil
}

// frame writes one frame at the end of the body segment.
func (w *Writer) frame(pieces ...[]byte) error {
	l := w.log
	f, stored, pooled := l.codec.encode(pieces...)
	err := l.room.ask(int64(f.stored))
	if err == nil {
		var n int
		n, err = w.seg.file.WriteVec(append([][]byte(nil), stored...), w.offset)
		l.counts.bodyBytes.Add(uint64(n))
		l.counts.written.Add(float64(n))
	}
	l.pool.give(pooled)
	if err != nil {
		return fmt.Errorf("write body segment %08x: %w", w.seg.number, err)
	}
	w.offset += int64(f.stored)
	w.stored += uint64(f.stored)
	w.raw += uint64(f.raw)
	w.table = f.append(w.table)
	return nil
}

// Finish ends the body; head is kept before it and can be read without it. The body of a long one is durable then.
func (w *Writer) Finish(head []byte) (*Body, error) {
	if w.err == nil && w.seg != nil {
		w.err = w.finishStream(head)
	}
	if w.err != nil {
		err := w.err
		w.Discard()
		return nil, err
	}
	b := &Body{log: w.log, size: w.size, head: uint32(len(head)), held: w.held}
	if w.seg != nil {
		b.place = lsn(w.seg.number, segmentHeader)
		b.held = 0
		w.letGo()
	} else {
		w.finishMemory(b, head)
	}
	w.buf, w.held, w.seg, w.err = nil, 0, nil, ErrUsed
	return b, nil
}

// finishMemory cuts the frames of a body that is logged with its record.
func (w *Writer) finishMemory(b *Body, head []byte) {
	add := func(pieces ...[]byte) {
		f, stored, pooled := w.log.codec.encode(pieces...)
		b.stored += uint64(f.stored)
		b.table = f.append(b.table)
		b.pieces = append(b.pieces, stored...)
		if pooled != nil {
			b.pooled = append(b.pooled, pooled)
		}
	}
	body := w.buf
	switch {
	case len(head)+len(w.front)+len(body) <= splitOver:
		add(pieces(head, w.front, body)...)
	default:
		n := headerBlock(body)
		cut(add, head, w.front, body[:n])
		cut(add, body[n:])
	}
	b.pooled = append(b.pooled, w.buf)
}

// pieces leaves out what is empty.
func pieces(list ...[]byte) [][]byte {
	out := list[:0]
	for _, p := range list {
		if len(p) > 0 {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return [][]byte{nil}
	}
	return out
}

// cut hands the octets of list to add in frames of at most frameFill.
func cut(add func(...[]byte), list ...[]byte) {
	total := 0
	for _, p := range list {
		total += len(p)
	}
	if total <= frameFill {
		if total > 0 {
			add(pieces(list...)...)
		}
		return
	}
	for _, p := range list {
		for len(p) > 0 {
			n := min(len(p), frameFill)
			add(p[:n])
			p = p[n:]
		}
	}
}

// finishStream writes the rest, then the headers, and waits for the disk.
func (w *Writer) finishStream(head []byte) error {
	l := w.log
	if err := w.flush(); err != nil {
		return err
	}
	rest := w.table
	w.table = nil
	var err error
	cut(func(p ...[]byte) {
		if err == nil {
			err = w.frame(p...)
		}
	}, head, w.front, w.lead)
	if err != nil {
		return err
	}
	h := header{
		kind: recordMail, flags: flagLate, lead: byte(len(w.table) / frameEntry), head: uint32(len(head)),
		stored: w.stored, raw: w.raw, at: lsn(w.seg.number, segmentHeader),
	}
	if len(w.table)/frameEntry > 255 {
		return fmt.Errorf("a head of %d octets is too long", len(head))
	}
	w.table = append(w.table, rest...)
	h.frames = uint32(len(w.table) / frameEntry)
	h.bcrc = checksum(w.seg.seed, w.table)
	var p [recordHeader]byte
	h.put(p[:])
	h.hcrc = headerCRC(p[:], nil, w.seg.seed)
	putCRC(p[:], h.hcrc)
	first := prologue{kind: segmentBody, number: w.seg.number}.bytes(l.o.UUID, w.seg.seed)
	n, err := w.seg.file.WriteAt(w.table, w.offset)
	if err == nil {
		var m int
		m, err = w.seg.file.WriteVec([][]byte{first, p[:]}, 0)
		n += m
	}
	l.counts.bodyBytes.Add(uint64(n))
	l.counts.written.Add(float64(n))
	if err == nil {
		err = l.datasync(w.seg.file, &l.counts.bodySyncs)
	}
	if err != nil {
		l.counts.failures.Inc()
		return fmt.Errorf("write body segment %08x: %w", w.seg.number, err)
	}
	return nil
}

// Discard gives up the body. After Finish it does nothing.
func (w *Writer) Discard() {
	if w.seg != nil {
		w.log.segments.drop(w.seg.number) // the next start removes what stays
	}
	w.letGo()
	w.err = ErrUsed
}

// letGo gives memory and segment back.
func (w *Writer) letGo() {
	l := w.log
	if w.seg != nil {
		l.segments.release(w.seg)
		w.seg = nil
	}
	l.pool.give(w.buf)
	l.budget.give(w.held)
	w.buf, w.held, w.lead, w.front, w.table = nil, 0, nil, nil, nil
}

// Body is a received body, ready to be logged: small ones in memory, large ones
// in a segment of their own and synced already.
type Body struct {
	log    *Log
	size   int64
	head   uint32
	stored uint64
	table  []byte   // encoded frame table
	pieces [][]byte // the stored frames
	pooled [][]byte // buffers that pieces stand in
	held   int64
	place  LSN // of a body segment's record; 0: in memory
	state  atomic.Int32
}

const (
	bodyReady int32 = iota
	bodyUsed
)

// bodyFate is what becomes of a body that was given to Append.
type bodyFate int

const (
	bodyKept    bodyFate = iota // logged
	bodyDropped                 // nothing refers to it
	bodyOrphan                  // nothing refers to it once the next segment is durable
)

// Size is the length in octets of the body.
func (b *Body) Size() int64 { return b.size }

func (b *Body) raw() uint64 { return uint64(b.size) + uint64(b.head) }

func (b *Body) use() bool { return b.state.CompareAndSwap(bodyReady, bodyUsed) }

// Discard gives up a body that will not be logged. Afterwards, and after Append, it does nothing.
func (b *Body) Discard() {
	if b.use() {
		b.end(bodyDropped)
	}
}

func (b *Body) end(fate bodyFate) {
	l := b.log
	for _, p := range b.pooled {
		l.pool.give(p)
	}
	l.budget.give(b.held)
	b.pooled, b.pieces, b.table, b.held = nil, nil, nil, 0
	if b.place == 0 {
		return
	}
	switch fate {
	case bodyDropped:
		l.segments.drop(b.place.Segment()) // the next start removes what stays
	case bodyOrphan:
		l.lose(b.place.Segment())
	}
}
