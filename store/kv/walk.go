package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// WalkTables reads every page of a tables' file that nobody writes, without mapping it, and verifies what bbolt relies on: each page
// is what its parent says, stands once, and has its keys in order and inside of it. bbolt looks at the pages on a goroutine of its
// own when it opens a file that was not closed well, and a broken one ends the process there; so this comes first.
// The error is ErrDamaged with table and page.
func WalkTables(path string) error { return walkTables(path, nil) }

// walkTables ends early, with context.Canceled, when end is closed.
func walkTables(path string, end <-chan struct{}) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	w := &walker{file: f, pages: uint64(st.Size()) / pageSize, seen: map[uint64]bool{}, end: end}
	return w.run()
}

// Flags and sizes of bbolt's pages. Its numbers are in the machine's order.
const (
	boltBranch = 0x01
	boltLeaf   = 0x02
	boltMeta   = 0x04
	boltHead   = 16 // of a page: id u64, flags u16, count u16, overflow u32
	boltElem   = 16 // branch: pos u32, ksize u32, page u64; leaf: flags u32, pos u32, ksize u32, vsize u32
	boltBucket = 16 // value of a bucket: root page u64, sequence u64; a small bucket's page follows
	boltMagic  = 0xED0CDAED
	boltDeep   = 64
)

type walker struct {
	file  *os.File
	pages uint64
	seen  map[uint64]bool
	end   <-chan struct{}
	table string // that is being read
}

func (w *walker) bad(page uint64, format string, args ...any) error {
	where := "the list of tables"
	if w.table != "" {
		where = "table " + w.table
	}
	return fmt.Errorf("%w: page %d of %s: %s", ErrDamaged, page, where, fmt.Sprintf(format, args...))
}

func (w *walker) run() error {
	root, err := w.root()
	if err != nil {
		return err
	}
	return w.page(root, 0, nil, nil)
}

// root is the page of the list of tables, out of the newer of the two meta pages that is whole.
func (w *walker) root() (uint64, error) {
	ne := binary.NativeEndian
	var best, root uint64
	found := false
	for i := range int64(2) {
		var p [boltHead + 64]byte
		if _, err := w.file.ReadAt(p[:], i*pageSize); err != nil && err != io.EOF {
			return 0, fmt.Errorf("read the tables: %w", err)
		}
		m := p[boltHead:]
		sum := fnv.New64a()
		sum.Write(m[:56])
		if ne.Uint16(p[8:])&boltMeta == 0 || ne.Uint32(m) != boltMagic || ne.Uint32(m[8:]) != pageSize || sum.Sum64() != ne.Uint64(m[56:]) {
			continue
		}
		if txid := ne.Uint64(m[48:]); !found || txid > best {
			found, best, root = true, txid, ne.Uint64(m[16:])
		}
	}
	if !found {
		return 0, fmt.Errorf("%w: neither of the two meta pages is whole", ErrDamaged)
	}
	return root, nil
}

// page verifies a page and those below it; its keys are from low on and before high (nil: no bound).
func (w *walker) page(id uint64, depth int, low, high []byte) error {
	select {
	case <-w.end:
		return context.Canceled
	default:
	}
	switch {
	case id < 2 || id >= w.pages:
		return w.bad(id, "there is no such page in a file of %d", w.pages)
	case w.seen[id]:
		return w.bad(id, "it is referred to twice")
	case depth > boltDeep:
		return w.bad(id, "the tree is too deep")
	}
	ne := binary.NativeEndian
	var head [boltHead]byte
	if _, err := w.file.ReadAt(head[:], int64(id)*pageSize); err != nil {
		return fmt.Errorf("read page %d of the tables: %w", id, err)
	}
	more := uint64(ne.Uint32(head[12:]))
	if got := ne.Uint64(head[:]); got != id || id+more >= w.pages {
		return w.bad(id, "it says that it is page %d with %d more", got, more)
	}
	for i := range more + 1 {
		if w.seen[id+i] {
			return w.bad(id+i, "two pages claim it")
		}
		w.seen[id+i] = true
	}
	p := make([]byte, (more+1)*pageSize)
	if _, err := w.file.ReadAt(p, int64(id)*pageSize); err != nil {
		return fmt.Errorf("read page %d of the tables: %w", id, err)
	}
	at := &boltPage{id: id, bytes: p, depth: depth, low: low, high: high}
	switch flags := ne.Uint16(head[8:]); flags {
	case boltBranch:
		return w.branch(at)
	case boltLeaf:
		return w.leaf(at)
	default:
		return w.bad(id, "it has the flags %#x", flags)
	}
}

