package kv

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// beforeFor is how long a folder of before a migration is kept: long enough to find out that one does not like the new program, short
// enough that the segments it holds on to do not fill the disk. A full disk or the next migration end it earlier.
const beforeFor = 7 * 24 * time.Hour

// Before is a data folder as it was before its format changed: data/before-FORMAT with meta.db, seg (hard links, as no segment is
// written again by a later run) and about, which is written last.
type Before struct {
	Format uint32    `json:"format"`
	Made   time.Time `json:"made"`
	Last   uint32    `json:"last_segment"` // the highest number then
	dir    string
}

func beforeName(format uint32) string { return "before-" + strconv.FormatUint(uint64(format), 10) }

// keepBefore makes a Before of the folder as it is. One that is there already is of an earlier try, or was rolled back to.
func (db *DB) keepBefore(format uint32) error {
	if db.o.Memory {
		return nil
	}
	fsys, dir := db.o.FS, filepath.Join(db.o.Dir, beforeName(format))
	if err := removeBefore(fsys, dir); err != nil {
		return err
	}
	if err := fsys.MkdirAll(filepath.Join(dir, "seg"), 0o700); err != nil {
		return err
	}
	b := Before{Format: format, Made: time.Now().UTC(), dir: dir}
	var err error
	if b.Last, err = db.linkSegments(filepath.Join(dir, "seg")); err != nil {
		return err
	}
	if err := db.writeTables(filepath.Join(dir, "meta.db")); err != nil {
		return err
	}
	about, err := json.Marshal(b)
	if err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(dir, "seg"), dir, db.o.Dir} {
		if err := fsys.SyncDir(d); err != nil {
			return err
		}
	}
	if err := writeFile(fsys, filepath.Join(dir, "about"), about); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// linkSegments gives every segment a second name, or, where the file system has none, a copy.
func (db *DB) linkSegments(to string) (last uint32, err error) {
	from := filepath.Join(db.o.Dir, "seg")
	names, err := db.o.FS.ReadDir(from)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, ".seg"), 16, 32)
		if err != nil || !strings.HasSuffix(name, ".seg") {
			continue
		}
		if err := linkOrCopy(db.o.FS, filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return 0, err
		}
		last = max(last, uint32(n))
	}
	return last, nil
}

func linkOrCopy(fsys vfs.FS, from, to string) error {
	err := fsys.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrFull) {
		return err
	}
	return copyFile(fsys, from, to)
}

func copyFile(fsys vfs.FS, from, to string) error {
	src, err := fsys.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := src.Size()
	if err != nil {
		return err
	}
	dst, err := fsys.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	w := &offsetWriter{f: dst}
	buf := make([]byte, 1<<20)
	for at := int64(0); at < size && err == nil; at += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), size-at)]
		if _, err = src.ReadAt(p, at); err == nil {
			_, err = w.Write(p)
		}
	}
	if err == nil {
		err = dst.Datasync()
	}
	return errors.Join(err, dst.Close())
}

// offsetWriter writes one piece after the other.
type offsetWriter struct {
	f  vfs.File
	at int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}

// writeTables copies the tables, synced.
func (db *DB) writeTables(to string) error {
	b, ok := db.engine.(*bolt)
	if !ok {
		return nil // a test's
	}
	f, err := db.o.FS.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return b.db.View(func(tx *bbolt.Tx) error {
			_, err := tx.WriteTo(&offsetWriter{f: f})
			return err
		})
	})
	if err == nil {
		err = f.Datasync()
	}
	return errors.Join(err, f.Close())
}

func writeFile(fsys vfs.FS, path string, text []byte) error {
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Datasync()
	}
	return errors.Join(err, f.Close())
}

// findBefore is the complete one of the highest format; Format 0: there is none.
func findBefore(fsys vfs.FS, dir string) (best Before, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return best, err
	}
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, "before-")
		if _, err := strconv.ParseUint(digits, 10, 32); !ok || err != nil {
			continue
		}
		b, err := readBefore(fsys, filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return best, err
		}
		if b.Format > best.Format {
			best = b
		}
	}
	return best, nil
}

