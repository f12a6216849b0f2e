package message

import (
	"bufio"
	"bytes"
	"io"
	"iter"
)

// Field is one header field as it stands in a message.
type Field struct {
	Name  []byte // white space before the colon removed; empty for a line that is no field
	Value []byte // behind the colon, still folded, without its last line end
	Raw   []byte // all of it, line ends included
}

// Is tells whether the field has the name, in any case.
func (f Field) Is(name string) bool { return equalFold(f.Name, name) }

// Unfolded is the value on one line, without white space around it.
func (f Field) Unfolded() string { return cleanValue(f.Value) }

// Text is the value for people: unfolded, encoded words decoded, valid UTF-8.
func (f Field) Text() string { return DecodeWords(f.Unfolded()) }

// Fields walks the fields of a header; the empty line ends it. The slices point into header.
func Fields(header []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for len(header) > 0 && !blankLine(header) {
			n := fieldLen(header)
			if !yield(makeField(header[:n])) {
				return
			}
			header = header[n:]
		}
	}
}

func blankLine(b []byte) bool {
	return b[0] == '\n' || len(b) > 1 && b[0] == '\r' && b[1] == '\n'
}

// fieldLen is the length of the field at the start of header, continuation lines included (RFC 5322 section 2.2.3).
func fieldLen(header []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(header[n:], '\n')
		if i < 0 {
			return len(header)
		}
		n += i + 1
		if n == len(header) || header[n] != ' ' && header[n] != '\t' {
			return n
		}
	}
}

func makeField(raw []byte) Field {
	f := Field{Raw: raw, Value: bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))}
	if raw[0] == ' ' || raw[0] == '\t' {
		return f
	}
	line := f.Value
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	if colon := bytes.IndexByte(line, ':'); colon >= 0 {
		f.Name = bytes.TrimRight(line[:colon], " \t")
		f.Value = f.Value[colon+1:]
	}
	return f
}

// HeaderValue is the unfolded value of the first field of that name, or "".
func HeaderValue(header []byte, name string) string {
	for f := range Fields(header) {
		if f.Is(name) {
			return f.Unfolded()
		}
	}
	return ""
}

func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

// FieldFilter picks header fields by name (IMAP's HEADER.FIELDS and HEADER.FIELDS.NOT, RFC 9051 section 6.4.5.1).
type FieldFilter struct {
	Names []string
	Not   bool
}

// keeps tells whether the field passes; a line that is no field has no name.
func (f FieldFilter) keeps(name []byte) bool {
	for _, n := range f.Names {
		if len(name) > 0 && equalFold(name, n) {
			return !f.Not
		}
	}
	return f.Not
}

// Append appends the exact octets of the fields that pass, and the empty line if the header has one.
func (f FieldFilter) Append(dst, header []byte) []byte {
	for len(header) > 0 {
		if blankLine(header) {
			if header[0] == '\r' {
				return append(dst, "\r\n"...)
			}
			return append(dst, '\n')
		}
		n := fieldLen(header)
		if f.keeps(makeField(header[:n]).Name) {
			dst = append(dst, header[:n]...)
		}
		header = header[n:]
	}
	return dst
}

// Copy is Append for a header of any length, in bounded memory.
func (f FieldFilter) Copy(w io.Writer, header io.Reader) error {
	br := bufio.NewReaderSize(header, 16<<10)
	keep, inLine := f.Not, false
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 && !inLine {
			switch {
			case blankLine(line):
				_, werr := w.Write(line)
				return werr
			case line[0] != ' ' && line[0] != '\t':
				keep = f.keeps(makeField(line).Name)
			}
		}
		inLine = err == bufio.ErrBufferFull
		if keep {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !inLine {
			return err
		}
	}
}
