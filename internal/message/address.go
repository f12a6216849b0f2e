package message

import "strings"

// What stands where an address has no mailbox or no domain, since an empty host means a group
// (RFC 9051 section 7.5.2). They cannot be taken for names that exist.
const (
	missingMailbox = "MISSING_MAILBOX"
	MissingDomain  = "MISSING_DOMAIN"
)

// ParseAddresses reads an address list, tolerant of obsolete and broken syntax; at most maxHeaderKept/48 addresses.
func ParseAddresses(v string) []Address {
	s := Scanner{limits: scanLimits{kept: maxHeaderKept}}
	return s.addresses(nil, cleanValue([]byte(v)))
}

// addressParser reads one address list.
type addressParser struct {
	in      string
	i       int
	list    []Address
	weigh   func(n int) bool
	inGroup bool

	// The address that is being read.
	buf     []byte // words, quotes removed
	word    int    // where the last word begins in buf
	at      int    // where the last "@" outside quotes stands in buf, or -1
	local   int    // where the word with that "@" begins
	space   bool   // white space since the last octet
	comment string
	angle   bool
	inAngle Address
}

func (s *Scanner) addresses(list []Address, v string) []Address {
	var room [200]byte
	p := addressParser{in: v, list: list, weigh: s.weigh, buf: room[:0], at: -1}
	for p.i < len(v) && p.step() {
	}
	p.end()
	if p.inGroup {
		p.emit(Address{})
	}
	return p.list
}

// step takes one element; false when the limits are reached.
func (p *addressParser) step() bool {
	switch c := p.in[p.i]; c {
	case ' ', '\t':
		p.space = true
		p.i++
	case '(':
		end := skipComment(p.in, p.i)
		p.comment = commentText(p.in[p.i:end])
		p.i, p.space = end, true
	case '"':
		var text string
		text, p.i = quotedText(p.in, p.i)
		p.add(text)
	case '<':
		p.readAngle()
	case '>':
		p.i++
	case ',', ';':
		p.i++
		p.end()
		if c == ';' && p.inGroup {
			p.inGroup = false
			return p.emit(Address{})
		}
		return p.weigh(0)
	case ':':
		p.i++
		if p.inGroup || p.angle || p.at >= 0 || len(p.buf) == 0 {
			p.add(":")
			break
		}
		p.inGroup = p.emit(Address{Mailbox: string(p.buf)})
		p.reset()
		return p.inGroup
	case '[':
		end := strings.IndexByte(p.in[p.i:], ']')
		if end < 0 {
			end = len(p.in) - p.i - 1
		}
		p.add(strings.ReplaceAll(p.in[p.i:p.i+end+1], " ", ""))
		p.i += end + 1
	case '@':
		p.i++
		p.space = false
		if p.at >= 0 && p.at == len(p.buf)-1 {
			break
		}
		p.at, p.local = len(p.buf), p.word
		p.add("@")
	default:
		j := p.i + encodedWordLen(p.in[p.i:]) + 1
		for j < len(p.in) && !isAddressSpecial(p.in[j]) {
			j++
		}
		if p.in[p.i] == '\\' && j > p.i+1 {
			p.i++
		}
		p.add(p.in[p.i:j])
		p.i = j
	}
	return true
}

// encodedWordLen is the length of the encoded word at the start of s up to its closing "=", 0 when there is none;
// specials inside are text, although RFC 2047 section 5 forbids them there.
func encodedWordLen(s string) int {
	if len(s) < 2 || s[0] != '=' || s[1] != '?' {
		return 0
	}
	marks := 0
	for i := 2; i < len(s) && i < 1000; i++ {
		switch s[i] {
		case ' ', '\t', '<', '"':
			return 0
		case '?':
			if marks++; marks >= 3 && i+1 < len(s) && s[i+1] == '=' {
				return i + 1
			}
		}
	}
	return 0
}

