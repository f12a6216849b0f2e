package blob

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// salvaged is what Salvage tells.
type salvaged struct {
	mail, notes, broken []string
	holes               []Hole
}

func salvage(t testing.TB, fs vfs.FS) salvaged {
	t.Helper()
	l, err := Open(t.Context(), testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out salvaged
	_, err = l.Salvage(t.Context(), 0, func(f Found) error {
		switch {
		case f.Note != 0:
			out.notes = append(out.notes, string(f.Meta))
		case f.Broken != nil:
			out.broken = append(out.broken, string(f.Meta))
		default:
			out.mail = append(out.mail, string(f.Meta))
		}
		return nil
	}, func(h Hole) error { out.holes = append(out.holes, h); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestNotesRide: a note shares the fdatasync of the next batch, is not replayed, and is found by Salvage.
func TestNotesRide(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	if !l.Note(Journal, []byte("one,")) || !l.Note(Journal, []byte("two")) || !l.Note(Directory, []byte("dir")) {
		t.Fatal("a note was refused")
	}
	appendBody(t, l, "m", nil, []byte("text"))
	if c := l.Counts(); c.Syncs != 1 || c.Records != 1 || c.NoteSyncs != 0 {
		t.Fatalf("%+v", c)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if c := l.Counts(); c.NoteSyncs != 0 {
		t.Fatalf("everything was durable, and %d syncs more", c.NoteSyncs)
	}
	got := salvage(t, fs)
	if !slices.Equal(got.notes, []string{"one,two", "dir"}) || !slices.Equal(got.mail, []string{"m"}) || len(got.holes) > 0 {
		t.Fatalf("%+v", got)
	}
	l, seen := openLog(t, testOptions(fs))
	defer l.Close()
	if len(seen) != 1 {
		t.Fatalf("%d records are replayed", len(seen))
	}
}

// TestNotesAlone: without a batch a note is written within a second, not synced, and Close makes it durable.
func TestNotesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := memFS(t)
		l, _ := openLog(t, testOptions(fs))
		synctest.Wait()
		syncs := fs.Counts().Syncs
		for i := range 3 {
			l.Note(Journal, fmt.Append(nil, i))
			synctest.Wait()
		}
		if n := l.Counts().Bytes; n != 0 {
			t.Fatalf("%d octets at once", n)
		}
		<-time.After(noteWait) // of the bubble's clock
		synctest.Wait()
		if l.Counts().Bytes == 0 || fs.Counts().Syncs != syncs {
			t.Fatalf("after a second: %+v", l.Counts())
		}
		l.Note(Journal, []byte("last"))
		if err := l.Close(); err != nil || l.Counts().NoteSyncs != 1 {
			t.Fatal(err, l.Counts())
		}
		if got := salvage(t, fs.Crash(rand.New(rand.NewPCG(1, 1)))); !slices.Equal(got.notes, []string{"012", "last"}) {
			t.Fatalf("%q", got.notes)
		}
	})
}

// TestNotesNeverCount: whatever fails while notes are written, mail is taken, and what was told durable is found.
func TestNotesNeverCount(t *testing.T) {
	for n := 1; ; n++ {
		fs := memFS(t)
		var hit atomic.Bool
		o := testOptions(fs)
		o.SegmentSize = 4 << 10
		l, _ := openLog(t, o)
		first := fs.Counts().Ops
		fs.SetFail(func(op vfstest.Op) error {
			if op.N == first+n {
				hit.Store(true)
				return syscall.EIO
			}
			return nil
		})
		var acked, noted []string
		for i := range 12 {
			key := fmt.Sprint("m", i)
			l.Note(Journal, fmt.Appendf(nil, "[%d]", i))
			if i%3 == 0 {
				if l.SyncNotes(t.Context()) == nil {
					noted = append(noted, fmt.Sprintf("[%d]", i))
				}
			}
			b, err := newBody(l, nil, bytes.Repeat([]byte(key), 300), 1000)
			if err == nil {
				err = l.Append(t.Context(), &Item{Meta: []byte(key), Body: b})
			}
			if err == nil {
				acked = append(acked, key)
			} else if !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
		}
		l.Close()
		fs.SetFail(nil)
		fs = fs.Crash(rand.New(rand.NewPCG(uint64(n), 1)))
		got := salvage(t, fs)
		all := fmt.Sprint(got.notes)
		for _, s := range noted {
			if !bytes.Contains([]byte(all), []byte(s)) {
				t.Fatalf("operation %d: note %s was durable and is gone: %s", n, s, all)
			}
		}
		for _, key := range acked {
			if !slices.Contains(got.mail, key) {
				t.Fatalf("operation %d: %s was acknowledged and is gone", n, key)
			}
		}
		l, seen := openLog(t, testOptions(fs))
		for _, key := range acked {
			if !slices.ContainsFunc(seen, func(r Record) bool { return string(r.Meta) == key }) {
				t.Fatalf("operation %d: %s was acknowledged and is not replayed", n, key)
			}
		}
		l.Close()
		if !hit.Load() {
			if n < 20 {
				t.Fatalf("only %d operations", n)
			}
			return
		}
	}
}

// damagedFolder writes a log of several segments into a real folder and returns what stands in it, by segment.
func damagedFolder(t *testing.T) (o Options, keys map[string]LSN) {
	t.Helper()
	dir := t.TempDir()
	keys = map[string]LSN{}
	for life := range 3 {
		o = testOptions(vfs.OS{})
		o.Dir, o.SegmentSize, o.Plain = dir, 8<<10, true
		l, _ := openLog(t, o)
		for i := range 20 {
			key := fmt.Sprintf("%d.%d", life, i)
			l.Note(Journal, []byte("note "+key))
			keys[key] = appendBody(t, l, key, []byte("head"), bytes.Repeat([]byte("x"+key), 200)).LSN
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	numbers, err := List(o.FS, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range numbers {
		path := filepath.Join(dir, segmentName(n))
		if st, err := os.Stat(path); err == nil && st.Size() == 0 { // a spare
			os.Remove(path)
		}
	}
	return o, keys
}

// TestSalvageDamage damages one place after another: what does not stand there is found, and what is told is the place.
func TestSalvageDamage(t *testing.T) {
	o, keys := damagedFolder(t)
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	numbers, _ := l.Segments()
	l.Close()
	r := rand.New(rand.NewPCG(7, 7))
	for round := range 60 {
		number := numbers[r.IntN(len(numbers)-1)]
		path := filepath.Join(o.Dir, segmentName(number))
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(file)
		from := r.IntN(len(bad))
		to := min(len(bad), from+1+r.IntN(700))
		switch round % 3 {
		case 0:
			bad[from] ^= 1 << r.IntN(8)
			to = from + 1
		case 1:
			clear(bad[from:to])
		case 2:
			for i := from; i < to; i++ {
				bad[i] = byte(r.Uint32())
			}
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got := salvageFolder(t, o)
		for key, at := range keys {
			hit := at.Segment() == number && int64(to) > at.Offset() && int64(from) < at.Offset()+2000
			if found := slices.Contains(got.mail, key); !found && !hit {
				t.Errorf("round %d: %s at %s is gone; damaged was %x-%x of %08x", round, key, at, from, to, number)
			}
		}
		if len(got.mail) < len(keys) && len(got.broken) == 0 && len(got.holes) == 0 {
			t.Errorf("round %d: %d records are gone, and nothing is told", round, len(keys)-len(got.mail))
		}
		for _, h := range got.holes {
			if h.Segment != number || h.From > int64(to) || h.To < int64(from) {
				t.Errorf("round %d: %+v was not damaged, %x-%x of %08x was", round, h, from, to, number)
			}
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := salvageFolder(t, o); len(got.mail) != len(keys) || len(got.holes) > 0 {
		t.Fatalf("undamaged: %d of %d, %v", len(got.mail), len(keys), got.holes)
	}
}

func salvageFolder(t *testing.T, o Options) (out salvaged) {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = l.Salvage(t.Context(), 0, func(f Found) error {
		switch {
		case f.Note != 0:
		case f.Broken != nil:
			out.broken = append(out.broken, string(f.Meta))
		default:
			out.mail = append(out.mail, string(f.Meta))
		}
		return nil
	}, func(h Hole) error { out.holes = append(out.holes, h); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSalvageMissing: a segment that is gone is told, the newest ones included when the tables had reached them.
func TestSalvageMissing(t *testing.T) {
	for _, gone := range []int{1, 3, -1} {
		o, keys := damagedFolder(t)
		numbers, _ := List(vfs.OS{}, o.Dir)
		last := LSN(0)
		for _, at := range keys {
			last = max(last, at)
		}
		if gone < 0 {
			for _, n := range numbers {
				if n >= last.Segment() {
					os.Remove(filepath.Join(o.Dir, segmentName(n)))
				}
			}
		} else {
			os.Remove(filepath.Join(o.Dir, segmentName(numbers[gone])))
			last = lsn(numbers[0], segmentHeader)
		}
		l, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		holes := 0
		_, err = l.Salvage(t.Context(), last, func(Found) error { return nil }, func(Hole) error { holes++; return nil })
		l.Close()
		if err != nil || holes != 1 {
			t.Errorf("segment %d is gone: %d holes, %v", gone, holes, err)
		}
	}
}

// TestFindNotes: the notes are found without the store key, and the key proves to be the one.
func TestFindNotes(t *testing.T) {
	o, _ := damagedFolder(t)
	numbers, err := List(vfs.OS{}, o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, number := range numbers {
		_, err := FindNotes(vfs.OS{}, o.Dir, number, func(id Ident, kind NoteKind, meta []byte) error {
			n += bytes.Count(meta, []byte("note "))
			if id.UUID != o.UUID || !id.Of(o.Key) || id.Of([32]byte{9}) || kind != Journal {
				t.Errorf("segment %08x: %x", number, id.UUID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != 60 {
		t.Fatalf("%d notes", n)
	}
}
