package blob

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	batchBytes   = 8 << 20
	batchRecords = 1024
)

// Item is one record on its way into the log.
type Item struct {
	Meta []byte // what the owner of the log wants to see again at Replay
	Body *Body  // may be nil; used up by Append whatever its outcome
	Tag  any    // for Logged; not stored

	// Set before Logged sees the item.
	LSN   LSN
	End   LSN   // where the next record may begin
	Place LSN   // where the body stands; 0 without a body
	Size  int64 // octets of the body

	kind   byte   // 0: recordMail
	prefix []byte // record header, meta, frame table
	head   header
}

// pending is one Append: all its items are in one batch.
type pending struct {
	items []*Item
	do    func() error // instead of items: run between two batches
	size  int64
	state atomic.Int32 // waiting, then taken by the logger or abandoned by its caller
	tried bool         // a write was begun; set before done
	done  chan error
}

const (
	waiting int32 = iota
	taken
	abandoned
)

// queue is what waits for the logger.
type queue struct {
	wake chan struct{} // cap 1

	mu     sync.Mutex
	list   []*pending
	closed bool
}

func (q *queue) add(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.list = append(q.list, p)
	if len(q.list) == 1 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list) == 0
}

// take moves what fits into a batch to out; an Append is never divided.
func (q *queue) take(out []*pending) (batch []*pending, size int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	records, n := 0, 0
	for _, p := range q.list {
		if len(out) > 0 && (p.do != nil || size+p.size > batchBytes || records+len(p.items) > batchRecords) {
			break
		}
		n++
		if !p.state.CompareAndSwap(waiting, taken) {
			continue
		}
		if p.do != nil {
			out = append(out, p)
			break
		}
		out, size, records = append(out, p), size+p.size, records+len(p.items)
	}
	q.list = slices.Delete(q.list, 0, n)
	return out, size
}

// close refuses further work; it reports whether it was closed before.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.closed
	q.closed = true
	return was
}

// Append makes the items durable, all in one batch, and returns when they are. After an error none of them counts: a later
// Replay may still find those of a crash in the middle, but never twice. When ctx ends before the logger has taken them
// they are not written; after that Append waits for the outcome.
func (l *Log) Append(ctx context.Context, items ...*Item) error {
	p := &pending{items: items, done: make(chan error, 1)}
	for i, it := range items {
		if it.Body != nil && !it.Body.use() {
			release(items[:i], bodyDropped)
			return ErrUsed
		}
		it.prepare()
		p.size += it.head.length()
	}
	if err := l.queue.add(p); err != nil {
		release(items, bodyDropped)
		return err
	}
	var err error
	select {
	case err = <-p.done:
	case <-ctx.Done():
		if p.state.CompareAndSwap(waiting, abandoned) {
			release(items, bodyDropped)
			return ctx.Err()
		}
		err = <-p.done
	}
	switch {
	case err == nil:
		release(items, bodyKept)
	case p.tried:
		// The record may stand in the log all the same until the next segment says it does not count.
		release(items, bodyOrphan)
	default:
		release(items, bodyDropped)
	}
	return err
}

func release(items []*Item, fate bodyFate) {
	for _, it := range items {
		it.prefix = nil
		if it.Body != nil {
			it.Body.end(fate)
		}
	}
}

// prepare lays out all of the record that does not depend on its place.
func (it *Item) prepare() {
	h := header{kind: max(it.kind, recordMail)}
	var table []byte
	b := it.Body
	if b != nil {
		it.Size, it.Place = b.size, b.place
	}
	switch {
	case b == nil:
	case b.place != 0:
		h.flags = flagElsewhere
		h.meta = elsewhereLen
	default:
		table = b.table
		h.head, h.stored, h.raw, h.frames = b.head, b.stored, b.raw(), uint32(len(table)/frameEntry)
	}
	p := make([]byte, recordHeader, recordHeader+int(h.meta)+len(it.Meta)+len(table))
	if h.flags&flagElsewhere != 0 {
		p = binary.BigEndian.AppendUint64(p, uint64(b.place))
		p = binary.BigEndian.AppendUint64(p, uint64(b.size))
	}
	h.meta += uint32(len(it.Meta))
	p = append(p, it.Meta...)
	it.prefix, it.head = append(p, table...), h
}

