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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// The power test of store.md: small log segments that roll all the time, long bodies in segments of their own, syncs of segments and of
// the tables that fail, compaction under load; and at a random moment the process is killed or the power goes out.

// promise is what clients know of one message.
type promise int

const (
	asked    promise = iota // no answer yet: there once or not at all
	kept                    // answered, or seen by a start
	leaving                 // its removal was asked for
	vanished                // its removal was answered, or a start did not find it: never again
)

// promises are all of them, by key.
type promises struct {
	mu   sync.Mutex
	of   map[string]promise
	dead atomic.Bool // the power is out: answers do not count any more
}

func (p *promises) set(key string, to promise) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dead.Load() {
		p.of[key] = to
	}
}

// powerText is the text of a message: a long one gets a segment of its own, a middling one fills log segments.
func powerText(key string) []byte {
	n := 1 + int(key[len(key)-1])%7*20
	switch key[len(key)-1] {
	case '3':
		n = 13_000 // over 64 KB
	case '5':
		n = 700
	}
	return bytes.Repeat([]byte(key+" "), n)
}

func powerPlaces(_, v []byte, at func(blob.LSN, int64) blob.LSN) ([]byte, error) {
	be := binary.BigEndian
	was := blob.LSN(be.Uint64(v))
	if is := at(was, int64(be.Uint64(v[8:]))); is != was {
		return powerRow(is, int64(be.Uint64(v[8:]))), nil
	}
	return nil, nil
}

func powerRow(place blob.LSN, size int64) []byte {
	return binary.BigEndian.AppendUint64(lsnKey(place), uint64(size))
}

func startPower(o Options) (*DB, error) {
	db, err := Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	db.Register(testKind, Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		if tx.Get("m", data) != nil {
			tx.Put("m", append([]byte("twice-"), data...), powerRow(e.Body, e.Size))
		}
		tx.Put("m", data, powerRow(e.Body, e.Size))
		return nil
	}})
	db.Refer("m", powerPlaces)
	if err := db.Start(context.Background()); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// mailman is one of those who work at once.
type mailman struct {
	db   *DB
	p    *promises
	rng  *rand.Rand
	name string
	own  []string // kept by this one in this life
}

func (m *mailman) work(steps int) {
	for i := range steps {
		key := fmt.Sprintf("%s/%d", m.name, i)
		var err error
		switch n := m.rng.IntN(8); {
		case n < 4:
			err = m.deliver(key)
		case n < 6:
			err = m.keep(key)
		case len(m.own) > 0:
			err = m.remove()
		}
		if errors.Is(err, ErrClosed) || m.p.dead.Load() {
			return
		}
	}
}

func (m *mailman) body(key string) (*blob.Body, error) {
	w, err := m.db.NewBody(context.Background(), 0)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(powerText(key)); err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish([]byte(key))
}

func (m *mailman) deliver(key string) error {
	b, err := m.body(key)
	if err != nil {
		return err
	}
	m.p.set(key, asked)
	if _, err = m.db.Log(context.Background(), Record{Accounts: []uint32{1}, Parts: []Part{{testKind, []byte(key)}}, Body: b}); err == nil {
		m.p.set(key, kept)
	}
	if err == nil && m.rng.IntN(3) == 0 {
		err = m.look(key)
	}
	return err
}

// look is a reader behind Settle, who must find what was answered.
func (m *mailman) look(key string) error {
	if err := m.db.Settle(context.Background(), 1); err != nil {
		return err
	}
	m.own = append(m.own, key)
	return m.db.View(context.Background(), func(tx *Tx) error {
		if tx.Get("m", []byte(key)) == nil {
			panic(key + " is not there behind Settle")
		}
		return nil
	})
}

// keep is what APPEND does.
func (m *mailman) keep(key string) error {
	b, err := m.body(key)
	if err != nil {
		return err
	}
	m.p.set(key, asked)
	err = m.db.KeepUpdate(context.Background(), 1, []*blob.Body{b}, func(tx *Tx, e []Entry) error {
		tx.Put("m", []byte(key), powerRow(e[0].Body, e[0].Size))
		return nil
	})
	if err == nil {
		m.p.set(key, kept)
		m.own = append(m.own, key)
	}
	return err
}

