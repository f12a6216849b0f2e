package blob

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// written makes a log of n batches of one record each and returns its segment's octets.
func written(t testing.TB, n int) (file []byte, items []*Item) {
	t.Helper()
	m := memFS(t)
	o := testOptions(m)
	o.Plain = true
	l, _ := openLog(t, o)
	for i := range n {
		items = append(items, appendBody(t, l, fmt.Sprint("meta", i), []byte("head"), fmt.Append(nil, "text", i)))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return fileBytes(t, m, segmentName(1)), items
}

func fileBytes(t testing.TB, m vfs.FS, name string) []byte {
	t.Helper()
	f, err := m.OpenFile(filepath.Join(testDir, name), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size)
	if n, _ := f.ReadAt(p, 0); n != len(p) {
		t.Fatal(n)
	}
	return p
}

func put(t testing.TB, m vfs.FS, number uint32, content []byte) {
	t.Helper()
	f, err := m.OpenFile(filepath.Join(testDir, segmentName(number)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
}

// replay reads the files as a log.
func replay(t testing.TB, from LSN, files map[uint32][]byte) ([]Record, error) {
	t.Helper()
	m := memFS(t)
	for n, content := range files {
		put(t, m, n, content)
	}
	l, err := Open(context.Background(), testOptions(m))
	if err != nil {
		t.Fatal(err)
	}
	var seen []Record
	_, err = l.Replay(context.Background(), from, func(r Record) error { seen = append(seen, r); return nil })
	return seen, err
}

// TestEveryBitOfALogMatters damages each octet of a log of four batches: all but the last batch are known to be durable, so that damage to
// them must be reported, and damage to the last one may only end the log before it.
func TestEveryBitOfALogMatters(t *testing.T) {
	file, items := written(t, 4)
	last := items[3].LSN.Offset()
	for i := range file {
		bad := slices.Clone(file)
		bad[i] ^= 1 << (i % 8)
		seen, err := replay(t, 0, map[uint32][]byte{1: bad})
		switch {
		case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign):
			t.Fatalf("octet %d: %v", i, err)
		case err != nil && int64(i) >= last:
			t.Fatalf("octet %d, of the last batch: %v", i, err)
		case err == nil && int64(i) < last && len(seen) != 4:
			t.Fatalf("octet %d: %d records and no error", i, len(seen))
		case err == nil && int64(i) >= last && len(seen) < 3:
			t.Fatalf("octet %d: %d records", i, len(seen))
		}
		for k, r := range seen {
			if string(r.Meta) != fmt.Sprint("meta", k) || r.LSN != items[k].LSN {
				t.Fatalf("octet %d: record %d is %+v", i, k, r)
			}
		}
	}
}

// TestTornTails: whatever stands behind the last record, and wherever the last batch is cut, the log is the same.
func TestTornTails(t *testing.T) {
	file, items := written(t, 3)
	end := items[2].End.Offset()
	tails := map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 5000), "garbage": []byte("garbage that is no record at all ......................................................................"),
		"an old record": file[items[0].LSN.Offset():items[1].LSN.Offset()], "the whole log again": file,
		"half a record": file[items[0].LSN.Offset() : items[0].LSN.Offset()+70],
	}
	for name, tail := range tails {
		seen, err := replay(t, 0, map[uint32][]byte{1: append(slices.Clone(file[:end]), tail...)})
		if err != nil || len(seen) != 3 {
			t.Errorf("%s: %d records, %v", name, len(seen), err)
		}
	}
	for cut := items[2].LSN.Offset(); cut < end; cut++ {
		seen, err := replay(t, 0, map[uint32][]byte{1: file[:cut]})
		want := 2
		if cut > items[2].LSN.Offset()+recordHeader+int64(len("meta2"))+frameEntry+int64(len("headtext2"))-1 {
			want = 3 // padding is not needed
		}
		if err != nil || len(seen) != want && len(seen) != 2 {
			t.Fatalf("cut at %d: %d records, %v", cut, len(seen), err)
		}
	}
}

