package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// both runs a test over the operating system's files and over those in memory: they must not differ.
func both(t *testing.T, fn func(t *testing.T, f vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { fn(t, vfs.OS{}, t.TempDir()) })
	t.Run("memory", func(t *testing.T) {
		m := vfstest.New()
		if err := m.MkdirAll("/data", 0o700); err != nil {
			t.Fatal(err)
		}
		fn(t, m, "/data")
	})
}

func open(t *testing.T, f vfs.FS, name string) vfs.File {
	t.Helper()
	file, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func content(t *testing.T, f vfs.File) []byte {
	t.Helper()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, size+1)
	n, err := f.ReadAt(p, 0)
	if !errors.Is(err, io.EOF) {
		t.Fatalf("read past the end: %v", err)
	}
	return p[:n]
}

func TestWriteVec(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		file := open(t, f, filepath.Join(dir, "a"))
		var pieces [][]byte
		want := []byte("0123")
		for i := range 2500 { // more than one pwritev takes
			p := bytes.Repeat([]byte{byte(i)}, i%7)
			pieces = append(pieces, p)
			want = append(want, p...)
		}
		if _, err := file.WriteAt([]byte("0123"), 0); err != nil {
			t.Fatal(err)
		}
		n, err := file.WriteVec(pieces, 4)
		if err != nil || n != len(want)-4 {
			t.Fatal(n, err)
		}
		if got := content(t, file); !bytes.Equal(got, want) {
			t.Fatalf("%d octets, want %d", len(got), len(want))
		}
		if err := file.Datasync(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNames(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		at := func(name string) string { return filepath.Join(dir, "sub", name) }
		if err := f.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		open(t, f, at("a"))
		if _, err := f.OpenFile(at("a"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		if _, err := f.OpenFile(at("none"), os.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := f.Link(at("a"), at("b")); err != nil {
			t.Fatal(err)
		}
		if err := f.Rename(at("b"), at("c")); err != nil {
			t.Fatal(err)
		}
		if err := f.Remove(at("a")); err != nil {
			t.Fatal(err)
		}
		if err := f.Remove(at("a")); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		names, err := f.ReadDir(filepath.Join(dir, "sub"))
		if err != nil || !slices.Equal(names, []string{"c"}) {
			t.Fatal(names, err)
		}
		if err := f.SyncDir(dir); err != nil {
			t.Fatal(err)
		}
		if free, err := f.Free(dir); err != nil || free <= 0 {
			t.Fatal(free, err)
		}
	})
}

func TestLock(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		name := filepath.Join(dir, "lock")
		l, err := f.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Lock(name); !errors.Is(err, vfs.ErrLocked) {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, err = f.Lock(name)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	})
}

func TestAllocateTruncate(t *testing.T) {
	both(t, func(t *testing.T, f vfs.FS, dir string) {
		file := open(t, f, filepath.Join(dir, "a"))
		if err := file.Allocate(100 << 10); err != nil {
			t.Fatal(err)
		}
		if got := content(t, file); len(got) != 100<<10 || bytes.Count(got, []byte{0}) != len(got) {
			t.Fatalf("%d octets", len(got))
		}
		if err := file.Truncate(5); err != nil {
			t.Fatal(err)
		}
		if size, err := file.Size(); err != nil || size != 5 {
			t.Fatal(size, err)
		}
	})
}

func TestCrashKeepsWhatIsSynced(t *testing.T) {
	lostName, lostBlock := false, false
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := vfstest.New()
		m.MkdirAll("/d", 0o700)
		a := open(t, m, "/d/a")
		a.WriteAt(bytes.Repeat([]byte("a"), 10000), 0)
		a.Datasync()
		m.SyncDir("/d")
		a.WriteAt(bytes.Repeat([]byte("b"), 10000), 10000)
		b := open(t, m, "/d/b")
		b.WriteAt([]byte("b"), 0)
		b.Datasync()
		after := m.Crash(r)
		if _, err := a.WriteAt([]byte("x"), 0); !errors.Is(err, vfstest.ErrPower) {
			t.Fatal(err)
		}
		a2, err := after.OpenFile("/d/a", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := content(t, a2)
		if !bytes.HasPrefix(got, bytes.Repeat([]byte("a"), 10000)) {
			t.Fatal("synced octets are gone")
		}
		lostBlock = lostBlock || bytes.Count(got, []byte("b")) < 10000
		_, err = after.Stat("/d/b")
		lostName = lostName || err != nil
	}
	if !lostName || !lostBlock {
		t.Fatal("nothing was ever lost")
	}
}

func TestFull(t *testing.T) {
	m := vfstest.New()
	m.MkdirAll("/d", 0o700)
	m.SetCapacity(10)
	a := open(t, m, "/d/a")
	n, err := a.WriteAt(make([]byte, 12), 0)
	if n != 10 || !errors.Is(err, vfs.ErrFull) {
		t.Fatal(n, err)
	}
}

func TestFail(t *testing.T) {
	m := vfstest.New()
	m.MkdirAll("/d", 0o700)
	broken := errors.New("broken")
	m.SetFail(func(op vfstest.Op) error {
		if op.Kind == "sync" {
			return broken
		}
		return nil
	})
	a := open(t, m, "/d/a")
	if _, err := a.WriteAt([]byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Datasync(); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if c := m.Counts(); c.Writes != 1 || c.Syncs != 1 || c.Bytes != 5 {
		t.Fatalf("%+v", c)
	}
}
