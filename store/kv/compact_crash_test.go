package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// tenancy fills a DB and makes holes in it, with rounds of compaction in between. What it learned to be there is in there.
type tenancy struct {
	texts map[string][]byte // all that was ever sent
	there map[string]bool   // acknowledged or found, and not removed since
	may   map[string]bool   // removed or sent, with an answer that says nothing
	dead  atomic.Bool       // answers after this do not count
	moved int
}

func newTenancy() *tenancy {
	return &tenancy{texts: map[string][]byte{}, there: map[string]bool{}, may: map[string]bool{}}
}

// run sends n bodies and removes some; below 100 with a round of compaction now and then.
func (l *tenancy) run(db *DB, r *rand.Rand, name string, n int) {
	ctx := context.Background()
	for i := range n {
		key := fmt.Sprintf("%s/%d", name, i)
		text := noise(r, 200+r.IntN(1500))
		if r.IntN(15) == 0 {
			text = noise(r, 70_000)
		}
		l.texts[key], l.may[key] = text, true
		err := l.send(db, key, text, r.IntN(4) == 0)
		if err == nil && !l.dead.Load() {
			l.there[key] = true
			delete(l.may, key)
		}
		if keys := slices.Sorted(maps.Keys(l.there)); len(keys) > 3 && r.IntN(3) > 0 {
			l.remove(db, keys[r.IntN(len(keys))])
		}
		if i%8 == 7 && n < 100 {
			out, _ := db.Compact(ctx, r.IntN(2) == 0)
			l.moved += out.Moved
		}
	}
}

func (l *tenancy) remove(db *DB, key string) {
	delete(l.there, key)
	l.may[key] = true
	err := db.Update(context.Background(), func(tx *Tx) error { tx.Delete("m", []byte(key)); return nil })
	if err == nil && !l.dead.Load() {
		delete(l.may, key)
	}
}

func (l *tenancy) send(db *DB, key string, text []byte, kept bool) error {
	ctx := context.Background()
	w, err := db.NewBody(ctx, 0)
	if err != nil {
		return err
	}
	w.Write(text)
	b, err := w.Finish([]byte(key))
	if err != nil {
		return err
	}
	if kept {
		return db.KeepUpdate(ctx, 1, []*blob.Body{b}, func(tx *Tx, e []Entry) error { tx.Put("m", []byte(key), officeRow(e[0])); return nil })
	}
	_, err = db.Log(ctx, Record{Parts: []Part{{testKind, []byte(key)}}, Body: b})
	return err
}

