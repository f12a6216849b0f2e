package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

var errMine = errors.New("mine")

// TestUpdatesOfOneBatch puts operations that succeed, fail, panic and write before they fail into one commit.
func TestUpdatesOfOneBatch(t *testing.T) {
	for _, memory := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory=%v", memory), func(t *testing.T) {
			db := openTest(t, Options{Dir: t.TempDir(), Memory: memory, FS: memoryLog(memory)})
			defer db.Close()
			gate, inside := make(chan struct{}), make(chan struct{})
			var once sync.Once
			var wg sync.WaitGroup
			wg.Go(func() {
				db.Update(context.Background(), func(*Tx) error {
					once.Do(func() { close(inside) })
					<-gate
					return nil
				})
			})
			<-inside // the committer is busy: all that follow share one commit
			var mu sync.Mutex
			var rang []int
			results := make([]error, 40)
			for i := range results {
				wg.Go(func() {
					key := []byte{byte(i)}
					results[i] = db.Update(context.Background(), func(tx *Tx) error {
						tx.OnCommit(func() { mu.Lock(); rang = append(rang, i); mu.Unlock() })
						switch i % 5 {
						case 1:
							return errMine
						case 2:
							tx.Put("n", key, key)
							return errMine
						case 3:
							tx.Put("n", key, key)
							panic("bug")
						case 4:
							tx.Put("n", nil, key)
						}
						tx.Put("n", key, key)
						return nil
					})
				})
			}
			waitQueued(db, len(results))
			before := db.Counts().CommitSyncs
			close(gate)
			wg.Wait()
			if syncs := db.Counts().CommitSyncs - before; !memory && syncs != 2 {
				t.Errorf("%d syncs for one commit", syncs)
			}
			for i, err := range results {
				ok := false
				switch i % 5 {
				case 0:
					ok = err == nil
				case 1, 2:
					ok = errors.Is(err, errMine)
				case 3:
					ok = err != nil
				case 4:
					ok = errors.Is(err, ErrBadKey)
				}
				if !ok {
					t.Errorf("operation %d: %v", i, err)
				}
				db.View(t.Context(), func(tx *Tx) error {
					if there := tx.Get("n", []byte{byte(i)}) != nil; there != (i%5 == 0) {
						t.Errorf("operation %d: written is %v", i, there)
					}
					return nil
				})
				if (i%5 == 0) != slices.Contains(rang, i) {
					t.Errorf("operation %d: callback", i)
				}
			}
			if len(rang) != 8 {
				t.Errorf("%d callbacks", len(rang))
			}
		})
	}
}

func memoryLog(memory bool) vfs.FS {
	if memory {
		return vfstest.New()
	}
	return nil
}

// waitQueued returns when n updates wait for the committer.
func waitQueued(db *DB, n int) {
	for {
		db.committer.mu.Lock()
		k := len(db.committer.updates)
		db.committer.mu.Unlock()
		if k >= n {
			return
		}
	}
}

func TestUpdateAbandoned(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir()})
	defer db.Close()
	gate, inside := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		db.Update(context.Background(), func(*Tx) error { close(inside); <-gate; return nil })
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if err := db.Update(ctx, func(tx *Tx) error { tx.Put("n", []byte("gone"), nil); return nil }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	waitQueued(db, 1)
	cancel()
	for {
		db.committer.mu.Lock()
		state := db.committer.updates[0].state.Load()
		db.committer.mu.Unlock()
		if state == abandoned {
			break
		}
	}
	close(gate)
	wg.Wait()
	db.Update(t.Context(), func(tx *Tx) error {
		if tx.Get("n", []byte("gone")) != nil {
			t.Error("an abandoned update ran")
		}
		return nil
	})
}

