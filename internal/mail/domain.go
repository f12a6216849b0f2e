package mail

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Limits of RFC 5321 section 4.5.3.1 and RFC 1035 section 2.3.4, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 253
	maxLabel  = 63
)

var (
	// ErrDomain: the text is no domain name; wrapped with the reason.
	ErrDomain = errors.New("not a domain")
	// ErrAddress: the text is no mail address; wrapped with the reason.
	ErrAddress = errors.New("not a mail address")
)

// Domain is a domain name in canonical form: lower case, A-labels (RFC 5890),
// no final dot; or an address literal with its brackets (RFC 5321 section 4.1.3).
type Domain string

// ParseDomain takes U-labels or A-labels in any case, or an address literal.
func ParseDomain(s string) (Domain, error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	name := strings.TrimSuffix(s, ".")
	if !ascii(name) {
		// Lookup is the profile for names that are compared; it maps case and full stops of other scripts (RFC 5891 section 5).
		a, err := idna.Lookup.ToASCII(norm.NFC.String(name))
		if err != nil {
			return "", fmt.Errorf("%w: %q: %v", ErrDomain, s, err)
		}
		name = a
	}
	name = strings.ToLower(name)
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%w: %q %v", ErrDomain, s, err)
	}
	return Domain(name), nil
}

// checkName holds a lower-case ASCII name against RFC 5321's Domain, underscore allowed since hosts in the field use it.
func checkName(name string) error {
	if name == "" {
		return errors.New("is empty")
	}
	if len(name) > MaxDomain {
		return fmt.Errorf("is longer than %d octets", MaxDomain)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("has an empty label")
		case len(label) > maxLabel:
			return fmt.Errorf("has a label of more than %d octets", maxLabel)
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("has a label that begins or ends with a hyphen")
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; !alphanumeric(c) && c != '-' && c != '_' {
				return fmt.Errorf("has the character %q", c)
			}
		}
	}
	return nil
}

// parseLiteral reads [192.0.2.1] and [IPv6:2001:db8::1]; general literals name no tag anybody uses.
func parseLiteral(s string) (Domain, error) {
	inner, closed := strings.CutSuffix(s[1:], "]")
	tag := "IPv6:"
	six := len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag)
	if six {
		inner = inner[len(tag):]
	}
	addr, err := netip.ParseAddr(inner)
	if !closed || err != nil || addr.Zone() != "" || addr.Is4() == six {
		return "", fmt.Errorf("%w: %q is not an address literal such as [192.0.2.1] or [IPv6:2001:db8::1]", ErrDomain, s)
	}
	if six {
		return Domain("[IPv6:" + addr.String() + "]"), nil
	}
	return Domain("[" + addr.String() + "]"), nil
}

// IsLiteral reports whether d is an address literal.
func (d Domain) IsLiteral() bool { return strings.HasPrefix(string(d), "[") }

// Literal returns the address of an address literal.
func (d Domain) Literal() (addr netip.Addr, ok bool) {
	if !d.IsLiteral() {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(strings.TrimPrefix(strings.Trim(string(d), "[]"), "IPv6:"))
	return addr, err == nil
}

// Unicode returns the domain with U-labels, for people.
func (d Domain) Unicode() string {
	if !strings.Contains(string(d), "xn--") {
		return string(d)
	}
	u, err := idna.Display.ToUnicode(string(d))
	if err != nil {
		return string(d)
	}
	return u
}

func (d Domain) String() string { return string(d) }

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
