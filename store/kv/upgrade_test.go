package kv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// exclaim puts a mark behind every value of table n, three rows a step; a row that was done twice shows it.
func exclaim(mark string) Migration {
	return Migration{Name: "marks " + mark, Step: func(tx *Tx, from []byte) ([]byte, error) {
		var keys, values [][]byte
		for k, v := range tx.Scan("n", from, nil) {
			if len(keys) == 3 {
				from = bytes.Clone(k)
				break
			}
			keys, values = append(keys, bytes.Clone(k)), append(values, append(bytes.Clone(v), mark...))
			from = nil
		}
		for i := range keys {
			tx.Put("n", keys[i], values[i])
		}
		if len(keys) < 3 {
			return nil, nil
		}
		return from, nil
	}}
}

func tomorrow() []Migration { return []Migration{exclaim("!"), exclaim("?")} }

// oldFolder makes a folder of format 1 with mail in tables and log.
func oldFolder(t *testing.T, o Options) (Options, *model) {
	t.Helper()
	o.Dir, o.Migrations, o.SegmentSize, o.TableGrowth, o.noSync = t.TempDir(), []Migration{}, 100<<10, 32<<10, true
	m := newModel()
	for life := range 2 {
		db, err := startTest(o)
		if err != nil {
			t.Fatal(err)
		}
		m.work(db, fmt.Sprint(life), 8)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return o, m
}

// checkMarks: every value of table n has the marks once, but for those that came since.
func checkMarks(t *testing.T, db *DB, marks, since string) {
	t.Helper()
	n := 0
	err := db.View(t.Context(), func(tx *Tx) error {
		for k, v := range tx.Scan("n", nil, nil) {
			want := string(k) + marks
			if since != "" && strings.HasPrefix(string(k), since) {
				want = string(k)
			}
			if string(v) != want {
				t.Errorf("%s: %s; want %s", k, v, want)
			}
			n++
		}
		if v := tx.Get(tableSettings, []byte(keyMigrating)); v != nil {
			t.Errorf("a migration is still said to run: %x", v)
		}
		return nil
	})
	if err != nil || n < 10 {
		t.Fatalf("%d rows, %v", n, err)
	}
}

// TestMigration: the tables are changed once, all mail is there, what was before is kept, and an older program is refused.
func TestMigration(t *testing.T) {
	o, m := oldFolder(t, Options{})
	before := contents(t, o.Dir)
	o.Migrations = tomorrow()
	for range 2 {
		db, err := startTest(o)
		if err != nil {
			t.Fatal(err)
		}
		m.check(t, db)
		checkMarks(t, db, "!?", "")
		if f, made := db.Rollbackable(t.Context()); f != 1 || made.IsZero() {
			t.Errorf("way back to %d of %v", f, made)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	kept := contents(t, filepath.Join(o.Dir, "before-1"))
	delete(kept, "about")
	if !maps.Equal(kept, before) {
		t.Errorf("kept is %v\nit was %v", kept, before)
	}
	old := o
	old.Migrations = tomorrow()[:1]
	if _, err := startTest(old); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "posthouse rollback") {
		t.Errorf("format 3 with a program of format 2: %v", err)
	}
	db, err := startTest(o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if !db.DropBefore() || db.DropBefore() {
		t.Error("the way back is given up not once")
	}
	if _, err := os.Stat(filepath.Join(o.Dir, "before-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before-1: %v", err)
	}
}

// contents are the files of a store by name, with a sum of the segments' octets and of the tables' rows.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if d.IsDir() && (strings.HasPrefix(name, "before-") || strings.HasPrefix(name, "after-")) {
			return fs.SkipDir
		}
		if d.IsDir() || name == "lock" || name == "reserve" || strings.HasSuffix(name, ".day") {
			return nil
		}
		b, err := os.ReadFile(path)
		if filepath.Base(name) == "meta.db" {
			b = rows(t, path)
		}
		out[name] = fmt.Sprintf("%d %.8x", len(b), sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rows is everything that the tables hold.
func rows(t *testing.T, path string) []byte {
	t.Helper()
	b, err := openReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.db.Close()
	var out []byte
	err = b.view(func(p pages) error {
		for _, table := range []Table{"g", "m", "n", "s", "z", "q", "Q"} {
			for k, v := range (&Tx{pages: p}).Scan(table, nil, nil) {
				out = fmt.Appendf(out, "%s %x %x\n", table, k, v)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMigrationInterrupted fails the n-th commit, n = 1, 2, 3 ..., and the n-th file operation. The next start ends the work.
func TestMigrationInterrupted(t *testing.T) {
	for _, what := range []string{"commit", "commit, no room", "operation", "power"} {
		t.Run(what, func(t *testing.T) {
			for n := 1; interrupted(t, what, n); n++ {
				if n > 500 {
					t.Fatal("it never ends")
				}
			}
		})
	}
}

// interrupted reports whether the n-th came at all.
func interrupted(t *testing.T, what string, n int) bool {
	t.Helper()
	o := Options{}
	disk := vfstest.New()
	if !strings.HasPrefix(what, "commit") {
		o.FS = disk
	}
	o, m := oldFolder(t, o)
	o.Migrations = tomorrow()
	var hit atomic.Bool
	first := o
	switch what {
	case "operation", "power":
		base := disk.Counts().Ops
		disk.SetFail(func(op vfstest.Op) error {
			if op.N < base+n {
				return nil
			}
			hit.Store(true)
			if what == "power" {
				return vfstest.ErrPower
			}
			if op.N == base+n {
				return syscall.EIO
			}
			return nil
		})
	default:
		cause := fmt.Errorf("%w: %w", errFatal, syscall.EIO)
		if what != "commit" {
			cause = ErrFull
		}
		first.Reserve = -1
		first.wrap = func(inner engine) engine {
			return &failEngine{engine: inner, fail: func(k int) error {
				if k >= n {
					hit.Store(true)
					return cause
				}
				return nil
			}}
		}
	}
	if db, err := startTest(first); err == nil {
		db.Close()
	} else if !hit.Load() {
		t.Fatalf("%d: %v", n, err)
	}
	disk.SetFail(nil)
	if what == "power" {
		o.FS = disk.Crash(newRand(uint64(n)))
	}
	db, err := startTest(o)
	if err != nil {
		t.Fatalf("after the %d-th: %v", n, err)
	}
	m.check(t, db)
	checkMarks(t, db, "!?", "")
	if f, _ := db.Rollbackable(t.Context()); f != 1 {
		t.Errorf("after the %d-th: way back to %d", n, f)
	}
	db.Close()
	if t.Failed() {
		t.Fatalf("the %d-th", n)
	}
	return hit.Load()
}

// TestRollbackExactly: when nothing happened since, the folder is octet for octet what it was.
func TestRollbackExactly(t *testing.T) {
	o, m := oldFolder(t, Options{})
	before := contents(t, o.Dir)
	if _, err := Rollback(t.Context(), RollbackOptions{Dir: o.Dir, Migrations: tomorrow()}); !errors.Is(err, ErrNoWayBack) {
		t.Fatalf("rollback of a folder that was never migrated: %v", err)
	}
	newer := o
	newer.Migrations = tomorrow()
	db, err := startTest(newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rollback(t.Context(), RollbackOptions{Dir: o.Dir, Migrations: tomorrow()}); !errors.Is(err, ErrLocked) {
		t.Fatalf("rollback of a folder that is served: %v", err)
	}
	db.Close()
	r, err := Rollback(t.Context(), RollbackOptions{Dir: o.Dir, Keep: string(testKind), Migrations: tomorrow()})
	if err != nil || r.From != 3 || r.To != 1 || r.Kept+r.Lost > 0 || r.Changes > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if after := contents(t, o.Dir); !maps.Equal(after, before) {
		t.Errorf("after %v\nbefore %v", after, before)
	}
	if aside := contents(t, r.Aside); aside["meta.db"] == "" || aside["meta.db"] == before["meta.db"] {
		t.Errorf("aside is %v", aside)
	}
	if db, err = startTest(o); err != nil {
		t.Fatal(err)
	}
	m.check(t, db)
	db.Close()
	if db, err = startTest(newer); err != nil { // and forward again
		t.Fatal(err)
	}
	checkMarks(t, db, "!?", "")
	db.Close()
}

// upgraded is an old folder that a newer program has worked on.
func upgraded(t *testing.T, changes bool) (old, newer Options, m *model) {
	t.Helper()
	old, m = oldFolder(t, Options{})
	newer = old
	newer.Migrations = tomorrow()
	db, err := startTest(newer)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		if err := m.deliver(db, fmt.Sprint("since/", i, "/7"[:i%3]), 1, changes && i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := large(db, "since/large"); err != nil {
		t.Fatal(err)
	} else if _, err := db.Log(t.Context(), Record{Accounts: []uint32{1}, Parts: []Part{{testKind, []byte("since/large")}}, Body: b}); err == nil {
		if err := db.SettleAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	return old, newer, m
}

// TestRollbackKeepsMail: what was delivered since is there once, with its text; what else happened since is asked about.
func TestRollbackKeepsMail(t *testing.T) {
	for _, changes := range []bool{false, true} {
		old, newer, m := upgraded(t, changes)
		o := RollbackOptions{Dir: old.Dir, Keep: string(testKind), Migrations: newer.Migrations}
		r, err := Rollback(t.Context(), o)
		if errors.Is(err, ErrWouldLose) != changes || r.Kept != 13 || r.Lost > 0 || (r.Changes > 0) != changes {
			t.Fatalf("changes %v: %+v, %v", changes, r, err)
		}
		if !changes { // mail alone is brought along without a question
			checkRolledBack(t, old, m)
			continue
		}
		if r, err := Rollback(t.Context(), RollbackOptions{Dir: old.Dir, Migrations: newer.Migrations}); !errors.Is(err, ErrWouldLose) || r.Kept > 0 || r.Lost != 13 {
			t.Fatalf("nothing is to be kept: %+v, %v", r, err)
		}
		db, err := startTest(newer) // nothing was changed by the question
		if err != nil {
			t.Fatal(err)
		}
		checkMarks(t, db, "!?", "since")
		db.Close()
		o.Lose = true
		if r, err = Rollback(t.Context(), o); err != nil || r.Kept != 13 {
			t.Fatalf("changes %v: %+v, %v", changes, r, err)
		}
		checkRolledBack(t, old, m)
	}
}

// checkRolledBack opens the folder with the older program.
func checkRolledBack(t *testing.T, old Options, m *model) {
	t.Helper()
	for k := range m.ackedSet {
		if strings.HasPrefix(k, "since") {
			delete(m.ackedSet, k) // lost, as was said
		}
	}
	for range 2 {
		db, err := startTest(old)
		if err != nil {
			t.Fatal(err)
		}
		if at := bodyOf(t, db, "since/large"); at == 0 {
			t.Error("the large one is gone")
		} else if _, text := readAll(t, db, at); len(text) != 150_000 {
			t.Errorf("the large one has %d octets", len(text))
		}
		err = db.View(t.Context(), func(tx *Tx) error {
			for k, v := range tx.Scan("n", nil, nil) {
				if !bytes.Equal(k, v) || strings.HasPrefix(string(k), "since") {
					t.Errorf("%s: %s", k, v)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		m.asked["since/large"] = true
		checkTexts(t, db, m)
		db.Close()
	}
}

func bodyOf(t *testing.T, db *DB, key string) (at blob.LSN) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *Tx) error {
		if v := tx.Get("m", []byte(key)); len(v) == 8 {
			at = blob.LSN(binary.BigEndian.Uint64(v))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return at
}

// checkTexts is model.check without the large one, whose text is not made of its key.
func checkTexts(t *testing.T, db *DB, m *model) {
	t.Helper()
	n := 0
	for key := range m.acked {
		at := bodyOf(t, db, key)
		if at == 0 {
			t.Errorf("%s is gone", key)
			continue
		}
		if head, text := readAll(t, db, at); string(head) != key || !bytes.Equal(text, textOf(key)) {
			t.Errorf("%s: its body is another one", key)
		}
		n++
	}
	if n < 20 {
		t.Errorf("%d messages", n)
	}
}

// TestRollbackInterrupted stops a rollback behind each of its steps. Nobody opens the folder meanwhile; the next try ends it.
func TestRollbackInterrupted(t *testing.T) {
	stop := errors.New("stopped")
	var seen []string
	for n := 1; ; n++ {
		old, newer, m := upgraded(t, true)
		left, step := n, ""
		o := RollbackOptions{Dir: old.Dir, Keep: string(testKind), Lose: true, Migrations: newer.Migrations, interrupt: func(s string) error {
			if left--; left == 0 {
				step = s
				return stop
			}
			return nil
		}}
		_, err := Rollback(context.Background(), o)
		if (err != nil) != (step != "") {
			t.Fatalf("%d: %v", n, err)
		}
		if step != "" && step != "staged" {
			if _, err := startTest(newer); !errors.Is(err, errInterrupted) {
				t.Fatalf("a start in the middle (%s): %v", step, err)
			}
		}
		o.interrupt = nil
		if step != "" {
			if _, err := Rollback(t.Context(), o); err != nil {
				t.Fatalf("again after %q: %v", step, err)
			}
			seen = append(seen, step)
		}
		checkRolledBack(t, old, m)
		if t.Failed() {
			t.Fatalf("step %q", step)
		}
		if step == "" {
			break
		}
	}
	if want := []string{"staged", "segments aside", "segments", "tables aside", "tables", "aside"}; !slices.Equal(seen, want) {
		t.Errorf("steps %q; want %q", seen, want)
	}
}
