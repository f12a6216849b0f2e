package blob

import (
	"bytes"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

const (
	frameMax   = 256 << 10 // raw octets of a frame: what a reader of one octet pays at most
	splitOver  = 32 << 10  // larger bodies have head and header block in a frame of their own
	compressAt = 512       // smaller ones are not worth the try
)

// codec makes and reads frames; it is shared by all connections, and so are its GOMAXPROCS encoders.
type codec struct {
	enc  *zstd.Encoder // nil: bodies are kept plain
	dec  *zstd.Decoder
	seed uint32
	pool *pool
}

func newCodec(plain bool, seed uint32, p *pool) (*codec, error) {
	n := runtime.GOMAXPROCS(0)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderMaxMemory(frameMax), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	c := &codec{dec: dec, seed: seed, pool: p}
	if plain {
		return c, nil
	}
	c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderConcurrency(n), zstd.WithWindowSize(frameMax), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	return c, err
}

// encode makes one frame of the pieces, frameMax octets at most. It returns the pieces themselves when
// compression does not pay; otherwise stored is one piece from the pool.
func (c *codec) encode(pieces ...[]byte) (f frame, stored [][]byte, pooled []byte) {
	raw := 0
	for _, p := range pieces {
		raw += len(p)
	}
	f.raw = uint32(raw)
	if c.enc != nil && raw >= compressAt {
		src, joined := pieces[0], []byte(nil)
		if len(src) != raw {
			joined = c.pool.take(raw)
			for _, p := range pieces {
				joined = append(joined, p...)
			}
			src = joined
		}
		dst := c.enc.EncodeAll(src, c.pool.take(raw))
		c.pool.give(joined)
		if len(dst) <= raw-raw/10 {
			f.stored, f.method, f.crc = uint32(len(dst)), methodZstd, checksum(c.seed, dst)
			return f, [][]byte{dst}, dst
		}
		c.pool.give(dst)
	}
	f.stored, f.crc = f.raw, c.seed
	for _, p := range pieces {
		f.crc = checksum(f.crc, p)
	}
	return f, pieces, nil
}

// decode checks stored and returns the frame's raw octets: stored itself, or dst grown.
func (c *codec) decode(f frame, stored, dst []byte) ([]byte, error) {
	if checksum(c.seed, stored) != f.crc {
		return nil, fmt.Errorf("checksum differs: %w", ErrDamaged)
	}
	if f.method == methodPlain {
		return stored, nil
	}
	raw, err := c.dec.DecodeAll(stored, dst[:0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(raw) != int(f.raw) {
		return nil, fmt.Errorf("%d octets instead of %d: %w", len(raw), f.raw, ErrDamaged)
	}
	return raw, nil
}

func (c *codec) close() {
	c.dec.Close()
	if c.enc != nil {
		c.enc.Close()
	}
}

// headerBlock is where the header of a message ends, its empty line included; 0: not within the first 32 KB.
func headerBlock(p []byte) int {
	p = p[:min(len(p), splitOver)]
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
