package imap

import (
	"context"
	"maps"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"
	"golang.org/x/text/unicode/norm"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// The bounds of one LIST.
const (
	maxPatterns = 16
	maxPattern  = 1024 // octets of a pattern, and of all with wildcards together
	maxWild     = 32   // runs of wildcards in all patterns: each costs time for every name
)

// listing is one LIST (RFC 9051 section 6.3.9, RFC 5258, RFC 5819, RFC 6154) or LSUB.
type listing struct {
	reference string
	patterns  []string
	wild      int // runs of wildcards in them
	octets    int // of those that have wildcards
	extended  bool

	// Which names.
	subscribed, recursive, specialUse bool

	// What is told of them. Children and special use are told always (RFC 3348, RFC 6154 section 2 allow it).
	tellSubscribed bool
	status         []string
}

// listed is one LIST response.
type listed struct {
	name     string
	attrs    []goimap.MailboxAttr
	children bool // CHILDINFO: a descendant is subscribed
	mailbox  store.Mailbox
}

// node is one name of the hierarchy: a mailbox, a subscription to one that is gone, or the level above one.
type node struct {
	store.Mailbox
	deleted             bool // it is the mailbox of expunged mail
	children            bool // an existing mailbox stands below
	subscribedBelow     bool
	unmatched           bool // an existing mailbox below does not match the patterns
	unmatchedSubscribed bool
}

// list answers LIST.
func (c *conn) list(ctx context.Context, _ *request) error {
	l, err := c.parseList()
	if err != nil {
		return err
	}
	if !l.extended && l.patterns[0] == l.reference {
		// RFC 9051 section 6.3.9: an empty name asks for the delimiter and the root.
		c.writeList("LIST", listed{attrs: []goimap.MailboxAttr{goimap.MailboxAttrNoSelect}})
		return nil
	}
	nodes, err := c.nodes(ctx, &l)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		if !l.matches(name) || !l.selects(n) {
			continue
		}
		c.writeList("LIST", l.describe(name, n))
		if l.status != nil && n.ID != 0 {
			if err := c.writeStatus(ctx, n.Mailbox, l.status); err != nil && !gone(err) {
				return err
			}
		}
	}
	return nil
}

// parseList takes the arguments of LIST in both forms.
func (c *conn) parseList() (listing, error) {
	var l listing
	c.d.SP()
	if c.d.Peek() == '(' {
		l.extended = true
		c.listSelection(&l)
		c.d.SP()
	}
	l.reference = c.d.Mailbox()
	c.d.SP()
	if c.d.Peek() == '(' {
		l.extended = true
		c.d.List(func() { l.pattern(&c.d) })
		if c.d.Err() == nil && len(l.patterns) == 0 {
			c.d.Fail("LIST needs a pattern")
		}
	} else {
		l.pattern(&c.d)
	}
	if c.d.TrySP() {
		l.extended = true
		if c.d.Keyword() != "RETURN" {
			c.d.Fail("LIST knows RETURN here only")
		}
		c.d.SP()
		c.listReturn(&l)
	}
	if l.recursive && !l.subscribed {
		c.d.Fail("RECURSIVEMATCH needs SUBSCRIBED") // RFC 5258 section 3.1
	}
	return l, c.d.End()
}

// pattern takes one pattern and puts the reference before it.
func (l *listing) pattern(d *syntax.Decoder) {
	l.add(d, norm.NFC.String(l.reference+d.ListMailbox()))
}

func (l *listing) add(d *syntax.Decoder, p string) {
	p, wild := squeeze(p)
	if l.wild += wild; wild > 0 {
		l.octets += len(p)
	}
	if len(p) > maxPattern || l.octets > maxPattern || len(l.patterns) == maxPatterns || l.wild > maxWild {
		d.Fail("too many patterns or wildcards, or a pattern too long")
		return
	}
	l.patterns = append(l.patterns, p)
}

// squeeze makes one wildcard of each run of them, and counts the runs.
func squeeze(pattern string) (_ string, wild int) {
	b := make([]byte, 0, len(pattern))
	for i := range len(pattern) {
		n := len(b) - 1
		switch c := pattern[i]; {
		case c != '*' && c != '%':
			b = append(b, c)
		case n < 0 || b[n] != '*' && b[n] != '%':
			wild++
			b = append(b, c)
		case c == '*':
			b[n] = c
		}
	}
	return string(b), wild
}

func (c *conn) listSelection(l *listing) {
	c.d.List(func() {
		switch c.d.Keyword() {
		case "SUBSCRIBED":
			l.subscribed, l.tellSubscribed = true, true
		case "RECURSIVEMATCH":
			l.recursive = true
		case "SPECIAL-USE":
			l.specialUse = true
		case "REMOTE": // there are none
		default:
			c.d.Fail("unknown selection option of LIST")
		}
	})
}

func (c *conn) listReturn(l *listing) {
	c.d.List(func() {
		switch c.d.Keyword() {
		case "SUBSCRIBED":
			l.tellSubscribed = true
		case "CHILDREN", "SPECIAL-USE": // told always
		case "STATUS":
			c.d.SP()
			l.status = c.statusItems()
		default:
			c.d.Fail("unknown return option of LIST")
		}
	})
}

