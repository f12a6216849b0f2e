package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

var errXtext = errors.New("bad xtext")

// encodeXtext makes any text fit a parameter (RFC 3461 section 4).
func encodeXtext(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeXtext reads xtext; what it gives is printable ASCII (RFC 3461 section 4: ENVID and ORCPT encode nothing else), so that no value can
// bring a line break into a report.
func decodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || !upperHex(s[i+1]) || !upperHex(s[i+2]) {
				return "", errXtext
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", errXtext
			}
			c = byte(n)
			i += 2
		} else if c == '=' {
			return "", errXtext
		}
		if c < ' ' || c > '~' {
			return "", errXtext
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

func upperHex(c byte) bool { return digit(c) || ('A' <= c && c <= 'F') }

// decodeUTF8Address reads utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 section 3): text with "\x{HEX}" for what is not plain.
func decodeUTF8Address(s string) (string, error) {
	var b strings.Builder
	for s != "" {
		if hex, ok := strings.CutPrefix(s, `\x{`); ok {
			word, rest, ok := strings.Cut(hex, "}")
			n, err := strconv.ParseUint(word, 16, 21)
			if !ok || err != nil || !utf8.ValidRune(rune(n)) || n < ' ' || n == 0x7f {
				return "", errXtext
			}
			b.WriteRune(rune(n))
			s = rest
			continue
		}
		c, size := utf8.DecodeRuneInString(s)
		if c <= ' ' || c == 0x7f || c == '\\' || c == '+' || c == '=' || (c == utf8.RuneError && size == 1) {
			return "", errXtext
		}
		b.WriteRune(c)
		s = s[size:]
	}
	return b.String(), nil
}

// encodeOriginal writes the address of ORCPT (RFC 3461 section 4.2, RFC 6533 section 3).
func encodeOriginal(r mail.Recipient, unicode bool) string {
	if !strings.EqualFold(r.OriginalType, "UTF-8") {
		return encodeXtext(r.Original)
	}
	var b strings.Builder
	for _, c := range r.Original {
		if c <= ' ' || c == 0x7f || c == '\\' || c == '+' || c == '=' || (c > 0x7f && !unicode) {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// notifyWords are the values of NOTIFY (RFC 3461 section 4.1).
var notifyWords = [...]struct {
	word string
	bit  mail.Notify
}{{"NEVER", mail.NotifyNever}, {"SUCCESS", mail.NotifySuccess}, {"FAILURE", mail.NotifyFailure}, {"DELAY", mail.NotifyDelay}}

func formatNotify(n mail.Notify) string {
	var words []string
	for _, w := range notifyWords {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}
