package syntax

import (
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// The Append functions write the parts of a response to the end of b and return it, as strconv's do. Callers take b from the
// connection's AvailableBuffer and write it back, so that a response costs no allocation.

// maxQuoted is the longest string written in quotes; a longer one becomes a literal.
const maxQuoted = 1024

// AppendNumber appends a number.
func AppendNumber(b []byte, n uint32) []byte { return strconv.AppendUint(b, uint64(n), 10) }

// AppendNumber64 appends a number of 63 bits.
func AppendNumber64(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

// AppendLiteralHeader appends {n}CRLF; the caller writes the n octets behind it.
func AppendLiteralHeader(b []byte, n int64) []byte {
	b = append(b, '{')
	b = strconv.AppendInt(b, n, 10)
	return append(b, "}\r\n"...)
}

// AppendLiteral8Header appends ~{n}CRLF (RFC 3516, RFC 9051 section 4.3).
func AppendLiteral8Header(b []byte, n int64) []byte {
	return AppendLiteralHeader(append(b, '~'), n)
}

// AppendString appends s quoted, or as a literal where quotes cannot hold it. 8-bit text goes into a literal, which both
// revisions of IMAP allow; AppendUTF8 is for sessions that take UTF-8 in quotes.
func AppendString(b []byte, s string) []byte {
	if len(s) > maxQuoted {
		return appendLiteral(b, s)
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return appendLiteral(b, s)
		}
	}
	return appendQuoted(b, s)
}

// AppendUTF8 appends s quoted where it is UTF-8 without control characters, else as a literal.
func AppendUTF8(b []byte, s string) []byte {
	if len(s) > maxQuoted || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0xfffd }) {
		return appendLiteral(b, s)
	}
	return appendQuoted(b, s)
}

// appendLiteral leaves out NUL, which a literal cannot hold (RFC 9051 section 4.3).
func appendLiteral(b []byte, s string) []byte {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	return append(AppendLiteralHeader(b, int64(len(s))), s...)
}

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// AppendNString appends NIL for the empty string.
func AppendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return AppendString(b, s)
}

// AppendAString appends s as an atom where it is one, else as a string.
func AppendAString(b []byte, s string) []byte {
	if s == "" || strings.EqualFold(s, "NIL") {
		return AppendString(b, s)
	}
	for i := range len(s) {
		if !is(s[i], inAString) {
			return AppendString(b, s)
		}
	}
	return append(b, s...)
}

// AppendMailbox appends a mailbox name: UTF-8 for a session that asked for it, else modified UTF-7. INBOX is an atom, as
// clients that compare bytes expect it, and every other name is quoted.
func AppendMailbox(b []byte, name string, utf8 bool) []byte {
	switch {
	case name == "INBOX":
		return append(b, name...)
	case utf8:
		return AppendUTF8(b, name)
	}
	return AppendString(b, string(AppendName(nil, name)))
}

// AppendFlags appends a parenthesised list.
func AppendFlags(b []byte, flags []goimap.Flag) []byte {
	b = append(b, '(')
	for i, f := range flags {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, f...)
	}
	return append(b, ')')
}