// seal finishes the record for its place.
func (it *Item) seal(at, synced LSN, seed uint32) {
	h := &it.head
	h.at, h.prevSynced = at, synced
	meta := it.prefix[recordHeader : recordHeader+int(h.meta)]
	h.bcrc = checksum(seed, it.prefix[recordHeader+int(h.meta):])
	h.put(it.prefix)
	h.hcrc = headerCRC(it.prefix, meta, seed)
	putCRC(it.prefix, h.hcrc)
	it.LSN, it.End = at, at+LSN(h.length())
	if it.Body != nil && it.Body.place == 0 {
		it.Place = at
	}
}

// tail is the logger's own state: where it writes.
type tail struct {
	active *segment
	offset int64
	fresh  bool   // active's header is not durable yet
	before uint32 // the last segment with a durable header
	last   uint32 // the highest number the log has used
	synced LSN    // everything before it is durable

	batch  []*pending
	items  []*Item
	pieces [][]byte
	zero   [alignment]byte
	lost   []uint32 // body segments of failed batches, droppable once the next segment is durable
	lostMu sync.Mutex
}

func (l *Log) run() {
	idle := time.NewTimer(time.Hour)
	defer idle.Stop()
	for {
		select {
		case <-l.queue.wake:
		case <-l.notes.wake:
			idle.Reset(noteWait)
		case <-idle.C:
			if l.flushNotes() != nil || l.notes.waiting() {
				idle.Reset(noteWait)
			}
		case <-l.done:
			l.drain(ErrClosed)
			return
		}
		for !l.queue.empty() {
			err := l.o.Admit()
			batch, size := l.queue.take(l.tail.batch[:0])
			l.tail.batch = batch
			switch {
			case err != nil || len(batch) == 0:
			case batch[0].do != nil:
				err = batch[0].do()
			default:
				if err = l.room.ask(size); err == nil {
					err = l.commit(batch, size)
				}
			}
			for _, p := range batch {
				p.done <- err
			}
			if len(batch) > 1 {
				// Those who were just told come back at once with their next record; letting them run first makes the next batch half
				// as large again (measured with 20 and 100 writers) and costs nothing when they do not.
				runtime.Gosched()
			}
			clear(batch)
		}
	}
}

func (l *Log) drain(err error) {
	for !l.queue.empty() {
		batch, _ := l.queue.take(nil)
		for _, p := range batch {
			p.done <- err
		}
	}
}

// commit is where 250 comes from. It writes the batch behind the last one and waits for one fdatasync; only then are
// its callers told. When write or sync fails, nothing more is written to the segment and the sync is not tried again
// (a second fdatasync may answer ok for pages the kernel has given up): the next batch begins a new segment, whose
// header says how far the old one counts.
func (l *Log) commit(batch []*pending, size int64) error {
	t := &l.tail
	notes, more := l.notes.take()
	err := l.position(size + more)
	if err == nil {
		for _, p := range batch {
			p.tried = true
		}
		err = l.write(batch, notes)
	}
	if err != nil {
		l.notes.giveBack(notes)
		return err
	}
	if err := l.datasync(t.active.file, &l.counts.syncs); err != nil {
		l.notes.giveBack(notes)
		return l.giveUp(err)
	}
	l.reached(t.offset)
	l.counts.batches.Add(1)
	l.counts.records.Add(uint64(len(t.items)))
	l.counts.batchRecords.Observe(float64(len(t.items)))
	l.o.Logged(t.items)
	clear(t.items)
	return nil
}

