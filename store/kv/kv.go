// Package kv is the database under both keepers: ordered keys in bbolt behind
// View and Update, the log in front of it, and the committer between them.
//
// Open opens files only; the owners of part kinds Register; Start replays what
// the log has and the tables have not, and then takes work. Log is durable after
// one fdatasync (store/blob), and the committer brings it into the tables soon
// after; Settle is how a reader makes sure of it.
package kv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

var (
	// ErrClosed: the database is closed or its committer has ended after a failed write of the tables.
	ErrClosed = errors.New("kv: closed")
	// ErrFull: the disk is full; nothing of the operation was stored. Temporary.
	ErrFull = blob.ErrFull
	// ErrLocked: another process works on the folder.
	ErrLocked = errors.New("kv: the data folder is in use")
	// ErrNewer: the folder was written by a newer program.
	ErrNewer = errors.New("kv: the data folder has a newer format")
	// ErrUnfit: the folder's file system cannot keep a promise we need.
	ErrUnfit = errors.New("kv: the file system is unfit for mail")
	// ErrDamaged: the tables or the log do not read back as written.
	ErrDamaged = blob.ErrDamaged
	// ErrBadKey: a key or value that the tables cannot hold.
	ErrBadKey = errors.New("kv: key or value out of range")

	errNotStarted = fmt.Errorf("%w: not started yet", ErrClosed)
)

// Table is the one-letter name of a table.
type Table string

// Options of a DB. The zero value of a size or duration means its default.
type Options struct {
	Dir     string
	Logger  *slog.Logger
	Metrics *metrics.Set
	Plain   bool // store bodies without compression

	FS     vfs.FS // of the log; nil: the operating system's. The tables stand in a real folder unless Memory says otherwise
	Memory bool   // tables in memory, for tests: they are gone with the DB, so FS must be a fresh one, unless Tables keeps them
	Tables *MemoryTables

	Pace        time.Duration // acknowledged deliveries wait this long for company before they are applied; 20 ms
	Backlog     int64         // octets of records that may be logged and not applied; 8 MB
	BacklogAge  time.Duration // how long the oldest of them may wait before the log does; 1 s
	Reserve     int64         // octets kept in a file for a full disk; 4 MB
	SegmentSize int64         // 64 MB
	TableGrowth int           // octets by which the tables' file grows; bbolt's 16 MB

	Migrations []Migration // of tests; nil: the program's own

	AcceptDamage bool // Start goes past parts of the log that cannot be read, and tells of them (Damage)

	DayEvery time.Duration // the tables are copied to meta.db.day this often; 24 h, negative: never

	CompactEvery time.Duration // RunCompaction looks for dead mail this often; 15 min
	CompactBelow float64       // segments with a smaller share of live octets are compacted; 0.6
	CompactShare float64       // the part of the time that compaction works; 0.1, 1 is without a pause

	wrap        func(engine) engine // tests put failures between committer and tables
	rebuildOver int64
	noSync      bool // of the tables, in tests that take pictures of their file
}

// DB is the log and the tables.
type DB struct {
	o         Options
	engine    engine
	log       *blob.Log
	committer *committer
	reserve   *reserve
	kinds     map[byte]Kind
	compactor *compactor
	lock      interface{ Close() error }
	known     map[uint32]bool // segments in table g; the committer's after Start
	journal   *journal
	scribe    *scribe
	damage    *Damage
	repairing bool // Repair works on a copy of the tables; the log is not written
	uuid      [16]byte
	secret    [32]byte
	started   atomic.Bool
	identity  identity // as it was found by Open
	before    struct {
		mu     sync.Mutex
		kept   Before // Format 0: there is no way back
		timer  *time.Timer
		closed bool
	}
	hasBefore atomic.Bool

	mu     sync.Mutex
	closed bool
}

// Part is one thing of a record, owned by the package that registered its kind.
type Part struct {
	Kind byte
	Data []byte
}

