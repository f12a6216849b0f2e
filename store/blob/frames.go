package blob

import (
	"bytes"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

const (
	frameMax     = 256 << 10 // raw octets of a frame that is read
	frameFill    = 124 << 10 // that are written into one: what a reader of one octet pays at most. Packed, it fits 128 KB
	splitOver    = 4 << 10   // larger bodies have head and header block in a frame of their own
	headerWithin = 32 << 10  // if the header block ends there
	compressAt   = 512       // smaller frames are not worth the try
)

// codec makes and reads frames; it is shared by all connections.
type codec struct {
	plain  bool // frames are written as they come
	tables *base64Tables
	zstd   *zstd.Decoder // frames of earlier versions
	seed   uint32
	pool   *pool
}

func newCodec(plain bool, seed uint32, p *pool) (*codec, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(frameMax), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &codec{plain: plain, tables: newBase64Tables(), zstd: dec, seed: seed, pool: p}, nil
}

// encode makes one frame of the pieces, frameMax octets at most. It returns the pieces themselves when
// compression does not pay; otherwise stored is one piece from the pool.
func (c *codec) encode(pieces ...[]byte) (f frame, stored [][]byte, pooled []byte) {
	raw := 0
	for _, p := range pieces {
		raw += len(p)
	}
	f.raw = uint32(raw)
	if !c.plain && raw >= compressAt {
		src, joined := pieces[0], []byte(nil)
		if len(src) != raw {
			joined = c.pool.take(raw)
			for _, p := range pieces {
				joined = append(joined, p...)
			}
			src = joined
		}
		packed, pooled := c.pack(src)
		c.pool.give(joined)
		if packed != nil {
			f.stored, f.method, f.crc = uint32(len(packed)), methodPacked, checksum(c.seed, packed)
			return f, [][]byte{packed}, pooled
		}
	}
	f.stored, f.crc = f.raw, c.seed
	for _, p := range pieces {
		f.crc = checksum(f.crc, p)
	}
	return f, pieces, nil
}

// decode checks stored and fills raw with what it stands for. They may be the same octets when the frame is plain.
func (c *codec) decode(f frame, stored, raw []byte) error {
	if checksum(c.seed, stored) != f.crc {
		return fmt.Errorf("checksum differs: %w", ErrDamaged)
	}
	var err error
	switch f.method {
	case methodPlain:
		if len(raw) > 0 && &raw[0] != &stored[0] {
			copy(raw, stored)
		}
	case methodZstd:
		var out []byte
		if out, err = c.zstd.DecodeAll(stored, raw[:0:len(raw)]); err == nil && len(out) != len(raw) {
			err = fmt.Errorf("%d octets instead of %d", len(out), len(raw))
		}
	default:
		err = c.unpack(raw, stored)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

func (c *codec) close() { c.zstd.Close() }

// headerBlock is where the header of a message ends, its empty line included; 0: not within headerWithin.
func headerBlock(p []byte) int {
	p = p[:min(len(p), headerWithin)]
	if i := bytes.Index(p, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	if i := bytes.Index(p, []byte("\n\n")); i >= 0 {
		return i + 2
	}
	return 0
}

// pool keeps buffers in classes of powers of two, from 4 KB to 512 KB.
type pool struct{ classes [8]sync.Pool }

const smallest = 12 // log2 of the first class

func class(n int) int { return max(bits.Len(uint(max(n, 1)-1)), smallest) - smallest }

// take returns an empty buffer with room for n octets.
func (p *pool) take(n int) []byte {
	k := class(n)
	if k >= len(p.classes) {
		return make([]byte, 0, n)
	}
	if b, ok := p.classes[k].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<(k+smallest))
}

// give takes a buffer back; nobody may use it any more.
func (p *pool) give(b []byte) {
	n := cap(b)
	if n == 0 || n&(n-1) != 0 || class(n) >= len(p.classes) || n < 1<<smallest {
		return
	}
	p.classes[class(n)].Put(&b)
}

// budget is memory for bodies, shared by all connections.
type budget struct{ left atomic.Int64 }

func (b *budget) take(n int64) bool {
	if n <= 0 || b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }
