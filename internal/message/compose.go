package message

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"
)

// HeaderWriter makes a header: folded at 78 columns (RFC 5322 section 2.1.1), and no value can end its field.
type HeaderWriter struct{ b []byte }

// Field adds a structured field; the value is written as it is, folded at white space.
func (h *HeaderWriter) Field(name, value string) {
	h.b = append(h.b, fieldName(name)...)
	h.b = append(h.b, ':')
	column := len(name) + 1
	for i, w := range strings.Fields(oneLine(value)) {
		if i > 0 && column+1+len(w) > 78 {
			h.b = append(h.b, "\r\n"...)
			column = 0
		}
		h.b = append(h.b, ' ')
		h.b = append(h.b, w...)
		column += 1 + len(w)
	}
	h.b = append(h.b, "\r\n"...)
}

// Text adds an unstructured field (Subject), other than ASCII as encoded words.
func (h *HeaderWriter) Text(name, value string) { h.Field(name, EncodeWords(value)) }

// Addresses adds a list of addresses; names are readable text and are quoted or encoded as needed.
func (h *HeaderWriter) Addresses(name string, list ...Address) {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	h.Field(name, b.String())
}

// Bytes is the header so far, without the empty line.
func (h *HeaderWriter) Bytes() []byte { return h.b }

// fieldName drops what RFC 5322 section 3.6.8 does not allow in a name.
func fieldName(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == ':' {
			return -1
		}
		return r
	}, name)
}

// String is the address as RFC 5322 section 3.4 writes it; Name is readable text.
func (a Address) String() string {
	local := oneLine(a.Mailbox)
	if !isDotAtom(local) {
		local = quote(local)
	}
	spec := local + "@" + strings.Map(dropSpecial, a.Host)
	switch name := oneLine(a.Name); {
	case name == "":
		return spec
	case isASCII(name) && isPhrase(name):
		return name + " <" + spec + ">"
	case isASCII(name):
		return quote(name) + " <" + spec + ">"
	default:
		return EncodeWords(name) + " <" + spec + ">"
	}
}

func dropSpecial(r rune) rune {
	if r <= ' ' || r == 0x7f || strings.ContainsRune("<>(),;\"\\", r) {
		return -1
	}
	return r
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isASCII(s string) bool { return !has8Bit([]byte(s)) }

// isDotAtom: RFC 5322 section 3.2.3, with the UTF-8 of RFC 6532 section 3.2.
func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c != '.' && !isAtomByte(c) {
			return false
		}
	}
	return true
}

func isAtomByte(c byte) bool {
	return c >= 0x80 || isLetter(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isPhrase(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != ' ' && !isAtomByte(c) {
			return false
		}
	}
	return !strings.Contains(s, "=?")
}

// NewMessageID makes a Message-ID of 120 random bits (RFC 5322 section 3.6.4).
func NewMessageID(domain string) string {
	return "<" + randomToken() + "@" + strings.Map(dropSpecial, domain) + ">"
}

// randomToken is 24 letters and digits.
func randomToken() string { return strings.ToLower(rand.Text()[:24]) }

// Entity is a body part that is being composed: Parts of a multipart, else Body.
type Entity struct {
	Header   HeaderWriter // Content fields; for the outermost entity the message's own fields before them
	Boundary string       // of a multipart
	Body     io.Reader    // written as it is: the transfer encoding is done already
	Parts    []*Entity
}

// WriteTo writes the entity with its parts (RFC 2046 section 5.1.1).
func (e *Entity) WriteTo(w io.Writer) (int64, error) {
	c := &countingWriter{w: w}
	e.write(c)
	return c.n, c.err
}

func (e *Entity) write(w *countingWriter) {
	w.Write(e.Header.b)
	w.Write([]byte("\r\n"))
	for _, p := range e.Parts {
		fmt.Fprintf(w, "--%s\r\n", e.Boundary)
		p.write(w)
		w.Write([]byte("\r\n"))
	}
	if e.Parts != nil {
		fmt.Fprintf(w, "--%s--\r\n", e.Boundary)
	}
	if e.Body != nil {
		if _, err := io.Copy(w, e.Body); err != nil && w.err == nil {
			w.err = err
		}
	}
}

// countingWriter keeps the first error and writes nothing after it.
type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.err = err
	return n, err
}

// NewMultipart makes an entity of parts; typ is "mixed", or with parameters "report; report-type=delivery-status".
// The Content-Type is added to header, after what is there.
func NewMultipart(header HeaderWriter, typ string, parts ...*Entity) *Entity {
	e := &Entity{Header: header, Boundary: "=_" + randomToken(), Parts: parts}
	e.Header.Field("MIME-Version", "1.0")
	e.Header.Field("Content-Type", "multipart/"+typ+`; boundary="`+e.Boundary+`"`)
	return e
}

// NewText makes a text/plain part; text has LF or CRLF line ends. It is written 7-bit clean.
func NewText(text string) *Entity {
	e := &Entity{}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if isASCII(text) && !hasLongLine(text) {
		e.Header.Field("Content-Type", "text/plain; charset=us-ascii")
		e.Body = strings.NewReader(text)
		return e
	}
	e.Header.Field("Content-Type", "text/plain; charset=utf-8")
	e.Header.Field("Content-Transfer-Encoding", "quoted-printable")
	var b bytes.Buffer
	q := quotedprintable.NewWriter(&b)
	io.WriteString(q, strings.ToValidUTF8(text, "\uFFFD"))
	q.Close()
	e.Body = &b
	return e
}

func hasLongLine(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > maxLine {
			return true
		}
	}
	return false
}

// NewStatus makes a message/delivery-status part of groups of fields, the message's own first (RFC 3464 section 2.1);
// with UTF-8 in it message/global-delivery-status (RFC 6533 section 3).
func NewStatus(groups ...HeaderWriter) *Entity {
	var b []byte
	for i, g := range groups {
		if i > 0 {
			b = append(b, "\r\n"...)
		}
		b = append(b, g.b...)
	}
	e := &Entity{Body: bytes.NewReader(b)}
	if has8Bit(b) {
		e.Header.Field("Content-Type", "message/global-delivery-status")
		e.Header.Field("Content-Transfer-Encoding", "8bit")
	} else {
		e.Header.Field("Content-Type", "message/delivery-status")
	}
	return e
}

// NewHeaders makes the returned header of a message (RFC 6522 section 4, RFC 6533 section 5); its empty line is dropped.
func NewHeaders(header []byte) *Entity {
	header = FieldFilter{Not: true}.Append(nil, header)
	header = bytes.TrimSuffix(header, []byte("\r\n\r\n"))
	e := &Entity{}
	switch {
	case !has8Bit(header):
		e.Header.Field("Content-Type", "text/rfc822-headers")
		e.Body = bytes.NewReader(header)
	case utf8.Valid(header):
		e.Header.Field("Content-Type", "message/global-headers")
		e.Header.Field("Content-Transfer-Encoding", "8bit")
		e.Body = bytes.NewReader(header)
	default: // octets of no known charset survive as they are
		e.Header.Field("Content-Type", "text/rfc822-headers")
		e.Header.Field("Content-Transfer-Encoding", "base64")
		e.Body = strings.NewReader(wrapBase64(header))
	}
	return e
}

// NewEnclosed makes a message/rfc822 part of a whole message (RFC 2046 section 5.2.1).
func NewEnclosed(body io.Reader, eightBit bool) *Entity {
	e := &Entity{Body: body}
	e.Header.Field("Content-Type", "message/rfc822")
	if eightBit {
		e.Header.Field("Content-Transfer-Encoding", "8bit")
	}
	return e
}

func wrapBase64(b []byte) string {
	var out strings.Builder
	w := newBase64Writer(&out)
	w.Write(b)
	w.Close()
	return out.String()
}

// newBase64Writer encodes in lines of 76 (RFC 2045 section 6.8); the last line has no line end.
func newBase64Writer(w io.Writer) io.WriteCloser {
	return base64.NewEncoder(base64.StdEncoding, &lineWriter{w: w})
}

// lineWriter puts a line end between every 76 octets.
type lineWriter struct {
	w      io.Writer
	column int
}

func (l *lineWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if l.column == 76 {
			if _, err := io.WriteString(l.w, "\r\n"); err != nil {
				return total - len(p), err
			}
			l.column = 0
		}
		n, err := l.w.Write(p[:min(len(p), 76-l.column)])
		l.column += n
		p = p[n:]
		if err != nil {
			return total - len(p), err
		}
	}
	return total, nil
}
