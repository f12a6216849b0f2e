package imap

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// candidate is the message that is being tried; what a key needs of it is read when it is needed.
type candidate struct {
	c   *conn
	ctx context.Context
	row *store.Message

	heads  bool // no key looks into the text
	body   *store.Body
	root   *message.Part
	header []byte
	buf    []byte // header's memory
	gone   bool   // it cannot be read: it matches nothing
	logged bool
	err    error // what ends the search
	finder finder
}

// next goes on to another message.
func (m *candidate) next(row *store.Message) {
	m.close()
	m.row, m.gone = row, false
}

func (m *candidate) close() {
	if m.body != nil {
		_ = m.body.Close() // a reader has nothing to lose
	}
	m.body, m.root, m.header = nil, nil, nil
}

// load opens the message; false: it cannot be read, and no key holds.
func (m *candidate) load() bool {
	if m.root != nil {
		return true
	}
	if m.gone || m.err != nil {
		return false
	}
	var err error
	if m.body == nil {
		open := m.c.s.store.Open
		if m.heads {
			open = m.c.s.store.OpenHead
		}
		m.body, err = open(m.ctx, *m.row)
	}
	if err == nil {
		m.root, err = m.body.Root()
	}
	return err == nil || m.fail(err)
}

// fail passes over a message that cannot be read: it must not hide the others. The log learns of the first.
func (m *candidate) fail(err error) bool {
	m.gone = true
	if m.err = m.ctx.Err(); m.err == nil && !m.logged {
		m.logged = true
		m.c.log.ErrorContext(m.ctx, logx.IMAPError, "conn", m.c.peer.ID, "command", "search", "uid", m.row.UID, "error", err)
	}
	return false
}

// sent is the Date field.
func (m *candidate) sent() (time.Time, bool) {
	if !m.load() || m.root.Envelope == nil {
		return time.Time{}, false
	}
	return message.ParseDate(m.root.Envelope.Date)
}

// maxSearchHeader is how much of a header is searched.
const maxSearchHeader = 1 << 20

// fields is the header of the message.
func (m *candidate) fields() []byte {
	if m.header != nil || !m.load() {
		return m.header
	}
	m.header = m.read(m.root)
	return m.header
}

// read reads the header of a part.
func (m *candidate) read(p *message.Part) []byte {
	n := int(min(p.Body-p.Header, maxSearchHeader))
	if cap(m.buf) < n {
		m.buf = make([]byte, n, max(n, 4<<10))
	}
	b := m.buf[:n]
	if err := readWhole(m.body, b, p.Header); err != nil {
		m.fail(err)
		return nil
	}
	return b
}

// headerKey looks for text in a header field (RFC 9051 section 6.4.4). What the envelope has is looked for there, since it
// stands in the first octets of the stored message; an empty text asks whether there is such a field.
func headerKey(name, text string) searchKey {
	needle := foldString(text)
	if of := envelopeText(name); of != nil && len(needle) > 0 {
		return searchKey{cost: costRoot, test: func(m *candidate) bool {
			if !m.load() || m.root.Envelope == nil {
				return false
			}
			m.finder.begin(needle)
			return m.finder.addString(of(m.root.Envelope))
		}}
	}
	return searchKey{cost: costHeader, test: func(m *candidate) bool {
		for f := range message.Fields(m.fields()) {
			if !f.Is(name) {
				continue
			}
			m.finder.begin(needle)
			if len(needle) == 0 || m.finder.addString(f.Text()) {
				return true
			}
		}
		return false
	}}
}

// envelopeText is how the value of a field reads in the envelope, nil for fields that it has not.
func envelopeText(name string) func(*message.Envelope) string {
	switch strings.ToUpper(name) {
	case "SUBJECT":
		return func(e *message.Envelope) string { return message.DecodeWords(e.Subject) }
	case "MESSAGE-ID":
		return func(e *message.Envelope) string { return e.MessageID }
	case "IN-REPLY-TO":
		return func(e *message.Envelope) string { return e.InReplyTo }
	case "FROM":
		return func(e *message.Envelope) string { return addressText(e.From) }
	case "TO":
		return func(e *message.Envelope) string { return addressText(e.To) }
	case "CC":
		return func(e *message.Envelope) string { return addressText(e.Cc) }
	case "BCC":
		return func(e *message.Envelope) string { return addressText(e.Bcc) }
	}
	return nil
}