func readBefore(fsys vfs.FS, dir string) (b Before, err error) {
	f, err := fsys.OpenFile(filepath.Join(dir, "about"), os.O_RDONLY, 0)
	if err != nil {
		return b, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size > 1<<16 {
		return b, errors.Join(err, fs.ErrNotExist)
	}
	text := make([]byte, size)
	if _, err := f.ReadAt(text, 0); err != nil && size > 0 {
		return b, err
	}
	if json.Unmarshal(text, &b) != nil || filepath.Base(dir) != beforeName(b.Format) {
		return Before{}, fs.ErrNotExist // cut short: nobody relies on it
	}
	b.dir = dir
	return b, nil
}

// removeBefore removes about first: what is left of a removal that was cut short counts for nothing.
func removeBefore(fsys vfs.FS, dir string) error {
	gone := func(err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := gone(fsys.Remove(filepath.Join(dir, "about"))); err != nil {
		return err
	}
	for _, d := range []string{filepath.Join(dir, "seg"), dir} {
		names, err := fsys.ReadDir(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := gone(fsys.Remove(filepath.Join(d, name))); err != nil {
				return err
			}
		}
		if err := gone(fsys.Remove(d)); err != nil {
			return err
		}
	}
	return nil
}

// watchBefore finds what is kept for a rollback when the database starts, and ends it when its time is over.
//
// Its fields in DB are one struct of their own: who drops it and who starts and ends are different goroutines.
func (db *DB) watchBefore() {
	if db.o.Memory {
		return
	}
	b, err := findBefore(db.o.FS, db.o.Dir)
	if err != nil || b.Format == 0 {
		return
	}
	db.before.mu.Lock()
	defer db.before.mu.Unlock()
	db.before.kept = b
	db.hasBefore.Store(true)
	db.before.timer = time.AfterFunc(max(time.Until(b.Made.Add(beforeFor)), 0), func() { db.DropBefore() })
}

// forgetBefore ends the watch when the database closes.
func (db *DB) forgetBefore() {
	db.before.mu.Lock()
	defer db.before.mu.Unlock()
	db.before.closed = true
	if db.before.timer != nil {
		db.before.timer.Stop()
	}
}

// DropBefore gives up the folder of before the last migration, and with it the way back: `posthouse rollback` finds nothing then. It
// reports whether there was one. The guard of a full disk calls it before mail is refused.
func (db *DB) DropBefore() bool {
	w := &db.before
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kept.Format == 0 || w.closed {
		return false
	}
	if err := removeBefore(db.o.FS, w.kept.dir); err != nil {
		db.o.Logger.Error(logx.StoreBeforeFailed, "format", w.kept.Format, "error", err)
		return false
	}
	db.o.Logger.Info(logx.StoreBeforeDropped, "format", w.kept.Format)
	w.kept = Before{}
	db.hasBefore.Store(false)
	return true
}

// keepForRollback is called before a segment is removed: what was delivered since a migration must stay readable as long as there is a
// way back. A disk that has no room for another name loses this mail in a rollback, nothing else.
func (db *DB) keepForRollback(number uint32) {
	w := &db.before
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kept.Format == 0 || number <= w.kept.Last {
		return
	}
	name := fmt.Sprintf("%08x.seg", number)
	from, to := filepath.Join(db.o.Dir, "seg", name), filepath.Join(w.kept.dir, "seg", name)
	if err := db.o.FS.Link(from, to); err != nil && !errors.Is(err, fs.ErrExist) {
		db.o.Logger.Warn(logx.StoreBeforeFailed, "segment", number, "error", err)
	}
}

// countChanges notes in a commit that n Updates are part of it: what a rollback would lose beside mail that arrived.
func (db *DB) countChanges(p pages, n int) error {
	if n == 0 || !db.hasBefore.Load() {
		return nil
	}
	was := uint64(0)
	if v := p.get(tableSettings, []byte(keyChanges)); len(v) == 8 {
		was = binary.BigEndian.Uint64(v)
	}
	return p.put(tableSettings, []byte(keyChanges), binary.BigEndian.AppendUint64(nil, was+uint64(n)))
}

// Rollbackable is the format that `posthouse rollback` would go back to, and since when it is kept; 0: none.
func (db *DB) Rollbackable(context.Context) (format uint32, made time.Time) {
	db.before.mu.Lock()
	defer db.before.mu.Unlock()
	return db.before.kept.Format, db.before.kept.Made
}