func TestReplayFrom(t *testing.T) {
	m := memFS(t)
	o := testOptions(m)
	o.SegmentSize = 600
	var items []*Item
	for range 3 {
		l, _ := openLog(t, o)
		for i := range 10 {
			items = append(items, appendBody(t, l, fmt.Sprint(i), nil, []byte("text")))
		}
		l.Close()
	}
	numbers := map[uint32][]byte{}
	for _, it := range items {
		n := it.LSN.Segment()
		numbers[n] = fileBytes(t, m, segmentName(n))
	}
	if len(numbers) < 6 {
		t.Fatalf("only %d segments", len(numbers))
	}
	for i, it := range items {
		seen, err := replay(t, it.LSN, numbers)
		if err != nil || len(seen) != len(items)-i || seen[0].LSN != it.LSN {
			t.Fatalf("from %s: %d records, %v", it.LSN, len(seen), err)
		}
		seen, err = replay(t, it.End, numbers)
		if err != nil || len(seen) != len(items)-i-1 {
			t.Fatalf("from the end of %s: %d records, %v", it.LSN, len(seen), err)
		}
	}
	last := items[len(items)-1]
	missing := func(gone func(n uint32) bool) map[uint32][]byte {
		out := map[uint32][]byte{}
		for n, f := range numbers {
			if !gone(n) {
				out[n] = f
			}
		}
		return out
	}
	cases := []struct {
		name  string
		from  LSN
		files map[uint32][]byte
		ok    bool
	}{
		{"old segments are gone", last.LSN, missing(func(n uint32) bool { return n < last.LSN.Segment() }), true},
		{"the first is gone and needed", 0, missing(func(n uint32) bool { return n == items[0].LSN.Segment() }), false},
		{"one in the middle is gone", items[0].LSN, missing(func(n uint32) bool { return n == items[15].LSN.Segment() }), false},
		{"all are gone", last.LSN, nil, false},
		{"the newest are gone", last.LSN, missing(func(n uint32) bool { return n >= last.LSN.Segment() }), false},
		{"tables ahead of the log", last.End + 64, numbers, false},
		{"nothing at all", 0, nil, true},
	}
	for _, c := range cases {
		_, err := replay(t, c.from, c.files)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestSuccessorNamesTheEnd: what stands behind the end that the next segment names does not count, even when it is a good record.
func TestSuccessorNamesTheEnd(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	appendBody(t, l, "a", nil, []byte("1"))
	fs.SetFail(func(op vfstest.Op) error {
		if op.Kind == "sync" {
			return syscall.EIO
		}
		return nil
	})
	b, err := newBody(l, nil, []byte("2"), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), &Item{Meta: []byte("failed"), Body: b}); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fs.SetFail(nil)
	whole := fs.Kill() // before a successor: the record may count, once
	_, seen := openLog(t, testOptions(whole))
	if len(seen) != 2 {
		t.Fatalf("%d records before there is a successor", len(seen))
	}
}

// TestBodyOfAFailedBatch: a record whose sync failed may be found by the next start, so its large body must be there until
// a later segment says that the record does not count.
func TestBodyOfAFailedBatch(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	appendBody(t, l, "a", nil, []byte("1"))
	text := make([]byte, 100<<10)
	b, err := newBody(l, nil, text, 10000)
	if err != nil {
		t.Fatal(err)
	}
	place := b.place
	failing := true
	fs.SetFail(func(op vfstest.Op) error {
		if op.Kind == "sync" && failing {
			return syscall.EIO
		}
		return nil
	})
	if err := l.Append(t.Context(), &Item{Meta: []byte("failed"), Body: b}); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	failing = false
	if err := checkBody(l, place, nil, text); err != nil {
		t.Fatal(err)
	}
	appendBody(t, l, "b", nil, []byte("2"))
	if err := checkBody(l, place, nil, text); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the body of a record that does not count: %v", err)
	}
	l.Close()
	l, seen := openLog(t, testOptions(fs))
	defer l.Close()
	if len(seen) != 2 || string(seen[1].Meta) != "b" {
		t.Fatalf("%+v", seen)
	}
}

