package syntax

import (
	"slices"
	"strconv"
	"strings"
)

// Section is what stands in the brackets of BODY[...] and BINARY[...] (RFC 9051 section 9).
type Section struct {
	Part   []uint32 // section-part; empty: the message
	Text   string   // "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME
	Fields []string // of HEADER.FIELDS and HEADER.FIELDS.NOT, as written
}

// Partial is <offset.count>. An answer shows the offset only.
type Partial struct{ Offset, Count uint64 }

// maxPart bounds the depth of a section-part; no message that we take apart is deeper.
const maxPart = 128

// maxFields bounds a header-list.
const maxFields = 1000

// Section takes a section with its brackets.
func (d *Decoder) Section() Section {
	var s Section
	d.Expect('[')
	for d.err == nil && d.Peek() != ']' {
		if c := d.Peek(); c < '0' || c > '9' {
			d.sectionText(&s)
			break
		}
		n := d.Number()
		if d.err == nil && n == 0 || len(s.Part) == maxPart {
			d.fail(badf("wrong part number"))
		}
		s.Part = append(s.Part, n)
		if !d.Try('.') {
			break
		}
		if d.Peek() == ']' {
			d.fail(badf("section ends with a period"))
		}
	}
	d.Expect(']')
	return s
}

func (d *Decoder) sectionText(s *Section) {
	s.Text = strings.ToUpper(string(d.take(inAtom))) // a "]" is no ATOM-CHAR
	switch s.Text {
	case "HEADER", "TEXT":
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		d.SP()
		d.List(func() {
			if len(s.Fields) == maxFields {
				d.fail(badf("too many header fields"))
				return
			}
			s.Fields = append(s.Fields, d.AString())
		})
		if d.err == nil && len(s.Fields) == 0 {
			d.fail(badf("%s needs a field name", s.Text))
		}
	case "MIME":
		if len(s.Part) == 0 {
			d.fail(badf("MIME needs a part number"))
		}
	default:
		d.fail(badf("unknown section"))
	}
}

// BinarySection takes the section of BINARY: part numbers only (RFC 9051 section 9, section-binary).
func (d *Decoder) BinarySection() Section {
	s := d.Section()
	if d.err == nil && s.Text != "" {
		d.fail(badf("BINARY takes part numbers only"))
	}
	return s
}

// Partial takes <offset.count> if it comes next.
func (d *Decoder) Partial() (Partial, bool) {
	if !d.Try('<') {
		return Partial{}, false
	}
	var p Partial
	p.Offset = d.Number64()
	d.Expect('.')
	p.Count = d.Number64()
	if d.err == nil && p.Count == 0 {
		d.fail(badf("a partial of 0 octets"))
	}
	d.Expect('>')
	return p, true
}

// AppendSection appends a section with its brackets, as a response shows it.
func AppendSection(b []byte, s Section) []byte {
	b = append(b, '[')
	for i, n := range s.Part {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	if s.Text != "" {
		if len(s.Part) > 0 {
			b = append(b, '.')
		}
		b = append(b, s.Text...)
	}
	if len(s.Fields) > 0 {
		b = append(b, ' ', '(')
		for i, f := range s.Fields {
			if i > 0 {
				b = append(b, ' ')
			}
			b = AppendAString(b, f)
		}
		b = append(b, ')')
	}
	return append(b, ']')
}

// Equal reports whether two sections name the same octets in the same words.
func (s Section) Equal(t Section) bool {
	return s.Text == t.Text && slices.Equal(s.Part, t.Part) && slices.Equal(s.Fields, t.Fields)
}
