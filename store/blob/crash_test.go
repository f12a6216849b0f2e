package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// model is what clients know: which keys were answered ok, and which a start has found.
type model struct {
	mu    sync.Mutex
	asked map[string]bool
	acked map[string]bool
	found map[string]bool
}

func newModel() *model {
	return &model{asked: map[string]bool{}, acked: map[string]bool{}, found: map[string]bool{}}
}

func textOf(key string) []byte {
	r := rand.New(rand.NewPCG(digest(key), 1))
	switch n := r.IntN(20); {
	case n == 0:
		return sample(r, memoryBody+r.IntN(40<<10))
	case n < 10:
		return sample(r, r.IntN(300))
	default:
		return noise(r, r.IntN(9000))
	}
}

// work logs from several goroutines until all have done their share or failed three times.
func (m *model) work(l *Log, life string, each int) {
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			failed := 0
			for i := range each {
				key := fmt.Sprintf("%s/%d/%d", life, g, i)
				m.mu.Lock()
				m.asked[key] = true
				m.mu.Unlock()
				b, err := newBody(l, []byte(key), textOf(key), 3000)
				if err == nil {
					err = l.Append(context.Background(), &Item{Meta: []byte(key), Body: b})
				}
				if err != nil {
					if failed++; failed == 3 {
						return
					}
					continue
				}
				m.mu.Lock()
				m.acked[key] = true
				m.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// start opens the log as after a crash and compares what it holds with what clients know.
func (m *model) start(t *testing.T, o Options) (*Log, error) {
	l, err := Open(t.Context(), o)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	known := map[uint32]bool{}
	var records []Record
	_, err = l.Replay(t.Context(), 0, func(r Record) error {
		count[string(r.Meta)]++
		known[r.LSN.Segment()], known[r.Place.Segment()] = true, true
		records = append(records, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := l.RemoveStray(func(n uint32) bool { return known[n] }); err != nil {
		return nil, err
	}
	for key, n := range count {
		if n > 1 {
			t.Errorf("%s is there %d times", key, n)
		}
		if !m.asked[key] {
			t.Errorf("%q was never sent", key)
		}
	}
	for key := range m.acked {
		if count[key] == 0 {
			t.Errorf("%s was acknowledged and is gone", key)
		}
	}
	for key := range m.found {
		if count[key] == 0 {
			t.Errorf("%s was found by an earlier start and is gone", key)
		}
	}
	for i, r := range records {
		m.found[string(r.Meta)] = true
		if err := checkBody(l, r.Place, r.Meta, textOf(string(r.Meta))); errors.Is(err, vfstest.ErrPower) || errors.Is(err, syscall.EIO) {
			return nil, err
		} else if err != nil {
			t.Errorf("record %d, %q: %v", i, r.Meta, err)
		}
	}
	return l, l.Start()
}

func crashOptions(fs *vfstest.FS, r *rand.Rand) Options {
	o := testOptions(fs)
	o.Plain = r.IntN(4) > 0
	o.SegmentSize = 40 << 10
	if r.IntN(3) == 0 {
		o.Memory = 20 << 10
	}
	return o
}

// TestPowerLoss kills the process or cuts the power at a random operation, several times in the life of a store.
func TestPowerLoss(t *testing.T) {
	const rounds = 200
	cut := 0
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 42))
		m, fs := newModel(), memFS(t)
		for life := range 4 {
			last := life == 3
			if !last {
				at := 1 + r.IntN(150)
				fs.SetFail(func(op vfstest.Op) error {
					if op.N >= at {
						return vfstest.ErrPower
					}
					return nil
				})
			}
			l, err := m.start(t, crashOptions(fs, r))
			if err == nil {
				m.work(l, fmt.Sprint(life), 12)
				l.Close()
			} else if last || !errors.Is(err, vfstest.ErrPower) {
				t.Fatalf("round %d, life %d: %v", seed, life, err)
			}
			if t.Failed() {
				t.Fatalf("round %d, life %d", seed, life)
			}
			if fs.Counts().Ops > 0 && !last {
				cut++
			}
			if r.IntN(3) == 0 {
				fs = fs.Kill() // the power goes out later
			} else {
				fs = fs.Crash(r)
			}
		}
	}
	if cut < rounds {
		t.Fatalf("the power went out %d times only", cut)
	}
}

// TestEveryOperationFails makes the n-th operation fail for n = 1, 2, 3 and so on until one run meets none, each time with
// an ordinary end, and with a power cut at the end.
func TestEveryOperationFails(t *testing.T) {
	for _, power := range []bool{false, true} {
		everyOperationFails(t, power, syscall.EIO)
		everyOperationFails(t, power, syscall.ENOSPC)
	}
}

func everyOperationFails(t *testing.T, power bool, cause error) {
	t.Run(fmt.Sprintf("power=%v %v", power, cause), func(t *testing.T) {
		for n := 1; ; n++ {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			m, fs := newModel(), memFS(t)
			var hit atomic.Bool
			fs.SetFail(func(op vfstest.Op) error {
				if op.N == n {
					hit.Store(true)
					return cause
				}
				return nil
			})
			o := crashOptions(fs, r)
			l, err := m.start(t, o)
			if err == nil {
				m.work(l, "a", 12)
				l.Close()
				if got := l.budget.left.Load(); got != l.o.Memory {
					t.Errorf("budget is %d at the end, %d at the start", got, l.o.Memory)
				}
				if open := fs.Counts().Open; open != 0 {
					t.Errorf("%d files are open at the end", open)
				}
			}
			fs.SetFail(nil)
			if power {
				fs = fs.Crash(r)
				o.FS = fs
			}
			for _, life := range []string{"b", "c"} {
				l, err = m.start(t, o)
				if err != nil {
					t.Fatalf("operation %d: %v", n, err)
				}
				m.work(l, life, 2)
				l.Close()
			}
			if t.Failed() {
				t.Fatalf("operation %d", n)
			}
			if !hit.Load() {
				if n < 50 {
					t.Fatalf("only %d operations", n)
				}
				return
			}
		}
	})
}

// TestFailedSync: the batch gets the error, the segment is left, the sync is not tried again, the next batch succeeds.
func TestFailedSync(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	first := appendBody(t, l, "first", nil, []byte("1"))
	syncs := 0
	fs.SetFail(func(op vfstest.Op) error {
		if op.Kind == "sync" {
			if syncs++; syncs == 1 {
				return syscall.EIO
			}
		}
		return nil
	})
	err := l.Append(t.Context(), &Item{Meta: []byte("lost")})
	if !errors.Is(err, syscall.EIO) || syncs != 1 {
		t.Fatalf("%v after %d syncs", err, syncs)
	}
	next := appendBody(t, l, "next", nil, []byte("2"))
	if next.LSN.Segment() <= first.LSN.Segment() {
		t.Fatalf("%s is written behind the failed sync of %s", next.LSN, first.LSN)
	}
	if c := l.Counts(); c.FailedBatch != 1 {
		t.Fatalf("%+v", c)
	}
	l.Close()
	l, seen := openLog(t, testOptions(fs))
	defer l.Close()
	if len(seen) != 2 || string(seen[0].Meta) != "first" || string(seen[1].Meta) != "next" {
		t.Fatalf("%+v", seen)
	}
}

// TestFullDisk: an error while the disk is full, no segment left behind for each try, work again when there is room.
func TestFullDisk(t *testing.T) {
	fs := memFS(t)
	o := testOptions(fs)
	o.Floor, o.Plain = 64<<10, true
	l, _ := openLog(t, o)
	defer l.Close()
	fs.SetCapacity(1 << 20)
	l.room.left = 0
	acked := 0
	var err error
	for err == nil && acked < 1000 {
		var b *Body
		size := []int{1000, 30000, 100 << 10}[acked%3]
		if b, err = newBody(l, nil, bytes.Repeat([]byte("z"), size), 4096); err == nil {
			err = l.Append(t.Context(), &Item{Meta: []byte("m"), Body: b})
		}
		acked++
	}
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	before, _ := l.Segments()
	for range 50 {
		b, err := newBody(l, nil, bytes.Repeat([]byte("z"), 200<<10), 4096)
		if err == nil {
			err = l.Append(t.Context(), &Item{Body: b})
		}
		if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if after, _ := l.Segments(); len(after) > len(before)+spareFill {
		t.Fatalf("%d segments after 50 tries, %d before", len(after), len(before))
	}
	if free, _ := fs.Free(testDir); free < o.Floor {
		t.Fatalf("%d octets free, %d belong to the tables", free, o.Floor)
	}
	fs.SetCapacity(0)
	appendBody(t, l, "again", nil, []byte("x"))
}
