package mailauth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// spfMacros are what the macros of a record stand for (RFC 7208 section 7.2).
type spfMacros struct {
	session  Session
	sender   string // s: local@domain
	local    string // l
	domain   string // d: the current one
	explain  bool   // c, r and t may stand (in an explanation)
	hostname string // r
	ptr      func() string
}

// expandMacros replaces the macros of a string. With nil for m it only checks the syntax of a domain-spec.
func expandMacros(s string, m *spfMacros) (string, error) {
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		if s == "" {
			return "", errors.New("a percent sign stands alone")
		}
		switch s[0] {
		case '%':
			b.WriteByte('%')
		case '_':
			b.WriteByte(' ')
		case '-':
			b.WriteString("%20")
		case '{':
			end := strings.IndexByte(s, '}')
			if end < 2 {
				return "", errors.New("a macro is not closed")
			}
			text, err := expandMacro(s[1:end], m)
			if err != nil {
				return "", err
			}
			b.WriteString(text)
			s = s[end+1:]
			continue
		default:
			return "", errors.New("a percent sign stands alone")
		}
		s = s[1:]
	}
	return b.String(), nil
}

// expandMacro is one macro: a letter, how many parts of it from the right, whether reversed, and what parts it.
func expandMacro(text string, m *spfMacros) (string, error) {
	letter := text[0]
	if !strings.ContainsRune("slodiphcrtv", rune(letter|0x20)) {
		return "", fmt.Errorf("there is no macro %q", letter)
	}
	rest := text[1:]
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	parts := 0
	if digits > 0 {
		n, err := strconv.Atoi(rest[:digits])
		if n == 0 || err != nil && digits < 10 {
			return "", fmt.Errorf("the macro %q takes no part", text)
		}
		parts = min(n, 255)
		if err != nil {
			parts = 255
		}
	}
	rest = rest[digits:]
	reversed := false
	if rest != "" && rest[0]|0x20 == 'r' {
		reversed, rest = true, rest[1:]
	}
	if strings.Trim(rest, ".-+,/_=") != "" {
		return "", fmt.Errorf("the macro %q is written wrong", text)
	}
	if m == nil && strings.ContainsRune("crt", rune(letter|0x20)) {
		return "", fmt.Errorf("the macro %q may stand in an explanation only", letter)
	}
	if m == nil {
		return "", nil
	}
	value, err := m.value(letter | 0x20)
	if err != nil {
		return "", err
	}
	if rest == "" {
		rest = "."
	}
	if parts > 0 || reversed || rest != "." {
		list := strings.FieldsFunc(value, func(c rune) bool { return strings.ContainsRune(rest, c) })
		if reversed {
			slices.Reverse(list)
		}
		if parts > 0 && parts < len(list) {
			list = list[len(list)-parts:]
		}
		value = strings.Join(list, ".")
	}
	if letter >= 'A' && letter <= 'Z' { // RFC 7208 section 7.3
		value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	}
	return value, nil
}

func (m *spfMacros) value(letter byte) (string, error) {
	addr := m.session.Remote.Unmap()
	switch letter {
	case 's':
		return m.sender, nil
	case 'l':
		return m.local, nil
	case 'o':
		return m.sender[strings.LastIndexByte(m.sender, '@')+1:], nil
	case 'd':
		return m.domain, nil
	case 'i':
		return dotted(addr), nil
	case 'p':
		return m.ptr(), nil
	case 'v':
		if addr.Is4() {
			return "in-addr", nil
		}
		return "ip6", nil
	case 'h':
		return m.session.Hello, nil
	}
	if !m.explain {
		return "", fmt.Errorf("the macro %q may stand in an explanation only", letter)
	}
	switch letter {
	case 'c':
		return addr.String(), nil
	case 'r':
		return m.hostname, nil
	}
	return "0", nil // t: when, which tells nobody anything here
}

// dotted is an IPv4 address as usual, and an IPv6 address in dot-separated nibbles (RFC 7208 section 7.3).
func dotted(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	var b strings.Builder
	for i, c := range addr.As16() {
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprintf(&b, "%X.%X", c>>4, c&15)
	}
	return b.String()
}