// addressText is a list of addresses as people read it.
func addressText(list []message.Address) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		spec := a.Mailbox
		if a.Host != "" {
			spec += "@" + a.Host
		}
		if a.Name != "" {
			b.WriteString(message.DecodeWords(a.Name))
			spec = " <" + spec + ">"
		}
		b.WriteString(spec)
	}
	return b.String()
}

// textHas looks for needle in the decoded text of a message, and for TEXT in all its header fields, those of its parts and of
// enclosed messages included; BODY matches no header field (RFC 9051 section 6.4.4).
func (m *candidate) textHas(needle []byte, withHeaders bool) bool {
	if len(needle) == 0 {
		return true
	}
	if !m.load() {
		return false
	}
	found := false
	m.root.Walk(func(p *message.Part) bool {
		found = withHeaders && m.headerHas(p, needle) || len(p.Parts) == 0 && readable(p) && m.partHas(p, needle)
		return !found && m.err == nil
	})
	return found
}

// readable tells whether the content of a part is text: reports of type message/... are too.
func readable(p *message.Part) bool { return p.Type == "TEXT" || p.Type == "MESSAGE" }

func (m *candidate) headerHas(p *message.Part, needle []byte) bool {
	m.header = nil // read uses its memory
	for f := range message.Fields(m.read(p)) {
		m.finder.begin(needle)
		if m.finder.addString(string(f.Name) + ": " + f.Text()) {
			return true
		}
	}
	return false
}

func (m *candidate) partHas(p *message.Part, needle []byte) bool {
	m.finder.begin(needle)
	found, err := m.finder.addReader(message.TextReader(m.body, p))
	if err != nil {
		m.fail(err)
	}
	return found
}

// finder looks for a folded needle in text that comes in pieces, in bounded memory.
type finder struct {
	needle []byte
	tail   []byte // the folded end of what came before, shorter than the needle
	folded []byte
	raw    []byte
}

func (f *finder) begin(needle []byte) {
	f.needle, f.tail = needle, f.tail[:0]
}

// add looks at a piece of text, which ends between two characters.
func (f *finder) add(text []byte) bool {
	f.folded = appendFolded(append(f.folded[:0], f.tail...), text)
	if bytes.Contains(f.folded, f.needle) {
		return true
	}
	keep := min(len(f.needle)-1, len(f.folded))
	f.tail = append(f.tail[:0], f.folded[len(f.folded)-keep:]...)
	return false
}

// addString looks at a whole text.
func (f *finder) addString(s string) bool { return f.add([]byte(s)) }

// searchPiece is how much text is folded at once.
const searchPiece = 32 << 10

// addReader looks at a text until its end. Pieces end at a line end where there is one, so that no character with its
// combining marks is cut apart.
func (f *finder) addReader(r io.Reader) (bool, error) {
	if f.raw == nil {
		f.raw = make([]byte, searchPiece)
	}
	n := 0
	for {
		k, err := r.Read(f.raw[n:])
		n += k
		if err != nil && err != io.EOF {
			return false, err
		}
		if err == nil && n < len(f.raw) {
			continue
		}
		cut := n
		if err == nil {
			cut = cutText(f.raw[:n])
		}
		if f.add(f.raw[:cut]) {
			return true, nil
		}
		n = copy(f.raw, f.raw[cut:n])
		if err == io.EOF {
			return false, nil
		}
	}
}

// cutText is where a full buffer is cut: behind its last line end, else between two characters.
func cutText(b []byte) int {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	for i := len(b) - 1; i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}

// foldString is the form in which texts are compared: full case folding of composed characters, so that case never counts
// and neither does how an umlaut is written.
func foldString(s string) []byte { return appendFolded(nil, []byte(s)) }

func appendFolded(dst, text []byte) []byte {
	ascii := true
	from := len(dst)
	for _, c := range text {
		if c >= utf8.RuneSelf {
			ascii = false
			break
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	if ascii {
		return dst
	}
	return append(dst[:from], cases.Fold().Bytes(norm.NFC.Bytes(text))...)
}