// write lays the notes and the batch behind what was written before.
func (l *Log) write(batch []*pending, notes []*Item) error {
	t := &l.tail
	end := l.layOut(batch, notes)
	n, err := t.active.file.WriteVec(t.pieces, t.offset)
	clear(t.pieces[:cap(t.pieces)])
	l.counts.bytes.Add(uint64(n))
	l.counts.written.Add(float64(n))
	if err != nil {
		return l.giveUp(err)
	}
	t.offset = end
	return nil
}

// reached notes that the active segment is durable up to end.
func (l *Log) reached(end int64) {
	t := &l.tail
	if t.fresh {
		t.fresh, t.before = false, t.active.number
		l.dropLost()
	}
	t.synced = lsn(t.active.number, end)
}

// giveUp leaves the active segment after a failed write or sync.
func (l *Log) giveUp(err error) error {
	t := &l.tail
	err = fmt.Errorf("append to segment %08x: %w", t.active.number, err)
	l.counts.failed.Add(1)
	l.counts.failures.Inc()
	l.abandon()
	l.o.Abandoned(t.synced, err)
	return err
}

// position makes sure that there is a segment with room.
func (l *Log) position(size int64) error {
	t := &l.tail
	if t.active != nil && t.offset+size > l.o.SegmentSize && t.offset > segmentHeader {
		l.roll()
	}
	if t.active != nil {
		return nil
	}
	g, err := l.spares.take(t.last)
	if err != nil {
		return err
	}
	t.active, t.offset, t.fresh, t.last = g, 0, true, g.number
	l.o.Began(g.number)
	return nil
}

// layOut gives each item its place and lists the pieces to write from t.offset on.
func (l *Log) layOut(batch []*pending, notes []*Item) (end int64) {
	t := &l.tail
	t.pieces, t.items = t.pieces[:0], t.items[:0]
	end = t.offset
	if t.offset == 0 {
		g := prologue{kind: segmentLog, number: t.active.number, before: t.before, durable: t.synced}
		t.pieces = append(t.pieces, g.bytes(l.o.UUID, t.active.seed))
		end = segmentHeader
	}
	for _, it := range notes {
		end = t.place(it, end)
	}
	for _, p := range batch {
		for _, it := range p.items {
			end = t.place(it, end)
			t.items = append(t.items, it)
		}
	}
	return end
}

// place lists the pieces of the record that stands at offset at, and returns its end.
func (t *tail) place(it *Item, at int64) (end int64) {
	it.seal(lsn(t.active.number, at), t.synced, t.active.seed)
	t.pieces = append(t.pieces, it.prefix)
	n := int64(len(it.prefix))
	if it.Body != nil && it.Body.place == 0 {
		t.pieces = append(t.pieces, it.Body.pieces...)
		n += int64(it.Body.stored)
	}
	if pad := it.head.length() - n; pad > 0 {
		t.pieces = append(t.pieces, t.zero[:pad])
	}
	return at + it.head.length()
}

// abandon leaves a segment whose last write or sync failed. One without a durable header holds nothing that counts.
func (l *Log) abandon() {
	t := &l.tail
	g := t.active
	t.active = nil
	if t.fresh {
		l.segments.drop(g.number) // if it stays: its successor does not name it, so nobody reads it
	}
	l.segments.release(g)
}

// lose keeps in mind the body segment of a record that failed and may stand in the log until the next segment begins.
func (l *Log) lose(number uint32) {
	l.tail.lostMu.Lock()
	defer l.tail.lostMu.Unlock()
	l.tail.lost = append(l.tail.lost, number)
}

func (l *Log) dropLost() {
	l.tail.lostMu.Lock()
	lost := l.tail.lost
	l.tail.lost = nil
	l.tail.lostMu.Unlock()
	for _, n := range lost {
		l.segments.drop(n) // the next start removes what stays
	}
}
