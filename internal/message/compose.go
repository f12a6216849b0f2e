package message

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"strings"
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
