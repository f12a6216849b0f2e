// Package vfstest is a file system in memory for tests. It knows which octets
// and names are durable, can lose power, fail any operation, run full, and counts
// what it did.
package vfstest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// ErrPower is what every operation answers after the power went out.
var ErrPower = errors.New("vfstest: power is out")

// Op is an operation that may be made to fail.
type Op struct {
	N    int    // the n-th since New or Crash, from 1
	Kind string // open, read, write, sync, syncdir, rename, remove, link, truncate, allocate
	Name string
}

// Counts is what was done.
type Counts struct {
	Ops, Writes, Syncs, DirSyncs int
	Bytes                        int64 // written
	Open                         int   // files open now
}

// FS is the file system. The zero value is not ready; call New.
type FS struct {
	mu       sync.Mutex
	fail     func(Op) error
	dirs     map[string]bool
	names    map[string]*inode
	durable  map[string]*inode
	changes  []change // of names, since their folder was synced
	locks    map[string]bool
	capacity int64 // 0: without end
	dead     bool
	counts   Counts
}

// change is one change of names that is not durable yet; from is empty unless something was renamed.
type change struct {
	name, from string
	node       *inode // nil: removed
}

// New returns an empty file system.
func New() *FS {
	return &FS{dirs: map[string]bool{}, names: map[string]*inode{}, durable: map[string]*inode{}, locks: map[string]bool{}}
}

// SetCapacity limits the octets of all files; 0 is no limit.
func (f *FS) SetCapacity(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = n
}

// SetFail installs a function that is asked before every operation and may answer with the error it shall end with; a write that
// fails has written half. It is called under the lock of FS; nil ends it.
func (f *FS) SetFail(fn func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fn
}

// Counts tells what was done so far.
func (f *FS) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// PowerOff ends all work: every operation after it fails.
func (f *FS) PowerOff() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

// begin counts an operation and asks whether it shall fail; f.mu is held.
func (f *FS) begin(kind, name string) error {
	if f.dead {
		return ErrPower
	}
	f.counts.Ops++
	if f.fail != nil {
		if err := f.fail(Op{N: f.counts.Ops, Kind: kind, Name: name}); err != nil {
			if errors.Is(err, ErrPower) {
				f.dead = true
			}
			return vfs.Classify(err)
		}
	}
	return nil
}

func (f *FS) used() (n int64) {
	for _, i := range f.names {
		n += int64(len(i.data))
	}
	return n
}

func notExist(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (vfs.File, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("open", name); err != nil {
		return nil, err
	}
	n := f.names[name]
	switch {
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case n == nil && flag&os.O_CREATE == 0, !f.dirs[filepath.Dir(name)]:
		return nil, notExist("open", name)
	case n == nil:
		n = newInode()
		f.set(change{name: name, node: n})
	}
	if flag&os.O_TRUNC != 0 {
		n.truncate(0)
	}
	f.counts.Open++
	return &file{fs: f, node: n, name: name}, nil
}

// set changes a name.
func (f *FS) set(c change) {
	f.changes = append(f.changes, c)
	apply(f.names, c)
}

func apply(names map[string]*inode, c change) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.node == nil {
		delete(names, c.name)
		return
	}
	names[c.name] = c.node
}

func (f *FS) Remove(name string) error {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("remove", name); err != nil {
		return err
	}
	if f.dirs[name] && !f.holds(name) {
		delete(f.dirs, name) // durable at once, as MkdirAll is
		return nil
	}
	if f.names[name] == nil {
		return notExist("remove", name)
	}
	f.set(change{name: name})
	return nil
}

// holds reports whether anything stands in a folder.
func (f *FS) holds(dir string) bool {
	for n := range f.names {
		if filepath.Dir(n) == dir {
			return true
		}
	}
	for d := range f.dirs {
		if d != dir && filepath.Dir(d) == dir {
			return true
		}
	}
	return false
}

func (f *FS) Rename(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("rename", from); err != nil {
		return err
	}
	n := f.names[from]
	if n == nil {
		return notExist("rename", from)
	}
	f.set(change{name: to, from: from, node: n})
	return nil
}

func (f *FS) Link(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("link", from); err != nil {
		return err
	}
	n := f.names[from]
	if n == nil {
		return notExist("link", from)
	}
	if f.names[to] != nil {
		return &fs.PathError{Op: "link", Path: to, Err: fs.ErrExist}
	}
	f.set(change{name: to, node: n})
	return nil
}

// MkdirAll makes folders that are durable at once: what is tested is files.
func (f *FS) MkdirAll(name string, _ fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return ErrPower
	}
	for name = filepath.Clean(name); !f.dirs[name]; name = filepath.Dir(name) {
		f.dirs[name] = true
	}
	return nil
}

func (f *FS) ReadDir(name string) ([]string, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin("read", name); err != nil {
		return nil, err
	}
	if !f.dirs[name] {
		return nil, notExist("readdir", name)
	}
	var out []string
	for n := range f.names {
		if filepath.Dir(n) == name {
			out = append(out, filepath.Base(n))
		}
	}
	for d := range f.dirs {
		if d != name && filepath.Dir(d) == name {
			out = append(out, filepath.Base(d))
		}
	}
	return out, nil
}

func (f *FS) Stat(name string) (fs.FileInfo, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrPower
	}
	n := f.names[name]
	if n == nil {
		return nil, notExist("stat", name)
	}
	return info{filepath.Base(name), int64(len(n.data))}, nil
}

func (f *FS) SyncDir(name string) error {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.DirSyncs++
	if err := f.begin("syncdir", name); err != nil {
		return err
	}
	var rest []change
	for _, c := range f.changes {
		if filepath.Dir(c.name) == name {
			apply(f.durable, c)
		} else {
			rest = append(rest, c)
		}
	}
	f.changes = rest
	return nil
}

func (f *FS) Lock(name string) (io.Closer, error) {
	name = filepath.Clean(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return nil, ErrPower
	}
	if f.locks[name] {
		return nil, fmt.Errorf("%s: %w", name, vfs.ErrLocked)
	}
	if f.names[name] == nil {
		f.set(change{name: name, node: newInode()})
	}
	f.locks[name] = true
	return unlock{f, name}, nil
}

type unlock struct {
	fs   *FS
	name string
}

func (u unlock) Close() error {
	u.fs.mu.Lock()
	defer u.fs.mu.Unlock()
	delete(u.fs.locks, u.name)
	return nil
}

func (f *FS) Free(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return 0, ErrPower
	}
	if f.capacity == 0 {
		return 1 << 50, nil
	}
	return max(f.capacity-f.used(), 0), nil
}

// Capacity is what SetCapacity said, or far more than a test needs.
func (f *FS) Capacity(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return 0, ErrPower
	}
	if f.capacity == 0 {
		return 1 << 50, nil
	}
	return f.capacity, nil
}

// room is how far a file may grow.
func (f *FS) room(n *inode, end int64) int64 {
	if f.capacity == 0 || end <= int64(len(n.data)) {
		return end
	}
	return min(end, max(int64(len(n.data))+f.capacity-f.used(), int64(len(n.data))))
}

type info struct {
	name string
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return 0o600 }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return nil }

// errFull is what the kernel answers.
func errFull(op, name string) error {
	return vfs.Classify(&fs.PathError{Op: op, Path: name, Err: syscall.ENOSPC})
}
