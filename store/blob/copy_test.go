package blob

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCopy: bodies of every form come out of a copy as they went in, and out of a copy of the copy, which knows both places.
func TestCopy(t *testing.T) {
	o := Options{Dir: t.TempDir(), UUID: [16]byte{1}, Key: [32]byte{2}}
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var texts [][]byte
	var places []LSN
	for _, n := range []int{0, 1, 511, 4000, 33_000, 65_536, 65_537, 700_000} {
		text := bytes.Repeat([]byte("Subject: copy\r\n\r\nwords, and words again\r\n"), n/40+1)[:n]
		texts = append(texts, text)
		places = append(places, appendBody(t, l, "meta", []byte(fmt.Sprint("head ", n)), text).Place)
	}
	births := slices.Clone(places)
	for generation := range 3 {
		c, err := l.NewCopy()
		if err != nil {
			t.Fatal(err)
		}
		for i := range places {
			if places[i], err = c.Add(places[i]); err != nil {
				t.Fatal(err)
			}
		}
		usage, number := c.Usage(), c.Number()
		if err := c.Finish(); err != nil {
			t.Fatal(err)
		}
		if measured, err := l.Measure(number); err != nil || measured != usage {
			t.Errorf("measured %+v, %v; the copy says %+v", measured, err, usage)
		}
		if isLog, err := l.IsLog(number); isLog || err != nil {
			t.Errorf("a copy is a log: %v, %v", isLog, err)
		}
		for i, text := range texts {
			r, err := l.OpenBody(places[i])
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, r.Size())
			n, _ := r.ReadAt(got, 0)
			head, err := r.Head()
			if n != len(text) || !bytes.Equal(got, text) || err != nil || string(head) != fmt.Sprint("head ", len(text)) {
				t.Errorf("generation %d: %d octets have another text, or the head %q", generation, len(text), head)
			}
			r.Close()
			before := formerPlaces(t, l, places[i])
			if len(before) != generation+1 || before[0] != births[i] {
				t.Errorf("generation %d: places before: %v, birth %s", generation, before, births[i])
			}
		}
	}
}

// formerPlaces is the meta of a copied record.
func formerPlaces(t *testing.T, l *Log, at LSN) (out []LSN) {
	t.Helper()
	g, err := l.segments.hold(at.Segment())
	if err != nil {
		t.Fatal(err)
	}
	defer l.segments.release(g)
	s, err := l.scan(g, 0)
	if err != nil {
		t.Fatal(err)
	}
	h, meta, err := s.head(at.Offset())
	if err != nil || h.kind != recordCopy {
		t.Fatal(h.kind, err)
	}
	for ; len(meta) >= 8; meta = meta[8:] {
		out = append(out, LSN(binary.BigEndian.Uint64(meta)))
	}
	return out
}

// TestCopyOfDamage: a body that does not read back as it was written is refused, and the copy is good for its neighbours.
func TestCopyOfDamage(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(t.Context(), Options{Dir: dir, UUID: [16]byte{1}, Key: [32]byte{2}, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var places []LSN
	for i := range 6 {
		places = append(places, appendBody(t, l, "m", nil, fmt.Appendf(nil, "%d%01000d", i, i)).Place)
	}
	f, err := os.OpenFile(filepath.Join(dir, segmentName(places[0].Segment())), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, behind := range map[int]int64{1: 500, 2: 20, 3: recordHeader + 4} { // frame, header, frame table
		if _, err := f.WriteAt([]byte{0xaa, 0x55, 0xaa}, places[i].Offset()+behind); err != nil {
			t.Fatal(err)
		}
	}
	c, err := l.NewCopy()
	if err != nil {
		t.Fatal(err)
	}
	moved := map[int]LSN{}
	for i, at := range append(places, lsn(0x00ffffff, segmentHeader)) { // and one whose segment is missing
		to, err := c.Add(at)
		switch bad := i >= 1 && i <= 3 || i == 6; {
		case bad && !errors.Is(err, ErrDamaged):
			t.Errorf("body %d: %v", i, err)
		case !bad && err != nil:
			t.Errorf("body %d: %v", i, err)
		case !bad:
			moved[i] = to
		}
	}
	if err := c.Finish(); err != nil {
		t.Fatal(err)
	}
	for i, at := range moved {
		r, err := l.OpenBody(at)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1)
		if _, err := r.ReadAt(p, 0); err != nil || p[0] != byte('0'+i) {
			t.Errorf("body %d: %q, %v", i, p, err)
		}
		r.Close()
	}
	if _, err := c.Add(places[0]); !errors.Is(err, ErrUsed) {
		t.Errorf("after Finish: %v", err)
	}
	given, err := l.NewCopy()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, segmentName(given.Number()))
	given.Discard()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that was given up: %v", err)
	}
}