// boltPage is a page with what the pages above say of its keys.
type boltPage struct {
	id        uint64
	bytes     []byte
	depth     int
	low, high []byte // nil: no bound
}

// key cuts a key out of a page and verifies its place in the order: behind after, and not below low.
func (w *walker) key(p *boltPage, at, size uint64, after, low []byte) ([]byte, error) {
	if at+size > uint64(len(p.bytes)) {
		return nil, w.bad(p.id, "a key stands outside of it")
	}
	k := p.bytes[at : at+size]
	if after != nil && bytes.Compare(after, k) >= 0 || low != nil && bytes.Compare(k, low) < 0 || p.high != nil && bytes.Compare(k, p.high) >= 0 {
		return nil, w.bad(p.id, "its keys are out of order")
	}
	return k, nil
}

func (w *walker) branch(p *boltPage) error {
	ne := binary.NativeEndian
	n := int(ne.Uint16(p.bytes[10:]))
	if n == 0 || boltHead+n*boltElem > len(p.bytes) {
		return w.bad(p.id, "it has %d entries", n)
	}
	keys, children := make([][]byte, n+1), make([]uint64, n)
	var last []byte
	for i := range n {
		at := boltHead + i*boltElem
		// The first key of a branch may be lower than what the parent remembers of it: deletes move only what is below.
		from := p.low
		if i == 0 {
			from = nil
		}
		k, err := w.key(p, uint64(at)+uint64(ne.Uint32(p.bytes[at:])), uint64(ne.Uint32(p.bytes[at+4:])), last, from)
		if err != nil {
			return err
		}
		keys[i], children[i], last = k, ne.Uint64(p.bytes[at+8:]), k
	}
	keys[n] = p.high
	for i, child := range children {
		from := keys[i]
		if i == 0 {
			from = p.low
		}
		if err := w.page(child, p.depth+1, from, keys[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(p *boltPage) error {
	ne := binary.NativeEndian
	n := int(ne.Uint16(p.bytes[10:]))
	if boltHead+n*boltElem > len(p.bytes) {
		return w.bad(p.id, "it has %d entries", n)
	}
	var last []byte
	for i := range n {
		at := boltHead + i*boltElem
		elem := p.bytes[at:]
		place, ksize, vsize := uint64(at)+uint64(ne.Uint32(elem[4:])), uint64(ne.Uint32(elem[8:])), uint64(ne.Uint32(elem[12:]))
		k, err := w.key(p, place, ksize, last, p.low)
		if err != nil {
			return err
		}
		last = k
		if place+ksize+vsize > uint64(len(p.bytes)) {
			return w.bad(p.id, "a value stands outside of it")
		}
		if isBucket := ne.Uint32(elem)&1 != 0; isBucket == (w.table != "") {
			return w.bad(p.id, "an entry is of the wrong sort")
		} else if !isBucket {
			continue
		}
		if err := w.bucket(p, string(k), p.bytes[place+ksize:place+ksize+vsize]); err != nil {
			return err
		}
	}
	return nil
}

// bucket is one table; a small one stands inside of its entry.
func (w *walker) bucket(p *boltPage, name string, v []byte) error {
	w.table = name
	defer func() { w.table = "" }()
	if len(v) < boltBucket {
		return w.bad(p.id, "its entry has %d octets", len(v))
	}
	root := binary.NativeEndian.Uint64(v)
	if root != 0 {
		return w.page(root, p.depth+1, nil, nil)
	}
	inline := v[boltBucket:]
	if len(inline) < boltHead || binary.NativeEndian.Uint16(inline[8:]) != boltLeaf {
		return w.bad(p.id, "its entry holds no page")
	}
	return w.leaf(&boltPage{id: p.id, bytes: inline, depth: p.depth + 1})
}
