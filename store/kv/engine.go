package kv

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// engine is ordered keys in tables. There are two: bolt and memory.
type engine interface {
	// view runs fn over a snapshot.
	view(fn func(pages) error) error
	// update runs fn and makes what it wrote durable, all or nothing. It is called by one goroutine. An error that is not fn's own
	// is errFatal unless the tables are sure to be as before.
	update(fn func(pages) error) error
	// copyTo writes one consistent picture of all tables into a new file of bbolt's and returns applied as it stands in it.
	copyTo(ctx context.Context, path string) (applied []byte, err error)
	// written is how many octets the commits have written, and how many syncs they needed.
	written() (octets, syncs uint64)
	close() error
}

// pages are the tables inside view or update.
type pages interface {
	get(t Table, key []byte) []byte
	put(t Table, key, value []byte) error
	delete(t Table, key []byte) error
	scan(t Table, from, to []byte, yield func(k, v []byte) bool)
	scanBack(t Table, from, to []byte, yield func(k, v []byte) bool)
}

// errFatal: a write or sync of the tables failed, and what is on the disk now is not known.
var errFatal = errors.New("kv: write of the tables failed")

const (
	maxKey   = 1 << 10
	maxValue = 16 << 20
)

func checkPair(key, value []byte) error {
	if len(key) == 0 || len(key) > maxKey || len(value) > maxValue {
		return fmt.Errorf("key of %d and value of %d octets: %w", len(key), len(value), ErrBadKey)
	}
	return nil
}

// guard turns a fault of mapped memory (a disk error under the tables' file) into an error. Other panics pass.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			if err = fault(r); err == nil {
				panic(r)
			}
		}
	}()
	return fn()
}

// fault makes an error of a recovered panic that a disk error under mapped memory caused; nil: it is another panic.
func fault(r any) error {
	f, ok := r.(interface {
		error
		Addr() uintptr
	})
	if !ok {
		return nil
	}
	return fmt.Errorf("read of the tables: %w: %w", ErrDamaged, f)
}