// Record is what Log makes durable at once: all its parts are applied in one transaction, or none.
type Record struct {
	Accounts []uint32 // accounts whose readers must wait for it (Settle)
	Parts    []Part
	Body     *blob.Body // may be nil; used up by Log whatever its outcome
}

// Entry is a logged record as it is applied.
type Entry struct {
	LSN  blob.LSN // the record's; ids are made of it
	Body blob.LSN // where the body stands (another segment when it is large); 0 without body
	Size int64    // octets of the body
}

// Kind is how an owner applies its parts. Apply must not fail for anything but a broken table.
type Kind struct {
	Apply func(tx *Tx, e Entry, data []byte) error
	Aside func(data []byte) // told, after the commit, that the record of a part was set aside; may be nil
}

// Register names the owner of a part kind; before Start. Registering a kind twice is a bug and panics.
func (db *DB) Register(kind byte, k Kind) {
	if _, ok := db.kinds[kind]; ok || db.started.Load() || k.Apply == nil {
		panic(fmt.Sprintf("kv: part kind %q registered twice, late or without Apply", kind))
	}
	db.kinds[kind] = k
}

// View runs fn over one snapshot. Keep it short; never write to a client inside.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return guard(func() error {
		return db.engine.view(func(p pages) error { return fn(&Tx{pages: p}) })
	})
}

// Update queues fn for the committer and returns after the synced commit it was part of. fn may run
// more than once, has no side effects but on tx, and runs on the committer's goroutine. Its error is returned as it is, and
// nothing of it is kept; the others of the batch are not touched by it. When ctx ends before the committer has taken fn it does not run.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	if !db.started.Load() {
		return errNotStarted
	}
	if db.repairing {
		return db.committer.now(fn)
	}
	return db.committer.update(ctx, fn)
}

// Log makes a record durable and returns its LSN after the one fdatasync that it shares with others. It is applied
// to the tables soon after, in log order.
func (db *DB) Log(ctx context.Context, r Record) (blob.LSN, error) {
	e := &logged{accounts: r.Accounts}
	e.Item = blob.Item{Meta: encodeParts(r.Parts), Body: r.Body, Tag: e}
	if len(e.Meta) > maxRecord {
		if r.Body != nil {
			r.Body.Discard()
		}
		return 0, fmt.Errorf("record with %d octets of parts: %w", len(e.Meta), ErrBadKey)
	}
	if err := db.append(ctx, &e.Item); err != nil {
		return 0, err
	}
	return e.LSN, nil
}

// KeepUpdate makes bodies durable together, with one shared fdatasync and without any part, and then runs fn as Update does, with
// what its rows need to refer to them (APPEND, MULTIAPPEND). After an error none of them counts; all are used up.
// The account tells repair whose they are, when the log has them and fn is lost.
func (db *DB) KeepUpdate(ctx context.Context, account uint32, bodies []*blob.Body, fn func(tx *Tx, entries []Entry) error) error {
	var held []uint32
	entries, err := db.keep(ctx, ownerPart(account), bodies, &held)
	if err != nil {
		return err
	}
	defer func() { db.compactor.pins.drop(held...) }()
	return db.Update(ctx, func(tx *Tx) error { return fn(tx, entries) })
}

// Keep is KeepUpdate for bodies that no row will ever refer to: compaction may remove them at once.
func (db *DB) Keep(ctx context.Context, bodies ...*blob.Body) ([]Entry, error) {
	return db.keep(ctx, nil, bodies, nil)
}

// keep logs bodies; held, if given, gets the segments that are pinned for them.
func (db *DB) keep(ctx context.Context, meta []byte, bodies []*blob.Body, held *[]uint32) ([]Entry, error) {
	items := make([]*blob.Item, len(bodies))
	for i, b := range bodies {
		e := &logged{held: held, kept: true}
		e.Item = blob.Item{Meta: meta, Body: b, Tag: e}
		items[i] = &e.Item
	}
	if err := db.append(ctx, items...); err != nil {
		return nil, err
	}
	entries := make([]Entry, len(items))
	for i, it := range items {
		entries[i] = Entry{LSN: it.LSN, Body: it.Place, Size: it.Size}
	}
	return entries, nil
}

