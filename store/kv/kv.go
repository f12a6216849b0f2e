// Package kv is the database under both keepers: ordered keys in bbolt behind
// View and Update, the log in front of it, and the committer between them.
//
// Open opens files only; the owners of part kinds Register; Start replays what
// the log has and the tables have not, and then takes work.
package kv

import (
	"context"
	"errors"
	"iter"
	"log/slog"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/blob"
)

var (
	// ErrClosed: the database is closed or its committer has ended after a failed write of the tables.
	ErrClosed = errors.New("kv: closed")
	// ErrFull: the disk is full; nothing of the operation was stored. Temporary.
	ErrFull = errors.New("kv: disk full")
)

// Table is the one-letter name of a table.
type Table string

// Options of a DB.
type Options struct {
	Dir     string
	Logger  *slog.Logger
	Metrics *metrics.Set
	Plain   bool // store bodies without compression
}

// DB is the log and the tables.
type DB struct{}

// Tx is what a View or Update closure works with; it ends with the closure, and so do the bytes it gave.
type Tx struct{}

func (tx *Tx) Get(t Table, key []byte) []byte { panic("unbuilt") }

// Put and Delete panic in a View. The slices may be reused by the caller afterwards.
func (tx *Tx) Put(t Table, key, value []byte) { panic("unbuilt") }
func (tx *Tx) Delete(t Table, key []byte)     { panic("unbuilt") }

// Scan yields the pairs with from <= key < to in order; a nil to is the end of the table.
// The table must not be written while it is scanned.
func (tx *Tx) Scan(t Table, from, to []byte) iter.Seq2[[]byte, []byte] { panic("unbuilt") }

// ScanBack yields the pairs with from <= key < to in reverse order.
func (tx *Tx) ScanBack(t Table, from, to []byte) iter.Seq2[[]byte, []byte] { panic("unbuilt") }

// OnCommit runs fn after the commit that this Tx is part of, in order; fn must not block. It is dropped when the closure fails.
func (tx *Tx) OnCommit(fn func()) { panic("unbuilt") }

// Part is one thing of a record, owned by the package that registered its kind.
type Part struct {
	Kind byte
	Data []byte
}

// Record is what Log makes durable at once: all its parts are applied in one transaction, or none.
type Record struct {
	Accounts []uint32 // accounts whose readers must wait for it (Settle)
	Parts    []Part
	Body     *blob.Body // may be nil
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
}

// Open opens or makes the folder's tables and log.
func Open(ctx context.Context, o Options) (*DB, error) { panic("unbuilt") }

// Register names the owner of a part kind; before Start.
func (db *DB) Register(kind byte, k Kind) { panic("unbuilt") }

// Start replays the log into the tables and starts logger and committer.
func (db *DB) Start(ctx context.Context) error { panic("unbuilt") }

// Close commits what is logged and closes the files.
func (db *DB) Close() error { panic("unbuilt") }

// View runs fn over one snapshot. Keep it short; never write to a client inside.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error { panic("unbuilt") }

// Update queues fn for the committer and returns after the synced commit it was part of. fn may run
// more than once, has no side effects but on tx, and runs on the committer's goroutine. Its error is returned as it is, and
// nothing of it is kept; the others of the batch are not touched by it.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error { panic("unbuilt") }

// Log makes a record durable and returns its LSN after the one fdatasync that it shares with others. It is applied
// to the tables soon after, in log order.
func (db *DB) Log(ctx context.Context, r Record) (blob.LSN, error) { panic("unbuilt") }

// Settle waits until everything logged for the account before this call is in the tables; it costs a lookup when there is nothing.
func (db *DB) Settle(ctx context.Context, account uint32) error { panic("unbuilt") }

// SettleAll is Settle for all accounts.
func (db *DB) SettleAll(ctx context.Context) error { panic("unbuilt") }

// NewBody starts a body; size is what the sender announced, or 0.
func (db *DB) NewBody(ctx context.Context, size int64) (*blob.Writer, error) { panic("unbuilt") }

// OpenBody opens a stored body.
func (db *DB) OpenBody(at blob.LSN) (*blob.Reader, error) { panic("unbuilt") }

// UUID names the data folder; Secret is 32 random bytes made with it, for ids shown outside.
func (db *DB) UUID() [16]byte   { panic("unbuilt") }
func (db *DB) Secret() [32]byte { panic("unbuilt") }
