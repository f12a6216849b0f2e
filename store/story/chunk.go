package story

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables of this package in side.db.
const (
	tabChunk kv.Table = "S" // number u64: when it was begun, ns -> entries
	tabHash  kv.Table = "I" // number u64 -> hash u32 of all that its entries are found by
	tabSize  kv.Table = "Z" // "stories" -> octets u64
)

// maxChunk is how much is written in one row.
const maxChunk = 64 << 10

// What entries are found by.
const (
	byID        byte = 'i'
	byMessageID byte = 'm'
	byAddress   byte = 'a'
	byOwner     byte = 'o'
)

// chunk is what was told between two commits. It is guarded by Book.mu until it is sealed, and does not change after that.
type chunk struct {
	number uint64
	w      writer
	one    writer
	hashes []byte
	sealed bool
}

// hashOf is FNV-1a over the kind and the text in lower case, as far as ASCII goes.
func hashOf(kind byte, s string) uint32 {
	h := (uint32(2166136261) ^ uint32(kind)) * 16777619
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// hashOfPlace is the hash of a log record.
func hashOfPlace(at uint64) uint32 { return uint32((at*0x9e3779b97f4a7c15)>>32) ^ 'l' }

// hashOfOwner is the hash of an account.
func hashOfOwner(account uint32) uint32 {
	return hashOf(byOwner, strconv.FormatUint(uint64(account), 10))
}

func (c *chunk) found(hash uint32) { c.hashes = binary.BigEndian.AppendUint32(c.hashes, hash) }

// entry writes one with its length in front.
func (c *chunk) entry(kind byte, id string, rest func(w *writer)) {
	c.one.b = append(c.one.b[:0], kind)
	c.one.text(id)
	rest(&c.one)
	c.w.b = binary.AppendUvarint(c.w.b, uint64(len(c.one.b)))
	c.w.b = append(c.w.b, c.one.b...)
}

func (c *chunk) begin(m *Message) {
	c.entry(kindBegin, m.ID, func(w *writer) { w.message(m) })
	c.found(hashOf(byID, m.ID))
	if m.MessageID != "" {
		c.found(hashOf(byMessageID, m.MessageID))
	}
	if m.From != "" {
		c.found(hashOf(byAddress, m.From))
	}
	if m.Author != "" && !strings.EqualFold(m.Author, m.From) {
		c.found(hashOf(byAddress, m.Author))
	}
	if m.Account != "" && !strings.EqualFold(m.Account, m.From) {
		c.found(hashOf(byAddress, m.Account))
	}
	for _, to := range m.To {
		c.found(hashOf(byAddress, to))
	}
	for _, a := range m.Owners {
		c.found(hashOfOwner(a))
	}
}

// tell writes events; alone: not right behind the beginning of their story, which is found already.
func (c *chunk) tell(id string, events []Event, alone bool) {
	c.entry(kindTell, id, func(w *writer) {
		w.number(uint64(len(events)))
		for i := range events {
			w.event(&events[i])
		}
	})
	if alone {
		c.found(hashOf(byID, id))
	}
}

func (c *chunk) placed(id string, at uint64) {
	c.entry(kindPlaced, id, func(w *writer) { w.number(at) })
	c.found(hashOf(byID, id))
}

func (c *chunk) read(at uint64, e *Event) {
	c.entry(kindRead, "", func(w *writer) { w.number(at); w.event(e) })
	c.found(hashOfPlace(at))
}

// write lets fn write into the chunk that is open. The first of a chunk asks for its commit, within about a second.
func (b *Book) write(fn func(c *chunk)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.open
	if c == nil {
		b.last = max(b.last+1, uint64(b.o.Now().UnixNano()))
		c = &chunk{number: b.last}
		b.open = c
		b.o.Side.Later(func(tx *kv.Tx) error { return b.commit(tx, c) })
	}
	if fn(c); len(c.w.b) >= maxChunk {
		b.seal(c)
	}
}

// seal closes a chunk; b.mu is held.
func (b *Book) seal(c *chunk) {
	c.sealed = true
	c.one.b = nil
	if b.open == c {
		b.open = nil
	}
}

// commit writes a chunk. It may run again: the chunk is sealed then.
func (b *Book) commit(tx *kv.Tx, c *chunk) error {
	b.mu.Lock()
	b.seal(c)
	b.mu.Unlock()
	if len(c.w.b) == 0 {
		return nil
	}
	number := c.number
	for tx.Get(tabChunk, chunkKey(number)) != nil { // the clock went back behind a restart
		number++
	}
	tx.Put(tabChunk, chunkKey(number), c.w.b)
	tx.Put(tabHash, chunkKey(number), c.hashes)
	all := size(tx) + uint64(len(c.w.b)+len(c.hashes))
	tx.Put(tabSize, sizeKey(), binary.BigEndian.AppendUint64(nil, all))
	if all > uint64(b.o.Limit+b.o.Limit/8) {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
	return nil
}

func chunkKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

func sizeKey() []byte { return []byte("stories") }

func size(tx *kv.Tx) uint64 {
	if v := tx.Get(tabSize, sizeKey()); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}
