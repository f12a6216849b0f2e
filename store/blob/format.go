package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A segment is a header and records, each beginning at a multiple of 8. All numbers are big endian.
//
//	segment header   magic 8 | version u16 | kind u8 | 0 | number u32 | uuid 16 |
//	                 log segment before u32 | 0 u32 | its durable end u64 | 0 12 | crc u32
//	record header    magic u32 | version u8 | kind u8 | flags u8 | lead u8 | meta u32 | head u32 | frames u32 | 0 u32 |
//	                 stored u64 | raw u64 | lsn u64 | prev_synced u64 | bcrc u32 | hcrc u32
//	record           header | meta | frame table | frames          (received in memory)
//	                 header | frames from lead on | the lead frames | frame table   (flagLate: written while it arrived)
//	frame table      stored u32 | raw u32 | crc u32 | method u8 | 0 0 0, for each frame
//
// hcrc covers the record header before it and meta; bcrc the frame table; both start from a secret of the
// segment, so that no mail can hold a valid record. A frame's crc covers its stored octets and starts from a
// secret of the store, so that a frame can be checked wherever it is copied to. The frames, decoded and
// joined, are the head and then the body.
const (
	segmentMagic   = "phseg\r\n\x1a"
	segmentVersion = 2 // 1 had no packed frames
	segmentHeader  = 64

	recordMagic   = 0x50487263
	recordVersion = 1
	recordHeader  = 64
	frameEntry    = 16
	alignment     = 8

	maxMeta   = 16 << 20 // more is no record of ours
	maxRecord = 1 << 40  // nor is this
)

// Kind of a segment.
const (
	segmentLog  byte = 'L'
	segmentBody byte = 'B'
)

// Kinds of a record.
const (
	recordMail      byte = 1 // parts for the tables, with or without a body
	recordJournal   byte = 2 // what the committer changed; for repair, never replayed
	recordDirectory byte = 3 // accounts, addresses, mailboxes at the time; for repair, never replayed
)

// Flags of a record.
const (
	flagElsewhere byte = 1 << iota // meta begins with the place u64 and size u64 of a body in a segment of its own
	flagLate                       // the frame table and the lead frames stand at the end
)

const elsewhereLen = 16

// Methods of a frame.
const (
	methodPlain  byte = 0
	methodZstd   byte = 1 // read only: what segments of version 1 have
	methodPacked byte = 2 // packed.go
)

// header is a record header.
type header struct {
	kind, flags, lead byte
	meta, head        uint32
	frames            uint32
	stored, raw       uint64
	at, prevSynced    LSN
	bcrc, hcrc        uint32
}

// length is the octets of the whole record, padding included.
func (h *header) length() int64 {
	n := recordHeader + int64(h.meta) + frameEntry*int64(h.frames) + int64(h.stored)
	return (n + alignment - 1) &^ (alignment - 1)
}

// put writes the header without hcrc.
func (h *header) put(p []byte) {
	be := binary.BigEndian
	be.PutUint32(p, recordMagic)
	p[4], p[5], p[6], p[7] = recordVersion, h.kind, h.flags, h.lead
	be.PutUint32(p[8:], h.meta)
	be.PutUint32(p[12:], h.head)
	be.PutUint32(p[16:], h.frames)
	be.PutUint32(p[20:], 0)
	be.PutUint64(p[24:], h.stored)
	be.PutUint64(p[32:], h.raw)
	be.PutUint64(p[40:], uint64(h.at))
	be.PutUint64(p[48:], uint64(h.prevSynced))
	be.PutUint32(p[56:], h.bcrc)
}

// parseHeader reads a header and checks what can be checked without meta: that it claims to stand at at and
// that its record ends at limit or before.
func parseHeader(p []byte, at LSN, limit int64) (header, error) {
	be := binary.BigEndian
	var h header
	if len(p) < recordHeader || be.Uint32(p) != recordMagic {
		return h, fmt.Errorf("no record at %s: %w", at, ErrDamaged)
	}
	if p[4] != recordVersion {
		return h, fmt.Errorf("record at %s has version %d: %w", at, p[4], ErrDamaged)
	}
	h = header{
		kind: p[5], flags: p[6], lead: p[7],
		meta: be.Uint32(p[8:]), head: be.Uint32(p[12:]), frames: be.Uint32(p[16:]),
		stored: be.Uint64(p[24:]), raw: be.Uint64(p[32:]),
		at: LSN(be.Uint64(p[40:])), prevSynced: LSN(be.Uint64(p[48:])),
		bcrc: be.Uint32(p[56:]), hcrc: be.Uint32(p[60:]),
	}
	switch {
	case h.at != at:
		return h, fmt.Errorf("record at %s says it stands at %s: %w", at, h.at, ErrDamaged)
	case h.meta > maxMeta || h.stored > maxRecord || at.Offset()+h.length() > limit:
		return h, fmt.Errorf("record at %s is longer than its segment: %w", at, ErrDamaged)
	case h.flags&flagElsewhere != 0 && h.meta < elsewhereLen:
		return h, fmt.Errorf("record at %s names no place: %w", at, ErrDamaged)
	case uint64(h.head) > h.raw || uint32(h.lead) > h.frames:
		return h, fmt.Errorf("record at %s contradicts itself: %w", at, ErrDamaged)
	}
	return h, nil
}

