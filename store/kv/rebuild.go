package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// rebuildOver is the size from which a file that is more than half free is written anew at start.
const rebuildOver = 256 << 20

// suspectName marks a folder whose tables could not be written or synced: the kernel may hold pages in memory that never
// reached the disk and that it calls clean, so that only a new file is sure to be durable.
func suspectName(dir string) string { return filepath.Join(dir, "meta.suspect") }

// markSuspect is best effort: the disk that refused the tables may refuse this too.
func (db *DB) markSuspect() {
	if db.o.Memory {
		return
	}
	f, err := os.OpenFile(suspectName(db.o.Dir), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	f.Sync()
	f.Close()
	_ = vfs.OS{}.SyncDir(db.o.Dir)
}

// mend writes the tables into a new file when the last run could not trust them, before they are opened.
func (db *DB) mend(path string) error {
	mark := suspectName(db.o.Dir)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(path); err == nil {
		if err := db.rebuild(path, "a write of them failed"); err != nil {
			return fmt.Errorf("copy the tables, which the last run could not write: %w", err)
		}
	}
	if err := os.Remove(mark); err != nil {
		return fmt.Errorf("end the copy of the tables: %w", err)
	}
	return vfs.OS{}.SyncDir(db.o.Dir)
}

// shrink writes the tables anew when most of their file is free. A disk without room for the copy is no error.
func (db *DB) shrink(b *bolt, path string) (*bolt, error) {
	st, err := os.Stat(path)
	if err != nil {
		return b, fmt.Errorf("open the tables: %w", err)
	}
	stats := b.db.Stats()
	if st.Size() < db.o.rebuildOver || int64(stats.FreePageN)*b.pageSize < st.Size()/2 {
		return b, nil
	}
	if err := b.close(); err != nil {
		return nil, fmt.Errorf("close the tables: %w", err)
	}
	if err := db.rebuild(path, "most of their file was free"); err != nil && !errors.Is(err, ErrFull) {
		return nil, fmt.Errorf("copy the tables: %w", err)
	}
	return openBolt(path, db.o.TableGrowth)
}

// rebuild copies the tables into a new file, makes it durable, checks it and puts it in the place of the old one.
func (db *DB) rebuild(path, reason string) (err error) {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := WalkTables(path); err != nil {
		return fmt.Errorf("%s: %w; run: posthouse repair", path, err)
	}
	src, err := openFile(path, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return err
	}
	defer src.Close()
	if err := verify(src); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := copyInto(next, src); err != nil {
		os.Remove(next)
		return fmt.Errorf("%s: %w", next, vfs.Classify(err))
	}
	before, after := fileSize(path), fileSize(next)
	if err := os.Rename(next, path); err != nil {
		return err
	}
	if err := (vfs.OS{}).SyncDir(db.o.Dir); err != nil {
		return err
	}
	db.o.Logger.Warn(logx.StoreRebuilt, "reason", reason, "before", before, "after", after)
	return nil
}

func copyInto(path string, src *bbolt.DB) error {
	dst, err := openFile(path, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType, PageSize: pageSize, Timeout: lockWait})
	if err != nil {
		return err
	}
	err = guard(func() error { return bbolt.Compact(dst, src, 16<<20) })
	if err == nil {
		err = dst.Sync()
	}
	if err == nil {
		err = verify(dst)
	}
	return errors.Join(err, dst.Close())
}

// verify walks every page.
func verify(db *bbolt.DB) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			var first error
			for err := range tx.Check() {
				if first == nil {
					first = fmt.Errorf("%w: %w", ErrDamaged, err)
				}
			}
			return first
		})
	})
}

func fileSize(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}
