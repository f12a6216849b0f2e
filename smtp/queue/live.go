package queue

import (
	"context"
	"errors"
	"io/fs"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// bodyPlaces is what the rows of table q name (kv.Places). An attempt can take minutes, and the body can move meanwhile: who
// needs the place again reads the row again (Body, open).
func bodyPlaces(_, row []byte, at func(blob.LSN, int64) blob.LSN) ([]byte, error) {
	was, size, err := bodyOf(row)
	if err != nil {
		return nil, err
	}
	is := at(was, size)
	if is == was {
		return nil, nil
	}
	e, err := parseEntry(row)
	if err != nil {
		return nil, err
	}
	e.place = is
	return appendEntry(nil, e), nil
}

// bodyOf reads no more of a row than where its body stands.
func bodyOf(row []byte) (at blob.LSN, size int64, err error) {
	r := &reader{b: row}
	if _, _, _, err := r.head(); err != nil {
		return 0, 0, err
	}
	r.byte()      // body type
	r.byte()      // RET
	for range 5 { // id, domain, both halves of the sender, envelope id
		r.skip()
	}
	at, size = blob.LSN(r.uint()), int64(r.uint())
	if r.bad {
		return 0, 0, errCorrupt
	}
	return at, size, nil
}

// Body is the body of a queued message, as the transaction sees it: what a carrier's share of the transaction may refer to.
// ErrNoItem when the operator has cancelled it meanwhile.
func (q *Queue) Body(tx *kv.Tx, number uint64) (kv.Entry, error) {
	e, _, err := load(tx, number)
	if errors.Is(err, errGone) {
		return kv.Entry{}, ErrNoItem
	}
	if err != nil {
		return kv.Entry{}, err
	}
	return kv.Entry{LSN: e.place, Body: e.place, Size: e.size}, nil
}

// open opens the body of an entry that was read before.
func (q *Queue) open(ctx context.Context, number uint64, e *entry) (*store.Body, error) {
	for at := e.place; ; {
		b, err := q.store.OpenAt(ctx, at)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
		var now kv.Entry
		if lost := q.db.View(ctx, func(tx *kv.Tx) (err error) { now, err = q.Body(tx, number); return err }); lost != nil {
			return nil, lost
		}
		if now.Body == at {
			return nil, err // the file is missing
		}
		at = now.Body
	}
}
