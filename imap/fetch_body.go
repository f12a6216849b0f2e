package imap

import (
	"bytes"
	"errors"
	"io"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// piece is how much of a body is in memory at once, besides the frame that the store has open.
const piece = 64 << 10

// openMessage is a message whose text is being cut.
type openMessage struct {
	body *store.Body   // nil when all that is needed of it is in memory
	root *message.Part // nil when no item needs it
	size int64
	text []byte // the whole message when that is what is needed, and it is small
	kept []byte // memory for text, used again
}

// load opens a message in place of the one before.
func (o *openMessage) load(f *fetcher, m *store.Message) error {
	o.close()
	open := f.c.s.store.Open
	if f.heads {
		open = f.c.s.store.OpenHead
	}
	body, err := open(f.ctx, *m)
	if err != nil {
		return err
	}
	if !f.heads {
		f.c.reads(m)
	}
	o.body, o.size = body, body.Size()
	if f.root {
		if o.root, err = body.Root(); err != nil {
			return err
		}
	}
	if !f.whole || o.size > aheadText {
		return nil
	}
	if int64(cap(o.kept)) < o.size {
		o.kept = make([]byte, min(max(o.size, 2*int64(cap(o.kept))), aheadText))
	}
	o.text = o.kept[:o.size]
	err = readWhole(body, o.text, 0)
	o.letGo()
	return err
}

func (o *openMessage) close() {
	o.letGo()
	*o = openMessage{kept: o.kept}
}

// letGo gives back what the store has open.
func (o *openMessage) letGo() {
	if o.body != nil {
		_ = o.body.Close() // a reader has nothing to lose
		o.body = nil
	}
}

// findPart follows part numbers from the root (RFC 9051 section 6.4.5.1): a message that is no multipart has its body as
// part 1, and the numbers behind a message/rfc822 part count in the message that it encloses. nil: there is no such part.
func findPart(root *message.Part, path []uint32) *message.Part {
	p := root
	for i, n := range path {
		if i > 0 {
			switch {
			case p.IsMessage() && len(p.Parts) == 1:
				p = p.Parts[0]
			case !p.IsMultipart():
				return nil
			}
		}
		switch {
		case p.IsMultipart() && len(p.Parts) > 0:
			if uint64(n) > uint64(len(p.Parts)) {
				return nil
			}
			p = p.Parts[n-1]
		case n != 1:
			return nil
		}
	}
	return p
}

// span is a range of octets of the message.
type span struct{ from, to int64 }

// sectionSpan is what a section names; ok is false when the message has no such section.
func sectionSpan(root *message.Part, s syntax.Section) (_ span, ok bool) {
	p := findPart(root, s.Part)
	if p == nil {
		return span{}, false
	}
	switch s.Text {
	case "":
		if len(s.Part) == 0 {
			return span{0, p.End}, true
		}
		return span{p.Body, p.End}, true
	case "MIME":
		return span{p.Header, p.Body}, true
	}
	if len(s.Part) > 0 { // HEADER and TEXT of a part are those of the message it encloses
		if !p.IsMessage() || len(p.Parts) != 1 {
			return span{}, false
		}
		p = p.Parts[0]
	}
	if s.Text == "TEXT" {
		return span{p.Body, p.End}, true
	}
	return span{p.Header, p.Body}, true
}

// writeSection writes BODY[...] and its old names.
func (f *fetcher) writeSection(it *fetchItem) error {
	if it.section.Text == "" && len(it.section.Part) == 0 {
		return f.writeSpan(it, span{0, f.open.size})
	}
	s, ok := sectionSpan(f.open.root, it.section)
	if !ok {
		f.line = append(f.line, "NIL"...)
		return nil
	}
	if len(it.section.Fields) == 0 {
		return f.writeSpan(it, s)
	}
	filter := message.FieldFilter{Names: it.section.Fields, Not: it.section.Text == "HEADER.FIELDS.NOT"}
	if n := s.to - s.from; n <= piece/2 { // nearly always: in memory, and once
		b := f.room(2 * int(n))
		if err := readWhole(f.open.body, b[:n], s.from); err != nil {
			return err
		}
		return f.writeKept(it, filter.Append(b[n:n], b[:n]), false)
	}
	return f.writeMade(it, false, func(w io.Writer) error {
		return filter.Copy(w, io.NewSectionReader(f.open.body, s.from, s.to-s.from))
	})
}

// writeSpan writes a range of the message as a literal. Its first piece is read before the literal is promised.
func (f *fetcher) writeSpan(it *fetchItem, s span) error {
	from, n := it.cut(s.to - s.from)
	from += s.from
	if n <= 0 {
		f.line = append(f.line, `""`...)
		return nil
	}
	next := f.take
	if f.open.text == nil && f.ahead.helped && n > aheadText {
		f.long.begin(f.open.body, from, n)
		defer f.long.end()
		next = func(_, _ int64) ([]byte, error) { return f.long.next() }
	}
	for first := true; n > 0; first = false {
		b, err := next(from, n)
		if err != nil {
			return err
		}
		maskNUL(b)
		if first {
			f.line = syntax.AppendLiteralHeader(f.line, n)
		}
		if err := f.put(b); err != nil {
			return err
		}
		from += int64(len(b))
		n -= int64(len(b))
	}
	return nil
}

// take is up to n octets of the message from an offset on: those in memory, or a piece that is read now.
func (f *fetcher) take(from, n int64) ([]byte, error) {
	if f.open.text != nil {
		return f.open.text[from : from+n], nil
	}
	b := f.room(int(min(n, piece)))
	return b, readWhole(f.open.body, b, from)
}

// room is a buffer of n octets that is kept for the next piece.
func (f *fetcher) room(n int) []byte {
	if cap(f.buf) < n {
		f.buf = make([]byte, max(n, min(2*cap(f.buf), piece)))
	}
	return f.buf[:n]
}

func readWhole(src io.ReaderAt, b []byte, off int64) error {
	n, err := src.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// maskNUL replaces NUL, which a literal cannot hold (RFC 9051 section 4.3.1); BINARY shows it as it is.
func maskNUL(b []byte) {
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return
		}
		b[i] = 0x80
		b = b[i+1:]
	}
}

