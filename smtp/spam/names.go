package spam

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// brand is a sender whose name is borrowed often.
type brand struct {
	name    string
	shape   string   // skeleton of name
	domains []string // without the public suffix: "amazon" stands for amazon.com, amazon.co.uk
}

// brands are those whom phishing imitates most; a name stands here only when it is no common word. Never changed.
var brands = func() []brand {
	list := []brand{
		{name: "paypal", domains: []string{"paypal"}}, {name: "amazon", domains: []string{"amazon", "amazonses", "amazonaws"}}, {name: "microsoft", domains: []string{"microsoft", "outlook", "office", "office365", "live", "hotmail"}},
		{name: "netflix", domains: []string{"netflix"}}, {name: "facebook", domains: []string{"facebook", "facebookmail", "fb", "meta"}}, {name: "instagram", domains: []string{"instagram", "facebookmail"}},
		{name: "whatsapp", domains: []string{"whatsapp", "facebookmail"}}, {name: "linkedin", domains: []string{"linkedin"}}, {name: "dropbox", domains: []string{"dropbox", "dropboxmail"}},
		{name: "docusign", domains: []string{"docusign"}}, {name: "fedex", domains: []string{"fedex"}}, {name: "hsbc", domains: []string{"hsbc"}}, {name: "barclays", domains: []string{"barclays"}},
		{name: "wellsfargo", domains: []string{"wellsfargo"}}, {name: "coinbase", domains: []string{"coinbase"}}, {name: "binance", domains: []string{"binance"}}, {name: "metamask", domains: []string{"metamask"}},
		{name: "sparkasse", domains: []string{"sparkasse"}}, {name: "volksbank", domains: []string{"volksbank", "vr"}}, {name: "postbank", domains: []string{"postbank"}}, {name: "commerzbank", domains: []string{"commerzbank"}},
		{name: "santander", domains: []string{"santander"}}, {name: "bbva", domains: []string{"bbva"}}, {name: "icloud", domains: []string{"icloud", "apple"}}, {name: "spotify", domains: []string{"spotify"}},
		{name: "booking.com", domains: []string{"booking"}}, {name: "adobe", domains: []string{"adobe"}}, {name: "mastercard", domains: []string{"mastercard"}}, {name: "americanexpress", domains: []string{"americanexpress", "aexp"}},
	}
	for i := range list {
		list[i].shape = skeleton(list[i].name)
	}
	return list
}()

// nameOf is a domain without its public suffix: "amazon" of mail.amazon.co.uk.
func nameOf(host string) string {
	name, _, _ := strings.Cut(organization(host), ".")
	return name
}

// judgeNames adds the signs of an author who wants to be taken for another.
func (f *Findings) judgeNames(j *Judge) {
	if f.author.IsNull() {
		return
	}
	if j.local(f.author.Domain) && !f.proven && !f.vouched {
		f.judgeOwn()
	}
	if other, ok := addressIn(f.name); ok && organization(string(other.Domain)) != f.authorOrg() {
		score := 2.0
		if j.local(other.Domain) {
			score = 3.5
		}
		f.phish("name_is_address", score, fmt.Sprintf("the author's name is the address %s, but the mail is from %s", plain(other.Unicode(), 80), plain(f.author.Unicode(), 80)))
	}
	if b, ok := borrowed(f.name, string(f.author.Domain)); ok && !f.vouched {
		f.phish("brand_borrowed", 2.5, fmt.Sprintf("the author calls himself %s, but the mail is from %s", b, plain(f.author.Unicode(), 80)))
	}
	if name, ok := lookalike(string(f.author.Domain)); ok {
		f.phish("author_lookalike", 3, fmt.Sprintf("the author's domain %s looks like %s", plain(string(f.author.Domain), 80), name))
	}
	if mixedName(f.name) {
		f.phish("name_mixed_letters", 1.5, "the author's name mixes letters of several scripts that look alike: "+plain(f.name, 80))
	}
	if cheap(string(f.author.Domain)) {
		f.sign("author_cheap", 1, "the author's domain is of a kind that is mostly used for junk")
	}
}

// judgeOwn: the author is said to be of this house, and nothing proves it.
func (f *Findings) judgeOwn() {
	who := plain(f.author.Unicode(), 100)
	switch other := f.spfPass || len(f.signers) > 0; {
	case f.list != "" && other:
		f.sign("own_domain_unproven", 1, "the author is said to be of this house ("+who+"), and a list that proves itself has passed it on")
	case other: // a service that sends for us, or anybody
		f.phish("own_domain_unproven", 2.5, "the author is said to be of this house ("+who+"), but only the domain of somebody else is proven")
	default:
		f.phish("own_domain_forged", 4, "the author is said to be of this house ("+who+"), but the mail comes from outside and nothing proves it")
	}
}

// judgeHouse adds the signs that concern one recipient: somebody calls himself by the name of his own domain.
func (f *Findings) judgeHouse(j *Judge, to Recipient) []Signal {
	name := nameOf(string(to.Address.Domain))
	if len(name) < 4 || f.author.IsNull() || j.local(f.author.Domain) || organization(string(to.Address.Domain)) == f.authorOrg() || !j.local(to.Address.Domain) {
		return nil
	}
	if freeMail(string(to.Address.Domain)) {
		return nil
	}
	if like := skeleton(nameOf(string(f.author.Domain))); like == skeleton(name) && nameOf(string(f.author.Domain)) != name {
		return []Signal{{Name: "house_lookalike", Score: 3, Phishing: true, Text: fmt.Sprintf("the author's domain %s looks like your own, %s", plain(string(f.author.Domain), 80), to.Address.Domain.Unicode())}}
	}
	if !hasWord(f.name, name) && !hasWord(f.name, string(to.Address.Domain)) {
		return nil
	}
	for _, job := range []string{"support", "admin", "helpdesk", "help desk", "it ", "security", "mail", "team", "service", "server", "webmaster", "account", "hr", "office", "quota", "notification"} {
		if strings.Contains(strings.ToLower(f.name)+" ", job) {
			return []Signal{{Name: "house_name_borrowed", Score: 3.5, Phishing: true, Text: fmt.Sprintf("the author calls himself %q, but the mail is not from %s", plain(f.name, 80), to.Address.Domain.Unicode())}}
		}
	}
	return nil
}