func isAddressSpecial(c byte) bool {
	switch c {
	case ' ', '\t', '(', '"', '<', '>', ',', ';', ':', '[', '@':
		return true
	}
	return false
}

// add appends text to the words.
func (p *addressParser) add(text string) {
	if p.angle {
		return // words behind <...> mean nothing
	}
	if p.space && len(p.buf) > 0 && p.buf[len(p.buf)-1] != '@' {
		p.buf = append(p.buf, ' ')
		p.word = len(p.buf)
	}
	p.space = false
	p.buf = append(p.buf, text...)
}

// readAngle reads <[route:]local@domain> (RFC 5322 sections 3.4 and 4.4).
func (p *addressParser) readAngle() {
	for p.i < len(p.in) && (p.in[p.i] == '<' || p.in[p.i] == ' ') {
		p.i++
	}
	var room [120]byte
	b, at := room[:0], -1
	route := p.i < len(p.in) && p.in[p.i] == '@'
	for p.i < len(p.in) {
		c := p.in[p.i]
		if c == '>' || c == '<' || (c == ',' || c == ';') && !route {
			if c == '>' {
				p.i++
			}
			break
		}
		switch {
		case c == '"':
			var text string
			text, p.i = quotedText(p.in, p.i)
			b = append(b, text...)
			continue
		case c == '(':
			p.i = skipComment(p.in, p.i)
			continue
		case c == ':' && route:
			b, at, route = b[:0], -1, false
		case c == ' ' || c == '\t':
		case c == '@':
			at = len(b)
			b = append(b, c)
		default:
			b = append(b, c)
		}
		p.i++
	}
	if p.angle {
		return // a second <...>: the first counts
	}
	p.angle = true
	if at < 0 {
		at = len(b)
	}
	p.inAngle.Mailbox = string(b[:at])
	if at < len(b) {
		p.inAngle.Host = string(b[at+1:])
	}
}

// end finishes the address that is being read.
func (p *addressParser) end() {
	a := p.inAngle
	switch {
	case p.angle:
		a.Name = string(p.buf)
		if a.Name == "" {
			a.Name = p.comment
		}
		if a.Mailbox == "" && a.Host == "" && a.Name == "" {
			p.reset()
			return
		}
	case p.at >= 0:
		domain, _, _ := strings.Cut(string(p.buf[p.at+1:]), " ")
		a = Address{Name: trimRight(string(p.buf[:p.local])), Mailbox: string(p.buf[p.local:p.at]), Host: domain}
		if a.Name == "" {
			a.Name = p.comment
		}
	case p.word > 0: // several words: a name
		a = Address{Name: string(p.buf)}
	case len(p.buf) > 0:
		a = Address{Name: p.comment, Mailbox: string(p.buf)}
	default:
		p.reset()
		return
	}
	if a.Mailbox == "" {
		a.Mailbox = missingMailbox
	}
	if a.Host == "" {
		a.Host = MissingDomain
	}
	p.emit(a)
	p.reset()
}

func (p *addressParser) emit(a Address) bool {
	if !p.weigh(48) {
		p.i = len(p.in)
		return false
	}
	p.list = append(p.list, a)
	return true
}

func (p *addressParser) reset() {
	p.buf, p.word, p.at, p.local = p.buf[:0], 0, -1, 0
	p.space, p.comment, p.angle = false, "", false
	p.inAngle = Address{}
}

// commentText is what stands between the outer parentheses, quoted pairs resolved.
func commentText(c string) string {
	c = strings.TrimPrefix(c, "(")
	c = strings.TrimSuffix(c, ")")
	if strings.IndexByte(c, '\\') < 0 {
		return strings.TrimSpace(c)
	}
	var b strings.Builder
	for i := 0; i < len(c); i++ {
		if c[i] == '\\' && i+1 < len(c) {
			i++
		}
		b.WriteByte(c[i])
	}
	return strings.TrimSpace(b.String())
}
