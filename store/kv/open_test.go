package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

func metaClean(t *testing.T, path string) bool {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return closedClean(p[:8192])
}

// noLock and noSync are file systems that cannot do what mail needs.
type noLock struct{ vfs.OS }

func (noLock) Lock(string) (io.Closer, error) { return nil, syscall.ENOLCK }

type noSync struct{ vfs.OS }

func (noSync) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := vfs.OS{}.OpenFile(name, flag, perm)
	return noSyncFile{f}, err
}

type noSyncFile struct{ vfs.File }

func (noSyncFile) Datasync() error { return syscall.EINVAL }

// TestOpenRefuses: each error names the folder and says what to do.
func TestOpenRefuses(t *testing.T) {
	cases := map[string]struct {
		spoil func(t *testing.T, dir string) Options
		want  error
		says  string
	}{
		"locked": {func(t *testing.T, dir string) Options {
			l, err := vfs.OS{}.Lock(filepath.Join(dir, "lock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return Options{}
		}, ErrLocked, "another posthouse is running"},
		"no flock":     {func(*testing.T, string) Options { return Options{FS: noLock{}} }, ErrUnfit, "local disk"},
		"no fdatasync": {func(*testing.T, string) Options { return Options{FS: noSync{}} }, ErrUnfit, "local disk"},
		"newer": {func(t *testing.T, dir string) Options {
			set(t, dir, keyVersion, binary.BigEndian.AppendUint32(nil, firstFormat+uint32(len(migrations()))+1))
			return Options{}
		}, ErrNewer, "newer posthouse"},
		"settings cut short": {func(t *testing.T, dir string) Options { set(t, dir, keySecret, []byte("x")); return Options{} }, ErrDamaged, "not complete"},
		"broken tables": {func(t *testing.T, dir string) Options {
			if err := os.WriteFile(filepath.Join(dir, "meta.db"), bytes.Repeat([]byte("x"), 40<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			return Options{}
		}, ErrDamaged, "posthouse repair"},
		"tables cut short": {func(t *testing.T, dir string) Options {
			if err := os.Truncate(filepath.Join(dir, "meta.db"), 2*pageSize+1); err != nil {
				t.Fatal(err)
			}
			return Options{}
		}, ErrDamaged, ""},
		"no tables": {func(t *testing.T, dir string) Options {
			if err := os.Remove(filepath.Join(dir, "meta.db")); err != nil {
				t.Fatal(err)
			}
			return Options{}
		}, ErrDamaged, "posthouse repair"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openTest(t, Options{Dir: dir})
			if _, err := db.Keep(t.Context(), body(t, db, nil, []byte("x"))); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			o := c.spoil(t, dir)
			o.Dir = dir
			db, err := Open(t.Context(), o)
			if err == nil {
				db.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("%v", err)
			}
		})
	}
}

// set changes a setting of a closed folder.
func set(t *testing.T, dir, key string, value []byte) {
	t.Helper()
	b, err := openBolt(filepath.Join(dir, "meta.db"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.update(func(p pages) error { return p.put(tableSettings, []byte(key), value) }); err != nil {
		t.Fatal(err)
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
}

func TestIdentityStays(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, Options{Dir: dir})
	uuid, secret := db.UUID(), db.Secret()
	db.Close()
	db = openTest(t, Options{Dir: dir})
	defer db.Close()
	if db.UUID() != uuid || db.Secret() != secret || uuid == [16]byte{} || secret == [32]byte{} {
		t.Fatal("uuid or secret changed")
	}
	other := openTest(t, Options{Dir: t.TempDir()})
	defer other.Close()
	if other.UUID() == uuid || other.Secret() == secret {
		t.Fatal("two folders share their identity")
	}
}

// crashed makes a folder whose log is ahead of its tables, and forgets the process.
func crashed(t *testing.T, text []byte) (dir string, fs *vfstest.FS) {
	t.Helper()
	dir, fs = t.TempDir(), vfstest.New()
	o := Options{Dir: dir, FS: fs}
	o.wrap = func(e engine) engine {
		return &failEngine{engine: e, fail: func(n int) error {
			if n > 1 {
				return errFatal
			}
			return nil
		}}
	}
	db := openTest(t, o)
	if _, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, []byte("k")}}, Body: body(t, db, nil, text)}); err != nil {
		t.Fatal(err)
	}
	fs = fs.Kill()
	db.Close()
	return dir, fs
}

func TestUnknownPartStopsStart(t *testing.T) {
	dir, fs := crashed(t, []byte("x"))
	db, err := Open(t.Context(), Options{Dir: dir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Start(t.Context()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), `kind 't'`) {
		t.Fatal(err)
	}
	db.Close()
	db = openTest(t, Options{Dir: dir, FS: fs.Kill()})
	defer db.Close()
	if get(t, db, "k") == nil {
		t.Fatal("the record is gone after a start that refused")
	}
}

func TestMissingLargeBodyStopsStart(t *testing.T) {
	dir, fs := crashed(t, make([]byte, 100<<10))
	names, _ := fs.ReadDir(filepath.Join(dir, "seg"))
	for _, name := range names {
		f, _ := fs.OpenFile(filepath.Join(dir, "seg", name), os.O_RDONLY, 0)
		p := make([]byte, 16)
		if f.ReadAt(p, 0); p[10] == 'B' {
			fs.Remove(filepath.Join(dir, "seg", name))
		}
	}
	if _, err := startTest(Options{Dir: dir, FS: fs}); err == nil || !strings.Contains(err.Error(), "record") {
		t.Fatal(err)
	}
}

// TestFullTables: a full disk takes the reserve first; then changes get ErrFull, deliveries wait for room, and nothing is lost.
func TestFullTables(t *testing.T) {
	dir, fs := t.TempDir(), vfstest.New()
	full := false
	o := Options{Dir: dir, FS: fs, Backlog: 3000}
	reserve := filepath.Join(dir, "reserve")
	held := func() int64 { st, _ := fs.Stat(reserve); return st.Size() }
	e := &failEngine{fail: func(int) error {
		if full && held() == 0 {
			return vfs.Classify(&os.PathError{Op: "write", Err: syscall.ENOSPC})
		}
		if full {
			return vfs.ErrFull
		}
		return nil
	}}
	o.wrap = func(inner engine) engine { e.engine = inner; return e }
	db := openTest(t, o)
	put := func(key string) error {
		return db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte(key), nil); return nil })
	}
	lock := func(on bool) { e.mu.Lock(); full = on; e.mu.Unlock() }
	if held() != 4<<20 {
		t.Fatalf("%d octets reserved", held())
	}
	lock(true)
	if err := put("a"); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if held() != 0 {
		t.Fatal("the reserve was not released")
	}
	var err error
	logged := 0
	for ; err == nil && logged < 100; logged++ {
		_, err = db.Log(t.Context(), Record{Accounts: []uint32{1}, Parts: []Part{{testKind, []byte{byte(logged)}}}})
	}
	if !errors.Is(err, ErrFull) || logged < 3 {
		t.Fatalf("%v after %d deliveries", err, logged)
	}
	if err := db.Settle(t.Context(), 1); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	lock(false)
	if err := put("b"); err != nil {
		t.Fatal(err)
	}
	if err := db.Settle(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for i := range logged - 1 {
		if get(t, db, string([]byte{byte(i)})) == nil {
			t.Errorf("delivery %d is gone", i)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFullDiskFromTheStart: a folder on a full disk opens, changes work, deliveries get ErrFull.
func TestFullDiskFromTheStart(t *testing.T) {
	dir, fs := t.TempDir(), vfstest.New()
	fs.SetCapacity(1 << 20)
	db := openTest(t, Options{Dir: dir, FS: fs})
	defer db.Close()
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("k"), nil); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := db.NewBody(t.Context(), 100); !errors.Is(err, ErrFull) || !errors.Is(err, blob.ErrFull) {
		t.Fatal(err)
	}
}

func TestStrangeFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, Options{Dir: dir})
	text := bytes.Repeat([]byte("x"), 100<<10)
	e, err := db.Keep(t.Context(), body(t, db, nil, text))
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	strange := []string{"notes.txt", "0000000g.seg", "1.seg", "00000001.seg.bak"}
	for _, name := range strange {
		if err := os.WriteFile(filepath.Join(dir, "seg", name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db = openTest(t, Options{Dir: dir})
	defer db.Close()
	if _, got := readAll(t, db, e[0].Body); !bytes.Equal(got, text) {
		t.Fatal("the body is gone")
	}
	for _, name := range strange {
		if _, err := os.Stat(filepath.Join(dir, "seg", name)); err != nil {
			t.Error(err)
		}
	}
}

// TestInterruptedBeginning: a folder whose making was cut short anywhere is made again.
func TestInterruptedBeginning(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"half a file beside":      func(dir string) error { return os.WriteFile(filepath.Join(dir, "meta.db.new"), []byte("half"), 0o600) },
		"an empty file":           func(dir string) error { return os.WriteFile(filepath.Join(dir, "meta.db"), nil, 0o600) },
		"tables without settings": func(dir string) error { return makeBolt(filepath.Join(dir, "meta.db")) },
		"folders only":            func(dir string) error { return os.MkdirAll(filepath.Join(dir, "seg"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			db := openTest(t, Options{Dir: dir})
			if _, err := db.Keep(t.Context(), body(t, db, nil, []byte("x"))); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
