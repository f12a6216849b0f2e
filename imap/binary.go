package imap

import (
	"io"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// binaryPart finds the part of a BINARY item. plain: it has no encoding to undo, as it is the message itself, or a part of
// parts, which RFC 2045 section 6.4 allows none.
func (f *fetcher) binaryPart(it *fetchItem) (p *message.Part, plain bool) {
	p = findPart(f.open.root, it.section.Part)
	return p, p != nil && (len(it.section.Part) == 0 || len(p.Parts) > 0)
}

// unknownEncoding tells whether a part cannot be decoded (RFC 3516 section 4.3).
func (f *fetcher) unknownEncoding(it *fetchItem) bool {
	p, plain := f.binaryPart(it)
	if p == nil || plain {
		return false
	}
	_, ok := message.TransferReader(p.Encoding, nil)
	return !ok
}

// content reads what a BINARY item names, decoded.
func (f *fetcher) content(it *fetchItem) func(io.Writer) error {
	p, plain := f.binaryPart(it)
	if p == nil {
		return nil
	}
	return func(w io.Writer) error {
		var r io.Reader = message.RawReader(f.open.body, p)
		switch {
		case len(it.section.Part) == 0:
			r = io.NewSectionReader(f.open.body, 0, f.open.body.Size())
		case !plain:
			r, _ = message.ContentReader(f.open.body, p) // unknownEncoding has asked before
		}
		_, err := io.Copy(w, r)
		return err
	}
}

// writeBinary writes BINARY[...] (RFC 9051 section 6.4.5): a literal8 where the content has NUL.
func (f *fetcher) writeBinary(it *fetchItem) error {
	produce := f.content(it)
	if produce == nil {
		f.line = append(f.line, "NIL"...)
		return nil
	}
	return f.writeMade(it, true, produce)
}

// writeBinarySize writes BINARY.SIZE[...], the octets that BINARY would give; 0 where there is no such part.
func (f *fetcher) writeBinarySize(it *fetchItem) error {
	var n gatherer
	if produce := f.content(it); produce != nil {
		n.kept = f.room(0)
		if err := produce(&n); err != nil {
			return err
		}
	}
	f.line = syntax.AppendNumber64(f.line, uint64(n.n))
	return nil
}
