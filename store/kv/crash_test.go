package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// model is what clients know.
type model struct {
	mu                  sync.Mutex
	asked, acked, found map[string]bool
	askedSet, ackedSet  map[string]bool // keys of Updates
	crashed             atomic.Bool     // answers after this do not count
	failedFirst         int
}

func newModel() *model {
	return &model{asked: map[string]bool{}, acked: map[string]bool{}, found: map[string]bool{}, askedSet: map[string]bool{}, ackedSet: map[string]bool{}}
}

func textOf(key string) []byte {
	n := 50
	if strings.HasSuffix(key, "7") {
		n = 9000
	}
	return bytes.Repeat([]byte(key+" "), n)
}

// work delivers and changes from several goroutines; each delivery is followed by a look that must find it.
func (m *model) work(db *DB, life string, each int) {
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%s/%d/%d", life, g, i)
				if m.deliver(db, key, uint32(g), i%3 == 0) != nil {
					m.mu.Lock()
					m.failedFirst++
					m.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
}

func (m *model) deliver(db *DB, key string, account uint32, look bool) error {
	ctx := context.Background()
	m.mu.Lock()
	m.asked[key], m.askedSet[key] = true, true
	m.mu.Unlock()
	w, err := db.NewBody(ctx, 0)
	if err != nil {
		return err
	}
	w.Write(textOf(key))
	b, err := w.Finish([]byte(key))
	if err != nil {
		return err
	}
	_, err = db.Log(ctx, Record{Accounts: []uint32{account}, Parts: []Part{{testKind, []byte(key)}}, Body: b})
	m.note(m.acked, key, err)
	if err != nil || !look {
		return err
	}
	if err := db.Settle(ctx, account); err != nil {
		return err
	}
	db.View(ctx, func(tx *Tx) error {
		if tx.Get("m", []byte(key)) == nil {
			panic(key + " is not there after Settle")
		}
		return nil
	})
	err = db.Update(ctx, func(tx *Tx) error { tx.Put("n", []byte(key), []byte(key)); return nil })
	m.note(m.ackedSet, key, err)
	return err
}

func (m *model) note(set map[string]bool, key string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && !m.crashed.Load() {
		set[key] = true
	}
}

// check compares the tables with what clients know.
func (m *model) check(t *testing.T, db *DB) {
	t.Helper()
	there, set := map[string]blob.LSN{}, map[string]bool{}
	err := db.View(t.Context(), func(tx *Tx) error {
		for k, v := range tx.Scan("m", nil, nil) {
			if strings.HasPrefix(string(k), "twice") {
				t.Errorf("%s", k)
				continue
			}
			there[string(k)] = blob.LSN(binary.BigEndian.Uint64(v))
		}
		for k := range tx.Scan("n", nil, nil) {
			set[string(k)] = true
		}
		for k, v := range tx.Scan("z", nil, nil) {
			t.Errorf("set aside: %x %q", k, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]map[string]bool{"acknowledged": {m.acked, nil}, "found before": {m.found, nil}, "changed": {nil, m.ackedSet}} {
		for key := range pair[0] {
			if _, ok := there[key]; !ok {
				t.Errorf("%s was %s and is gone", key, what)
			}
		}
		for key := range pair[1] {
			if !set[key] {
				t.Errorf("%s was %s and is gone", key, what)
			}
		}
	}
	for key, at := range there {
		if !m.asked[key] {
			t.Errorf("%s was never sent", key)
		}
		m.found[key] = true
		if head, text := readAll(t, db, at); string(head) != key || !bytes.Equal(text, textOf(key)) {
			t.Errorf("%s: its body is another one", key)
		}
	}
	for key := range set {
		m.ackedSet[key] = true // once seen it stays
	}
}

// powerEngine takes a picture of the tables' file around a commit, and cuts the power of the log in the middle of it.
type powerEngine struct {
	engine
	path          string
	left          int // commits until the power goes out
	cut           func()
	before, after []byte
}

func (e *powerEngine) update(fn func(pages) error) error {
	if e.before != nil {
		return errFatal
	}
	e.left--
	if e.left > 0 {
		return e.engine.update(fn)
	}
	before, err := os.ReadFile(e.path)
	if err != nil {
		return err
	}
	err = e.engine.update(func(p pages) error {
		err := fn(p)
		e.cut()
		return err
	})
	e.before = before
	after, rerr := os.ReadFile(e.path)
	e.after = after
	return errors.Join(err, rerr)
}

// image is what the disk may hold of the tables: of the pages of the last commit any subset, and its meta page only when all others are
// there, because bbolt syncs between the two.
func (e *powerEngine) image(r *rand.Rand) []byte {
	const page = 4096
	out := bytes.Clone(e.before)
	if len(out) < len(e.after) {
		out = append(out, make([]byte, len(e.after)-len(out))...)
	}
	whole := r.IntN(3) == 0
	for at := 2 * page; at < len(e.after); at += page {
		if whole || r.IntN(2) == 0 {
			copy(out[at:at+page], e.after[at:])
		}
	}
	if whole && r.IntN(2) == 0 {
		copy(out[:2*page], e.after)
	}
	return out
}

// TestPowerLoss cuts the power of tables and log during a commit, again and again in the life of one folder.
func TestPowerLoss(t *testing.T) {
	const folders, lives = 20, 10
	cuts := 0
	for seed := range uint64(folders) {
		r := rand.New(rand.NewPCG(seed, 3))
		dir := t.TempDir()
		path := filepath.Join(dir, "meta.db")
		m, fs := newModel(), vfstest.New()
		for life := range lives {
			m.crashed.Store(false)
			var e *powerEngine
			var next *vfstest.FS
			o := Options{Dir: dir, FS: fs, Plain: true, TableGrowth: 32 << 10, SegmentSize: 100 << 10, Pace: 1, noSync: true}
			o.wrap = func(inner engine) engine {
				e = &powerEngine{engine: inner, path: path, left: 2 + r.IntN(12)}
				e.cut = func() {
					m.crashed.Store(true)
					next = fs.Crash(r)
				}
				return e
			}
			db, err := startTest(o)
			if err == nil {
				m.check(t, db)
				m.work(db, fmt.Sprint(life), 8)
				db.Close()
			} else if next == nil {
				t.Fatalf("folder %d, life %d: %v", seed, life, err)
			}
			if t.Failed() {
				t.Fatalf("folder %d, life %d", seed, life)
			}
			if next != nil {
				cuts++
				fs = next
				if err := os.WriteFile(path, e.image(r), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		db, err := startTest(Options{Dir: dir, FS: fs, Plain: true})
		if err != nil {
			t.Fatalf("folder %d: %v", seed, err)
		}
		m.check(t, db)
		db.Close()
	}
	if cuts < folders*lives/2 {
		t.Fatalf("the power went out %d times only", cuts)
	}
}

// startTest is openTest for starts that may fail.
func startTest(o Options) (*DB, error) {
	db, err := Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	db.Register(testKind, Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		if tx.Get("m", data) != nil {
			tx.Put("m", append([]byte("twice-"), data...), nil)
		}
		tx.Put("m", data, binary.BigEndian.AppendUint64(nil, uint64(e.Body)))
		return nil
	}})
	if err := db.Start(context.Background()); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// TestEveryOperationFails makes the n-th operation on the log's files fail, n = 1, 2, 3 and so on until a run meets none.
func TestEveryOperationFails(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		t.Run(cause.Error(), func(t *testing.T) { everyOperationFails(t, cause) })
	}
}

func everyOperationFails(t *testing.T, cause error) {
	for n := 1; ; n++ {
		dir := t.TempDir()
		m, fs := newModel(), vfstest.New()
		var hit atomic.Bool
		fs.SetFail(func(op vfstest.Op) error {
			if op.N == n {
				hit.Store(true)
				return cause
			}
			return nil
		})
		o := Options{Dir: dir, FS: fs, Plain: true, TableGrowth: 32 << 10, SegmentSize: 20 << 10, noSync: true}
		db, err := startTest(o)
		if err == nil {
			m.work(db, "a", 8)
			db.Close()
		}
		fs.SetFail(nil)
		db, err = startTest(o)
		if err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		m.check(t, db)
		m.work(db, "b", 2)
		if err := db.Close(); err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		if t.Failed() {
			t.Fatalf("operation %d", n)
		}
		if !hit.Load() {
			if n < 40 {
				t.Fatalf("only %d operations", n)
			}
			return
		}
	}
}

// failEngine fails chosen commits.
type failEngine struct {
	engine
	mu   sync.Mutex
	n    int
	fail func(n int) error
}

func (e *failEngine) update(fn func(pages) error) error {
	e.mu.Lock()
	e.n++
	err := e.fail(e.n)
	e.mu.Unlock()
	if err == nil {
		return e.engine.update(fn)
	}
	e.engine.update(func(p pages) error {
		if ferr := fn(p); ferr != nil {
			err = ferr
		}
		return err
	})
	return err
}

// TestEveryCommitFails: after a failed write of the tables changes are refused, deliveries go on, and the next start
// has all of them once.
func TestEveryCommitFails(t *testing.T) {
	for n := 2; n < 30; n++ {
		dir := t.TempDir()
		m, fs := newModel(), vfstest.New()
		o := Options{Dir: dir, FS: fs, Plain: true, TableGrowth: 32 << 10, noSync: true}
		o.wrap = func(inner engine) engine {
			return &failEngine{engine: inner, fail: func(k int) error {
				if k >= n {
					return fmt.Errorf("%w: %w", errFatal, syscall.EIO)
				}
				return nil
			}}
		}
		db, err := startTest(o)
		if err != nil {
			t.Fatal(err)
		}
		m.work(db, "a", 10)
		if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("x"), nil); return nil }); n < 5 && !errors.Is(err, ErrClosed) {
			t.Fatalf("Update after a failed commit: %v", err)
		}
		if n < 5 {
			if err := m.deliver(db, "late", 9, false); err != nil {
				t.Fatalf("delivery after a failed commit: %v", err)
			}
			if err := db.Settle(t.Context(), 9); !errors.Is(err, ErrClosed) {
				t.Fatalf("Settle after a failed commit: %v", err)
			}
			if err := db.Settle(t.Context(), 1000); err != nil {
				t.Fatalf("Settle of an account without mail: %v", err)
			}
		}
		db.Close()
		o.wrap = nil
		db, err = startTest(o)
		if err != nil {
			t.Fatal(err)
		}
		m.check(t, db)
		db.Close()
		if t.Failed() {
			t.Fatalf("commit %d", n)
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 11)) }
