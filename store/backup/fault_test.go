package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// faulty is a folder that is unplugged at the n-th operation: that one and all behind it fail. A full one fails writes only.
type faulty struct {
	vfs.OS
	left *atomic.Int64
	full bool
}

func newFaulty(n int, full bool) faulty {
	f := faulty{left: &atomic.Int64{}, full: full}
	f.left.Store(int64(n))
	return f
}

func (f faulty) use(writes bool) error {
	if f.full && !writes {
		return nil
	}
	if f.left.Add(-1) > 0 {
		return nil
	}
	if f.full {
		return fmt.Errorf("%w: %w", vfs.ErrFull, syscall.ENOSPC)
	}
	return syscall.EIO
}

func (f faulty) hit() bool { return f.left.Load() <= 0 }

func (f faulty) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if err := f.use(flag&os.O_CREATE != 0); err != nil {
		return nil, err
	}
	file, err := f.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, f}, nil
}

func (f faulty) Remove(name string) error {
	return errors.Join(f.use(false), orNil(f.hit() && !f.full, func() error { return f.OS.Remove(name) }))
}

func (f faulty) Rename(from, to string) error {
	if err := f.use(true); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func (f faulty) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.use(true); err != nil {
		return err
	}
	return f.OS.MkdirAll(name, perm)
}

func (f faulty) ReadDir(name string) ([]string, error) {
	if err := f.use(false); err != nil {
		return nil, err
	}
	return f.OS.ReadDir(name)
}

func (f faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.use(false); err != nil {
		return nil, err
	}
	return f.OS.Stat(name)
}

func (f faulty) SyncDir(name string) error {
	if err := f.use(false); err != nil {
		return err
	}
	return f.OS.SyncDir(name)
}

// orNil does not do it when the folder is gone.
func orNil(gone bool, fn func() error) error {
	if gone {
		return nil
	}
	return fn()
}

type faultyFile struct {
	vfs.File
	f faulty
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.f.use(false); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// WriteAt tears: the write that fails has written a part.
func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.use(true); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f faultyFile) Datasync() error {
	if err := f.f.use(true); err != nil {
		return err
	}
	return f.File.Datasync()
}

func (f faultyFile) Truncate(size int64) error {
	if err := f.f.use(true); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// TestEveryOperationFails: the folder is unplugged, or full, at the n-th operation, for every n until a backup is clean. The older
// generation is as it was; the next backup succeeds, copies no segment twice that was whole, and leaves nothing half.
func TestEveryOperationFails(t *testing.T) {
	for name, full := range map[string]bool{"unplugged": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, base, now := newHouse(t), t.TempDir(), newClock()
			fill(t, h, "x", 8)
			o := options(h, base, now)
			o.Keep = Retention{Daily: 2}
			for range 2 { // so that the next one has to remove a generation
				backup(t, o)
				now.at = now.at.Add(24 * time.Hour)
			}
			was := newest1(t, base)
			fill(t, h, "more", 8)
			for n := 1; ; n++ {
				o.To = filepath.Join(t.TempDir(), "copy")
				if err := os.CopyFS(o.To, os.DirFS(base)); err != nil {
					t.Fatal(err)
				}
				f := newFaulty(n, full)
				o.FS = f
				_, err := Run(t.Context(), o)
				if !f.hit() {
					if err != nil || n < 20 {
						t.Fatalf("a backup with %d operations and no fault: %v", n, err)
					}
					return
				}
				if n%5 == 0 { // every generation that is there reads back, after each kind of end
					sound(t, o.To, was.Name)
				}
				o.FS = nil
				if rep := backup(t, o); rep.Copied > 4 {
					t.Fatalf("operation %d: the next backup copied %d segments", n, rep.Copied)
				}
				tidy(t, o.To)
			}
		})
	}
}

// sound verifies the generations of a folder, of which one is called name.
func sound(t *testing.T, folder, name string) {
	t.Helper()
	list, err := Generations(nil, folder)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, g := range list {
		found = found || g.Name == name
		if v, problems, err := Verify(t.Context(), g, VerifyOptions{}); err != nil || v == nil {
			t.Fatalf("generation %s: %q, %v", g.Name, problems, err)
		}
	}
	if !found {
		t.Fatalf("generation %s is gone", name)
	}
}

