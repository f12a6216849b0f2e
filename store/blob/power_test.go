package blob

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// TestLostPages: a sync fails, the process ends before a new segment says so, the next run reads the record from memory that the
// disk never got, and builds on it. When the power goes out then, the record is still there.
func TestLostPages(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		fs := memFS(t)
		l, _ := openLog(t, testOptions(fs))
		want := 1
		if !fresh { // the batch whose sync fails is not the first of its segment
			appendBody(t, l, "before", nil, []byte("1"))
			want = 2
		}
		fs.SetFail(func(op vfstest.Op) error {
			if op.Kind == "sync" {
				return syscall.EIO
			}
			return nil
		})
		if err := l.Append(t.Context(), &Item{Meta: []byte("late")}); err == nil {
			t.Fatal("the sync did not fail")
		}
		fs.SetFail(nil)
		fs = fs.Kill()
		l, seen := openLog(t, testOptions(fs))
		if len(seen) != want && len(seen) != want-1 { // it was not answered: both are right
			t.Fatalf("fresh %v: %d records", fresh, len(seen))
		}
		next := appendBody(t, l, "next", nil, []byte("2"))
		fs = fs.Crash(rand.New(rand.NewPCG(1, 1)))
		l, after := openLog(t, testOptions(fs))
		if len(after) != len(seen)+1 || after[len(seen)].LSN != next.LSN {
			t.Fatalf("fresh %v: %d records before the power went out, %d and one more after", fresh, len(seen), len(after))
		}
		l.Close()
	}
}
