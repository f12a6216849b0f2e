package importer

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// base64m is the base64 of modified UTF-7 (RFC 3501 section 5.1.3).
var base64m = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// fromUTF7 reads a folder's name on the disk: modified UTF-7, and what is none is UTF-8, or else Latin-1.
func fromUTF7(s string) string {
	if out, ok := decodeUTF7(s); ok {
		return out
	}
	if utf8.ValidString(s) {
		return s
	}
	var out strings.Builder
	for _, c := range []byte(s) {
		out.WriteRune(rune(c))
	}
	return out.String()
}

func decodeUTF7(s string) (string, bool) {
	var out strings.Builder
	for len(s) > 0 {
		if s[0] >= 0x80 {
			return "", false
		}
		if s[0] != '&' {
			out.WriteByte(s[0])
			s = s[1:]
			continue
		}
		word, rest, ok := strings.Cut(s[1:], "-")
		if !ok {
			return "", false
		}
		s = rest
		if word == "" {
			out.WriteByte('&')
			continue
		}
		raw, err := base64m.DecodeString(word)
		if err != nil || len(raw)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		for _, r := range utf16.Decode(units) {
			if r == utf8.RuneError {
				return "", false
			}
			out.WriteRune(r)
		}
	}
	return out.String(), true
}

// toUTF7 writes a level of a name for the disk; the octets in escape are written in base64 too, which RFC 3501 does not
// allow for names on the wire, and which is the only way to keep a dot in a folder of a Maildir++.
func toUTF7(s, escape string) string {
	var out strings.Builder
	var units []uint16
	flush := func() {
		if len(units) == 0 {
			return
		}
		raw := make([]byte, 0, 2*len(units))
		for _, u := range units {
			raw = append(raw, byte(u>>8), byte(u))
		}
		out.WriteString("&" + base64m.EncodeToString(raw) + "-")
		units = units[:0]
	}
	for _, r := range s {
		switch {
		case r < ' ' || r > '~' || strings.ContainsRune(escape, r):
			units = utf16.AppendRune(units, r)
			continue
		case r == '&':
			flush()
			out.WriteString("&-")
			continue
		}
		flush()
		out.WriteRune(r)
	}
	flush()
	return out.String()
}
