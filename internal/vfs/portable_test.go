package vfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestPortable: what systems without pwritev and fallocate use.
func TestPortable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pieces := [][]byte{[]byte("a"), nil, bytes.Repeat([]byte("b"), 300<<10), []byte("c"), bytes.Repeat([]byte("d"), 200<<10), bytes.Repeat([]byte("e"), 100<<10)}
	want := slices.Concat(pieces...)
	if n, err := writeEach(f, pieces, 10); n != len(want) || err != nil {
		t.Fatal(n, err)
	}
	if err := zeroFill(f, int64(len(want))+100<<10); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, slices.Concat(make([]byte, 10), want, make([]byte, 100<<10-10))) {
		t.Fatal(len(got), err)
	}
	if n, err := writeEach(f, nil, 0); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	f.Close()
	if _, err := writeEach(f, pieces, 0); err == nil {
		t.Fatal("written to a closed file")
	}
}

func TestClassify(t *testing.T) {
	for _, no := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		err := Classify(&os.PathError{Op: "write", Path: "x", Err: no})
		if !errors.Is(err, ErrFull) || !errors.Is(err, no) {
			t.Error(err)
		}
	}
	if err := Classify(syscall.EIO); errors.Is(err, ErrFull) || err == nil {
		t.Error(err)
	}
	if Classify(nil) != nil {
		t.Error("nil became an error")
	}
}
