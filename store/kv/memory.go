package kv

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// memory is the engine for tests: a persistent treap for each table, so that a view is a snapshot and a failed
// update costs nothing.
type memory struct {
	seed maphash.Seed

	mu     sync.Mutex // one update at a time; guards tables
	tables map[Table]*node
	closed bool
}

func newMemory() *memory {
	return &memory{seed: maphash.MakeSeed(), tables: map[Table]*node{}}
}

// MemoryTables are tables in memory that outlive their DB, for tests that open it again. The zero value is empty.
type MemoryTables struct{ is *memory }

// open gives the tables to the next DB.
func (t *MemoryTables) open() *memory {
	if t.is == nil {
		t.is = newMemory()
	}
	t.is = t.Copy().is
	return t.is
}

// Copy is the tables as the last commit left them: what a killed process leaves behind.
func (t *MemoryTables) Copy() *MemoryTables {
	t.is.mu.Lock()
	defer t.is.mu.Unlock()
	return &MemoryTables{&memory{seed: t.is.seed, tables: t.is.tables}}
}

// node is never changed once it is made.
type node struct {
	key, value  []byte
	weight      uint64
	left, right *node
}

func (m *memory) snapshot(writable bool) *memoryPages {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &memoryPages{seed: m.seed, tables: make(map[Table]*node, len(m.tables)), writable: writable}
	for t, n := range m.tables {
		p.tables[t] = n
	}
	return p
}

func (m *memory) view(fn func(pages) error) error { return fn(m.snapshot(false)) }

func (m *memory) update(fn func(pages) error) error {
	p := m.snapshot(true)
	if err := fn(p); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errFatal
	}
	m.tables = p.tables
	return nil
}

func (m *memory) written() (octets, syncs uint64) { return 0, 0 }

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

type memoryPages struct {
	seed     maphash.Seed
	tables   map[Table]*node
	writable bool
}

func (p *memoryPages) get(t Table, key []byte) []byte {
	for n := p.tables[t]; n != nil; {
		switch c := bytes.Compare(key, n.key); {
		case c == 0:
			return n.value
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return nil
}

func (p *memoryPages) put(t Table, key, value []byte) error {
	if err := checkPair(key, value); err != nil {
		return err
	}
	low, high := split(p.tables[t], key)
	_, high = splitFirst(high, key)
	one := &node{key: bytes.Clone(key), value: append([]byte{}, value...), weight: maphash.Bytes(p.seed, key)}
	p.tables[t] = join(join(low, one), high)
	return nil
}

func (p *memoryPages) delete(t Table, key []byte) error {
	low, high := split(p.tables[t], key)
	_, high = splitFirst(high, key)
	p.tables[t] = join(low, high)
	return nil
}

// split parts a tree into keys before key and the rest.
func split(n *node, key []byte) (low, high *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if bytes.Compare(n.key, key) < 0 {
		c.right, high = split(n.right, key)
		return &c, high
	}
	low, c.left = split(n.left, key)
	return low, &c
}

// splitFirst takes the first node off if it has the key.
func splitFirst(n *node, key []byte) (first, rest *node) {
	if n == nil {
		return nil, nil
	}
	if n.left == nil {
		if bytes.Equal(n.key, key) {
			return n, n.right
		}
		return nil, n
	}
	c := *n
	first, c.left = splitFirst(n.left, key)
	return first, &c
}

// join puts two trees together; all keys of a are before those of b.
func join(a, b *node) *node {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	if a.weight > b.weight {
		c := *a
		c.right = join(a.right, b)
		return &c
	}
	c := *b
	c.left = join(a, b.left)
	return &c
}

func (p *memoryPages) scan(t Table, from, to []byte, yield func(k, v []byte) bool) {
	walk(p.tables[t], from, to, yield)
}

func walk(n *node, from, to []byte, yield func(k, v []byte) bool) bool {
	if n == nil {
		return true
	}
	after, before := bytes.Compare(n.key, from) >= 0, to == nil || bytes.Compare(n.key, to) < 0
	if after && !walk(n.left, from, to, yield) {
		return false
	}
	if after && before && !yield(n.key, n.value) {
		return false
	}
	return !before || walk(n.right, from, to, yield)
}

func (p *memoryPages) scanBack(t Table, from, to []byte, yield func(k, v []byte) bool) {
	walkBack(p.tables[t], from, to, yield)
}

func walkBack(n *node, from, to []byte, yield func(k, v []byte) bool) bool {
	if n == nil {
		return true
	}
	after, before := bytes.Compare(n.key, from) >= 0, to == nil || bytes.Compare(n.key, to) < 0
	if before && !walkBack(n.right, from, to, yield) {
		return false
	}
	if after && before && !yield(n.key, n.value) {
		return false
	}
	return !after || walkBack(n.left, from, to, yield)
}