func (db *DB) append(ctx context.Context, items ...*blob.Item) error {
	if !db.started.Load() {
		for _, it := range items {
			if it.Body != nil {
				it.Body.Discard()
			}
		}
		return errNotStarted
	}
	if db.repairing {
		return fmt.Errorf("%w: a repair takes no mail", ErrClosed)
	}
	err := db.log.Append(ctx, items...)
	if errors.Is(err, blob.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// Settle waits until everything logged for the account before this call is in the tables; it costs a lookup when there is nothing.
func (db *DB) Settle(ctx context.Context, account uint32) error {
	return db.committer.settle(ctx, account)
}

// SettleAll is Settle for all accounts.
func (db *DB) SettleAll(ctx context.Context) error { return db.committer.settleAll(ctx) }

// NewBody starts a body; size is what the sender announced, or 0.
func (db *DB) NewBody(ctx context.Context, size int64) (*blob.Writer, error) {
	return db.log.NewBody(ctx, size)
}

// OpenBody opens a stored body.
func (db *DB) OpenBody(at blob.LSN) (*blob.Reader, error) { return db.log.OpenBody(at) }

// OpenBodyAhead is OpenBody for who knows how much of the record will be wanted.
func (db *DB) OpenBodyAhead(at blob.LSN, n int64) (*blob.Reader, error) {
	return db.log.OpenBodyAhead(at, n)
}

// UUID names the data folder; Secret is 32 random bytes made with it, for ids shown outside.
func (db *DB) UUID() [16]byte   { return db.uuid }
func (db *DB) Secret() [32]byte { return db.secret }

// Tx is what a View or Update closure works with; it ends with the closure, and so do the bytes it gave.
type Tx struct {
	pages    pages
	writable bool
	wrote    bool
	watch    *watch // of an Update
	err      error  // the first Put or Delete that the tables refused
	commit   []func()
	journal  *journal // of an Update
}

// Get returns nil when there is no such key.
func (tx *Tx) Get(t Table, key []byte) []byte { return tx.pages.get(t, key) }

// Put and Delete panic in a View. The slices may be reused by the caller afterwards.
func (tx *Tx) Put(t Table, key, value []byte) {
	tx.write()
	if tx.journal != nil {
		if value == nil {
			value = []byte{}
		}
		tx.journal.note(tx.pages, t, key, value)
	}
	if err := tx.pages.put(t, key, value); err != nil && tx.err == nil {
		tx.err = fmt.Errorf("put into table %s: %w", t, err)
	}
	tx.watch.put(t, key, value)
}

func (tx *Tx) Delete(t Table, key []byte) {
	tx.write()
	if tx.journal != nil {
		tx.journal.note(tx.pages, t, key, nil)
	}
	if err := tx.pages.delete(t, key); err != nil && tx.err == nil {
		tx.err = fmt.Errorf("delete from table %s: %w", t, err)
	}
	tx.watch.delete(t)
}

func (tx *Tx) write() {
	if !tx.writable {
		panic("kv: write in a View")
	}
	tx.wrote = true
}

// Scan yields the pairs with from <= key < to in order; a nil to is the end of the table.
// The table must not be written while it is scanned.
func (tx *Tx) Scan(t Table, from, to []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) { tx.pages.scan(t, from, to, yield) }
}

// ScanBack yields the pairs with from <= key < to in reverse order.
func (tx *Tx) ScanBack(t Table, from, to []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) { tx.pages.scanBack(t, from, to, yield) }
}

// OnCommit runs fn after the commit that this Tx is part of, in order; fn must not block. It is dropped when the closure fails.
func (tx *Tx) OnCommit(fn func()) { tx.commit = append(tx.commit, fn) }