func TestRemoveStray(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	kept := appendBody(t, l, "kept", nil, make([]byte, 100<<10))
	if _, err := newBody(l, nil, make([]byte, 100<<10), 1000); err != nil { // finished, never logged
		t.Fatal(err)
	}
	w, err := l.NewBody(t.Context(), 0) // never finished
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 400<<10))
	after := fs.Kill()
	l, err = Open(t.Context(), testOptions(after))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Replay(t.Context(), 0, func(Record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := l.RemoveStray(func(n uint32) bool { return n == kept.Place.Segment() }); err != nil {
		t.Fatal(err)
	}
	numbers, err := l.Segments()
	if size, err := l.FileSize(numbers[len(numbers)-1]); err != nil || size > 0 { // a spare remembers the highest number
		t.Fatal(numbers, size, err)
	}
	if err != nil || len(numbers) != 3 || !slices.Contains(numbers, kept.Place.Segment()) || !slices.Contains(numbers, kept.LSN.Segment()) {
		t.Fatal(numbers, err)
	}
}

// FuzzReplay reads arbitrary octets as the only log segment, with good checksums in its seeds: never a panic, never a record that was not
// written, memory bounded by the file.
func FuzzReplay(f *testing.F) {
	file, items := written(f, 3)
	f.Add(file)
	f.Add(file[:items[2].LSN.Offset()+10])
	f.Add(append(slices.Clone(file), make([]byte, 100)...))
	f.Add(append(slices.Clone(file), file...))
	f.Add([]byte{})
	f.Add([]byte(segmentMagic))
	long := slices.Clone(file)
	copy(long[segmentHeader+8:], []byte{0xff, 0xff, 0xff, 0xff}) // length of meta
	f.Add(long)
	f.Fuzz(func(t *testing.T, content []byte) {
		seen, err := replay(t, 0, map[uint32][]byte{1: content})
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
		for _, r := range seen {
			if len(r.Meta) > len(content) || r.LSN.Segment() != 1 {
				t.Fatalf("%+v", r)
			}
		}
	})
}

// FuzzRecord gives the decoder records whose checksums are right and whose numbers are not.
func FuzzRecord(f *testing.F) {
	f.Add(byte(1), byte(0), byte(0), uint32(4), uint32(1), uint32(1), uint64(5), uint64(5), []byte("metaxxxxxxxxxxxxxxxxhello"))
	f.Add(byte(1), flagLate, byte(1), uint32(0), uint32(1<<31), uint32(1<<31), uint64(1<<63), uint64(1<<62), []byte{})
	f.Add(byte(1), flagElsewhere, byte(0), uint32(16), uint32(0), uint32(0), uint64(0), uint64(0), make([]byte, 16))
	f.Add(byte(9), byte(255), byte(255), uint32(1<<24), uint32(7), uint32(3), uint64(9), uint64(9), make([]byte, 200))
	m := memFS(f)
	l, err := Open(context.Background(), testOptions(m))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind, flags, lead byte, meta, head, frames uint32, stored, raw uint64, rest []byte) {
		seed := l.segments.secrets.segment(1)
		h := header{kind: kind, flags: flags, lead: lead, meta: meta, head: head, frames: frames, stored: stored, raw: raw, at: lsn(1, segmentHeader)}
		table := rest[min(len(rest), int(meta&0xffff)):]
		h.bcrc = checksum(seed, table[:min(len(table), int(frames&0xff)*frameEntry)])
		p := make([]byte, recordHeader)
		h.put(p)
		putCRC(p, headerCRC(p, rest[:min(len(rest), int(meta&0xffff))], seed))
		file := append(prologue{kind: segmentLog, number: 1}.bytes([16]byte{1}, seed), p...)
		file = append(file, rest...)
		if _, err := replay(t, 0, map[uint32][]byte{1: file}); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Fatal(err)
		}
		put(t, m, 1, file)
		r, err := l.OpenBody(lsn(1, segmentHeader))
		if err != nil {
			return
		}
		defer r.Close()
		r.Head()
		r.ReadAt(make([]byte, 100), 0)
	})
}
