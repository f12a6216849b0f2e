package imap

import (
	"strings"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// itemFamily is where an item's value comes from.
type itemFamily uint8

const (
	familyRow        itemFamily = iota // the row
	familyStructure                    // the stored structure
	familyBody                         // octets of the text
	familyBinary                       // decoded octets of a part
	familyBinarySize                   // their number
)

// itemKind is what the tables below know of an item.
type itemKind struct {
	family  itemFamily
	sets    bool           // fetching it sets \Seen
	rooted  bool           // its value needs the structure
	old     syntax.Section // the RFC822 items are sections under old names
	row     func(f *fetcher, b []byte, m *store.Message) []byte
	text    func(f *fetcher, it *fetchItem) error
	refuses func(f *fetcher, it *fetchItem) bool // the item has no answer for this message: NO [UNKNOWN-CTE]
}

// fetchItem is one item of a command.
type fetchItem struct {
	*itemKind
	name       string
	seen       bool // fetching it sets \Seen
	root       bool // its value needs the structure
	section    syntax.Section
	partial    syntax.Partial
	hasPartial bool
	label      []byte // what stands before the value, with its space
}

// plainItem finds an item without brackets (RFC 9051 section 6.4.5, RFC 3501 section 6.4.5), nil when there is none.
func plainItem(name string) *itemKind {
	switch name {
	case "FLAGS":
		return &itemKind{row: (*fetcher).appendFlags}
	case "UID":
		return &itemKind{row: appendUID}
	case "INTERNALDATE":
		return &itemKind{row: appendInternalDate}
	case "RFC822.SIZE":
		return &itemKind{row: appendSize}
	case "MODSEQ": // RFC 7162 section 3.1.4.2
		return &itemKind{row: appendModSeq}
	case "ENVELOPE":
		return &itemKind{family: familyStructure, rooted: true, text: (*fetcher).writeEnvelope}
	case "BODY", "BODYSTRUCTURE":
		return &itemKind{family: familyStructure, rooted: true, text: (*fetcher).writeStructure}
	case "RFC822":
		return &itemKind{family: familyBody, sets: true, text: (*fetcher).writeSection}
	case "RFC822.HEADER":
		return &itemKind{family: familyBody, rooted: true, old: syntax.Section{Text: "HEADER"}, text: (*fetcher).writeSection}
	case "RFC822.TEXT":
		return &itemKind{family: familyBody, rooted: true, sets: true, old: syntax.Section{Text: "TEXT"}, text: (*fetcher).writeSection}
	}
	return nil
}

// sectionItem finds an item with brackets.
func sectionItem(name string) *itemKind {
	switch name {
	case "BODY":
		return &itemKind{family: familyBody, sets: true, text: (*fetcher).writeSection}
	case "BODY.PEEK":
		return &itemKind{family: familyBody, text: (*fetcher).writeSection}
	case "BINARY":
		return &itemKind{family: familyBinary, sets: true, text: (*fetcher).writeBinary, refuses: (*fetcher).unknownEncoding}
	case "BINARY.PEEK":
		return &itemKind{family: familyBinary, text: (*fetcher).writeBinary, refuses: (*fetcher).unknownEncoding}
	case "BINARY.SIZE":
		return &itemKind{family: familyBinarySize, text: (*fetcher).writeBinarySize, refuses: (*fetcher).unknownEncoding}
	}
	return nil
}

// take makes the item one of a kind.
func (it *fetchItem) take(k *itemKind) bool {
	if k == nil {
		return false
	}
	it.itemKind, it.seen, it.root, it.section = k, k.sets, k.rooted, k.old
	return true
}

// bracketed tells whether the name of the item is followed by a section.
func (it *fetchItem) bracketed() bool {
	return it.family >= familyBody && !strings.HasPrefix(it.name, "RFC822")
}

// appendLabel appends what stands before the value: the name without PEEK, the section, and where a partial begins.
func (it *fetchItem) appendLabel(b []byte) []byte {
	b = append(b, strings.TrimSuffix(it.name, ".PEEK")...)
	if it.bracketed() {
		b = syntax.AppendSection(b, it.section)
	}
	if it.hasPartial {
		b = append(b, '<')
		b = syntax.AppendNumber64(b, it.partial.Offset)
		b = append(b, '>')
	}
	return append(b, ' ')
}

// whole tells whether the item is all of the text.
func (it *fetchItem) whole() bool {
	return it.family == familyBody && !it.root && !it.hasPartial
}

// heads tells whether structure and header of the message are all that the item needs.
func (it *fetchItem) heads() bool {
	return it.family <= familyStructure || it.family == familyBody && len(it.section.Part) == 0 && strings.HasPrefix(it.section.Text, "HEADER")
}

// cut is what of n octets the item asks for.
func (it *fetchItem) cut(n int64) (from, count int64) {
	if !it.hasPartial {
		return 0, n
	}
	from = int64(min(it.partial.Offset, uint64(n)))
	return from, int64(min(it.partial.Count, uint64(n-from)))
}

// same tells whether two items ask for the same octets.
func (it *fetchItem) same(o *fetchItem) bool {
	return it.partial == o.partial && string(it.label) == string(o.label)
}

func appendUID(_ *fetcher, b []byte, m *store.Message) []byte { return syntax.AppendNumber(b, m.UID) }

func appendInternalDate(_ *fetcher, b []byte, m *store.Message) []byte {
	return syntax.AppendDateTime(b, m.Received)
}

func appendSize(_ *fetcher, b []byte, m *store.Message) []byte { return syntax.AppendNumber(b, m.Size) }

func appendModSeq(_ *fetcher, b []byte, m *store.Message) []byte {
	b = append(b, '(')
	b = syntax.AppendNumber64(b, m.ModSeq)
	return append(b, ')')
}

// flagCache is the list of the last message's flags: neighbours mostly have the same.
type flagCache struct {
	flags store.Flags
	names int // keywords the session knew then
	made  int
	text  []byte
}

// appendFlags appends the flag list of a row.
func (f *fetcher) appendFlags(b []byte, m *store.Message) []byte {
	if len(f.c.box.recent) > 0 {
		return f.c.appendFlags(b, m)
	}
	k := &f.flags
	if len(k.text) == 0 || k.flags != m.Flags || k.made != k.names {
		k.text = f.c.appendFlags(k.text[:0], m)
		k.flags, k.made = m.Flags, k.names
	}
	return append(b, k.text...)
}
