package vfstest

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
)

const (
	block  = 4096
	sector = 512
)

// inode is a file's content, as programs see it and as the disk has it.
type inode struct {
	data   []byte
	synced []byte
	dirty  map[int64]bool // blocks written since the last sync
	lost   map[int64]bool // blocks of a sync that failed: no later sync writes them
}

func newInode() *inode { return &inode{dirty: map[int64]bool{}, lost: map[int64]bool{}} }

func (n *inode) write(p []byte, off int64) {
	end := off + int64(len(p))
	if end > int64(len(n.data)) {
		n.data = slices.Grow(n.data, int(end)-len(n.data))[:end]
	}
	copy(n.data[off:], p)
	for b := off / block; b*block < end; b++ {
		n.dirty[b] = true
		delete(n.lost, b)
	}
}

func (n *inode) truncate(size int64) {
	old := int64(len(n.data))
	if size <= old {
		clear(n.data[size:])
		n.data = n.data[:size]
	} else {
		n.data = append(n.data, make([]byte, size-old)...)
	}
	for b := min(size, old) / block; b*block < max(size, old); b++ {
		n.dirty[b] = true
	}
}

// sync makes the dirty blocks durable.
func (n *inode) sync() {
	size := len(n.data)
	if len(n.synced) > size {
		n.synced = n.synced[:size]
	}
	n.synced = append(n.synced, make([]byte, size-len(n.synced))...)
	for b := range n.dirty {
		lo, hi := min(b*block, int64(size)), min((b+1)*block, int64(size))
		copy(n.synced[lo:hi], n.data[lo:hi])
	}
	clear(n.dirty)
}

// crashed is what the disk has after the power went out: everything synced, and of each later block nothing, zeros, all of it or its
// first sectors.
func (n *inode) crashed(r *rand.Rand) *inode {
	size := len(n.synced)
	if len(n.data) > size {
		size += r.IntN(len(n.data) - size + 1)
	}
	out := make([]byte, size)
	copy(out, n.synced)
	blocks := make([]int64, 0, len(n.dirty)+len(n.lost))
	for b := range n.dirty {
		blocks = append(blocks, b)
	}
	for b := range n.lost {
		if !n.dirty[b] {
			blocks = append(blocks, b)
		}
	}
	slices.Sort(blocks)
	for _, b := range blocks {
		lo, hi := min(b*block, int64(size)), min((b+1)*block, int64(size), int64(len(n.data)))
		if lo >= hi {
			continue
		}
		switch r.IntN(4) {
		case 0: // old
		case 1: // zero, where nothing is promised
			if from := max(lo, int64(len(n.synced))); from < hi {
				clear(out[from:hi])
			}
		case 2: // new
			copy(out[lo:hi], n.data[lo:hi])
		case 3: // torn
			copy(out[lo:min(hi, lo+sector*int64(1+r.IntN(block/sector)))], n.data[lo:hi])
		}
	}
	return &inode{data: out, synced: slices.Clone(out), dirty: map[int64]bool{}, lost: map[int64]bool{}}
}

// Crash returns the file system as a machine finds it that starts again, and ends all work on this one. Names that were
// changed and not synced are there or not, each file's in their order.
func (f *FS) Crash(r *rand.Rand) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	names := map[string]*inode{}
	for name, n := range f.durable {
		names[name] = n
	}
	stopped := map[string]bool{}
	for _, c := range f.changes {
		if stopped[c.name] || stopped[c.from] || r.IntN(2) == 0 {
			stopped[c.name], stopped[c.from] = true, c.from != ""
			continue
		}
		apply(names, c)
	}
	after := New()
	after.capacity = f.capacity
	for d := range f.dirs {
		after.dirs[d] = true
	}
	same := map[*inode]*inode{}
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		n := names[name]
		if same[n] == nil {
			same[n] = n.crashed(r)
		}
		after.names[name], after.durable[name] = same[n], same[n]
	}
	return after
}

// file is an open inode.
type file struct {
	fs   *FS
	node *inode
	name string
	over bool // closed; guarded by fs.mu
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.begin("read", f.name); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.WriteVec([][]byte{p}, off) }

func (f *file) WriteVec(pieces [][]byte, off int64) (int, error) {
	p := slices.Concat(pieces...)
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.counts.Writes++
	was := f.fs.dead
	if err := f.fs.begin("write", f.name); err != nil {
		switch {
		case was:
			return 0, err
		case f.fs.dead:
			f.node.write(p, off) // under way when the power went out: any part of it may be there
		default:
			f.node.write(p[:len(p)/2], off)
		}
		return len(p) / 2, err
	}
	if end := f.fs.room(f.node, off+int64(len(p))); end < off+int64(len(p)) {
		n := max(end-off, 0)
		f.node.write(p[:n], off)
		f.fs.counts.Bytes += n
		return int(n), errFull("write", f.name)
	}
	f.node.write(p, off)
	f.fs.counts.Bytes += int64(len(p))
	return len(p), nil
}

func (f *file) Datasync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.counts.Syncs++
	if err := f.fs.begin("sync", f.name); err != nil {
		if !f.fs.dead {
			// What the kernel does: the pages count as clean, and may or may not be on the disk.
			for b := range f.node.dirty {
				f.node.lost[b] = true
			}
			clear(f.node.dirty)
		}
		return err
	}
	f.node.sync()
	return nil
}

func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.begin("truncate", f.name); err != nil {
		return err
	}
	f.node.truncate(size)
	return nil
}

func (f *file) Allocate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.begin("allocate", f.name); err != nil {
		return err
	}
	if f.fs.room(f.node, size) < size {
		return errFull("fallocate", f.name)
	}
	if size > int64(len(f.node.data)) {
		f.node.truncate(size)
	}
	return nil
}

func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.dead {
		return 0, ErrPower
	}
	return int64(len(f.node.data)), nil
}

func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.over {
		return fs.ErrClosed
	}
	f.over = true
	f.fs.counts.Open--
	return nil
}

// Kill returns the file system as the next process finds it when this one was killed: nothing is lost that was written, and what was
// not durable still is not. It ends all work on this one.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	after := New()
	after.dirs, after.names, after.durable = f.dirs, f.names, f.durable
	after.changes, after.capacity = f.changes, f.capacity
	return after
}
