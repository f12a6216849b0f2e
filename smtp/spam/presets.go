package spam

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrList: the text describes no list.
var ErrList = errors.New("spam: not a list")

// Preset is a well-known list with its documented codes: see PresetNames. Most of them answer neither to public resolvers nor to
// heavy users for nothing: their terms are their owners'.
func Preset(name string) (List, bool) {
	for _, l := range presets() {
		if l.Name == name {
			return l, true
		}
	}
	return List{}, false
}

// PresetNames are the lists that Preset knows.
func PresetNames() []string {
	var names []string
	for _, l := range presets() {
		names = append(names, l.Name)
	}
	return names
}

// one is the code of a single answer, or of a prefix.
func one(answer string, score float64, text string) Code {
	c := Code{Score: score, Text: text}
	if p, err := netip.ParsePrefix(answer); err == nil {
		c.Answer = p
	} else {
		c.Answer = netip.PrefixFrom(netip.MustParseAddr(answer), 32)
	}
	return c
}

func phishing(c Code) Code {
	c.Phishing = true
	return c
}

// dnswlCodes makes the codes of dnswl.org, 127.0.CATEGORY.TRUST: for each category the same four.
func dnswlCodes() []Code {
	var codes []Code
	for category := 2; category <= 20; category++ {
		for level, score := range []float64{-0.1, -0.7, -2, -4} {
			text := "hosts that send mail people want, trust " + []string{"none", "low", "medium", "high"}[level]
			codes = append(codes, one(fmt.Sprintf("127.0.%d.%d", category, level), score, text))
		}
	}
	return codes
}

func presets() []List {
	return []List{
		{Name: "spamhaus_zen", Zone: "zen.spamhaus.org", Codes: []Code{
			one("127.0.0.2", 5, "known senders of junk (SBL)"),
			one("127.0.0.3", 4, "senders of junk from many addresses (CSS)"),
			one("127.0.0.4/30", 5, "machines that others have taken over (XBL)"),
			one("127.0.0.9", 6, "networks that belong to criminals (DROP)"),
			one("127.0.0.10/31", 3, "lines at homes, which send no mail themselves (PBL)"),
		}},
		{Name: "spamhaus_dbl", Zone: "dbl.spamhaus.org", Kind: OfDomains, Codes: []Code{
			one("127.0.1.2", 5, "domains of junk"),
			phishing(one("127.0.1.4", 6, "domains of phishing")),
			one("127.0.1.5", 6, "domains of malware"),
			one("127.0.1.6", 6, "domains that command botnets"),
			one("127.0.1.102", 2, "honest domains that are misused for junk"),
			one("127.0.1.103", 1, "honest redirectors that are misused"),
			phishing(one("127.0.1.104", 3, "honest domains that are misused for phishing")),
			one("127.0.1.105", 3, "honest domains that are misused for malware"),
			one("127.0.1.106", 3, "honest domains that are misused by botnets"),
		}},
		{Name: "spamcop", Zone: "bl.spamcop.net", Codes: []Code{one("127.0.0.2", 3, "hosts whose mail was reported as junk")}},
		{Name: "psbl", Zone: "psbl.surriel.com", Codes: []Code{one("127.0.0.2", 2.5, "hosts that wrote to traps")}},
		{Name: "barracuda", Zone: "b.barracudacentral.org", Codes: []Code{one("127.0.0.2", 3, "hosts that sent junk")}},
		{Name: "dnswl", Zone: "list.dnswl.org", Codes: dnswlCodes()},
		{Name: "surbl", Zone: "multi.surbl.org", Kind: OfDomains, Test: "test.surbl.org", Codes: []Code{
			{Mask: 8, Score: 6, Text: "sites of phishing", Phishing: true},
			{Mask: 16, Score: 6, Text: "sites of malware"},
			{Mask: 64, Score: 5, Text: "sites that junk leads to"},
			{Mask: 128, Score: 3, Text: "honest sites that others have taken over"},
		}},
		{Name: "uribl", Zone: "multi.uribl.com", Kind: OfDomains, Test: "test.uribl.com", Codes: []Code{
			{Mask: 2, Score: 4.5, Text: "sites that junk leads to"},
			{Mask: 4, Score: 0.5, Text: "sites that are often in mail that some do not want"},
			{Mask: 8, Score: 2, Text: "sites that are likely to be in junk soon"},
		}},
	}
}