// writeMade writes what produce makes as a literal. A literal's length comes first, so that what does not fit into a piece
// of memory is made twice.
func (f *fetcher) writeMade(it *fetchItem, binary bool, produce func(io.Writer) error) error {
	g := gatherer{kept: f.room(0)}
	if err := produce(&g); err != nil {
		return err
	}
	f.buf = g.kept[:0]
	if g.n == int64(len(g.kept)) {
		return f.writeKept(it, g.kept, binary && g.nul)
	}
	from, n := it.cut(g.n)
	if n == 0 {
		f.line = append(f.line, `""`...)
		return nil
	}
	if binary && g.nul {
		f.line = append(f.line, '~')
	}
	f.line = syntax.AppendLiteralHeader(f.line, n)
	if err := f.flush(0); err != nil {
		return err
	}
	w := window{w: f, skip: from, left: n, mask: !binary}
	if err := produce(&w); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if w.left > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// writeKept writes what an item asks of b; eight: as a literal8.
func (f *fetcher) writeKept(it *fetchItem, b []byte, eight bool) error {
	from, n := it.cut(int64(len(b)))
	if n == 0 {
		f.line = append(f.line, `""`...)
		return nil
	}
	if eight {
		f.line = append(f.line, '~')
	} else {
		maskNUL(b)
	}
	f.line = syntax.AppendLiteralHeader(f.line, n)
	f.line = append(f.line, b[from:from+n]...)
	return f.flush(f.gather)
}

// gatherer counts octets and keeps them while they are few.
type gatherer struct {
	kept []byte
	n    int64
	nul  bool
}

func (g *gatherer) Write(p []byte) (int, error) {
	if g.n == int64(len(g.kept)) && len(g.kept)+len(p) <= piece {
		g.kept = append(g.kept, p...)
	}
	g.n += int64(len(p))
	g.nul = g.nul || bytes.IndexByte(p, 0) >= 0
	return len(p), nil
}

// errEnough ends a production whose window is full.
var errEnough = errors.New("imap: enough")

// window passes left octets behind skip.
type window struct {
	w          io.Writer
	skip, left int64
	mask       bool
}

func (w *window) Write(p []byte) (int, error) {
	total := len(p)
	drop := min(w.skip, int64(len(p)))
	w.skip -= drop
	p = p[drop:]
	p = p[:min(int64(len(p)), w.left)]
	if w.mask && bytes.IndexByte(p, 0) >= 0 {
		p = bytes.Clone(p) // a Writer may not change what it is given
		maskNUL(p)
	}
	if len(p) > 0 {
		n, err := w.w.Write(p)
		w.left -= int64(n)
		if err != nil {
			return n, err
		}
	}
	if w.left == 0 {
		return total, errEnough
	}
	return total, nil
}
