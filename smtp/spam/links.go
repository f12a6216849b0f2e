package spam

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// maxHosts of links are asked about and judged.
const maxHosts = 20

// addLink notes a link and counts its host as a token; what leads to no host is passed over.
func (c *content) addLink(url, text string) {
	l, path, ok := parseLink(url)
	if !ok {
		return
	}
	l.text = text
	l.shown = shownHost(text)
	c.links = append(c.links, l)
	if len(c.links) < 2 || c.links[len(c.links)-2].host != l.host { // most links of a message lead to one host
		c.tokens.add(placeLink, "host:", l.host)
		c.tokens.add(placeLink, "domain:", organization(l.host))
		if i := strings.LastIndexByte(l.host, '.'); i >= 0 {
			c.tokens.add(placeLink, "top:", l.host[i+1:])
		}
	}
	c.tokens.add(placeLink, "path:", firstStep(path))
}

// addSource counts where a picture comes from.
func (c *content) addSource(url string) {
	if l, _, ok := parseLink(url); ok {
		c.tokens.add(placeLink, "image:", organization(l.host))
	}
}

// parseLink takes a link apart as browsers do, who forgive much.
func parseLink(url string) (l link, path string, ok bool) {
	url = bounded(strings.TrimSpace(url), 2000)
	if strings.ContainsAny(url, "\t\r\n") {
		url = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(url)
	}
	scheme, rest, found := strings.Cut(url, ":")
	if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return link{}, "", false
	}
	rest = strings.TrimLeft(rest, `/\`)
	host := rest
	if i := strings.IndexAny(rest, `/\?#`); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		l.user, host = true, host[i+1:]
	}
	if strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host[1:], "]")
	} else if name, port, ok := strings.Cut(host, ":"); ok && len(port) <= 5 {
		host = name
	}
	l.host = hostOf(host)
	return l, path, l.host != ""
}

// hostOf is a host in canonical form: lower case, A-labels, an address as such; "" when it is none.
func hostOf(s string) string {
	s = strings.Trim(strings.TrimSuffix(strings.TrimSpace(s), "."), "[]")
	if len(s) == 0 || len(s) > 253 {
		return ""
	}
	if a, ok := numericHost(s); ok {
		return a.String()
	}
	if clean(s) {
		return s
	}
	a, err := idna.Lookup.ToASCII(s)
	if err != nil {
		return cleaned(s)
	}
	return a
}

// clean: nothing has to be done.
func clean(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return true
}

// cleaned is what can be kept of a name that IDNA refuses, such as one with an underscore.
func cleaned(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
			return r
		}
		return -1
	}, strings.ToLower(s))
	return strings.Trim(s, ".")
}

// numericHost reads an address as browsers do: also as one number, in hexadecimal and octal.
func numericHost(s string) (netip.Addr, bool) {
	if last := s[len(s)-1]; strings.IndexByte(s, ':') < 0 && !(last >= '0' && last <= '9' || last >= 'a' && last <= 'f' || last >= 'A' && last <= 'F') {
		return netip.Addr{}, false
	}
	s = strings.TrimPrefix(strings.TrimPrefix(s, "IPv6:"), "ipv6:")
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var n uint64
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 0, 33)
		if err != nil {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			if v >= 1<<(8*(5-len(parts))) {
				return netip.Addr{}, false
			}
			n |= v
		} else if v > 255 {
			return netip.Addr{}, false
		} else {
			n |= v << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), true
}

// organization is the domain under which a host's owner registered it (the public suffix and one label); an address as it is.
func organization(host string) string {
	if host == "" || host[0] == '[' || isAddress(host) {
		return host
	}
	if d, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return d
	}
	return host
}

