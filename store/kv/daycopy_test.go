package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// TestDayRetry: a copy that cannot be made is tried again after a while, and not at once, also when the journal has a gap that only a
// copy closes: a full disk or a bad page would else make the house copy its tables without end.
func TestDayRetry(t *testing.T) {
	for _, gap := range []bool{false, true} {
		db, err := startTest(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		s := db.scribe
		next := dayName(db.o.Dir) + ".new"
		if err := os.MkdirAll(filepath.Join(next, "x"), 0o700); err != nil { // it cannot be made
			t.Fatal(err)
		}
		s.gap.Store(gap)
		if err := db.CopyDay(t.Context()); err == nil {
			t.Fatal("copied")
		}
		if s.gap.Load() != gap {
			t.Errorf("gap %v became %v", gap, !gap)
		}
		if d := s.untilDay(); d < dayRetry-time.Minute || d > dayRetry {
			t.Errorf("gap %v: tried again after %v", gap, d)
		}
		if err := os.RemoveAll(next); err != nil {
			t.Fatal(err)
		}
		if err := db.CopyDay(t.Context()); err != nil || s.gap.Load() {
			t.Fatal(err, s.gap.Load())
		}
		if d := s.untilDay(); d < 24*time.Hour-time.Minute || d > 24*time.Hour {
			t.Errorf("gap %v: the next copy after %v", gap, d)
		}
		s.lost()
		if d := s.untilDay(); d < dayRetry-time.Minute || d > dayRetry {
			t.Errorf("a new gap is closed after %v", d)
		}
	}
}

// TestDayAtStart: the age of the copy that is there counts by the monotonic clock from the start on, and a copy from the future has
// none. After a run that did not end well the journal may have a hole, which a copy closes soon.
func TestDayAtStart(t *testing.T) {
	dir := t.TempDir()
	db, err := startTest(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(context.Background(), func(tx *Tx) error { tx.Put("n", []byte("k"), nil); return nil }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	for _, c := range []struct {
		age     time.Duration
		running bool
		want    time.Duration
	}{
		{10 * time.Hour, false, 14 * time.Hour},
		{-10 * time.Hour, false, firstDay},
		{10 * time.Minute, true, dayRetry - 10*time.Minute},
		{10 * time.Hour, true, firstDay},
	} {
		at := time.Now().Add(-c.age)
		if err := os.Chtimes(dayName(dir), at, at); err != nil {
			t.Fatal(err)
		}
		if c.running {
			if err := os.WriteFile(runningName(dir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		db := newDB(Options{Dir: dir}.withDefaults())
		db.scribe.openDay()
		if d := db.scribe.untilDay(); d < c.want-time.Minute || d > c.want+time.Minute {
			t.Errorf("%v: %v, want %v", c, d, c.want)
		}
	}
}

// TestCompactionClosesGap: rows that were moved stand in meta.db, and the journal of a run that was killed may not have them. The tables are
// copied before the segments go that an older copy names.
func TestCompactionClosesGap(t *testing.T) {
	db, err := startTest(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.scribe.lost()
	if _, err := db.Compact(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dayName(db.o.Dir)); err != nil || db.scribe.gap.Load() {
		t.Error(err, db.scribe.gap.Load())
	}
}

// TestCompactionWaitsForCopy: a copy that is under way may fail, and the gap that it was to close is there again.
func TestCompactionWaitsForCopy(t *testing.T) {
	db, err := startTest(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := db.scribe
	s.day.Lock() // a copy begins
	done := make(chan error, 1)
	go func() {
		_, err := db.Compact(context.Background(), false)
		done <- err
	}()
	for len(db.compactor.turn) == 0 {
		runtime.Gosched()
	}
	for range 1000 { // time for a round that does not wait
		runtime.Gosched()
	}
	s.gap.Store(true) // it has failed
	s.day.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dayName(db.o.Dir)); err != nil || s.gap.Load() {
		t.Error(err, s.gap.Load())
	}
}

// TestRepairAgainFromOldDay: what a repair mended stands in no journal, so that an older copy and the journal cannot give it again, and a
// second repair says so.
func TestRepairAgainFromOldDay(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	o := repairTestOptions(t.TempDir())
	db := openHouse(t, o)
	live(t, db, r, "a", 20)
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	live(t, db, r, "b", 20)
	if err := db.SyncJournal(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Dir = copyFolder(t, o.Dir) // killed here
	db.Close()
	tables := filepath.Join(o.Dir, "meta.db")
	for round := range 2 {
		if err := os.Remove(tables); err != nil {
			t.Fatal(err)
		}
		rep, err := OpenRepair(t.Context(), o, BaseDay)
		if err != nil {
			t.Fatal(err)
		}
		repairOwners(rep.DB)
		if err := rep.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rep.Report.Complete || round == 1 && len(rep.Report.Gaps) != 1 {
			t.Errorf("round %d: %+v", round, rep.Report)
		}
		if err := rep.DB.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("mended"), nil); return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := rep.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		db := openHouse(t, o)
		live(t, db, r, fmt.Sprint("c", round), 20)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunThatMends: a run that changed nothing and copied the tables ends the doubt that one before it has left.
func TestRunThatMends(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(runningName(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, copied := range []bool{false, true} {
		db, err := startTest(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if copied {
			if err := db.CopyDay(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		db.Close()
		if _, err := os.Stat(runningName(dir)); errors.Is(err, fs.ErrNotExist) != copied {
			t.Errorf("copied %v: %v", copied, err)
		}
	}
}

// tightFS is a disk with so much room left.
type tightFS struct {
	vfs.OS
	free *atomic.Int64
}

func (f tightFS) Free(string) (int64, error) { return f.free.Load(), nil }

// TestDayOnTightDisk: where two copies have no room the old one makes way, but only for tables that are sound, and never when even one
// has none.
func TestDayOnTightDisk(t *testing.T) {
	free := new(atomic.Int64)
	free.Store(1 << 40)
	dir := t.TempDir()
	db, err := startTest(Options{Dir: dir, FS: tightFS{free: free}, Reserve: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := db.journalFloor()
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("m", []byte("k"), []byte("v")); return nil }); err != nil {
		t.Fatal(err)
	}
	size := fileSize(filepath.Join(dir, "meta.db"))
	old := fileSize(dayName(dir))
	free.Store(size - old)
	if err := db.CopyDay(t.Context()); !errors.Is(err, ErrFull) || fileSize(dayName(dir)) != old {
		t.Fatalf("no room for one: %v, the copy has %d octets of %d", err, fileSize(dayName(dir)), old)
	}
	free.Store(size)
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatalf("room for one in the place of the other: %v", err)
	}
	if db.journalFloor() < before {
		t.Error("the floor went back")
	}
	v, err := settingOf(dayName(dir), keyJournal)
	if err != nil || number(v) == 0 {
		t.Errorf("the copy is not that of now: %x %v", v, err)
	}
	if err := WalkTables(dayName(dir)); err != nil {
		t.Error(err)
	}
}
