package message

import (
	"encoding/binary"
	"errors"
)

// ErrStored: the stored form of a structure is damaged or of a later version.
var ErrStored = errors.New("message: stored structure is damaged or too new")

// storedVersion is the first octet of the stored form.
const storedVersion = 1

// AppendPart appends the stored form of a Part tree; ParsePart reads it back.
// The form has a version, is bounded by what the scanner keeps, and hostile bytes give an error, never a panic.
func AppendPart(b []byte, p *Part) []byte {
	return appendPart(append(b, storedVersion), p, 0)
}

// Flags of a stored part: what is absent costs nothing.
const (
	hasEnvelope = 1 << iota
	hasParts
	hasDisposition
	hasRare // ID, description, MD5, location, languages
)

func appendPart(b []byte, p *Part, base int64) []byte {
	flags := byte(0)
	if p.Envelope != nil {
		flags |= hasEnvelope
	}
	if len(p.Parts) > 0 {
		flags |= hasParts
	}
	if p.Disposition != "" || len(p.DispositionParams) > 0 {
		flags |= hasDisposition
	}
	if p.ID != "" || p.Description != "" || p.MD5 != "" || p.Location != "" || len(p.Language) > 0 {
		flags |= hasRare
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(p.Header-base))
	b = binary.AppendUvarint(b, uint64(p.Body-p.Header))
	b = binary.AppendUvarint(b, uint64(p.End-p.Body))
	b = binary.AppendUvarint(b, uint64(p.Lines))
	b = appendStrings(b, p.Type, p.Subtype, p.Encoding)
	b = appendParams(b, p.Params)
	if flags&hasDisposition != 0 {
		b = appendStrings(b, p.Disposition)
		b = appendParams(b, p.DispositionParams)
	}
	if flags&hasRare != 0 {
		b = appendStrings(b, p.ID, p.Description, p.MD5, p.Location)
		b = binary.AppendUvarint(b, uint64(len(p.Language)))
		b = appendStrings(b, p.Language...)
	}
	if e := p.Envelope; e != nil {
		b = appendStrings(b, e.Date, e.Subject, e.InReplyTo, e.MessageID)
		for _, list := range e.lists() {
			b = binary.AppendUvarint(b, uint64(len(*list)))
			for _, a := range *list {
				b = appendStrings(b, a.Name, a.Mailbox, a.Host)
			}
		}
	}
	if flags&hasParts != 0 {
		b = binary.AppendUvarint(b, uint64(len(p.Parts)))
		for _, child := range p.Parts {
			b = appendPart(b, child, p.Header)
		}
	}
	return b
}

// lists are the address fields in stored order.
func (e *Envelope) lists() [6]*[]Address {
	return [...]*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc}
}

func appendStrings(b []byte, list ...string) []byte {
	for _, s := range list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func appendParams(b []byte, list []Param) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, p := range list {
		b = appendStrings(b, p.Name, p.Value)
	}
	return b
}

// ParsePart reads what AppendPart wrote.
func ParsePart(b []byte) (*Part, error) {
	if len(b) == 0 || b[0] != storedVersion {
		return nil, ErrStored
	}
	r := storedReader{s: string(b[1:]), parts: maxParts}
	p := r.part(0, 0)
	if r.bad {
		return nil, ErrStored
	}
	return p, nil
}

// storedReader reads the stored form; all strings share one copy of it.
type storedReader struct {
	s     string
	i     int
	parts int // that may still come
	bad   bool
}

func (r *storedReader) part(base int64, depth int) *Part {
	r.parts--
	if r.parts < 0 || depth > maxDepth || r.i >= len(r.s) {
		r.bad = true
		return nil
	}
	flags := r.s[r.i]
	r.i++
	p := &Part{}
	p.Header = base + r.offset()
	p.Body = p.Header + r.offset()
	p.End = p.Body + r.offset()
	p.Lines = r.offset()
	p.Type, p.Subtype, p.Encoding = r.text(), r.text(), r.text()
	p.Params = r.params()
	if flags&hasDisposition != 0 {
		p.Disposition = r.text()
		p.DispositionParams = r.params()
	}
	if flags&hasRare != 0 {
		p.ID, p.Description, p.MD5, p.Location = r.text(), r.text(), r.text(), r.text()
		if n := r.count(1); n > 0 {
			p.Language = make([]string, n)
			for i := range p.Language {
				p.Language[i] = r.text()
			}
		}
	}
	if flags&hasEnvelope != 0 {
		p.Envelope = r.envelope()
	}
	if flags&hasParts != 0 {
		p.Parts = make([]*Part, r.count(8))
		for i := range p.Parts {
			if p.Parts[i] = r.part(p.Header, depth+1); r.bad {
				return nil
			}
		}
	}
	return p
}

func (r *storedReader) envelope() *Envelope {
	e := &Envelope{}
	e.Date, e.Subject, e.InReplyTo, e.MessageID = r.text(), r.text(), r.text(), r.text()
	for _, list := range e.lists() {
		n := r.count(3)
		if n == 0 {
			continue
		}
		*list = make([]Address, n)
		for i := range *list {
			(*list)[i] = Address{r.text(), r.text(), r.text()}
		}
	}
	return e
}

func (r *storedReader) uvarint() uint64 {
	var v uint64
	for shift := uint(0); shift < 63; shift += 7 {
		if r.i >= len(r.s) {
			break
		}
		c := r.s[r.i]
		r.i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

// offset is bounded so that sums of a hundred of them cannot overflow.
func (r *storedReader) offset() int64 {
	v := r.uvarint()
	if v > 1<<48 {
		r.bad = true
		return 0
	}
	return int64(v)
}

// count is a number of things that take at least size octets each.
func (r *storedReader) count(size int) int {
	v := r.uvarint()
	if v > uint64((len(r.s)-r.i)/size) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *storedReader) text() string {
	n := r.count(1)
	s := r.s[r.i : r.i+n]
	r.i += n
	return s
}

func (r *storedReader) params() []Param {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	list := make([]Param, n)
	for i := range list {
		list[i] = Param{r.text(), r.text()}
	}
	return list
}
