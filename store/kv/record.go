package kv

import (
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// logged is a durable record on its way into the tables.
type logged struct {
	blob.Item
	accounts []uint32
	at       time.Time // when it became durable
	kept     bool      // without parts to apply: an Update will refer to its body
	failures int       // how often its Apply has failed in this process
	aside    error     // not nil: it goes to table z
	held     *[]uint32 // KeepUpdate's: the segments it pins
}

func (e *logged) entry() Entry { return Entry{LSN: e.LSN, Body: e.Place, Size: e.Size} }

// weight is what a record counts in the backlog.
func (e *logged) weight() int64 { return int64(len(e.Meta)) + 256 }

const (
	partHeader = 5
	maxRecord  = 8 << 20 // octets of the parts of a record
)

// encodeParts lays the parts one after another: kind u8 | length u32 | bytes.
func encodeParts(parts []Part) []byte {
	n := 0
	for _, p := range parts {
		n += partHeader + len(p.Data)
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = append(out, p.Kind)
		out = binary.BigEndian.AppendUint32(out, uint32(len(p.Data)))
		out = append(out, p.Data...)
	}
	return out
}

// decodeParts yields the parts of meta, and an error in the place of one that is cut short.
func decodeParts(meta []byte) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		for len(meta) > 0 {
			if len(meta) < partHeader || uint32(len(meta)-partHeader) < binary.BigEndian.Uint32(meta[1:]) {
				yield(Part{}, fmt.Errorf("a part of the record is cut short: %w", ErrDamaged))
				return
			}
			n := partHeader + int(binary.BigEndian.Uint32(meta[1:]))
			if !yield(Part{Kind: meta[0], Data: meta[partHeader:n:n]}, nil) {
				return
			}
			meta = meta[n:]
		}
	}
}

// partOwner is this package's part kind: whose a body is that an Update will refer to. Only repair looks at it, when the Update
// is lost.
const partOwner byte = 0

func ownerPart(account uint32) []byte {
	return encodeParts([]Part{{Kind: partOwner, Data: binary.BigEndian.AppendUint32(nil, account)}})
}

// ownedBy reads what ownerPart wrote.
func ownedBy(meta []byte) (account uint32, ok bool) {
	for p, err := range decodeParts(meta) {
		return binary.BigEndian.Uint32(append(p.Data, 0, 0, 0, 0)), err == nil && p.Kind == partOwner && len(p.Data) == 4
	}
	return 0, false
}

// Tables of this package; the letters are taken.
const (
	tableSettings Table = "s" // version, uuid, secret, log key, applied
	tableSegments Table = "g" // segment u32: kind u8, octets u64, dead octets u64 (a hint)
	tableAside    Table = "z" // lsn u64: length u32, error, meta
)

// Keys of table s.
const (
	keyVersion = "version"
	keyUUID    = "uuid"
	keySecret  = "secret"
	keyLog     = "logkey"
	keyApplied = "applied"

	keyMigrating = "migrating" // while a migration runs: format u32 that is complete, and where the next one has come
	keyChanges   = "changes"   // Updates since the last migration, counted while there is a way back
	keyJournal   = "journal"   // seq of the last commit that the journal has
)

const (
	segmentOfLog    byte = 'L'
	segmentOfBodies byte = 'B'
)

func lsnKey(l blob.LSN) []byte { return binary.BigEndian.AppendUint64(nil, uint64(l)) }

func segmentKey(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func asideValue(err error, meta []byte) []byte {
	text := err.Error()
	v := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	return append(append(v, text...), meta...)
}

func segmentRow(kind byte, size int64) []byte {
	v := binary.BigEndian.AppendUint64([]byte{kind}, uint64(size))
	return binary.BigEndian.AppendUint64(v, 0)
}
