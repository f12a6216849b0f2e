package blob

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// Options of a Log. The zero value of a size means its default.
type Options struct {
	FS      vfs.FS // nil: the operating system's
	Dir     string // the folder of the segments; it exists
	UUID    [16]byte
	Key     [32]byte // secret; checksums and nothing else depend on it
	Metrics *metrics.Set
	Plain   bool // store bodies without compression

	SegmentSize int64 // a log segment is rolled here; 64 MB
	Memory      int64 // bodies held in memory by all connections; 32 MB
	Floor       int64 // free disk space left to the tables; 4 MB

	// Admit is asked before each batch, on the logger's goroutine; it may block, and its error is the batch's.
	Admit func() error
	// Logged gets each batch in log order, on the logger's goroutine, durable and not yet acknowledged.
	Logged func([]*Item)
	// Began is told, on the logger's goroutine, that the log goes on in a new segment; it must not block.
	Began func(segment uint32)
	// Damaged is told, each time, that a body was read and is not what was written.
	Damaged func(place LSN, err error)
	// Abandoned is told, for the log file, that a write or sync of a segment failed and up to where it counts.
	Abandoned func(durable LSN, err error)
}

// Log is an open log.
type Log struct {
	o        Options
	segments *segments
	spares   *spares
	codec    *codec
	pool     *pool
	budget   *budget
	room     *room
	counts   counts
	tail     tail
	queue    queue
	notes    notes

	done chan struct{} // closed by Close
	wg   sync.WaitGroup
}

// Open looks at the folder and finds where the log ends. It writes nothing.
func Open(ctx context.Context, o Options) (*Log, error) {
	o = o.withDefaults()
	s := secrets{o.Key}
	l := &Log{
		o: o, segments: newSegments(o.FS, o.Dir, s), pool: &pool{}, budget: &budget{},
		room: &room{fs: o.FS, dir: o.Dir, floor: o.Floor}, counts: newCounts(o.Metrics), done: make(chan struct{}),
	}
	l.budget.left.Store(o.Memory)
	l.queue.wake, l.notes.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	var err error
	if l.codec, err = newCodec(o.Plain, s.frames(), l.pool); err != nil {
		return nil, err
	}
	numbers, err := l.segments.list()
	if err != nil {
		return nil, fmt.Errorf("read the segment folder: %w", err)
	}
	next := uint32(1)
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	l.spares = &spares{segments: l.segments, wake: make(chan struct{}, 1), next: next, durable: next - 1}
	return l, ctx.Err()
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 64 << 20
	}
	if o.Memory == 0 {
		o.Memory = 32 << 20
	}
	if o.Floor == 0 {
		o.Floor = 4 << 20
	}
	if o.Admit == nil {
		o.Admit = func() error { return nil }
	}
	if o.Logged == nil {
		o.Logged = func([]*Item) {}
	}
	if o.Damaged == nil {
		o.Damaged = func(LSN, error) {}
	}
	if o.Began == nil {
		o.Began = func(uint32) {}
	}
	if o.Abandoned == nil {
		o.Abandoned = func(LSN, error) {}
	}
	return o
}

// Start takes work; after Replay.
func (l *Log) Start() error {
	made, err := l.spares.create(spareFloor)
	if err != nil {
		return err
	}
	l.spares.ready, l.spares.live = made, true
	l.wg.Go(l.run)
	l.wg.Go(func() { l.spares.fill(l.done) })
	return nil
}

// Stop ends what waits with ErrClosed, after the batch that is being written. Notes are still taken.
func (l *Log) Stop() {
	if l.queue.close() {
		return
	}
	close(l.done)
	l.wg.Wait()
}

// Close makes the last notes durable and closes the files, after Stop. The notes count only for repair: that they could not be
// written is said, and nothing else is lost.
func (l *Log) Close() error {
	l.Stop()
	if l.notes.close() {
		return ErrClosed
	}
	err := l.settle()
	if l.tail.active != nil {
		l.segments.release(l.tail.active)
	}
	l.spares.close()
	l.segments.close()
	l.codec.close()
	return err
}

// Segments names all segment files, of the log and of bodies, in order.
func (l *Log) Segments() ([]uint32, error) { return l.segments.list() }

// Drop removes a segment that nothing refers to any more; who reads it reads on.
func (l *Log) Drop(number uint32) error {
	l.spares.outlive(number)
	return l.segments.drop(number)
}

// Counts is what the log has done since Open.
type Counts struct {
	Batches     uint64 // written and synced
	Records     uint64
	Syncs       uint64 // fdatasyncs of log segments
	BodySyncs   uint64 // fdatasyncs of body segments
	NoteSyncs   uint64 // fdatasyncs that only notes needed: when a segment ends, at Close
	Bytes       uint64 // octets written to log segments
	BodyBytes   uint64 // octets written to body segments
	FailedBatch uint64
}

// Counts reads the counters.
func (l *Log) Counts() Counts {
	c := &l.counts
	return Counts{
		Batches: c.batches.Load(), Records: c.records.Load(), Syncs: c.syncs.Load(), BodySyncs: c.bodySyncs.Load(), NoteSyncs: c.noteSyncs.Load(),
		Bytes: c.bytes.Load(), BodyBytes: c.bodyBytes.Load(), FailedBatch: c.failed.Load(),
	}
}

type counts struct {
	batches, records, syncs, bodySyncs, noteSyncs, bytes, bodyBytes, failed atomic.Uint64

	syncSeconds, batchRecords prometheus.Histogram
	written, failures, hits   prometheus.Counter
}

func newCounts(m *metrics.Set) counts {
	return counts{
		syncSeconds:  m.Seconds("store_log_sync_seconds", "Duration of the fdatasync that makes a batch of records or a large body durable."),
		batchRecords: m.Histogram("store_log_batch_records", "Records that shared one fdatasync.", prometheus.ExponentialBuckets(1, 2, 11)),
		written:      m.Counter("store_log_written_bytes_total", "Octets written to segments."),
		hits:         m.Counter("store_damaged_reads_total", "Reads of messages that were not as they had been written. Any is a disk to be changed: posthouse check store --deep."),
		failures:     m.Counter("store_log_failures_total", "Batches and large bodies that could not be made durable."),
	}
}

// hit tells of a body that does not read back as written.
func (l *Log) hit(place LSN, err error) {
	if errors.Is(err, ErrDamaged) {
		l.counts.hits.Inc()
		l.o.Damaged(place, err)
	}
}

// datasync is the one place where this package waits for the disk.
func (l *Log) datasync(f vfs.File, n *atomic.Uint64) error {
	begin := time.Now()
	err := f.Datasync()
	n.Add(1)
	l.counts.syncSeconds.Observe(time.Since(begin).Seconds())
	return err
}

// room says when the disk is so full that what is left belongs to the tables: deletes and flags still work then.
type room struct {
	fs    vfs.FS
	dir   string
	floor int64

	mu   sync.Mutex
	left int64 // free at the last look, less what was written since
	at   time.Time
}

const ample = 64 << 20

// ask reserves nothing; it answers ErrFull when n octets would not leave the floor free.
func (r *room) ask(n int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left -= n
	if now := time.Now(); r.left < ample || now.Sub(r.at) > time.Second {
		free, err := r.fs.Free(r.dir)
		if err != nil {
			return nil // the write will tell
		}
		r.left, r.at = free-n, now
	}
	if r.left < r.floor {
		return fmt.Errorf("%d octets would leave less than %d free: %w", n, r.floor, ErrFull)
	}
	return nil
}