// addressIn finds an address inside of a display name.
func addressIn(name string) (mail.Address, bool) {
	if strings.IndexByte(name, '@') < 0 {
		return mail.Address{}, false
	}
	for _, w := range strings.FieldsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("<>()[]\",;'\"", r) }) {
		if a, err := mail.ParseAddress(strings.Trim(w, ".:")); err == nil && strings.Contains(string(a.Domain), ".") {
			return a, true
		}
	}
	return mail.Address{}, false
}

// borrowed finds a brand in a display name whose domain it is not.
func borrowed(name, domain string) (string, bool) {
	if name == "" {
		return "", false
	}
	shape := skeleton(name)
	for _, b := range brands {
		if !hasShape(shape, b.shape) {
			continue
		}
		mine := false
		own := nameOf(domain)
		for _, d := range b.domains {
			mine = mine || own == d || strings.HasPrefix(own, d+"-") || strings.HasSuffix(own, "-"+d)
		}
		return b.name, !mine
	}
	return "", false
}

// hasWord tells whether a text has a word, in any case and with letters that look alike.
func hasWord(text, word string) bool { return hasShape(skeleton(text), skeleton(word)) }

// hasShape is hasWord for skeletons.
func hasShape(t, word string) bool {
	for from := 0; ; {
		i := strings.Index(t[from:], word)
		if i < 0 {
			return false
		}
		i += from
		before, after := i == 0 || !wordByte(t[i-1]), i+len(word) == len(t) || !wordByte(t[i+len(word)])
		if before && after {
			return true
		}
		from = i + 1
	}
}

func wordByte(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 0x80 }

// skeleton is a text with every letter replaced by the Latin one that looks like it, and figures by the letters they imitate.
func skeleton(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r < 0x80 {
			c := byte(r)
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			switch c {
			case '0':
				c = 'o'
			case '1', '|', 'i':
				c = 'l'
			case '5':
				c = 's'
			}
			b = append(b, c)
			continue
		}
		b = appendLikeness(b, unicode.ToLower(r))
	}
	t := string(b)
	if strings.Contains(t, "rn") || strings.Contains(t, "vv") {
		t = strings.ReplaceAll(strings.ReplaceAll(t, "rn", "m"), "vv", "w")
	}
	return t
}

// appendLikeness appends the Latin letter that a letter of another script, or one with an accent, looks like.
func appendLikeness(b []byte, r rune) []byte {
	const from, to = "аеорсухіјѕһԁԛԝкмтвнгпαεορυνκτιχβγηωáàâäãåéèêëíìîïóòôöõúùûüçñýÿıłøđɑɡ", "aeopcyxljshdqwkmtbhrnaeopuvktlxbynwaaaaaaeeeellllooooouuuucnyyllodag"
	if r < 0x250 || r >= 0x370 && r < 0x530 { // Latin, Greek, Cyrillic
		i := 0
		for _, c := range from {
			if c == r {
				return append(b, to[i])
			}
			i++
		}
	}
	return utf8.AppendRune(b, r)
}

// lookalike tells whom a host imitates: a brand, or with letters of other scripts a Latin name.
func lookalike(host string) (string, bool) {
	if host == "" || isAddress(host) {
		return "", false
	}
	own := nameOf(host)
	name := own
	if strings.HasPrefix(own, "xn--") {
		u, err := idna.Punycode.ToUnicode(own)
		if err != nil {
			return "", false
		}
		name = u
	}
	shape := skeleton(name)
	for _, b := range brands {
		if len(b.name) < 5 || own == b.name {
			continue
		}
		if shape == b.shape || strings.HasPrefix(shape, b.shape) && len(shape) > len(b.shape) && shape[len(b.shape)] == '-' && own != shape && !strings.HasPrefix(own, b.name) {
			return b.name, true
		}
	}
	if name != own && foreignScript(name) && isASCII(shape) {
		return unlike(shape), true
	}
	return "", false
}

// unlike shows a skeleton as people would read it.
func unlike(shape string) string { return fmt.Sprintf("%q in Latin letters", shape) }

// foreignScript: it has Cyrillic or Greek letters; accents alone are somebody's language.
func foreignScript(s string) bool {
	for _, r := range s {
		if unicode.In(r, unicode.Cyrillic, unicode.Greek) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// mixedName: one word of a name has Latin and Cyrillic or Greek letters.
func mixedName(name string) bool {
	for _, w := range strings.Fields(name) {
		latin, other := false, false
		for _, r := range w {
			latin = latin || unicode.Is(unicode.Latin, r)
			other = other || unicode.In(r, unicode.Cyrillic, unicode.Greek)
		}
		if latin && other {
			return true
		}
	}
	return false
}

// freeMail knows providers where anybody can have an address.
func freeMail(domain string) bool {
	switch nameOf(domain) {
	case "gmail", "googlemail", "yahoo", "ymail", "hotmail", "outlook", "live", "msn", "icloud", "aol", "gmx", "web", "mail", "protonmail", "proton", "yandex", "qq", "163", "126", "zoho", "tutanota", "freenet", "t-online", "orange", "wanadoo", "libero", "seznam", "wp", "o2", "naver":
		return true
	}
	return false
}
