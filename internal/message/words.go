package message

import (
	"mime"
	"strings"
	"unicode/utf8"
)

// DecodeWords makes readable text of an unstructured value: encoded words are decoded (RFC 2047), white space between
// them dropped, words of one charset joined before they are converted (senders split characters), raw 8-bit octets
// taken as UTF-8 or Windows-1252. The result is valid UTF-8.
func DecodeWords(s string) string {
	if !strings.Contains(s, "=?") {
		return toUTF8("", s)
	}
	var b strings.Builder
	var pending wordRun
	for len(s) > 0 {
		i := strings.Index(s, "=?")
		if i < 0 {
			break
		}
		w, n := parseWord(s[i:])
		if n == 0 {
			pending.flush(&b)
			b.WriteString(toUTF8("", s[:i+2]))
			s = s[i+2:]
			continue
		}
		if gap := s[:i]; pending.charset == "" || strings.Trim(gap, " \t") != "" {
			pending.flush(&b)
			b.WriteString(toUTF8("", gap))
		}
		pending.add(&b, w)
		s = s[i+n:]
	}
	pending.flush(&b)
	b.WriteString(toUTF8("", s))
	return b.String()
}

// word is one encoded word, its text decoded to octets.
type word struct{ charset, octets string }

// wordRun gathers neighbours of one charset.
type wordRun struct {
	charset string
	octets  []byte
}

func (r *wordRun) add(b *strings.Builder, w word) {
	if !strings.EqualFold(r.charset, w.charset) || len(r.octets) > 64<<10 {
		r.flush(b)
		r.charset = w.charset
	}
	r.octets = append(r.octets, w.octets...)
}

func (r *wordRun) flush(b *strings.Builder) {
	if r.charset != "" {
		b.WriteString(toUTF8(r.charset, string(r.octets)))
	}
	*r = wordRun{}
}

// maxWord bounds an encoded word; RFC 2047 section 2 allows 75, senders do not care.
const maxWord = 8 << 10

// parseWord reads the encoded word at the start of s and returns its length, 0 when it is none (RFC 2047 section 2).
func parseWord(s string) (w word, n int) {
	s = s[:min(len(s), maxWord)]
	charset, rest, ok := strings.Cut(s[2:], "?")
	if !ok || charset == "" || len(charset) > 60 || strings.ContainsAny(charset, " \t") || len(rest) < 2 || rest[1] != '?' {
		return word{}, 0
	}
	text := rest[2:]
	end := strings.Index(text, "?=")
	if end < 0 {
		return word{}, 0
	}
	n = len(s) - len(text) + end + 2
	text = text[:end]
	switch rest[0] {
	case 'Q', 'q':
		return word{charset, decodeQ(text)}, n
	case 'B', 'b':
		d := base64Decoder{}
		return word{charset, string(d.append(nil, []byte(text)))}, n
	}
	return word{}, 0
}

func decodeQ(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// EncodeWords makes an unstructured value that is ASCII: text outside of it becomes encoded words (RFC 2047).
func EncodeWords(s string) string {
	s = oneLine(s)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return mime.QEncoding.Encode("utf-8", s)
}

// oneLine removes what could end a header field: nobody outside can add fields through a value.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, isLineControl) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isLineControl(r) {
			return ' '
		}
		return r
	}, s)
}

func isLineControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