// check compares hcrc; p is the header as it stands.
func (h *header) check(p, meta []byte, seed uint32) error {
	if headerCRC(p, meta, seed) != h.hcrc {
		return fmt.Errorf("record header at %s: checksum differs: %w", h.at, ErrDamaged)
	}
	return nil
}

func headerCRC(p, meta []byte, seed uint32) uint32 {
	return checksum(checksum(seed, p[:recordHeader-4]), meta)
}

// frame is one entry of a frame table.
type frame struct {
	stored, raw, crc uint32
	method           byte
}

func (f frame) append(p []byte) []byte {
	be := binary.BigEndian
	p = be.AppendUint32(p, f.stored)
	p = be.AppendUint32(p, f.raw)
	p = be.AppendUint32(p, f.crc)
	return append(p, f.method, 0, 0, 0)
}

func parseFrame(p []byte) frame {
	be := binary.BigEndian
	return frame{stored: be.Uint32(p), raw: be.Uint32(p[4:]), crc: be.Uint32(p[8:]), method: p[12]}
}

// parseTable reads a checked frame table; its sums must be the header's.
func parseTable(p []byte, h *header) ([]frame, error) {
	frames := make([]frame, 0, h.frames)
	var stored, raw uint64
	for ; len(p) >= frameEntry; p = p[frameEntry:] {
		f := parseFrame(p)
		if f.raw > frameMax || f.stored > frameMax || f.method > methodPacked || f.method == methodPlain && f.raw != f.stored {
			return nil, fmt.Errorf("record at %s: frame %d is none of ours: %w", h.at, len(frames), ErrDamaged)
		}
		stored, raw = stored+uint64(f.stored), raw+uint64(f.raw)
		frames = append(frames, f)
	}
	if stored != h.stored || raw != h.raw {
		return nil, fmt.Errorf("record at %s: its frames do not add up: %w", h.at, ErrDamaged)
	}
	return frames, nil
}

// prologue is what a segment's header says.
type prologue struct {
	kind    byte
	number  uint32
	before  uint32 // the log segment before it, 0: none
	durable LSN    // how far that one was durable when this one began
}

func (g prologue) bytes(uuid [16]byte, seed uint32) []byte {
	be := binary.BigEndian
	p := make([]byte, segmentHeader)
	copy(p, segmentMagic)
	be.PutUint16(p[8:], segmentVersion)
	p[10] = g.kind
	be.PutUint32(p[12:], g.number)
	copy(p[16:], uuid[:])
	be.PutUint32(p[32:], g.before)
	be.PutUint64(p[40:], uint64(g.durable))
	be.PutUint32(p[60:], checksum(seed, p[:60]))
	return p
}

// parsePrologue tells three things apart: ErrDamaged (no header), ErrForeign (a good one, but not for us), and a header.
func parsePrologue(p []byte, number uint32, uuid [16]byte, seed uint32) (prologue, error) {
	be := binary.BigEndian
	var g prologue
	if len(p) < segmentHeader || string(p[:8]) != segmentMagic {
		return g, fmt.Errorf("segment %08x has no header: %w", number, ErrDamaged)
	}
	if v := be.Uint16(p[8:]); v > segmentVersion {
		return g, fmt.Errorf("segment %08x has format %d, this program knows %d; use a newer posthouse: %w", number, v, segmentVersion, ErrForeign)
	}
	if [16]byte(p[16:32]) != uuid {
		return g, fmt.Errorf("segment %08x belongs to the store %x, not to %x; it was copied into the wrong folder: %w", number, p[16:32], uuid, ErrForeign)
	}
	if checksum(seed, p[:60]) != be.Uint32(p[60:]) || be.Uint32(p[12:]) != number {
		return g, fmt.Errorf("segment %08x: header checksum differs: %w", number, ErrDamaged)
	}
	return prologue{kind: p[10], number: number, before: be.Uint32(p[32:]), durable: LSN(be.Uint64(p[40:]))}, nil
}

// secrets derives the seeds of all checksums from the store key.
type secrets struct{ key [32]byte }

func (s secrets) segment(number uint32) uint32 {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], number)
	return s.derive("segment", n[:])
}

func (s secrets) frames() uint32 { return s.derive("frames", nil) }

func (s secrets) derive(use string, more []byte) uint32 {
	m := hmac.New(sha256.New, s.key[:])
	m.Write([]byte(use))
	m.Write(more)
	return binary.BigEndian.Uint32(m.Sum(nil))
}

// checksum continues a CRC-32C from seed.
func checksum(seed uint32, p []byte) uint32 {
	return crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), p)
}

func segmentName(number uint32) string { return fmt.Sprintf("%08x.seg", number) }

func parseSegmentName(name string) (uint32, bool) {
	if len(name) != 12 || name[8:] != ".seg" {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:8], 16, 32)
	return uint32(n), err == nil && n > 0 && segmentName(uint32(n)) == name
}

// putCRC writes hcrc into a header.
func putCRC(p []byte, crc uint32) { binary.BigEndian.PutUint32(p[recordHeader-4:], crc) }
