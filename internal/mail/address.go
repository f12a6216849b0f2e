package mail

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Address is a mailbox: local part and domain. The zero Address is the null
// reverse-path <>. An empty Domain with a Local part is <Postmaster>.
type Address struct {
	Local  string // content of the local part: unquoted, as the sender wrote it, NFC
	Domain Domain
}

// ParseAddress reads local@domain, the local part a dot-string or quoted (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
func ParseAddress(s string) (Address, error) {
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %q %v", ErrAddress, s, err)
	}
	if rest != "" && rest[0] != '@' {
		wrong, _ := utf8.DecodeRuneInString(rest)
		return Address{}, fmt.Errorf("%w: %q has the character %q before its @domain", ErrAddress, s, wrong)
	}
	if rest == "" {
		return Address{}, fmt.Errorf("%w: %q has no @domain", ErrAddress, s)
	}
	domain, err := ParseDomain(rest[1:])
	if err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return Address{Local: local, Domain: domain}, nil
}

// ParseLocal reads a local part that stands alone, as in RCPT TO:<Postmaster>.
func ParseLocal(s string) (Address, error) {
	local, rest, err := cutLocal(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("has %q behind the local part", rest)
	}
	if err != nil {
		return Address{}, fmt.Errorf("%w: %q %v", ErrAddress, s, err)
	}
	return Address{Local: local}, nil
}

// cutLocal takes the local part off the front of s and returns its content.
func cutLocal(s string) (local, rest string, err error) {
	if !utf8.ValidString(s) {
		return "", "", fmt.Errorf("is not valid UTF-8")
	}
	if strings.HasPrefix(s, `"`) {
		local, rest, err = cutQuoted(s)
	} else {
		local, rest, err = cutDotString(s)
	}
	if err != nil {
		return "", "", err
	}
	local = norm.NFC.String(local)
	if len(local) > MaxLocal {
		return "", "", fmt.Errorf("has a local part of more than %d octets", MaxLocal)
	}
	return local, rest, nil
}

func cutDotString(s string) (local, rest string, err error) {
	end := 0
	for end < len(s) && (atext(s[end]) || s[end] == '.') {
		end++
	}
	local = s[:end]
	switch {
	case local == "":
		return "", "", fmt.Errorf("has no local part")
	case local[0] == '.' || local[end-1] == '.' || strings.Contains(local, ".."):
		return "", "", fmt.Errorf("has a dot at the wrong place of its local part; it must be quoted")
	}
	return local, s[end:], nil
}

// cutQuoted reads a quoted-string (RFC 5321 section 4.1.2: qtextSMTP and quoted pairs, no control characters).
func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if b.Len() == 0 {
				return "", "", fmt.Errorf("has an empty local part")
			}
			return b.String(), s[i+1:], nil
		case c < ' ' || c == 0x7f:
			return "", "", fmt.Errorf("has a control character")
		case c == '\\':
			i++
			if i == len(s) || s[i] < ' ' || s[i] >= 0x7f {
				return "", "", fmt.Errorf("has a backslash before nothing it may quote")
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("has a quote that is not closed")
}

// atext is RFC 5322 section 3.2.3, and every octet of UTF-8 over ASCII (RFC 6531).
func atext(c byte) bool {
	return alphanumeric(c) || c >= 0x80 || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// String returns the address with its local part quoted where that is needed; "" for <>.
func (a Address) String() string {
	if a.Domain == "" {
		return a.QuotedLocal()
	}
	return a.QuotedLocal() + "@" + string(a.Domain)
}

// QuotedLocal is the local part as it travels: a dot-string, or quoted.
func (a Address) QuotedLocal() string {
	if a.Local == "" {
		return ""
	}
	if _, rest, err := cutDotString(a.Local); err == nil && rest == "" {
		return a.Local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(a.Local); i++ {
		if c := a.Local[i]; c == '"' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(a.Local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Unicode is String with the domain's U-labels, for people.
func (a Address) Unicode() string {
	if a.Domain == "" {
		return a.QuotedLocal()
	}
	return a.QuotedLocal() + "@" + a.Domain.Unicode()
}

// Key is the form under which the directory keeps it: NFC, lower case, "local@domain".
func (a Address) Key() string {
	local := a.Local
	if ascii(local) {
		local = strings.ToLower(local)
	} else {
		local = norm.NFC.String(strings.ToLower(local))
	}
	return local + "@" + string(a.Domain)
}

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// IsASCII reports whether a can travel without SMTPUTF8: its domain always can, as A-labels.
func (a Address) IsASCII() bool { return ascii(a.Local) }
