package importer

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// keptField stands before a field of the message's own that has the name of one of those below (writembox.go).
const keptField = "X-Posthouse-Kept-"

// mboxFields is what mail programs note in the header of a message in an mbox. They are no part of it.
var mboxFields = map[string]func(m *mboxMeta, v string){
	"status":           (*mboxMeta).status,
	"x-status":         (*mboxMeta).status,
	"x-keywords":       (*mboxMeta).words,
	"x-mozilla-keys":   (*mboxMeta).words,
	"x-uid":            func(m *mboxMeta, v string) { m.uid = number(firstWord(v)) },
	"x-imapbase":       (*mboxMeta).base,
	"x-imap":           (*mboxMeta).base,
	"content-length":   func(m *mboxMeta, v string) { m.length = octets([]byte(v)) },
	"x-mozilla-status": (*mboxMeta).mozilla,
	"x-mozilla-status2": func(m *mboxMeta, v string) {
		n, err := strconv.ParseUint(firstWord(v), 16, 32)
		if err == nil && n&0x800000 != 0 {
			m.word("$MDNSent")
		}
	},
	"x-gmail-labels":   func(m *mboxMeta, v string) { m.labels = splitLabels(v) },
	"x-posthouse-text": (*mboxMeta).text,
	"x-posthouse-uidl": func(m *mboxMeta, v string) { m.uidl = v },
}

// mboxMeta is what those fields say.
type mboxMeta struct {
	length      int64 // of the body; -1: not said
	uid         uint32
	uidl        string
	uidValidity uint32
	uidNext     uint32
	flags       store.Flags
	keywords    []string
	labels      []string
	removed     bool // marked as deleted by Thunderbird, and not yet purged
	known       bool // some program has kept a state
	raw         bool // line ends are as they stand
	unended     bool // the last line end is not the text's
	bodyless    bool // the empty line is not the text's
	empty       bool
}

// notedField reports whether a header line begins one of those fields.
func notedField(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte{':'})
	return ok && len(name) < 64 && mboxFields[strings.ToLower(string(bytes.TrimRight(name, " \t")))] != nil
}

// field takes an unfolded field.
func (m *mboxMeta) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	if set := mboxFields[strings.ToLower(string(bytes.TrimRight(name, " \t")))]; set != nil {
		set(m, strings.TrimSpace(string(value)))
	}
}

func firstWord(v string) string {
	v, _, _ = strings.Cut(v, " ")
	return v
}

// status reads Status and X-Status: the letters of Berkeley mail and of UW's programs.
func (m *mboxMeta) status(v string) {
	m.known = true
	for _, c := range v {
		switch c {
		case 'R':
			m.flags |= store.Seen
		case 'A':
			m.flags |= store.Answered
		case 'F':
			m.flags |= store.Flagged
		case 'T':
			m.flags |= store.Draft
		case 'D':
			m.flags |= store.Deleted
		}
	}
}

func (m *mboxMeta) words(v string) {
	for _, w := range strings.Fields(v) {
		m.word(w)
	}
}

func (m *mboxMeta) word(w string) {
	it := Item{Flags: m.flags, Keywords: m.keywords}
	addKeyword(&it, w)
	m.flags, m.keywords = it.Flags, it.Keywords
}

// base reads "UIDVALIDITY last-uid keywords", which the first message of a file has.
func (m *mboxMeta) base(v string) {
	f := strings.Fields(v)
	if len(f) < 2 {
		return
	}
	m.uidValidity = number(f[0])
	if last := number(f[1]); last > 0 && last < maxUID {
		m.uidNext = last + 1
	}
}

// mozilla reads Thunderbird's flags.
func (m *mboxMeta) mozilla(v string) {
	n, err := strconv.ParseUint(firstWord(v), 16, 32)
	if err != nil {
		return
	}
	m.known = true
	for _, b := range []struct {
		bit  uint64
		flag store.Flags
	}{{0x1, store.Seen}, {0x2, store.Answered}, {0x4, store.Flagged}, {0x1000, store.Forwarded}} {
		if n&b.bit != 0 {
			m.flags |= b.flag
		}
	}
	m.removed = n&0x8 != 0
}

// text reads what our own export says of a text that is not made of lines that end in CRLF.
func (m *mboxMeta) text(v string) {
	for _, w := range strings.Fields(v) {
		switch w {
		case "raw":
			m.raw = true
		case "unended":
			m.unended = true
		case "bodyless":
			m.bodyless = true
		case "empty":
			m.empty = true
		}
	}
}

// splitLabels reads Gmail's list: comma separated, words in quotes, the whole perhaps encoded (RFC 2047).
func splitLabels(v string) []string {
	var out []string
	var label strings.Builder
	quoted := false
	add := func() {
		if l := strings.TrimSpace(label.String()); l != "" {
			out = append(out, l)
		}
		label.Reset()
	}
	for _, c := range message.DecodeWords(v) {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add()
		default:
			label.WriteRune(c)
		}
	}
	add()
	return out
}

// Labels is what becomes of Gmail's labels.
type Labels int

const (
	LabelsKeywords Labels = iota // keywords of the message, which goes to the mailbox of its system label
	LabelsFolders                // the first label of the user's own is the mailbox
	LabelsIgnore                 // nothing
)

// ParseLabels reads a word of the command line.
func ParseLabels(s string) (Labels, bool) {
	for i, name := range []string{"keywords", "folders", "ignore"} {
		if s == name {
			return Labels(i), true
		}
	}
	return 0, false
}

// gmailBoxes are the system labels that name a mailbox, the strongest first.
var gmailBoxes = [][2]string{
	{"trash", "Trash"}, {"bin", "Trash"}, {"spam", "Junk"}, {"draft", "Drafts"}, {"drafts", "Drafts"}, {"sent", "Sent"}, {"inbox", store.Inbox},
}

// label gives an item flags, keywords and mailbox after its labels.
func label(it *Item, labels []string, how Labels) {
	if len(labels) == 0 || how == LabelsIgnore {
		return
	}
	system := map[string]bool{}
	var own []string
	for _, l := range labels {
		low := strings.ToLower(l)
		switch low {
		case "inbox", "sent", "trash", "bin", "spam", "draft", "drafts", "unread", "opened", "starred", "important", "archived", "chat":
			system[low] = true
		default:
			if !strings.HasPrefix(low, "category ") {
				own = append(own, l)
			}
		}
	}
	if !system["unread"] {
		it.Flags |= store.Seen
	}
	if system["starred"] {
		it.Flags |= store.Flagged
	}
	if system["draft"] || system["drafts"] {
		it.Flags |= store.Draft
	}
	if system["important"] {
		addKeyword(it, "$Important")
	}
	it.Mailbox = "Archive"
	for _, b := range gmailBoxes {
		if system[b[0]] {
			it.Mailbox = b[1]
			break
		}
	}
	if how == LabelsFolders && len(own) > 0 && (it.Mailbox == "Archive" || it.Mailbox == store.Inbox) {
		it.Mailbox, own = cleanName(own[0]), own[1:]
	}
	for _, l := range own {
		if k := asKeyword(l); k != "" {
			addKeyword(it, k)
		}
	}
}

// asKeyword makes an atom of a label (RFC 9051 section 9); empty when nothing is left of it.
func asKeyword(label string) string {
	word := []byte(toUTF7(label, `(){ %*"\]`))
	for i, c := range word {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`(){%*"\]`), c) >= 0 {
			word[i] = '_'
		}
	}
	if len(word) > 200 || !store.ValidKeyword(string(word)) {
		return ""
	}
	return string(word)
}
