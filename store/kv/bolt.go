package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// bolt is the engine over bbolt. A table is a bucket; none is nested.
type bolt struct {
	db            *bbolt.DB
	readOnly      bool
	octets, syncs atomic.Uint64
	pageSize      int64
	arena         arena // of the one update
}

const (
	pageSize = 4096
	lockWait = 100 * time.Millisecond // for bbolt's lock; our own is held already
)

// openBolt opens or makes the file. The map is made so large at once that a growing file never waits for readers.
func openBolt(path string, growth int) (*bolt, error) {
	clean, err := warm(path)
	if err != nil {
		return nil, err
	}
	if !clean { // bbolt would walk the tree on a goroutine of its own, where a broken page ends the process
		if err := WalkTables(path); errors.Is(err, ErrDamaged) {
			return nil, fmt.Errorf("%s: %w; run: posthouse repair", path, err)
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	size, least := 1<<30, 256<<20
	if strconv.IntSize == 64 {
		size = math.MaxInt>>27 + 1 // 64 GiB
	}
	for ; ; size /= 2 {
		db, err := openFile(path, &bbolt.Options{
			NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, PageSize: pageSize, InitialMmapSize: size,
			Timeout: lockWait,
		})
		if errors.Is(err, syscall.ENOMEM) && size/2 >= least {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open the tables: %w", err)
		}
		if growth > 0 {
			db.AllocSize = growth
		}
		return &bolt{db: db, pageSize: int64(db.Info().PageSize)}, nil
	}
}

// openFile is bbolt.Open with its answers to a broken file, some of them panics, as errors that say what to do.
func openFile(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	broken := func(cause any) error {
		return fmt.Errorf("%s: %w: %v; run: posthouse repair", path, ErrDamaged, cause)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, broken(r)
		}
	}()
	db, err = bbolt.Open(path, 0o600, o)
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, broken(err)
	}
	return nil, fmt.Errorf("%s: %w", path, vfs.Classify(err))
}

// makeBolt makes an empty file under another name first: a crash in the middle leaves nothing that looks like tables.
func makeBolt(path string) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make the tables: %w", err)
	}
	db, err := openFile(next, &bbolt.Options{PageSize: pageSize, Timeout: lockWait})
	if err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if err := errors.Join(db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	return nil
}

// warm reads the file once front to back when its list of free pages was not written at the end (a crash): bbolt
// walks the whole tree then, and page faults in tree order are five times slower than this.
func warm(path string) (clean bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	var p [8192]byte
	n, err := f.ReadAt(p[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	if n < len(p) || closedClean(p[:]) {
		return true, nil
	}
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return false, nil
}

// closedClean looks at bbolt's two meta pages: the newer one names a page for the list of free pages.
func closedClean(p []byte) bool {
	const metaAt, freelistAt, txidAt = 16, 32, 48
	ne := binary.NativeEndian
	a, b := p[metaAt:], p[4096+metaAt:]
	if ne.Uint64(b[txidAt:]) > ne.Uint64(a[txidAt:]) {
		a = b
	}
	return ne.Uint64(a[freelistAt:]) != math.MaxUint64
}

func (b *bolt) view(fn func(pages) error) error {
	return b.db.View(func(tx *bbolt.Tx) error { return fn(&boltPages{tx: tx}) })
}

func (b *bolt) update(fn func(pages) error) error {
	tx, err := b.db.Begin(true)
	if err != nil {
		return fmt.Errorf("%w: %w", errFatal, err)
	}
	defer b.arena.reset()
	defer tx.Rollback() // when fn fails, or anything panics; after a commit it does nothing
	if err := fn(&boltPages{tx: tx, arena: &b.arena}); err != nil {
		return err
	}
	err = tx.Commit()
	stats := tx.Stats()
	b.octets.Add(uint64(stats.GetPageAlloc()) + uint64(b.pageSize)) // and the meta page
	b.syncs.Add(2)
	if err == nil {
		return nil
	}
	// bbolt has rolled back. A write that found no room has changed no page that the durable tree uses, so that the batch
	// may be tried again; after anything else nobody knows what the kernel kept.
	var path *os.PathError
	if errors.As(err, &path) && path.Op == "write" {
		if full := vfs.Classify(err); errors.Is(full, vfs.ErrFull) {
			return fmt.Errorf("commit: %w", full)
		}
	}
	return fmt.Errorf("%w: %w", errFatal, err)
}

func (b *bolt) written() (octets, syncs uint64) { return b.octets.Load(), b.syncs.Load() }

// close writes the list of free pages, so that the next open need not walk the tree.
func (b *bolt) close() error {
	if b.readOnly {
		return b.db.Close()
	}
	b.db.NoFreelistSync = false
	err := guard(func() error { return b.db.Update(func(*bbolt.Tx) error { return nil }) })
	return errors.Join(err, b.db.Close())
}

// abort closes without another write, after one has failed.
func (b *bolt) abort() error { return b.db.Close() }

// boltPages remembers the buckets of its transaction.
type boltPages struct {
	tx      *bbolt.Tx
	arena   *arena // of an update
	buckets [128]*bbolt.Bucket
}

func (p *boltPages) bucket(t Table) *bbolt.Bucket {
	i := int(t[0]) & 127
	if p.buckets[i] == nil {
		p.buckets[i] = p.tx.Bucket([]byte(t))
	}
	return p.buckets[i]
}

func (p *boltPages) get(t Table, key []byte) []byte {
	b := p.bucket(t)
	if b == nil {
		return nil
	}
	return b.Get(key)
}

func (p *boltPages) put(t Table, key, value []byte) error {
	if err := checkPair(key, value); err != nil {
		return err
	}
	b := p.bucket(t)
	if b == nil {
		var err error
		if b, err = p.tx.CreateBucketIfNotExists([]byte(t)); err != nil {
			return err
		}
		p.buckets[int(t[0])&127] = b
	}
	return b.Put(key, p.arena.clone(value)) // bbolt keeps the slice until the commit
}

func (p *boltPages) delete(t Table, key []byte) error {
	b := p.bucket(t)
	if b == nil {
		return nil
	}
	return b.Delete(key)
}

func (p *boltPages) scan(t Table, from, to []byte, yield func(k, v []byte) bool) {
	b := p.bucket(t)
	if b == nil {
		return
	}
	c := b.Cursor()
	for k, v := c.Seek(from); k != nil && (to == nil || bytes.Compare(k, to) < 0); k, v = c.Next() {
		if !yield(k, v) {
			return
		}
	}
}

func (p *boltPages) scanBack(t Table, from, to []byte, yield func(k, v []byte) bool) {
	b := p.bucket(t)
	if b == nil {
		return
	}
	c := b.Cursor()
	var k, v []byte
	if to != nil {
		k, _ = c.Seek(to)
	}
	if k == nil { // the table ends before to
		k, v = c.Last()
	} else {
		k, v = c.Prev()
	}
	for ; k != nil && bytes.Compare(k, from) >= 0; k, v = c.Prev() {
		if !yield(k, v) {
			return
		}
	}
}
