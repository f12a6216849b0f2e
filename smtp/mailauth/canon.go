package mailauth

import (
	"bytes"
	"hash"
)

// Canonicalization is one of the two of RFC 6376 section 3.4.
type canonicalization bool

const (
	simple  canonicalization = false
	relaxed canonicalization = true
)

// bodyHash computes the hash of a canonical body while the body arrives, in pieces of any size (RFC 6376 section 3.4.3, 3.4.4).
type bodyHash struct {
	relaxed bool
	limit   int64 // octets to hash (tag l); negative: all
	hash    hash.Hash

	total  int64  // octets of the canonical body
	blank  int    // line ends that count only if something follows
	space  bool   // relaxed: white space that counts only if something follows on its line
	cr     bool   // a CR that may belong to a line end
	inLine bool   // something of the current line was written
	buf    []byte // of relaxed lines
}

var crlf = []byte("\r\n")

func newBodyHash(c canonicalization, h hash.Hash, limit int64) *bodyHash {
	return &bodyHash{relaxed: bool(c), hash: h, limit: limit}
}

func (b *bodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		line, ended := p, i >= 0
		if ended {
			line = p[:i]
			p = p[i+1:]
		} else {
			p = nil
		}
		b.piece(line, ended)
	}
	return n, nil
}

// piece takes a part of a line without its LF.
func (b *bodyHash) piece(line []byte, ended bool) {
	if b.cr && (len(line) > 0 || !ended) {
		b.text([]byte{'\r'})
		b.cr = false
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line, b.cr = line[:n-1], true
	}
	b.text(line)
	if ended {
		b.cr, b.space, b.inLine = false, false, false
		b.blank++
	}
}

// text takes octets inside of a line.
func (b *bodyHash) text(p []byte) {
	if !b.relaxed {
		if len(p) > 0 {
			b.begin()
			b.write(p)
		}
		return
	}
	out := b.buf[:0]
	for len(p) > 0 {
		if p[0] == ' ' || p[0] == '\t' {
			b.space = true
			p = p[1:]
			continue
		}
		n := bytes.IndexAny(p, " \t")
		if n < 0 {
			n = len(p)
		}
		b.begin()
		if b.space {
			out = append(out, ' ')
			b.space = false
		}
		out = append(out, p[:n]...)
		p = p[n:]
	}
	b.write(out)
	b.buf = out
}

// begin writes the line ends that were held back.
func (b *bodyHash) begin() {
	if b.inLine {
		return
	}
	b.inLine = true
	for ; b.blank > 0; b.blank-- {
		b.write(crlf)
	}
}

func (b *bodyHash) write(p []byte) {
	if room := b.limit - b.total; b.limit >= 0 && room < int64(len(p)) {
		b.hash.Write(p[:max(room, 0)])
	} else {
		b.hash.Write(p)
	}
	b.total += int64(len(p))
}

// sum ends the body.
func (b *bodyHash) sum() []byte {
	if b.cr {
		b.text([]byte{'\r'})
		b.cr = false
	}
	if b.total > 0 || !b.relaxed {
		b.write(crlf)
	}
	return b.hash.Sum(nil)
}

// canonField appends the canonical form of a header field, its line end included (RFC 6376 section 3.4.1, 3.4.2).
func canonField(dst []byte, c canonicalization, raw []byte) []byte {
	raw = bytes.TrimRight(raw, "\r\n")
	if c == simple {
		return append(append(dst, raw...), crlf...)
	}
	name, value, ok := bytes.Cut(raw, []byte{':'})
	if !ok {
		return append(append(dst, raw...), crlf...)
	}
	dst = append(dst, bytes.ToLower(bytes.TrimRight(name, " \t"))...)
	dst = append(dst, ':')
	return append(appendReduced(dst, value), crlf...)
}

// appendReduced unfolds a value, makes one space of each run of white space and drops what stands at its ends.
func appendReduced(dst, value []byte) []byte {
	begin, space := len(dst), false
	for _, c := range value {
		switch c {
		case '\r', '\n':
		case ' ', '\t':
			space = true
		default:
			if space && len(dst) > begin {
				dst = append(dst, ' ')
			}
			space = false
			dst = append(dst, c)
		}
	}
	return dst
}