func isAddress(host string) bool {
	last := host[len(host)-1]
	if last < '0' || last > '9' {
		if strings.IndexByte(host, ':') < 0 {
			return false
		}
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// shownHost is the host that the text of a link names, when it looks like one.
func shownHost(text string) string {
	t := strings.ToLower(strings.TrimSpace(text))
	_, rest, schemed := strings.Cut(t, "://")
	if schemed {
		t = rest
	}
	if i := strings.IndexAny(t, "/?#: "); i >= 0 {
		if t[i] == ' ' && !schemed { // a sentence
			return ""
		}
		t = t[:i]
	}
	if !strings.Contains(t, ".") || strings.Contains(t, "@") || len(t) > 253 {
		return ""
	}
	host := hostOf(t)
	if host == "" || isAddress(host) {
		return host
	}
	if suffix, managed := publicsuffix.PublicSuffix(host); !managed || suffix == host { // "readme.txt" is no host
		return ""
	}
	return host
}

func firstStep(path string) string {
	path = strings.TrimLeft(path, "/")
	if i := strings.IndexAny(path, "/?#&="); i >= 0 {
		path = path[:i]
	}
	if len(path) > 20 || strings.ContainsAny(path, "0123456789") {
		return ""
	}
	return strings.ToLower(path)
}

// linkHosts are the hosts of links, each once, at most maxHosts.
func (f *Findings) linkHosts() []string {
	var hosts []string
	seen := map[string]bool{}
	for _, l := range f.links {
		if !seen[l.host] && len(hosts) < maxHosts {
			seen[l.host] = true
			hosts = append(hosts, l.host)
		}
	}
	return hosts
}

// judgeLinks adds the signs of links that deceive.
func (f *Findings) judgeLinks(c *content) {
	for _, l := range c.links {
		if l.shown != "" && organization(l.shown) != organization(l.host) && !f.tracked(l.host) {
			text := fmt.Sprintf("a link shows %s and leads to %s", plain(l.shown, 80), plain(l.host, 80))
			if f.proven && f.has["list-unsubscribe"] > 0 && !isAddress(l.host) { // clicks are often counted at a host of the service that sends
				f.sign("link_counted", 0.8, text)
			} else {
				f.phish("link_differs", 2.5, text)
			}
			break
		}
	}
	once := map[string]bool{}
	one := func(name string, score float64, text string, phishing bool) {
		if !once[name] {
			once[name] = true
			f.signals = append(f.signals, Signal{Name: name, Score: score, Text: text, Phishing: phishing})
		}
	}
	judged := map[string]bool{}
	for _, l := range c.links {
		if judged[l.host] && !l.user && !l.form {
			continue
		}
		judged[l.host] = true
		switch {
		case l.user:
			one("link_user", 1.5, "a link hides its host behind a name and an @", true)
		case isAddress(l.host):
			one("link_address", 1.5, "a link leads to the number "+l.host+" instead of a name", true)
		case shortener(organization(l.host)):
			one("link_short", 0.4, "a link is shortened and tells nothing of where it leads: "+l.host, false)
		}
		if name, like := lookalike(l.host); like {
			one("link_lookalike", 2.5, fmt.Sprintf("a link leads to %s, which looks like %s", plain(l.host, 80), name), true)
		}
		if cheap(l.host) {
			one("link_cheap", 0.5, "a link leads to a domain of a kind that is mostly used for junk: "+plain(l.host, 80), false)
		}
		if l.form {
			one("link_form", 0.5, "a form sends what is filled in to "+plain(l.host, 80), true)
		}
	}
	if len(f.linkHosts()) >= maxHosts {
		f.sign("links_many", 0.5, "it has links to twenty hosts and more")
	}
}

// tracked: newsletters count clicks at a host of their sender's; that its name differs from the one shown is no sign there, as long as
// the sender is proven and the host is his or the author's own.
func (f *Findings) tracked(host string) bool {
	org := organization(host)
	if org == f.authorOrg() || org == organization(string(f.facts.From.Domain)) {
		return f.proven || f.spfPass
	}
	for _, d := range f.signers {
		if organization(d) == org {
			return true
		}
	}
	return false
}

// shortener knows the well-known ones; they are used by good mail too and count little.
func shortener(org string) bool {
	switch org {
	case "bit.ly", "tinyurl.com", "t.co", "goo.gl", "ow.ly", "is.gd", "buff.ly", "cutt.ly", "rb.gy", "shorturl.at", "rebrand.ly", "tiny.cc", "t.ly", "s.id", "v.gd", "lnkd.in":
		return true
	}
	return false
}

// cheap knows top-level domains that are given away or nearly so.
func cheap(host string) bool {
	i := strings.LastIndexByte(host, '.')
	switch host[i+1:] {
	case "tk", "ml", "ga", "cf", "gq", "top", "xyz", "icu", "click", "buzz", "rest", "cyou", "sbs", "cfd", "bond", "quest", "monster", "zip", "mov":
		return true
	}
	return false
}
