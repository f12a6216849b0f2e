package imap

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/store"
)

// The bounds of one SEARCH. A key that reads the text or the header costs that for every message of the mailbox.
const (
	maxKeys       = 1000
	maxTextKeys   = 32
	maxHeaderKeys = 128
)

// searchParser takes the arguments of SEARCH apart.
type searchParser struct {
	c       *conn
	result  wanted
	key     searchKey
	keys    int
	modseq  bool  // a MODSEQ key is there
	refused error // what is wrong with it that is no matter of grammar
}

// arguments takes RETURN, CHARSET and the keys.
func (p *searchParser) arguments() {
	d := &p.c.d
	d.SP()
	word := p.option()
	if word == "RETURN" {
		d.SP()
		p.returns()
		d.SP()
		word = p.option()
	}
	p.result.extended = p.result.extended || p.c.enabled.rev2 // RFC 9051 section 6.4.4: rev2 has no other answer
	if none := p.result; !none.min && !none.max && !none.number && !none.save {
		p.result.all = true
	}
	if word == "CHARSET" {
		d.SP()
		p.charset(d.AString())
		d.SP()
		word = ""
	}
	p.key = searchKey{op: opAnd}
	for d.Err() == nil {
		p.key.kids = append(p.key.kids, p.one(word))
		word = ""
		if d.AtEnd() {
			break
		}
		d.SP()
	}
	p.key.plan()
	if p.refused == nil && (p.dear(costBody) > maxTextKeys || p.dear(costHeader)+p.dear(costRoot) > maxHeaderKeys) {
		p.refused = no(goimap.ResponseCodeLimit, "too many texts to look for in one SEARCH")
	}
}

// dear counts the keys of a cost.
func (p *searchParser) dear(cost searchCost) int {
	n := 0
	p.key.any(func(k *searchKey) bool {
		if k.op == opTest && k.cost == cost {
			n++
		}
		return false
	})
	return n
}

// option takes the first word where it may be RETURN or CHARSET, or the name of a key.
func (p *searchParser) option() string {
	switch c := p.c.d.Peek(); {
	case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		return p.c.d.Word()
	}
	return ""
}

// returns takes the list of RETURN (RFC 4466 section 2.6.1).
func (p *searchParser) returns() {
	d := &p.c.d
	p.result.extended = true
	d.List(func() {
		switch d.Keyword() {
		case "MIN":
			p.result.min = true
		case "MAX":
			p.result.max = true
		case "ALL":
			p.result.all = true
		case "COUNT":
			p.result.number = true
		case "SAVE":
			p.result.save = true
		default:
			d.Fail("unknown RETURN option")
		}
	})
}

// charset checks the charset of the strings that follow (RFC 9051 section 6.4.4).
func (p *searchParser) charset(name string) {
	if p.c.enabled.utf8 {
		p.c.d.Fail("CHARSET is not allowed after ENABLE UTF8=ACCEPT") // RFC 6855 section 3
		return
	}
	if !strings.EqualFold(name, "UTF-8") && !strings.EqualFold(name, "US-ASCII") && p.refused == nil {
		p.refused = no(goimap.ResponseCodeBadCharset+" (US-ASCII UTF-8)", "strings are UTF-8")
	}
}

// one takes a key; word is its name when that is read already.
func (p *searchParser) one(word string) searchKey {
	d := &p.c.d
	if p.keys++; p.keys > maxKeys {
		d.Fail("too many search keys")
	}
	if d.Err() != nil {
		return searchKey{}
	}
	if word == "" {
		switch c := d.Peek(); {
		case c == '(':
			return p.group()
		case c >= '0' && c <= '9', c == '*', c == '$':
			return p.numbers()
		}
		word = d.Word()
	}
	for _, family := range [...]func(*searchParser, string) (searchKey, bool){
		(*searchParser).logicKey, (*searchParser).flagKey, (*searchParser).dateKey, (*searchParser).textKey, (*searchParser).numberKey,
	} {
		if k, ok := family(p, word); ok {
			return k
		}
	}
	d.Fail("unknown search key")
	return searchKey{}
}

// group takes keys in parentheses, all of which must hold.
func (p *searchParser) group() searchKey {
	k := searchKey{op: opAnd}
	p.c.d.List(func() { k.kids = append(k.kids, p.one("")) })
	if p.c.d.Err() == nil && len(k.kids) == 0 {
		p.c.d.Fail("empty list of search keys")
	}
	return k
}

// numbers takes a set of sequence numbers, or "$".
func (p *searchParser) numbers() searchKey {
	set := p.c.d.Set()
	return searchKey{op: opSet, set: set}
}

// logicKey: NOT, OR and ALL.
func (p *searchParser) logicKey(word string) (searchKey, bool) {
	d := &p.c.d
	switch word {
	case "ALL":
		return searchKey{op: opAnd}, true
	case "NOT", "OR":
	default:
		return searchKey{}, false
	}
	if !d.Enter() {
		return searchKey{}, true
	}
	defer d.Leave()
	d.SP()
	k := searchKey{op: opNot, kids: []searchKey{p.one("")}}
	if word == "OR" {
		d.SP()
		k.op = opOr
		k.kids = append(k.kids, p.one(""))
	}
	return k, true
}

