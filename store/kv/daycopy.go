package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// dayName is the copy of the tables that repair begins with when the tables are lost. The log from its applied LSN on
// is kept, so that nothing is lost with them.
func dayName(dir string) string { return filepath.Join(dir, "meta.db.day") }

// journalFloor is the place in the log from which repair needs the records: log segments from that one on must stay. 0: all.
func (db *DB) journalFloor() blob.LSN {
	if db.o.Memory || db.o.DayEvery < 0 {
		return 1<<64 - 1 // nothing will ever be repaired
	}
	return blob.LSN(db.scribe.floor.Load())
}

// untilDay is how long it is until the next copy.
func (s *scribe) untilDay() time.Duration {
	if s.db.o.Memory || s.db.o.DayEvery < 0 {
		return 1 << 62
	}
	s.day.Lock()
	defer s.day.Unlock()
	every := s.db.o.DayEvery
	if s.gap.Load() {
		every = min(every, dayRetry)
	}
	return max(every-time.Since(s.at), time.Until(s.notBefore))
}

// openDay looks at the copy that is there.
func (s *scribe) openDay() {
	now := time.Now()
	s.at = now.Add(firstDay - s.db.o.DayEvery)
	if s.db.o.Memory || s.db.o.DayEvery < 0 {
		return
	}
	os.Remove(dayName(s.db.o.Dir) + ".new") // a copy that was cut short
	if _, err := os.Stat(runningName(s.db.o.Dir)); err == nil {
		s.gap.Store(true) // the last run did not end well: its last commits may not be in the journal
		s.notBefore = now.Add(min(firstDay, s.db.o.DayEvery))
	}
	st, err := os.Stat(dayName(s.db.o.Dir))
	if err != nil {
		return
	}
	v, err := settingOf(dayName(s.db.o.Dir), keyApplied)
	if err != nil {
		s.db.o.Logger.Warn(logx.StoreDay, "error", err)
		return
	}
	s.floor.Store(number(v))
	if st.ModTime().Before(now) {
		s.at = now.Add(st.ModTime().Sub(now)) // from here on the monotonic clock counts
	}
}

// CopyDay copies the tables to meta.db.day now. Mail goes on meanwhile. The copy takes the place of the one before only when every
// page of it is sound.
func (db *DB) CopyDay(ctx context.Context) error {
	if db.o.Memory || db.o.DayEvery < 0 {
		return nil
	}
	s := db.scribe
	s.day.Lock()
	defer s.day.Unlock()
	s.notBefore = time.Now().Add(min(dayRetry, db.o.DayEvery))
	begin := time.Now()
	path := dayName(db.o.Dir)
	next := path + ".new"
	size := fileSize(filepath.Join(db.o.Dir, "meta.db"))
	if err := db.roomForDay(ctx, size); err != nil {
		return err
	}
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	gap := s.gap.Swap(false)
	applied, err := db.Snapshot(ctx, next)
	if err == nil {
		err = walkTables(next, ctx.Done()) // a house that stops does not wait for gigabytes
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err == nil {
		err = vfs.OS{}.SyncDir(db.o.Dir)
	}
	if err != nil {
		if gap {
			s.gap.Store(true)
		}
		os.Remove(next)
		return fmt.Errorf("copy the tables to %s: %w", path, err)
	}
	s.floor.Store(uint64(applied))
	s.at, s.notBefore = time.Now(), time.Time{}
	s.made.Store(true)
	db.o.Logger.Info(logx.StoreDay, "octets", size, "applied", applied.String(), "seconds", time.Since(begin).Seconds())
	return nil
}

// roomForDay makes sure that a copy fits beside the mail that comes meanwhile. On a disk that has no room for two copies the one that is
// there goes first, once every page of the tables has been read and is sound: without a copy now and then no log segment could be
// removed, and a full disk would stay full.
func (db *DB) roomForDay(ctx context.Context, size int64) error {
	free, err := db.DiskFree()
	spare := 16 * max(db.o.Reserve, 0)
	if err != nil || free >= size+size/2+spare {
		return nil
	}
	old := fileSize(dayName(db.o.Dir))
	if old == 0 || free+old < size+spare/2 {
		return fmt.Errorf("the daily copy of the tables needs %d octets, the disk has %d left: %w", size, free, ErrFull)
	}
	if err := db.CheckPages(ctx); err != nil {
		return fmt.Errorf("the daily copy stays, since the tables cannot all be read: %w", err)
	}
	if err := os.Remove(dayName(db.o.Dir)); err != nil {
		return fmt.Errorf("make room for the next daily copy: %w", err)
	}
	db.scribe.gap.Store(true) // until there is one again
	return vfs.OS{}.SyncDir(db.o.Dir)
}

// settingOf reads one key of table s of a tables' file that nobody has open.
func settingOf(path, key string) (v []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %w: %v", path, ErrDamaged, r)
		}
	}()
	db, err := openFile(path, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			v = append(v, (&boltPages{tx: tx}).get(tableSettings, []byte(key))...)
			return nil
		})
	})
	return v, err
}