// ParseList reads a list as settings write it: the name of a preset; or "NAME address|domain ZONE CODE=SCORE ...", where CODE is
// an address or prefix ("127.0.0.2", "127.0.0.0/28") or "bit8" for a bit of the last octet. "PRESET ZONE" is a preset asked at another
// name, as for those who pay for a zone of their own.
func ParseList(text string) (List, error) {
	w := strings.Fields(text)
	if len(w) == 0 {
		return List{}, fmt.Errorf("%w: it is empty", ErrList)
	}
	if l, ok := Preset(w[0]); ok && len(w) <= 2 {
		if len(w) == 2 {
			l.Zone = hostOf(w[1])
		}
		if l.Zone == "" || !strings.Contains(l.Zone, ".") {
			return List{}, fmt.Errorf("%w: %q is no zone", ErrList, text)
		}
		return l, nil
	}
	if len(w) == 1 {
		return List{}, fmt.Errorf("%w: %q is not one of %s", ErrList, w[0], strings.Join(PresetNames(), ", "))
	}
	if len(w) < 4 {
		return List{}, fmt.Errorf("%w: %q: write NAME address|domain ZONE and one CODE=SCORE or several", ErrList, text)
	}
	l := List{Name: w[0], Zone: hostOf(w[2])}
	switch w[1] {
	case "address":
	case "domain":
		l.Kind = OfDomains
	default:
		return List{}, fmt.Errorf("%w: %q: the second word is \"address\" or \"domain\"", ErrList, text)
	}
	if l.Zone == "" || !strings.Contains(l.Zone, ".") || !named(l.Name) {
		return List{}, fmt.Errorf("%w: %q: a name has lower-case letters, figures and underscores, a zone has a dot", ErrList, text)
	}
	for _, word := range w[3:] {
		c, err := parseCode(word)
		if err != nil {
			return List{}, err
		}
		l.Codes = append(l.Codes, c)
	}
	return l, nil
}

func named(name string) bool {
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return name != "" && len(name) <= 40
}

func parseCode(word string) (Code, error) {
	answer, number, _ := strings.Cut(word, "=")
	score, err := strconv.ParseFloat(number, 64)
	if err != nil || !(score >= -20 && score <= 20) {
		return Code{}, fmt.Errorf("%w: %q: write CODE=SCORE, the score between -20 and 20", ErrList, word)
	}
	c := Code{Score: score, Text: "answer " + answer}
	if bit, ok := strings.CutPrefix(answer, "bit"); ok {
		n, err := strconv.ParseUint(bit, 10, 8)
		if err != nil || n == 0 || n&(n-1) != 0 {
			return Code{}, fmt.Errorf("%w: %q: a bit is 1, 2, 4 ... 128", ErrList, word)
		}
		c.Mask = byte(n)
		return c, nil
	}
	if p, err := netip.ParsePrefix(answer); err == nil {
		c.Answer = p.Masked()
	} else if a, err := netip.ParseAddr(answer); err == nil {
		c.Answer = netip.PrefixFrom(a, a.BitLen())
	}
	if a := c.Answer.Addr(); !c.Answer.IsValid() || !a.Is4() || a.As4()[0] != 127 || c.Answer.Bits() < 8 {
		return Code{}, fmt.Errorf("%w: %q: codes of lists are addresses in 127.0.0.0/8", ErrList, word)
	}
	return c, nil
}