// flagKey: keys about flags. NEW, OLD and RECENT are RFC 3501's (section 6.4.4).
func (p *searchParser) flagKey(word string) (searchKey, bool) {
	recent := func(m *candidate) bool { return m.c.box.isRecent(m.row.UID) }
	switch word {
	case "NEW":
		return rowKey(func(m *candidate) bool { return recent(m) && m.row.Flags&store.Seen == 0 }), true
	case "OLD":
		return rowKey(func(m *candidate) bool { return !recent(m) }), true
	case "RECENT":
		return rowKey(recent), true
	case "KEYWORD", "UNKEYWORD":
		p.c.d.SP()
		return searchKey{op: opKeyword, not: word == "UNKEYWORD", text: p.c.d.Atom()}, true
	}
	names := [...]string{"SEEN", "ANSWERED", "FLAGGED", "DELETED", "DRAFT"}
	name, not := strings.CutPrefix(word, "UN")
	i := slices.Index(names[:], name)
	if i < 0 {
		return searchKey{}, false
	}
	bit := store.Flags(1) << i
	return rowKey(func(m *candidate) bool { return (m.row.Flags&bit != 0) != not }), true
}

// dateKey: BEFORE, ON, SINCE compare the internal date, their SENT forms the Date field; time and zone do not count
// (RFC 9051 section 6.4.4).
func (p *searchParser) dateKey(word string) (searchKey, bool) {
	name, sent := strings.CutPrefix(word, "SENT")
	var holds func(day, limit int) bool
	switch name {
	case "BEFORE":
		holds = func(day, limit int) bool { return day < limit }
	case "ON":
		holds = func(day, limit int) bool { return day == limit }
	case "SINCE":
		holds = func(day, limit int) bool { return day >= limit }
	default:
		return searchKey{}, false
	}
	p.c.d.SP()
	limit := dayNumber(p.c.d.Date())
	if !sent {
		return rowKey(func(m *candidate) bool { return holds(dayNumber(m.row.Received), limit) }), true
	}
	return searchKey{cost: costRoot, test: func(m *candidate) bool {
		t, ok := m.sent()
		return ok && holds(dayNumber(t), limit)
	}}, true
}

// dayNumber orders days as they are written, whatever the zone.
func dayNumber(t time.Time) int {
	year, month, day := t.Date()
	return year*10_000 + int(month)*100 + day
}

// textKey: keys with a string.
func (p *searchParser) textKey(word string) (searchKey, bool) {
	switch word {
	case "FROM", "TO", "CC", "BCC", "SUBJECT":
		p.c.d.SP()
		return headerKey(word, p.string()), true
	case "HEADER":
		p.c.d.SP()
		name := p.c.d.AString()
		p.c.d.SP()
		return headerKey(name, p.string()), true
	case "BODY", "TEXT":
		p.c.d.SP()
		needle := foldString(p.string())
		return searchKey{cost: costBody, test: func(m *candidate) bool { return m.textHas(needle, word == "TEXT") }}, true
	}
	return searchKey{}, false
}

// string takes a string to look for. Without a CHARSET it may be UTF-8 too, as RFC 9051 has it and clients of RFC 3501 do.
func (p *searchParser) string() string {
	s := p.c.d.AString()
	if p.c.d.Err() == nil && !utf8.ValidString(s) && p.refused == nil {
		p.refused = no(goimap.ResponseCodeBadCharset+" (US-ASCII UTF-8)", "a search string is not UTF-8")
	}
	return s
}

// numberKey: keys with a number or a set.
func (p *searchParser) numberKey(word string) (searchKey, bool) {
	d := &p.c.d
	switch word {
	case "LARGER", "SMALLER":
		d.SP()
		n := d.Number64()
		larger := word == "LARGER"
		return rowKey(func(m *candidate) bool {
			size := uint64(m.row.Size)
			return larger && size > n || !larger && size < n
		}), true
	case "UID":
		d.SP()
		return searchKey{op: opSet, uids: true, set: d.Set()}, true
	case "MODSEQ":
		d.SP()
		p.modSeqEntry()
		n := d.Number64()
		p.modseq = true
		return searchKey{from: n, test: func(m *candidate) bool { return m.row.ModSeq >= n }}, true
	}
	return searchKey{}, false
}

// modSeqEntry passes over the entry of a MODSEQ key: one mod-sequence counts for all of them (RFC 7162 section 3.1.5).
func (p *searchParser) modSeqEntry() {
	d := &p.c.d
	if d.Peek() != '"' {
		return
	}
	_ = d.String() // the entry
	d.SP()
	switch d.Keyword() {
	case "ALL", "PRIV", "SHARED":
	default:
		d.Fail("MODSEQ takes all, priv or shared behind the entry")
	}
	d.SP()
}

// resolveKeywords turns KEYWORD keys into bits, once all keywords of the mailbox are known to this session.
func (p *searchParser) resolveKeywords(ctx context.Context) error {
	if !p.key.any(func(k *searchKey) bool { return k.op == opKeyword }) {
		return nil
	}
	if err := p.c.reloadKeywords(ctx); err != nil {
		return err
	}
	p.key.any(func(k *searchKey) bool {
		if k.op != opKeyword {
			return false
		}
		var bit store.Flags
		for i, name := range p.c.box.flags {
			if name != "" && strings.EqualFold(string(name), k.text) {
				bit = 1 << i
			}
		}
		not := k.not
		k.op, k.test = opTest, func(m *candidate) bool { return (m.row.Flags&bit != 0) != not }
		return false
	})
	return nil
}
