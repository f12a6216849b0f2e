package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// aDisk is a disk for the guard, and what the guard did.
type aDisk struct {
	mu     sync.Mutex // guards what follows, but slow
	disk   Disk
	broken error
	did    []string
	slow   chan struct{} // relief waits for it
	deaf   bool          // the postmaster cannot be told
}

func (a *aDisk) guard() *diskGuard {
	return &diskGuard{
		look: func() (Disk, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.disk, a.broken
		},
		lines: func(d Disk) (int64, int64) { return lines(d, 1000, 250) },
		tell: func(_ context.Context, d Disk, _ int64) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.deaf {
				return errors.New("no disk")
			}
			a.did = append(a.did, "tell")
			return nil
		},
		relieve: func(_ context.Context, need int64) {
			if a.slow != nil {
				<-a.slow
			}
			a.note(fmt.Sprint("relieve ", need))
		},
		refuse: func(full bool) { a.note(fmt.Sprint("refuse ", full)) },
		back:   func(context.Context) { a.note("back") },
		log:    slog.New(slog.DiscardHandler), gauge: metrics.New().Gauge("disk_state", "x"), every: diskEvery,
	}
}

func (a *aDisk) note(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.did = append(a.did, what)
}

// set changes the disk.
func (a *aDisk) set(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn()
}

// at sets the free space, lets the guard look, and compares what it did.
func (a *aDisk) at(t *testing.T, free int64, want ...string) {
	t.Helper()
	a.set(func() { a.disk.Free, a.did = free, nil })
	time.Sleep(diskEvery) // of the bubble
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if got := slices.Compact(slices.Clone(a.did)); !slices.Equal(got, want) {
		t.Errorf("at %d free: %q; want %q", free, got, want)
	}
}

func TestDiskGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &aDisk{disk: Disk{Free: 50_000, Size: 100_000}}
		ctx, stop := context.WithCancel(t.Context())
		g := a.guard()
		done := make(chan struct{})
		go func() { g.run(ctx); close(done) }()
		a.at(t, 1001)
		a.at(t, 999, "tell", "relieve 101")
		a.at(t, 1040, "relieve 60") // not far enough to be back
		a.at(t, 200, "refuse true", "relieve 900")
		a.at(t, 300, "relieve 800") // not far enough to take mail again
		a.set(func() { a.broken = errors.New("the disk is gone") })
		a.at(t, 10)
		a.set(func() { a.broken = nil })
		a.at(t, 320, "refuse false", "relieve 780")
		a.at(t, 1100, "back")
		a.at(t, 900, "tell", "relieve 200") // another episode
		a.at(t, 5000, "back")
		a.set(func() { a.deaf = true })
		a.at(t, 100, "refuse true", "relieve 1000")
		a.set(func() { a.deaf = false })
		a.at(t, 100, "relieve 1000")
		a.set(func() { a.did = nil })
		time.Sleep(diskTellAgain)
		synctest.Wait()
		a.mu.Lock()
		if !slices.Contains(a.did, "tell") {
			t.Error("the postmaster was not told when he could be")
		}
		a.mu.Unlock()
		a.at(t, 5000, "refuse false", "back")
		stop()
		<-done
	})
}

// While room is being made the guard goes on looking, and begins nothing twice.
func TestSlowRelief(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &aDisk{disk: Disk{Free: 50_000, Size: 100_000}, slow: make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.guard().run(ctx); close(done) }()
		a.at(t, 900, "tell")
		a.at(t, 100, "refuse true")
		close(a.slow)
		synctest.Wait()
		a.at(t, 5000, "refuse false", "back")
		stop()
		<-done
	})
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		disk      Disk
		low, stop int64
		wantLow   int64
		wantStop  int64
	}{
		{Disk{Size: 100 << 30}, 1 << 30, 256 << 20, 1 << 30, 256 << 20},
		{Disk{Size: 64 << 20}, 1 << 30, 256 << 20, 64 << 20 / 10, 64 << 20 / 33},
		{Disk{Size: 100 << 30}, 0, 0, 0, 0},
	} {
		if low, stop := lines(c.disk, c.low, c.stop); low != c.wantLow || stop != c.wantStop {
			t.Errorf("%+v: %d, %d; want %d, %d", c, low, stop, c.wantLow, c.wantStop)
		}
	}
}

// Kept mail is given up only for room that nothing else makes, and only when the disk gets it.
func TestRelief(t *testing.T) {
	for _, c := range []struct {
		name          string
		dead, kept    int64 // what compaction frees; what GiveUp adds to it
		held, noSpace bool  // segments are held; compaction has no room to copy
		want          []string
	}{
		{"dead is enough", 500, 5000, false, false, []string{"compact"}},
		{"some is missing", 60, 5000, false, false, []string{"compact", "give up 40", "compact"}},
		{"nothing is kept", 60, 0, false, false, []string{"compact", "give up 40", "drop"}},
		{"a backup holds all", 500, 5000, true, false, []string{"compact"}},
		{"no room to copy", 0, 5000, false, true, []string{"compact", "give up 100", "compact", "drop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var did []string
			free, dead := int64(1000), c.dead
			r := relief{
				free: func() (int64, error) { return free, nil },
				compact: func(context.Context) error {
					did = append(did, "compact")
					switch {
					case c.held:
						return fmt.Errorf("wait for the backup: %w", context.DeadlineExceeded)
					case c.noSpace:
						return errors.New("no space left on device")
					}
					free, dead = free+dead, 0
					return nil
				},
				giveUp: func(_ context.Context, n uint64) (uint64, error) {
					did = append(did, fmt.Sprint("give up ", n))
					given := min(int64(n), c.kept)
					dead += given
					return uint64(given), nil
				},
				dropBefore: func() bool { did = append(did, "drop"); return true },
			}
			if err := r.run(t.Context(), 100); (err != nil) != (c.held || c.noSpace) {
				t.Errorf("%v", err)
			}
			if !slices.Equal(did, c.want) {
				t.Errorf("did %q; want %q", did, c.want)
			}
		})
	}
}
