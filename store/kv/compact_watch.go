package kv

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// Places is how the rows of a table name bodies. It calls at for each place in the row, with the octets of the body; when at
// answers another place, that one is written into a copy of the row, which is returned. nil: all stays. It must not keep key or
// value. An error says that the row cannot be read: nothing is removed then, because it may name anything.
type Places func(key, value []byte, at func(place blob.LSN, size int64) blob.LSN) ([]byte, error)

// Refer tells that the rows of a table name bodies; before Start. What no row of such a table names is removed from the disk.
//
// A body moves when its segment is compacted. So a row may be given a place only by a transaction that read it from a row
// itself, by the Apply of the record that brings the body, or by KeepUpdate: never one remembered from an earlier View.
func (db *DB) Refer(t Table, p Places) {
	if db.started.Load() || db.compactor.watch.tables[t] != nil {
		panic(fmt.Sprintf("kv: table %s named twice or late", t))
	}
	db.compactor.watch.tables[t] = p
	db.compactor.order = append(db.compactor.order, t)
}

// watch sees every row that is written. While it is on, it notes the segments that such rows name: together with what a scan
// saw that began after it was switched on, these are all that the tables name. The committer's.
type watch struct {
	tables  map[Table]Places
	changes atomic.Uint64 // rows of those tables that were written or deleted
	on      bool
	seen    map[uint32]bool
	blind   error // a row that was written cannot be read
}

func (w *watch) put(t Table, key, value []byte) {
	if w == nil || w.tables[t] == nil {
		return
	}
	p := w.tables[t]
	w.changes.Add(1)
	if w.on {
		_, err := p(key, value, func(at blob.LSN, _ int64) blob.LSN {
			w.seen[at.Segment()] = true
			return at
		})
		if err != nil {
			w.blind = fmt.Errorf("row %x of table %s: %w", key, t, err)
		}
	}
}

func (w *watch) delete(t Table) {
	if w != nil && w.tables[t] != nil {
		w.changes.Add(1)
	}
}

// switchOn begins anew: what is written by the batch that this is part of is in the tables, or is seen, when it returns.
func (w *watch) switchOn(ctx context.Context, db *DB) error {
	return db.Update(ctx, func(*Tx) error {
		w.on, w.seen, w.blind = true, map[uint32]bool{}, nil
		return nil
	})
}

func (w *watch) switchOff(ctx context.Context, db *DB) {
	_ = db.Update(context.WithoutCancel(ctx), func(*Tx) error { // it fails when the database has ended
		w.on, w.seen, w.blind = false, nil, nil
		return nil
	})
}
