package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// epochStep is by how many segment numbers a new epoch begins ahead. A store that was restored must not give a number that the
// one it comes from gave after the backup; each long body takes a number, so the step is large: 4 million long
// messages, and a thousand epochs in the life of a folder.
const epochStep = 1 << 22

// Snapshot writes the tables, as one consistent picture, into a new file at path, synced, and returns how far the log is in it:
// records from that LSN on are not. Mail goes on meanwhile.
func (db *DB) Snapshot(ctx context.Context, path string) (applied blob.LSN, err error) {
	if _, err := os.Lstat(path); err == nil {
		return 0, fmt.Errorf("copy the tables to %s: %w", path, fs.ErrExist)
	}
	var v []byte
	err = guard(func() (err error) {
		v, err = db.engine.copyTo(ctx, path)
		return err
	})
	if err == nil {
		err = syncFile(path)
	}
	if err == nil {
		err = (vfs.OS{}).SyncDir(filepath.Dir(path))
	}
	if err != nil {
		os.Remove(path)
		if ctx.Err() != nil {
			err = ctx.Err() // bbolt's text hides it
		}
		return 0, fmt.Errorf("copy the tables to %s: %w", path, vfs.Classify(err))
	}
	if len(v) == 8 {
		applied = blob.LSN(binary.BigEndian.Uint64(v))
	}
	return applied, nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Roll ends the active log segment and returns the number of the last one (0: none): it and all log segments before it are
// complete and never written again, and so are the body segments that they or the tables name.
func (db *DB) Roll(ctx context.Context) (closed uint32, err error) {
	if !db.started.Load() {
		return 0, errNotStarted
	}
	return db.log.Roll(ctx)
}

// SkipAhead makes the log go on so far ahead that no id given from now on was given before by a store that this one was restored
// or repaired from.
func (db *DB) SkipAhead(ctx context.Context) error {
	if !db.started.Load() {
		return errNotStarted
	}
	return db.log.Ahead(ctx, epochStep)
}

func (b *bolt) copyTo(ctx context.Context, path string) (applied []byte, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	err = b.db.View(func(tx *bbolt.Tx) error {
		p := &boltPages{tx: tx}
		applied = append(applied, p.get(tableSettings, []byte(keyApplied))...)
		_, err := tx.WriteTo(&ctxWriter{ctx: ctx, w: f})
		return err
	})
	return applied, errors.Join(err, f.Close())
}

// ctxWriter ends a long copy with its context.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w *ctxWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// copyTo of the memory engine makes the file that the tables would have had.
func (m *memory) copyTo(_ context.Context, path string) (applied []byte, err error) {
	db, err := openFile(path, &bbolt.Options{NoSync: true, PageSize: pageSize, Timeout: lockWait})
	if err != nil {
		return nil, err
	}
	p := m.snapshot(false)
	applied = p.get(tableSettings, []byte(keyApplied))
	err = db.Update(func(tx *bbolt.Tx) error {
		var err error
		for t := range p.tables {
			b, e := tx.CreateBucketIfNotExists([]byte(t))
			err = errors.Join(err, e)
			p.scan(t, nil, nil, func(k, v []byte) bool {
				err = errors.Join(err, b.Put(k, v))
				return err == nil
			})
		}
		return err
	})
	return applied, errors.Join(err, db.Sync(), db.Close())
}
