package mailauth

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// spfRecord is a record with its syntax checked from end to end before anything is asked (RFC 7208 section 4.6).
type spfRecord struct {
	terms    []spfTerm
	redirect string // domain-spec; empty: none
	exp      string
}

// spfTerm is one directive (RFC 7208 section 4.6.1, 5).
type spfTerm struct {
	text      string // as written
	result    Result // of a match
	mechanism string // lower case
	domain    string // domain-spec; empty: the current domain
	network   netip.Prefix
	bits4     int // of a and mx
	bits6     int
}

// isSPF tells whether a text record is one of SPF (RFC 7208 section 4.5).
func isSPF(text string) bool {
	const version = "v=spf1"
	return len(text) >= len(version) && strings.EqualFold(text[:len(version)], version) && (len(text) == len(version) || text[len(version)] == ' ')
}

func parseSPF(text string) (*spfRecord, error) {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return nil, fmt.Errorf("the octet %#x stands in it", text[i])
		}
	}
	r := &spfRecord{}
	for word := range strings.FieldsFuncSeq(text[len("v=spf1"):], func(c rune) bool { return c == ' ' }) {
		if i := strings.IndexAny(word, ":/="); i >= 0 && word[i] == '=' {
			if err := r.modifier(word[:i], word[i+1:]); err != nil {
				return nil, fmt.Errorf("%.80q: %w", word, err)
			}
			continue
		}
		t, err := parseTerm(word)
		if err != nil {
			return nil, fmt.Errorf("%.80q: %w", word, err)
		}
		r.terms = append(r.terms, t)
	}
	return r, nil
}

// modifier takes redirect, exp, or one that nobody knows (RFC 7208 section 6).
func (r *spfRecord) modifier(name, value string) error {
	if !modifierName(name) {
		return errors.New("its name is none")
	}
	var to *string
	switch strings.ToLower(name) {
	case "redirect":
		to = &r.redirect
	case "exp":
		to = &r.exp
	default:
		_, err := expandMacros(value, nil)
		return err
	}
	if *to != "" {
		return errors.New("it stands twice")
	}
	*to = value
	return checkDomainSpec(value)
}

func modifierName(s string) bool {
	for i, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')) {
			return false
		}
	}
	return s != ""
}

func parseTerm(word string) (spfTerm, error) {
	t := spfTerm{text: word, result: Pass, bits4: 32, bits6: 128}
	switch word[0] {
	case '+':
		word = word[1:]
	case '-':
		t.result, word = Fail, word[1:]
	case '~':
		t.result, word = SoftFail, word[1:]
	case '?':
		t.result, word = Neutral, word[1:]
	}
	i := strings.IndexAny(word, ":/")
	if i < 0 {
		i = len(word)
	}
	t.mechanism = strings.ToLower(word[:i])
	rest := word[i:]
	switch t.mechanism {
	case "all":
		if rest != "" {
			return t, errors.New("nothing may follow all")
		}
		return t, nil
	case "ip4", "ip6":
		return t, t.parseNetwork(rest)
	case "a", "mx":
		var err error
		if rest, err = t.cutPrefixes(rest); err != nil {
			return t, err
		}
	case "include", "exists":
		if rest == "" {
			return t, errors.New("it names no domain")
		}
	case "ptr":
	default:
		return t, errors.New("its mechanism is unknown")
	}
	if rest == "" {
		return t, nil
	}
	if rest[0] != ':' {
		return t, errors.New("a colon is missing")
	}
	t.domain = rest[1:]
	return t, checkDomainSpec(t.domain)
}

// prefixLengths is dual-cidr-length (RFC 7208 section 5.6) at the end of a term.
var prefixLengths = regexp.MustCompile(`^(.*?)(?:/(\d+))?(?://(\d+))?$`)

// cutPrefixes takes the lengths of networks off a term.
func (t *spfTerm) cutPrefixes(rest string) (string, error) {
	m := prefixLengths.FindStringSubmatch(rest)
	if m == nil {
		return "", errors.New("it is no term")
	}
	for _, x := range []struct {
		text string
		to   *int
		most int
	}{{m[2], &t.bits4, 32}, {m[3], &t.bits6, 128}} {
		if x.text == "" {
			continue
		}
		n, err := prefixLength(x.text, x.most)
		if err != nil {
			return "", err
		}
		*x.to = n
	}
	return m[1], nil
}

func prefixLength(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n > most || len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("/%.10s is no length of a network", s)
	}
	return n, nil
}

// parseNetwork reads what follows ip4 and ip6 (RFC 7208 section 5.6).
func (t *spfTerm) parseNetwork(rest string) error {
	if rest == "" || rest[0] != ':' {
		return errors.New("it names no address")
	}
	text, length, given := strings.Cut(rest[1:], "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.Is4() != (t.mechanism == "ip4") {
		return errors.New("it names no address of that family")
	}
	bits := addr.BitLen()
	if given {
		if length == "" || strings.Trim(length, "0123456789") != "" {
			return errors.New("it has no length of a network")
		}
		if bits, err = prefixLength(length, addr.BitLen()); err != nil {
			return err
		}
	}
	t.network = netip.PrefixFrom(addr, bits).Masked()
	return nil
}

// checkDomainSpec: RFC 7208 section 7.1, domain-spec.
func checkDomainSpec(s string) error {
	if _, err := expandMacros(s, nil); err != nil {
		return err
	}
	if strings.HasSuffix(s, "}") {
		return nil // it ends in a macro
	}
	s = strings.TrimSuffix(s, ".")
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 || !topLabel(s[dot+1:]) {
		return errors.New("its domain is none")
	}
	return nil
}

// topLabel: letters and digits with a letter or hyphen among them, no hyphen at its ends.
func topLabel(s string) bool {
	digits := true
	for i, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9':
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			digits = false
		case c == '-' && i > 0 && i < len(s)-1:
			digits = false
		default:
			return false
		}
	}
	return s != "" && !digits
}