// nodes reads the account's names and adds the levels above them.
func (c *conn) nodes(ctx context.Context, l *listing) (map[string]*node, error) {
	all, err := c.s.store.Mailboxes(ctx, c.who.Account)
	if err != nil {
		return nil, err
	}
	all, deleted, err := c.addDeleted(ctx, all)
	if err != nil {
		return nil, err
	}
	nodes := make(map[string]*node, len(all))
	for _, m := range all {
		nodes[m.Name] = &node{Mailbox: m, deleted: m.ID != 0 && m.ID == deleted}
	}
	for _, m := range all {
		matched := l.matches(m.Name)
		for name := m.Name; ; {
			i := strings.LastIndexByte(name, delimiter)
			if i < 0 {
				break
			}
			name = name[:i]
			above := nodes[name]
			if above == nil {
				above = &node{Mailbox: store.Mailbox{Name: name}}
				nodes[name] = above
			}
			above.children = above.children || m.ID != 0
			above.subscribedBelow = above.subscribedBelow || m.Subscribed
			above.unmatched = above.unmatched || m.ID != 0 && !matched
			above.unmatchedSubscribed = above.unmatchedSubscribed || m.Subscribed && !matched
		}
	}
	return nodes, nil
}

func (l *listing) matches(name string) bool {
	return slices.ContainsFunc(l.patterns, func(p string) bool { return matchName(p, name) })
}

// selects says whether a name that matches is listed.
func (l *listing) selects(n *node) bool {
	switch {
	case l.specialUse && n.Use&^store.UseOutbox == 0:
		return false
	case l.subscribed:
		// RFC 5258 section 3.5: what is named itself needs no parent that points to it.
		return n.Subscribed || l.recursive && n.unmatchedSubscribed
	}
	// A level above a mailbox that is none itself is named when the pattern shows it alone, as "%" does.
	return n.ID != 0 || n.unmatched
}

func (l *listing) describe(name string, n *node) listed {
	out := listed{name: name, mailbox: n.Mailbox, children: l.recursive && n.subscribedBelow}
	if n.ID == 0 {
		out.attrs = append(out.attrs, goimap.MailboxAttrNonExistent, goimap.MailboxAttrNoSelect)
	}
	if l.tellSubscribed && n.Subscribed {
		out.attrs = append(out.attrs, goimap.MailboxAttrSubscribed)
	}
	if n.deleted {
		out.attrs = append(out.attrs, goimap.MailboxAttrNoInferiors)
	}
	if n.children {
		out.attrs = append(out.attrs, goimap.MailboxAttrHasChildren)
	} else {
		out.attrs = append(out.attrs, goimap.MailboxAttrHasNoChildren)
	}
	for i, attr := range uses() {
		if n.Use&(1<<i) != 0 {
			out.attrs = append(out.attrs, attr)
		}
	}
	return out
}

// writeList sends one LIST or LSUB response.
func (c *conn) writeList(word string, l listed) {
	b := append(c.w.AvailableBuffer(), "* "...)
	b = append(b, word...)
	b = append(b, " ("...)
	for i, attr := range l.attrs {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, attr...)
	}
	b = append(b, `) "/" `...)
	b = syntax.AppendMailbox(b, l.name, c.enabled.names())
	if l.children {
		b = append(b, ` ("CHILDINFO" ("SUBSCRIBED"))`...)
	}
	c.w.Write(append(b, "\r\n"...))
}

// lsub answers LSUB (RFC 3501 section 6.3.9).
func (c *conn) lsub(ctx context.Context, _ *request) error {
	l := listing{subscribed: true}
	c.d.SP()
	l.reference = c.d.Mailbox()
	c.d.SP()
	l.pattern(&c.d)
	if err := c.d.End(); err != nil {
		return err
	}
	nodes, err := c.nodes(ctx, &l)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n := nodes[name]
		if !l.matches(name) {
			continue
		}
		switch {
		case n.Subscribed:
			c.writeList("LSUB", l.describe(name, n))
		case n.unmatchedSubscribed:
			// "%" shows the level above a subscription that it hides.
			c.writeList("LSUB", listed{name: name, attrs: []goimap.MailboxAttr{goimap.MailboxAttrNoSelect}})
		}
	}
	return nil
}

// matchName matches a name with a pattern: "*" is anything, "%" anything within a level (RFC 9051 section 6.3.9), INBOX
// has no case, above its children neither. It takes time pattern x name at most, whatever they are.
func matchName(pattern, name string) bool {
	free := 0 // octets of the name that have no case
	if name == store.Inbox || strings.HasPrefix(name, store.Inbox+"/") {
		free = len(store.Inbox)
	}
	// Most patterns are told from most names by what stands before the first wildcard.
	plain := strings.IndexAny(pattern, "*%")
	if plain < 0 {
		return len(pattern) == len(name) && sameName(pattern, name, free)
	}
	if len(name) < plain || !sameName(pattern[:plain], name[:plain], free) {
		return false
	}
	// reach[i]: the pattern so far matches name[:i].
	reach := make([]bool, len(name)+1)
	reach[plain] = true
	for i := plain; i < len(pattern); i++ {
		alive := false
		switch p := pattern[i]; p {
		case '*', '%':
			for j, on := 0, false; j <= len(name); j++ {
				if p == '%' && j > 0 && name[j-1] == delimiter {
					on = false
				}
				on = on || reach[j]
				reach[j] = on
				alive = alive || on
			}
		default:
			for j := len(name); j > 0; j-- {
				reach[j] = reach[j-1] && (name[j-1] == p || j <= free && name[j-1] == upper(p))
				alive = alive || reach[j]
			}
			reach[0] = false
		}
		if !alive {
			return false
		}
	}
	return reach[len(name)]
}

// sameName compares two texts of one length, the first octets of name without case.
func sameName(text, name string, free int) bool {
	for i := range len(name) {
		if name[i] != text[i] && (i >= free || name[i] != upper(text[i])) {
			return false
		}
	}
	return true
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}
