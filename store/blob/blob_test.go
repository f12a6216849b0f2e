package blob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

const testDir = "/store/seg"

func memFS(t testing.TB) *vfstest.FS {
	t.Helper()
	m := vfstest.New()
	if err := m.MkdirAll(testDir, 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: testDir, UUID: [16]byte{1}, Key: [32]byte{2}}
}

// openLog replays from the beginning and starts.
func openLog(t testing.TB, o Options) (*Log, []Record) {
	t.Helper()
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var seen []Record
	if _, err := l.Replay(t.Context(), 0, func(r Record) error { seen = append(seen, r); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	return l, seen
}

func newBody(l *Log, head, text []byte, chunk int) (*Body, error) {
	w, err := l.NewBody(context.Background(), 0)
	if err != nil {
		return nil, err
	}
	for p := text; len(p) > 0; p = p[min(chunk, len(p)):] {
		if _, err := w.Write(p[:min(chunk, len(p))]); err != nil {
			w.Discard()
			return nil, err
		}
	}
	return w.Finish(head)
}

func appendBody(t testing.TB, l *Log, meta string, head, text []byte) *Item {
	t.Helper()
	b, err := newBody(l, head, text, 4096)
	if err != nil {
		t.Fatal(err)
	}
	it := &Item{Meta: []byte(meta), Body: b}
	if err := l.Append(t.Context(), it); err != nil {
		t.Fatal(err)
	}
	return it
}

func checkBody(l *Log, at LSN, head, text []byte) error {
	r, err := l.OpenBody(at)
	if err != nil {
		return err
	}
	defer r.Close()
	gotHead, err := r.Head()
	if err != nil {
		return err
	}
	got := make([]byte, r.Size()+1)
	n, err := r.ReadAt(got, 0)
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read whole: %d, %w", n, err)
	}
	if !bytes.Equal(gotHead, head) || !bytes.Equal(got[:n], text) {
		return fmt.Errorf("body %s: head of %d octets (want %d), text of %d (want %d)", at, len(gotHead), len(head), n, len(text))
	}
	return nil
}

// sample makes a text of n octets that compresses like mail.
func sample(r *rand.Rand, n int) []byte {
	words := []string{"posthouse delivers the mail\r\n", "once, and once only, whatever happens to the machine it runs on\r\n", "0x1f =C3=A9 "}
	b := append(make([]byte, 0, n+100), "From: a@b\r\nSubject: c\r\n\r\n"...)
	for len(b) < n {
		b = append(b, words[r.IntN(len(words))]...)
	}
	return b[:n]
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}).Read(b)
	return b
}

