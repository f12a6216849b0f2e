package kv

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// TestCompactionWithoutTables: a round does not wait for tables that cannot be written; on a full disk the house frees space by other
// means only when the round is over.
func TestCompactionWithoutTables(t *testing.T) {
	for _, cause := range []error{fmt.Errorf("%w: %w", errFatal, syscall.EIO), fmt.Errorf("commit: %w", ErrFull)} {
		synctest.Test(t, func(t *testing.T) {
			var failing atomic.Bool
			o := newOffice(t, Options{Memory: true, FS: vfstest.New(), CompactShare: 1, Backlog: 8000, Reserve: -1, wrap: func(e engine) engine {
				return &failingEngine{e, func() error {
					if failing.Load() {
						return cause
					}
					return nil
				}}
			}})
			o.must(o.deliver("first", nil))
			o.must(o.db.SettleAll(t.Context()))
			release := o.db.Hold() // a backup reads: the round waits in its middle
			done := make(chan error, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			go func() {
				_, err := o.db.Compact(ctx, true)
				done <- err
			}()
			synctest.Wait()
			failing.Store(true)
			for i, laden := 0, false; !laden; i++ {
				o.must(o.deliver(fmt.Sprint(i), nil))
				laden, _ = o.db.committer.laden()
			}
			release()
			if err := <-done; !errors.Is(err, ErrFull) && !errors.Is(err, ErrClosed) {
				t.Errorf("%v: %v", cause, err)
			}
			failing.Store(false)
			o.db.Close()
		})
	}
}