// tidy: nothing half stands in the folder, and no segment that no generation names.
func tidy(t *testing.T, folder string) {
	t.Helper()
	list, err := Generations(nil, folder)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, g := range list {
		named[g.Name] = true
		for _, f := range g.Manifest.Segments {
			named[f.Name] = true
		}
	}
	err = filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		name := filepath.Base(path)
		if strings.HasSuffix(name, halfSuffix) || name == lockName || (isGeneration(name) || strings.HasSuffix(name, ".seg")) && !named[name] {
			t.Errorf("%s was left", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamage: each kind of damage of a copy is found, told in words, and mended by the next backup when the house still has what
// is missing.
func TestDamage(t *testing.T) {
	cases := map[string]struct {
		spoil  func(t *testing.T, g *Generation)
		says   string
		mended bool
	}{
		"a bit of a message": {func(t *testing.T, g *Generation) { flip(t, segmentPath(g, 0), 200) }, "does not read back", true},
		"a bit in the middle": {func(t *testing.T, g *Generation) {
			flip(t, segmentPath(g, 1), g.Manifest.Segments[1].Size/2)
		}, "does not read back", true},
		"a page of the tables": {func(t *testing.T, g *Generation) { flip(t, filepath.Join(g.dir(), tablesName), 3*4096+16) }, "meta.db", true},
		"the tables":           {func(t *testing.T, g *Generation) { remove(t, filepath.Join(g.dir(), tablesName)) }, "meta.db", true},
		"a segment is missing": {func(t *testing.T, g *Generation) { remove(t, segmentPath(g, 0)) }, "is missing", true},
		"a segment is short": {func(t *testing.T, g *Generation) {
			if err := os.Truncate(segmentPath(g, 0), 100); err != nil {
				t.Fatal(err)
			}
		}, "octets", true},
		"the list of contents": {func(t *testing.T, g *Generation) { flip(t, filepath.Join(g.dir(), contentsName), 5) }, "contents", true},
		"settings and keys":    {func(t *testing.T, g *Generation) { flip(t, filepath.Join(g.dir(), folderName), 5) }, "folder.tar", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h, folder, now := newHouse(t), t.TempDir(), newClock()
			fill(t, h, "x", 40)
			o := options(h, folder, now)
			backup(t, o)
			g := newest1(t, folder)
			c.spoil(t, g)
			v, problems, err := Verify(t.Context(), g, VerifyOptions{})
			if err != nil || v != nil || !strings.Contains(strings.Join(problems, "\n"), c.says) {
				t.Fatalf("verify: %+v, %q, %v", v, problems, err)
			}
			if again := newest1(t, folder); again.Manifest.Verified != nil || len(again.Manifest.Problems) == 0 {
				t.Fatalf("the manifest says %+v", again.Manifest.Verified)
			}
			now.at = now.at.Add(time.Hour)
			backup(t, o)
			v, problems, err = Verify(t.Context(), newest1(t, folder), VerifyOptions{})
			if err != nil || v == nil {
				t.Fatalf("after the next backup: %q, %v", problems, err)
			}
		})
	}
}

// TestRot: a segment that rots in the folder is found when its time comes to be read again, and copied again.
func TestRot(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	fill(t, h, "x", 40)
	o := options(h, folder, now)
	backup(t, o)
	flip(t, segmentPath(newest1(t, folder), 0), 300)
	now.at = now.at.Add(24 * time.Hour)
	if rep := backup(t, o); rep.Verified.Read > 1 {
		t.Fatalf("%d segments were read again after a day", rep.Verified.Read)
	}
	now.at = now.at.Add(recheck)
	if rep := backup(t, o); rep.Verified.Read < rep.Segments {
		t.Fatalf("%d of %d segments were read again after a month", rep.Verified.Read, rep.Segments)
	}
	sound(t, folder, newest1(t, folder).Name)
}

// TestSourceDamage: what is damaged in the living house does not stop the backup of the rest; it is not called verified.
func TestSourceDamage(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	fill(t, h, "x", 40)
	m := storetest.Rows(t, h.Store, 1, "INBOX")[0]
	path := filepath.Join(h.DB.Dir(), "seg", fmt.Sprintf("%08x.seg", m.Place.Segment()))
	flip(t, path, m.Place.Offset()+200)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for i, recipients := range [][]string{nil, {id.Recipient().String()}} {
		o := options(h, filepath.Join(folder, fmt.Sprint(i)), newClock())
		o.Secrets.Recipients = recipients
		rep, err := Run(t.Context(), o)
		if err != nil || rep.Verified != nil || !strings.Contains(strings.Join(rep.Problems, "\n"), "one@house.test, mailbox INBOX, message 1") {
			t.Fatalf("%+v, %v", rep, err)
		}
	}
	flip(t, path, m.Place.Offset()+200) // for the check of the house at its end
}

// badSector is a disk that does not give one file out.
type badSector struct {
	vfs.OS
	name string
}

func (b badSector) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := b.OS.OpenFile(name, flag, perm)
	if filepath.Base(name) == b.name && err == nil {
		return badFile{f}, nil
	}
	return f, err
}

type badFile struct{ vfs.File }

func (badFile) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

// TestSourceUnreadable: a segment of the house that cannot be read does not keep the others out of the backup; who is hit is said, and
// the next backup brings it when it can be read again.
func TestSourceUnreadable(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	fill(t, h, "x", 40)
	m := storetest.Rows(t, h.Store, 2, "INBOX")[1]
	o := options(h, folder, now)
	o.live = badSector{name: fmt.Sprintf("%08x.seg", m.Place.Segment())}
	rep, err := Run(t.Context(), o)
	if err != nil || rep.Verified != nil || !strings.Contains(strings.Join(rep.Problems, "\n"), fmt.Sprintf("two@house.test, mailbox INBOX, message %d", m.UID)) {
		t.Fatalf("%+v, %v", rep, err)
	}
	o.live = nil
	now.at = now.at.Add(time.Hour)
	if rep := backup(t, o); rep.Copied == 0 || rep.Copied > 2 {
		t.Fatalf("%+v", rep)
	}
	o.To = filepath.Join(h.DB.Dir(), "backup")
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrPlace) {
		t.Fatalf("a backup in the data folder: %v", err)
	}
}

func segmentPath(g *Generation, i int) string {
	return filepath.Join(g.store(), segmentsDir, g.Manifest.Segments[i].Name)
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p[at] ^= 0x10
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