func (m *mailman) remove() error {
	i := m.rng.IntN(len(m.own))
	key := m.own[i]
	m.own = append(m.own[:i], m.own[i+1:]...)
	m.p.set(key, leaving)
	err := m.db.Update(context.Background(), func(tx *Tx) error { tx.Delete("m", []byte(key)); return nil })
	if err == nil {
		m.p.set(key, vanished)
	}
	return err
}

// check compares a started database with the promises, and learns what became of what had no answer.
func (p *promises) check(t *testing.T, db *DB) {
	t.Helper()
	places := map[string]blob.LSN{}
	err := db.View(t.Context(), func(tx *Tx) error {
		for k, v := range tx.Scan("m", nil, nil) {
			places[string(k)] = blob.LSN(binary.BigEndian.Uint64(v))
		}
		for k, v := range tx.Scan("z", nil, nil) {
			t.Errorf("set aside: %x %q", k, v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, at := range places {
		is, known := p.of[key]
		if !known || is == vanished {
			t.Errorf("%s is there (sent: %v)", key, known)
			continue
		}
		p.of[key] = kept
		r, err := db.OpenBody(at)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		text := make([]byte, r.Size())
		if _, err := r.ReadAt(text, 0); err != nil || !bytes.Equal(text, powerText(key)) {
			t.Errorf("%s: its text is another one, %v", key, err)
		}
		r.Close()
	}
	for key, is := range p.of {
		if _, ok := places[key]; ok {
			continue
		}
		if is == kept {
			t.Errorf("%s was answered and is gone", key)
		}
		p.of[key] = vanished
	}
}

// table is the engine with an eye on its file: what the disk has of it when the power goes out.
type table struct {
	engine
	path     string
	mu       sync.Mutex
	left     int // commits until something happens in the middle of one
	do       func()
	failSync bool
	dead     *atomic.Bool
	before   []byte // the file before and behind the commit that was under way, or whose sync failed
	after    []byte
	broken   bool
}

func (e *table) update(fn func(pages) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead.Load() || e.broken {
		return errFatal
	}
	before, err := os.ReadFile(e.path)
	if err != nil {
		return err
	}
	e.left--
	err = e.engine.update(func(p pages) error {
		err := fn(p)
		if e.left == 0 && !e.failSync {
			e.do()
		}
		return err
	})
	fails := e.left <= 0 && e.failSync && err == nil
	if !fails && !e.dead.Load() {
		return err
	}
	e.before, e.broken = before, true
	if e.after, err = os.ReadFile(e.path); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", errFatal, syscall.EIO)
}

// close writes nothing more to a file that is not what it seems, as DB does without this engine between.
func (e *table) close() error {
	if b, ok := e.engine.(*bolt); ok && (e.broken || e.dead.Load()) {
		return b.abort()
	}
	return e.engine.close()
}

// image is the file as the disk may have it: of the pages of a commit that was not over any subset, and its meta page only when all
// others are there, because bbolt syncs between the two.
func (e *table) image(t *testing.T, r *rand.Rand) []byte {
	if e.before == nil {
		now, err := os.ReadFile(e.path)
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	p := &powerEngine{before: e.before, after: e.after}
	return p.image(r)
}

// life is one run of the program on a folder, and how it ends.
type life struct {
	t     *testing.T
	rng   *rand.Rand
	o     Options
	disk  *vfstest.FS
	p     *promises
	table *table
	ended string
	early bool // it may end during the start, so that it does not look first
	armed atomic.Bool
}

// plan chooses what goes wrong.
func (l *life) plan() {
	r := l.rng
	l.p.dead.Store(false)
	l.early = r.IntN(4) == 0
	l.armed.Store(l.early)
	l.ended = []string{"commit", "operation", "operation", "kill", "tables", "close"}[r.IntN(6)]
	left, failing := 5+r.IntN(120), r.IntN(3) == 0
	flaky := rand.New(rand.NewPCG(r.Uint64(), 1))
	l.disk.SetFail(func(op vfstest.Op) error {
		if l.armed.Load() {
			left--
		}
		switch {
		case l.p.dead.Load():
			return vfstest.ErrPower
		case left < 0 && (l.ended == "operation" || l.ended == "kill"):
			l.p.dead.Store(true)
			return vfstest.ErrPower
		case failing && l.armed.Load() && op.N > 12 && (op.Kind == "sync" || op.Kind == "write") && flaky.IntN(15) == 0:
			return syscall.EIO
		}
		return nil
	})
	l.o.FS = l.disk
	l.o.wrap = func(inner engine) engine {
		l.table = &table{engine: inner, path: filepath.Join(l.o.Dir, "meta.db"), left: -1, dead: &l.p.dead}
		if l.ended == "commit" || l.ended == "tables" {
			l.table.left, l.table.failSync = 1+r.IntN(14), l.ended == "tables"
			l.table.do = func() { l.p.dead.Store(true); l.disk.PowerOff() }
		}
		return l.table
	}
}

// run is the life; the disk that the next one finds stands in l.disk afterwards.
func (l *life) run(name string) {
	l.plan()
	db, err := startPower(l.o)
	switch {
	case err == nil:
		if !l.early {
			l.p.check(l.t, db)
			l.armed.Store(true)
		}
		l.work(db, name)
		db.Close()
	case !l.p.dead.Load() && l.ended != "tables" && !errors.Is(err, syscall.EIO):
		l.t.Fatalf("%s (%s): %v", name, l.ended, err)
	}
	l.disk.SetFail(nil)
	if l.ended == "kill" || l.ended == "close" || l.ended == "tables" && l.rng.IntN(2) == 0 {
		l.disk = l.disk.Kill() // the tables' file is as programs see it
		return
	}
	l.disk = l.disk.Crash(l.rng)
	if l.table == nil {
		return
	}
	if err := os.WriteFile(l.table.path, l.table.image(l.t, l.rng), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) work(db *DB, name string) {
	var wg sync.WaitGroup
	for g := range 3 {
		m := &mailman{db: db, p: l.p, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 1)), name: fmt.Sprint(name, "/", g)}
		wg.Go(func() { m.work(7) })
	}
	day, full := l.rng.IntN(3) == 0, l.rng.IntN(2) == 0
	wg.Go(func() {
		if day {
			_ = db.CopyDay(context.Background()) // lets compaction have the older log segments
		}
		_, _ = db.Compact(context.Background(), full) // its errors are the disk's
	})
	wg.Wait()
}

// TestPower is a thousand lives: ten in each of a hundred folders.
func TestPower(t *testing.T) {
	folders, lives := 100, 10
	if testing.Short() {
		folders = 15
	}
	ends := map[string]int{}
	for seed := range uint64(folders) {
		l := &life{t: t, rng: rand.New(rand.NewPCG(seed, 17)), disk: vfstest.New(), p: &promises{of: map[string]promise{}}}
		l.o = Options{Dir: t.TempDir(), Plain: true, TableGrowth: 32 << 10, SegmentSize: 30 << 10, Pace: 1, Reserve: -1, DayEvery: -1, CompactShare: 1, CompactBelow: 0.9, noSync: true}
		for n := range lives {
			l.run(fmt.Sprint(n))
			ends[l.ended]++
			if t.Failed() {
				t.Fatalf("folder %d, life %d (%s)", seed, n, l.ended)
			}
		}
		l.o.FS, l.o.wrap = l.disk, nil
		l.p.dead.Store(false)
		db, err := startPower(l.o)
		if err != nil {
			t.Fatalf("folder %d: %v", seed, err)
		}
		l.p.check(t, db)
		db.Close()
		if t.Failed() {
			t.Fatalf("folder %d, the last start", seed)
		}
	}
	t.Logf("%d lives, which ended by %v", folders*lives, ends)
}