// TestRecordSetAside: a record that cannot be applied is kept in table z, and the others are not held up.
func TestRecordSetAside(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	tries := map[string]int{}
	kind := Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		tries[string(data)]++
		switch string(data) {
		case "bad":
			return errMine
		case "worse":
			tx.Put("m", []byte("half"), nil)
			return errMine
		case "once":
			if tries["once"] == 1 {
				tx.Put("m", []byte("half"), nil)
				return errMine
			}
		case "panic":
			panic("bug")
		}
		tx.Put("m", data, nil)
		tx.OnCommit(func() { tries["rang "+string(data)]++ })
		return nil
	}}
	db.Register('t', kind)
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"a", "bad", "worse", "once", "panic", "b"} {
		if _, err := db.Log(t.Context(), Record{Accounts: []uint32{1}, Parts: []Part{{'t', []byte("first " + data)}, {'t', []byte(data)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Settle(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"a": true, "b": true, "once": true, "bad": false, "worse": false, "half": false, "panic": false, "first bad": false, "first b": true} {
		if there := get(t, db, key) != nil; there != want {
			t.Errorf("%s: %v", key, there)
		}
	}
	if tries["rang a"] != 1 || tries["rang once"] != 1 || tries["rang first bad"] != 0 {
		t.Errorf("%v", tries)
	}
	aside := 0
	db.View(t.Context(), func(tx *Tx) error {
		for k, v := range tx.Scan("z", nil, nil) {
			n := binary.BigEndian.Uint32(v)
			meta := v[4+n:]
			if len(k) != 8 || !bytes.Contains(meta, []byte("first ")) || n == 0 {
				t.Errorf("%x %q", k, v)
			}
			aside++
		}
		return nil
	})
	if aside != 3 {
		t.Errorf("%d records set aside", aside)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openTest(t, Options{Dir: dir})
	if get(t, db, "bad") != nil {
		t.Error("a record that was set aside was replayed")
	}
	db.Close()
}

// TestSettle: 250, then a look from another goroutine, 10,000 times, without a sleep.
func TestSettle(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir(), Memory: true, FS: vfstest.New(), Plain: true})
	defer db.Close()
	const rounds, loggers = 10000, 4
	type ask struct {
		account uint32
		key     []byte
	}
	asks := make(chan ask)
	var lookers, senders sync.WaitGroup
	for range loggers {
		lookers.Go(func() {
			for a := range asks {
				if err := db.Settle(t.Context(), a.account); err != nil {
					t.Error(err)
				}
				if get(t, db, string(a.key)) == nil {
					t.Errorf("%s is not there after Settle", a.key)
				}
			}
		})
	}
	for g := range loggers {
		senders.Go(func() {
			for i := range rounds / loggers {
				key := fmt.Appendf(nil, "%d/%d", g, i)
				if _, err := db.Log(t.Context(), Record{Accounts: []uint32{uint32(i % 7)}, Parts: []Part{{testKind, key}}}); err != nil {
					t.Error(err)
					return
				}
				asks <- ask{uint32(i % 7), key}
			}
		})
	}
	senders.Wait()
	close(asks)
	lookers.Wait()
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(db.committer.lag.debts); n != 0 || db.committer.unapplied.Load() != 0 || db.committer.lag.backlog != 0 {
		t.Fatalf("%d accounts with debts, %d records, %d octets", n, db.committer.unapplied.Load(), db.committer.lag.backlog)
	}
}

// TestPace: deliveries alone are applied together, a waiting client at once.
func TestPace(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir(), Pace: time.Hour, BacklogAge: 2 * time.Hour})
	defer db.Close()
	log := func(key string) {
		t.Helper()
		if _, err := db.Log(t.Context(), Record{Accounts: []uint32{1}, Parts: []Part{{testKind, []byte(key)}}}); err != nil {
			t.Fatal(err)
		}
	}
	log("0") // the first is not kept waiting
	if err := db.Settle(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	before := db.Counts().CommitSyncs
	for i := range 100 {
		log(fmt.Sprint("k", i))
	}
	if get(t, db, "k99") != nil {
		t.Error("applied before its time")
	}
	if err := db.Settle(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if n := db.Counts().CommitSyncs - before; n != 0 {
		t.Errorf("%d syncs for a reader of another account", n)
	}
	if err := db.Settle(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := db.Counts().CommitSyncs - before; n != 2 || get(t, db, "k99") == nil {
		t.Errorf("%d syncs of the tables for 100 deliveries", n)
	}
	log("u")
	if err := db.Update(t.Context(), func(tx *Tx) error {
		if tx.Get("m", []byte("u")) == nil {
			return errors.New("an update overtook a delivery")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestBacklog: the logger waits when the tables lag by more than the bound, and goes on afterwards.
func TestBacklog(t *testing.T) {
	gate, inside := make(chan struct{}), make(chan struct{})
	var once sync.Once
	o := Options{Dir: t.TempDir(), Backlog: 4000, BacklogAge: time.Hour}
	db := openTest(t, o)
	defer db.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		db.Update(context.Background(), func(*Tx) error { once.Do(func() { close(inside) }); <-gate; return nil })
	})
	<-inside
	done := make(chan int, 100)
	for i := range 40 {
		wg.Go(func() {
			if _, err := db.Log(context.Background(), Record{Parts: []Part{{testKind, fmt.Append(nil, i)}}}); err != nil {
				t.Error(err)
			}
			done <- i
		})
	}
	for {
		db.committer.mu.Lock()
		wanted, backlog := db.committer.lag.wanted, db.committer.lag.backlog
		db.committer.mu.Unlock()
		if wanted > 0 && backlog >= o.Backlog {
			break
		}
		if len(done) == 40 {
			break // all came in one batch: the bound is looked at between batches
		}
	}
	close(gate)
	wg.Wait()
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if get(t, db, fmt.Sprint(i)) == nil {
			t.Errorf("%d is not there", i)
		}
	}
}

// TestAppendAndStoreSyncs counts: a body and the update that shows it cost three syncs, a change of flags two.
func TestAppendAndStoreSyncs(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir(), Pace: time.Hour})
	defer db.Close()
	syncs := func() uint64 {
		c := db.Counts()
		return c.Log.Syncs + c.Log.BodySyncs + c.CommitSyncs
	}
	update := func(key string) {
		t.Helper()
		if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte(key), nil); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	before := syncs()
	if _, err := db.Keep(t.Context(), body(t, db, nil, []byte("a")), body(t, db, nil, []byte("b"))); err != nil {
		t.Fatal(err)
	}
	update("rows of both")
	if n := syncs() - before; n != 3 {
		t.Errorf("%d syncs to keep two bodies and show them", n)
	}
	before = syncs()
	update("flags")
	if n := syncs() - before; n != 2 {
		t.Errorf("%d syncs of an update", n)
	}
	before = syncs()
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Get("n", []byte("x")); return nil }); err != nil {
		t.Fatal(err)
	}
	if n := syncs() - before; n != 0 {
		t.Errorf("%d syncs of an update that wrote nothing", n)
	}
}

// TestKeep: bodies without parts are there to be referred to, after a restart too.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, Options{Dir: dir})
	big := bytes.Repeat([]byte("big"), 50000)
	entries, err := db.Keep(t.Context(), body(t, db, []byte("h1"), []byte("small")), body(t, db, []byte("h2"), big))
	if err != nil {
		t.Fatal(err)
	}
	if entries[0].Size != 5 || entries[1].Size != int64(len(big)) || entries[0].LSN >= entries[1].LSN || entries[1].Body == entries[1].LSN {
		t.Fatalf("%+v", entries)
	}
	for range 2 {
		if _, text := readAll(t, db, entries[0].Body); string(text) != "small" {
			t.Fatalf("%q", text)
		}
		if head, text := readAll(t, db, entries[1].Body); string(head) != "h2" || !bytes.Equal(text, big) {
			t.Fatalf("%q, %d octets", head, len(text))
		}
		db.Close()
		db = openTest(t, Options{Dir: dir})
	}
	db.Close()
}

func TestClosed(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir()})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := db.Log(t.Context(), Record{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := db.Update(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestNotStarted(t *testing.T) {
	db, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := db.Log(t.Context(), Record{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