func TestBodies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	heads := [][]byte{nil, []byte("head"), sample(r, 3000), sample(r, 300<<10)}
	sizes := []int{0, 1, 3, 511, 512, 4096, 32 << 10, 32<<10 + 1, 64 << 10, 64<<10 + 1, 256 << 10, 256<<10 + 1, 1 << 20}
	for _, plain := range []bool{false, true} {
		for _, memory := range []int64{0, 1} {
			t.Run(fmt.Sprintf("plain=%v,memory=%d", plain, memory), func(t *testing.T) {
				o := testOptions(memFS(t))
				o.Plain, o.Memory = plain, memory
				l, _ := openLog(t, o)
				type stored struct {
					at         LSN
					head, text []byte
				}
				var all []stored
				for _, n := range sizes {
					for i, head := range heads {
						text := sample(r, n)
						if i == 1 {
							text = noise(r, n)
						}
						it := appendBody(t, l, "m", head, text)
						all = append(all, stored{it.Place, head, text})
					}
				}
				for _, s := range all {
					if err := checkBody(l, s.at, s.head, s.text); err != nil {
						t.Error(err)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if got := l.budget.left.Load(); got != l.o.Memory {
					t.Errorf("budget is %d at the end, %d at the start", got, l.o.Memory)
				}
				l, seen := openLog(t, o)
				defer l.Close()
				if len(seen) != len(all) {
					t.Fatalf("%d records after reopening, want %d", len(seen), len(all))
				}
				for i, s := range all {
					if seen[i].Place != s.at || seen[i].Size != int64(len(s.text)) || string(seen[i].Meta) != "m" {
						t.Errorf("record %d: %+v", i, seen[i])
					}
					if err := checkBody(l, s.at, s.head, s.text); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// What is put in front later stands in front, whether the body stayed in memory or went to a segment while it arrived.
func TestPrepend(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	front := []byte("X-Checked: yes\r\n")
	for _, memory := range []int64{0, 1} {
		o := testOptions(memFS(t))
		o.Memory = memory
		l, _ := openLog(t, o)
		for _, n := range []int{0, 1, 5000, 64 << 10, 64<<10 + 1, 300 << 10} {
			text := sample(r, n)
			w, err := l.NewBody(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := w.Prepend(front); err != nil {
				t.Fatal(err)
			}
			if err := w.Prepend(front); err == nil {
				t.Error("taken twice")
			}
			b, err := w.Finish([]byte("head"))
			if err != nil {
				t.Fatal(err)
			}
			it := &Item{Body: b}
			if err := l.Append(t.Context(), it); err != nil {
				t.Fatal(err)
			}
			if err := checkBody(l, it.Place, []byte("head"), append(bytes.Clone(front), text...)); err != nil || it.Size != int64(n+len(front)) {
				t.Errorf("memory %d, %d octets: %d, %v", memory, n, it.Size, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := l.budget.left.Load(); got != l.o.Memory {
			t.Errorf("budget is %d at the end, %d at the start", got, l.o.Memory)
		}
	}
	l, _ := openLog(t, testOptions(memFS(t)))
	defer l.Close()
	w, err := l.NewBody(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Prepend(make([]byte, maxFront+1)); err == nil {
		t.Error("more than its bound was taken")
	}
	w.Discard()
}

func TestReadAtPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	l, _ := openLog(t, testOptions(memFS(t)))
	defer l.Close()
	for _, n := range []int{100, 40 << 10, 600 << 10} {
		text := sample(r, n)
		it := appendBody(t, l, "", []byte("head"), text)
		b, err := l.OpenBody(it.Place)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d octets, %v", len(got), err)
		}
		for range 200 {
			off := r.IntN(n)
			p := make([]byte, 1+r.IntN(n-off))
			if m, err := b.ReadAt(p, int64(off)); m != len(p) || err != nil || !bytes.Equal(p, text[off:off+m]) {
				t.Fatalf("%d octets at %d: %d, %v", len(p), off, m, err)
			}
		}
		if _, err := b.ReadAt(make([]byte, 1), int64(n)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := b.ReadAt(make([]byte, 1), -1); err == nil {
			t.Fatal("read before the beginning")
		}
		b.Close()
		if _, err := b.ReadAt(make([]byte, 1), 0); err == nil {
			t.Fatal("read after Close")
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenBodyAtWrongPlace(t *testing.T) {
	l, _ := openLog(t, testOptions(memFS(t)))
	defer l.Close()
	it := appendBody(t, l, "meta", nil, []byte("hello"))
	none := &Item{Meta: []byte("no body")}
	if err := l.Append(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	for _, at := range []LSN{0, it.LSN + 8, it.LSN - 8, none.LSN, none.End, lsn(77, 64)} {
		if r, err := l.OpenBody(at); err == nil {
			r.Close()
			t.Errorf("opened %s", at)
		}
	}
}

func TestSyncsAreCounted(t *testing.T) {
	l, _ := openLog(t, testOptions(memFS(t)))
	defer l.Close()
	for i, size := range []int{100, memoryBody, memoryBody + 1} {
		before := l.Counts()
		appendBody(t, l, "", nil, make([]byte, size))
		after := l.Counts()
		wantBody := uint64(0)
		if size > memoryBody {
			wantBody = 1
		}
		if after.Syncs-before.Syncs != 1 || after.Batches-before.Batches != 1 || after.BodySyncs-before.BodySyncs != wantBody {
			t.Errorf("body %d: %+v after %+v", i, after, before)
		}
	}
}

func TestOneBatchForAllThatWait(t *testing.T) {
	o := testOptions(memFS(t))
	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	o.Admit = func() error { entered <- struct{}{}; <-gate; return nil }
	l, _ := openLog(t, o)
	defer l.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := l.Append(context.Background(), &Item{Meta: fmt.Append(nil, i)}); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	for n := 0; n < 50; {
		l.queue.mu.Lock()
		n = len(l.queue.list)
		l.queue.mu.Unlock()
	}
	close(gate)
	wg.Wait()
	if c := l.Counts(); c.Batches != 1 || c.Syncs != 1 || c.Records != 50 {
		t.Fatalf("%+v", c)
	}
}

func TestAbandonedAppend(t *testing.T) {
	o := testOptions(memFS(t))
	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	o.Admit = func() error { entered <- struct{}{}; <-gate; return nil }
	l, _ := openLog(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	b, err := newBody(l, nil, make([]byte, 100<<10), 4096)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- l.Append(ctx, &Item{Meta: []byte("gone"), Body: b}) }()
	<-entered
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), &Item{Body: b}); !errors.Is(err, ErrUsed) {
		t.Fatal(err)
	}
	close(gate)
	if err := l.Append(t.Context(), &Item{Meta: []byte("here")}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := l.Append(t.Context(), &Item{}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	o.Admit = nil
	l, seen := openLog(t, o)
	defer l.Close()
	if len(seen) != 1 || string(seen[0].Meta) != "here" {
		t.Fatalf("%+v", seen)
	}
	if numbers, _ := l.Segments(); len(numbers) != 2+spareFloor { // one spare of the run before remembers its highest number
		t.Fatalf("segments %v: that of the abandoned body should be gone", numbers)
	}
}

func TestReaderOutlivesDrop(t *testing.T) {
	dir := t.TempDir()
	l, _ := openLog(t, Options{Dir: dir, UUID: [16]byte{1}})
	defer l.Close()
	text := bytes.Repeat([]byte("x"), 100<<10)
	it := appendBody(t, l, "", nil, text)
	r, err := l.OpenBody(it.Place)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Drop(it.Place.Segment()); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := r.ReadAt(got, 0); n != len(text) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(n, err)
	}
	r.Close()
	if _, err := l.OpenBody(it.Place); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestManyReaders(t *testing.T) {
	l, _ := openLog(t, testOptions(memFS(t)))
	defer l.Close()
	var at []LSN
	text := bytes.Repeat([]byte("y"), 70<<10)
	for range idleFiles + 20 {
		at = append(at, appendBody(t, l, "", nil, text).Place)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, a := range at {
				if err := checkBody(l, a, nil, text); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l.segments.mu.Lock()
	defer l.segments.mu.Unlock()
	if n := l.segments.idle.Len(); n > idleFiles {
		t.Fatalf("%d idle files", n)
	}
}

func TestNumbersRunOut(t *testing.T) {
	l, _ := openLog(t, testOptions(memFS(t)))
	defer l.Close()
	l.spares.mu.Lock()
	l.spares.next = math.MaxUint32
	l.spares.remove(l.spares.ready)
	l.spares.ready = nil
	l.spares.mu.Unlock()
	if err := l.Append(t.Context(), &Item{}); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Fatal(err)
	}
}

func TestForeignSegments(t *testing.T) {
	m := memFS(t)
	l, _ := openLog(t, testOptions(m))
	appendBody(t, l, "", nil, []byte("x"))
	l.Close()
	o := testOptions(m)
	o.UUID = [16]byte{9}
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Replay(t.Context(), 0, func(Record) error { return nil }); !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
}

// digest makes a number of a key, so that its body can be made again for the comparison.
func digest(key string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return h.Sum64()
}

// TestCompression: text shrinks, and so does base64, which has nothing but its alphabet to give; what does not shrink by a tenth stays as it is.
func TestCompression(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	random := noise(r, 60<<10)
	for name, c := range map[string]struct {
		text     []byte
		atMost   float64
		methods  byte
		segments bool
	}{
		"text":   {sample(r, 60<<10), 0.3, methodPacked, false},
		"base64": {[]byte(base64.StdEncoding.EncodeToString(random[:45<<10])), 0.76, methodPacked, false},
		"noise":  {random, 1, methodPlain, false},
		"short":  {sample(r, compressAt-1), 1, methodPlain, false},
		"large":  {sample(r, 900<<10), 0.3, methodPacked, true},
	} {
		l, _ := openLog(t, testOptions(memFS(t)))
		it := appendBody(t, l, "", nil, c.text)
		rd, err := l.OpenBody(it.Place)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(rd.h.stored) / float64(len(c.text)); got > c.atMost {
			t.Errorf("%s: %.2f of its size", name, got)
		}
		for i, f := range rd.frames {
			if f.method != c.methods && f.raw > compressAt {
				t.Errorf("%s: frame %d of %d octets has method %d", name, i, f.raw, f.method)
			}
			if f.raw > frameMax {
				t.Errorf("%s: frame %d has %d octets", name, i, f.raw)
			}
		}
		if large := it.Place != it.LSN; large != c.segments {
			t.Errorf("%s: in a segment of its own: %v", name, large)
		}
		rd.Close()
		l.Close()
	}
}

// TestHeadInItsOwnFrame: head and header block of a longer body can be read without the rest.
func TestHeadInItsOwnFrame(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	for _, n := range []int{splitOver + 1, headerWithin, memoryBody, memoryBody + 1, 1 << 20} {
		l, _ := openLog(t, testOptions(memFS(t)))
		text := sample(r, n)
		it := appendBody(t, l, "", []byte("head"), text)
		rd, err := l.OpenBody(it.Place)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := int(rd.frames[0].raw), len("head")+headerBlock(text); got != want {
			t.Errorf("%d octets: first frame has %d, want %d", n, got, want)
		}
		rd.Close()
		l.Close()
	}
}
