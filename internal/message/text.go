package message

import "io"

// RawReader reads the body of a part as it stands in the message.
func RawReader(src io.ReaderAt, p *Part) *io.SectionReader {
	return io.NewSectionReader(src, p.Body, p.End-p.Body)
}

// ContentReader reads the decoded content of a part; ok is false when its encoding is unknown.
func ContentReader(src io.ReaderAt, p *Part) (_ io.Reader, ok bool) {
	return TransferReader(p.Encoding, RawReader(src, p))
}

// TextReader reads a text part as UTF-8. A part of an unknown encoding is read as it stands.
func TextReader(src io.ReaderAt, p *Part) io.Reader {
	r, ok := ContentReader(src, p)
	if !ok {
		r = RawReader(src, p)
	}
	return CharsetReader(p.Charset(), r)
}

// Walk calls fn for p and all parts below it, in the order of the message, until fn returns false.
func (p *Part) Walk(fn func(*Part) bool) bool {
	if !fn(p) {
		return false
	}
	for _, c := range p.Parts {
		if !c.Walk(fn) {
			return false
		}
	}
	return true
}