// check compares what is there with what is known, octet for octet. What was in doubt is known afterwards.
func (l *tenancy) check(t *testing.T, db *DB) {
	t.Helper()
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	segments, places := map[uint32]bool{}, map[string]blob.LSN{}
	err := db.View(t.Context(), func(tx *Tx) error {
		for k := range tx.Scan(tableSegments, nil, nil) {
			segments[binary.BigEndian.Uint32(k)] = true
		}
		for k, v := range tx.Scan("m", nil, nil) {
			places[string(k)] = blob.LSN(binary.BigEndian.Uint64(v))
		}
		for k, v := range tx.Scan(tableAside, nil, nil) {
			t.Errorf("set aside: %x %q", k, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range l.there {
		if places[key] == 0 {
			t.Errorf("%s is gone", key)
		}
	}
	for key, at := range places {
		if !l.there[key] && !l.may[key] {
			t.Errorf("%s has come back", key)
		}
		l.there[key] = true
		delete(l.may, key)
		if !segments[at.Segment()] {
			t.Errorf("%s names segment %08x, which is not in table g", key, at.Segment())
		}
		if head, text := readAll(t, db, at); string(head) != key || !bytes.Equal(text, l.texts[key]) {
			t.Errorf("%s: its body at %s is another one", key, at)
		}
	}
	clear(l.may)
	numbers, err := db.log.Segments()
	if err != nil {
		t.Fatal(err)
	}
	onDisk := map[uint32]bool{}
	for _, n := range numbers {
		onDisk[n] = true
	}
	for n := range segments {
		if !onDisk[n] {
			t.Errorf("segment %08x is in table g and not on the disk", n)
		}
	}
}

// TestPowerLossInCompaction cuts the power of tables and log in the middle of commits, those of compaction among them, again and
// again in the life of one folder.
func TestPowerLossInCompaction(t *testing.T) {
	const folders, lives = 8, 10
	cuts, moved := 0, 0
	for seed := range uint64(folders) {
		r, steps := rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(seed, 8)) // of the committer, and of the clients
		dir := t.TempDir()
		path := filepath.Join(dir, "meta.db")
		l, fs := newTenancy(), vfstest.New()
		for n := range lives {
			l.dead.Store(false)
			var e *powerEngine
			var next *vfstest.FS
			o := Options{Dir: dir, FS: fs, Plain: true, TableGrowth: 32 << 10, SegmentSize: 12 << 10, Pace: 1, noSync: true, DayEvery: -1, CompactShare: 1}
			o.wrap = func(inner engine) engine {
				e = &powerEngine{engine: inner, path: path, left: 2 + r.IntN(90)}
				e.cut = func() {
					l.dead.Store(true)
					next = fs.Crash(r)
				}
				return e
			}
			db, err := startOffice(o)
			if err == nil {
				l.check(t, db)
				l.run(db, steps, fmt.Sprint(n), 24)
				db.Close()
			} else if next == nil {
				t.Fatalf("folder %d, life %d: %v", seed, n, err)
			}
			if t.Failed() {
				t.Fatalf("folder %d, life %d", seed, n)
			}
			if next != nil {
				cuts++
				fs = next
				if err := os.WriteFile(path, e.image(r), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		db, err := startOffice(Options{Dir: dir, FS: fs, Plain: true, DayEvery: -1})
		if err != nil {
			t.Fatalf("folder %d: %v", seed, err)
		}
		l.check(t, db)
		db.Close()
		moved += l.moved
	}
	if cuts < folders*lives/3 || moved < 100 {
		t.Fatalf("the power went out %d times only, %d bodies were moved", cuts, moved)
	}
}

// TestEveryOperationOfCompactionFails makes the n-th operation on the log's files fail, n = 1, 2, 3 and so on until a run meets none.
func TestEveryOperationOfCompactionFails(t *testing.T) {
	for step, fault := range map[int]error{1: syscall.EIO, 3: syscall.ENOSPC} {
		for n := step; ; n += step {
			dir := t.TempDir()
			r := rand.New(rand.NewPCG(8, 8))
			l, fs := newTenancy(), vfstest.New()
			o := Options{Dir: dir, FS: fs, Plain: true, TableGrowth: 32 << 10, SegmentSize: 8 << 10, noSync: true, DayEvery: -1, CompactShare: 1}
			db, err := startOffice(o)
			if err != nil {
				t.Fatal(err)
			}
			l.run(db, r, "a", 24)
			hit, left := false, n
			fs.SetFail(func(op vfstest.Op) error {
				if left--; left == 0 {
					hit = true
					return fault
				}
				return nil
			})
			before := l.moved
			l.run(db, r, "b", 16)
			if _, err := db.Compact(t.Context(), true); err != nil {
				t.Logf("operation %d: %v", n, err)
			}
			fs.SetFail(nil)
			l.check(t, db)
			if _, err := db.Compact(t.Context(), true); err != nil {
				t.Errorf("operation %d: the next round: %v", n, err)
			}
			l.check(t, db)
			db.Close()
			if db, err = startOffice(o); err != nil {
				t.Fatalf("operation %d: %v", n, err)
			}
			l.check(t, db)
			l.run(db, r, "c", 8)
			l.check(t, db)
			if err := db.Close(); err != nil {
				t.Fatalf("operation %d: %v", n, err)
			}
			if t.Failed() {
				t.Fatalf("operation %d, %v", n, fault)
			}
			if !hit {
				if n < 60 || l.moved == before {
					t.Fatalf("only %d operations, %d bodies moved", n, l.moved-before)
				}
				break
			}
		}
	}
}

// TestEveryCommitOfCompactionFails: what the tables hold after a failed commit is not known, so that both the old and the new place of a
// body must be good at the next start.
func TestEveryCommitOfCompactionFails(t *testing.T) {
	for _, kept := range []bool{false, true} { // whether the commit that failed is on the disk all the same
		for n := 1; ; n++ {
			dir := t.TempDir()
			r := rand.New(rand.NewPCG(9, 9))
			l, fs := newTenancy(), vfstest.New()
			o := Options{Dir: dir, FS: fs, Plain: true, TableGrowth: 32 << 10, SegmentSize: 8 << 10, noSync: true, DayEvery: -1, CompactShare: 1}
			broken, left := errors.New("no commit"), 0
			var armed, hit bool
			plain := o
			o.wrap = func(inner engine) engine {
				return &lastEngine{engine: inner, fail: func() (bool, error) {
					if armed {
						left--
					}
					if armed && left < 0 {
						first := !hit
						hit = true
						return kept && first, fmt.Errorf("%w: %w", errFatal, broken)
					}
					return true, nil
				}}
			}
			db, err := startOffice(o)
			if err != nil {
				t.Fatal(err)
			}
			l.run(db, r, "a", 200)
			if err := db.SettleAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, key := range slices.Sorted(maps.Keys(l.there)) {
				if r.IntN(4) > 0 || len(l.texts[key]) > 10_000 {
					continue
				}
				l.remove(db, key)
			}
			armed, left = true, n
			_, err = db.Compact(t.Context(), true)
			if hit != errors.Is(err, ErrClosed) {
				t.Errorf("commit %d: %v", n, err)
			}
			db.Close()
			if db, err = startOffice(plain); err != nil {
				t.Fatalf("commit %d: %v", n, err)
			}
			l.check(t, db)
			db.Close()
			if t.Failed() {
				t.Fatalf("commit %d, kept %v", n, kept)
			}
			if !hit {
				if n < 8 {
					t.Fatalf("only %d commits", n)
				}
				break
			}
		}
	}
}

// lastEngine fails commits, and says whether they reach the disk all the same.
type lastEngine struct {
	engine
	fail func() (kept bool, err error)
}

func (e *lastEngine) update(fn func(pages) error) error {
	nothing := false
	var failed error
	err := e.engine.update(func(p pages) error {
		if err := fn(p); err != nil {
			nothing = true
			return err
		}
		kept, err := e.fail()
		failed = err
		if !kept {
			return err
		}
		return nil
	})
	if nothing || failed == nil {
		return err
	}
	return failed
}
