package syntax

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Mailbox takes a mailbox name and gives it as UTF-8. What the name may hold is not judged here.
func (d *Decoder) Mailbox() string {
	return d.name(d.AString())
}

// ListMailbox takes the pattern of LIST and LSUB: a name with wildcards.
func (d *Decoder) ListMailbox() string {
	if b := d.Peek(); b == '"' || b == '{' || b == '~' && d.literalNext() {
		return d.name(d.String())
	}
	raw := d.take(inPattern)
	if len(raw) == 0 {
		d.fail(badf("expected a mailbox pattern but got %s", d.here()))
	}
	return d.name(string(raw))
}

func (d *Decoder) name(raw string) string {
	if d.err != nil {
		return ""
	}
	name, ok := raw, utf8.ValidString(raw)
	if ok && !d.UTF8 && isASCII(raw) {
		name, ok = DecodeName(raw)
	}
	if !ok {
		d.fail(&Error{Kind: BadName, Text: "mailbox name is not modified UTF-7 (an ampersand is written \"&-\")"})
		return ""
	}
	return name
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// The base64 of modified UTF-7: "," for "/", no padding (RFC 3501 section 5.1.3).
func nameEncoding() *base64.Encoding {
	return base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()
}

// DecodeName turns modified UTF-7 into UTF-8 (RFC 3501 section 5.1.3). It takes the one right
// spelling of a name only, so that no mailbox has two names.
func DecodeName(s string) (string, bool) {
	var out strings.Builder
	shifted := false // the last thing was a shift sequence
	for s != "" {
		if s[0] != '&' {
			if s[0] < 0x20 || s[0] > 0x7e {
				return "", false
			}
			shifted = false
			out.WriteByte(s[0])
			s = s[1:]
			continue
		}
		end := strings.IndexByte(s, '-')
		if end < 0 {
			return "", false
		}
		if end == 1 {
			out.WriteByte('&')
			shifted = false
		} else {
			text, ok := decodeShift(s[1:end])
			if !ok || shifted {
				return "", false
			}
			out.WriteString(text)
			shifted = true
		}
		s = s[end+1:]
	}
	return out.String(), true
}

func decodeShift(s string) (string, bool) {
	raw, err := nameEncoding().DecodeString(s)
	if err != nil || len(raw)%2 != 0 {
		return "", false
	}
	var out strings.Builder
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i += 2; i >= len(raw) {
				return "", false
			}
			r = utf16.DecodeRune(r, rune(raw[i])<<8|rune(raw[i+1]))
			if r == utf8.RuneError {
				return "", false
			}
		}
		if r >= 0x20 && r <= 0x7e {
			return "", false // printable ASCII stands for itself
		}
		out.WriteRune(r)
	}
	return out.String(), true
}

// AppendName appends the modified UTF-7 of a name.
func AppendName(b []byte, name string) []byte {
	for name != "" {
		r, n := utf8.DecodeRuneInString(name)
		switch {
		case r == '&':
			b = append(b, '&', '-')
		case r >= 0x20 && r <= 0x7e:
			b = append(b, byte(r))
		default:
			n = shiftLen(name)
			b = append(b, '&')
			b = nameEncoding().AppendEncode(b, utf16Bytes(name[:n]))
			b = append(b, '-')
		}
		name = name[n:]
	}
	return b
}

// shiftLen is the length of the beginning of s that needs base64.
func shiftLen(s string) int {
	for i, r := range s {
		if r >= 0x20 && r <= 0x7e {
			return i
		}
	}
	return len(s)
}

func utf16Bytes(s string) []byte {
	var out []byte
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
			out = append(out, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
			continue
		}
		out = append(out, byte(r>>8), byte(r))
	}
	return out
}
