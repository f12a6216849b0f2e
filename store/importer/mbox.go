package importer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"strconv"
	"time"
)

// Variant is the kind of an mbox file. They differ in what makes of a line "From " in a message no beginning of the next one.
type Variant int

const (
	VariantAuto Variant = iota // mboxcl2 for a message whose Content-Length fits, else mboxrd
	VariantO                   // ">From " is "From "
	VariantRD                  // any number of ">" before "From " is one less
	VariantCL                  // Content-Length, and lines are quoted like mboxo
	VariantCL2                 // Content-Length, and no line is quoted
)

// ParseVariant reads the names that people know them by.
func ParseVariant(s string) (Variant, error) {
	for i, name := range []string{"auto", "mboxo", "mboxrd", "mboxcl", "mboxcl2"} {
		if s == name {
			return Variant(i), nil
		}
	}
	return 0, fmt.Errorf("no variant %q: write auto, mboxo, mboxrd, mboxcl or mboxcl2", s)
}

// quoting is how lines of a text are read back.
type quoting int

const (
	quoteNone quoting = iota
	quoteOne          // mboxo
	quoteMany         // mboxrd
)

// mboxEntry is where a message stands in the file, and what its header says to mail programs of this machine.
type mboxEntry struct {
	from       string // the line, without its end
	start, end int64  // of the text, with its header
	meta       mboxMeta
	quoting    quoting
	sum        [sha256.Size]byte // of its text without what programs note in it
}

// maxFromLine bounds what is looked at of a line that may be a separator, maxNoted what is kept of a field.
const (
	maxFromLine = 1024
	maxNoted    = 16 << 10
)

// mboxReader finds the messages of a file, in one pass and with little memory whatever stands in it.
type mboxReader struct {
	src     io.ReaderAt
	size    int64
	variant Variant

	r    *bufio.Reader
	at   int64 // of the next octet of r
	from []byte
	hash hash.Hash
}

func newMboxReader(src io.ReaderAt, size int64, v Variant) *mboxReader {
	m := &mboxReader{src: src, size: size, variant: v, hash: sha256.New()}
	m.seek(0)
	return m
}

func (m *mboxReader) seek(at int64) {
	m.at = at
	section := io.NewSectionReader(m.src, at, m.size-at)
	if m.r == nil {
		m.r = bufio.NewReaderSize(section, 64<<10)
		return
	}
	m.r.Reset(section)
}

var errNoMbox = errors.New("it does not begin with a line \"From \": it is no mbox")

// line reads the next line, or the first 64 KiB of it; whole is false when more of it follows.
func (m *mboxReader) line() (line []byte, whole bool, err error) {
	line, err = m.r.ReadSlice('\n')
	m.at += int64(len(line))
	if errors.Is(err, bufio.ErrBufferFull) {
		return line, false, nil
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return line, true, err
}

// next finds the next message; io.EOF at the end.
func (m *mboxReader) next() (*mboxEntry, error) {
	if m.from == nil {
		if err := m.first(); err != nil {
			return nil, err
		}
	}
	e := &mboxEntry{from: string(trimEnd(m.from)), start: m.at}
	m.from = nil
	m.hash.Reset()
	if err := m.header(e); err != nil {
		return nil, err
	}
	if e.meta.bodyless || e.meta.empty {
		return e, m.nothing(e)
	}
	e.quoting = quoteMany
	if m.variant == VariantO || m.variant == VariantCL {
		e.quoting = quoteOne
	}
	if m.variant != VariantO && m.variant != VariantRD && e.meta.length >= 0 && m.fits(m.at+e.meta.length) {
		if m.variant != VariantCL {
			e.quoting = quoteNone
		}
		return e, m.counted(e)
	}
	return e, m.body(e)
}

// first finds the first line of the file; empty lines before it are passed over.
func (m *mboxReader) first() error {
	for {
		line, _, err := m.line()
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, []byte("From ")):
			m.from = bytes.Clone(line[:min(len(line), maxFromLine)])
			return nil
		case len(trimEnd(line)) > 0:
			return errNoMbox
		}
	}
}

// header reads up to the empty line; a header that ends in a separator has no body.
func (m *mboxReader) header(e *mboxEntry) error {
	e.meta.length = -1
	var noted []byte // a field of ours, unfolded
	note := func() {
		if noted != nil {
			e.meta.field(noted)
			noted = nil
		}
	}
	whole := true
	for {
		before := whole
		at := m.at
		line, w, err := m.line()
		whole = w
		if errors.Is(err, io.EOF) {
			note()
			e.end = at
			return nil
		}
		if err != nil {
			return err
		}
		if !before { // the rest of a line
			if noted == nil {
				m.hash.Write(line)
			}
			continue
		}
		text := trimEnd(line)
		switch {
		case len(text) == 0:
			note()
			m.hash.Write(line)
			if e.end = m.at; e.meta.bodyless {
				e.end = at
			}
			return nil
		case bytes.HasPrefix(line, []byte("From ")) && isSeparator(text):
			note()
			e.end = at
			m.from = bytes.Clone(line[:min(len(line), maxFromLine)])
			return nil
		case (text[0] == ' ' || text[0] == '\t') && noted != nil:
			if len(noted)+len(text) <= maxNoted {
				noted = append(noted, text...)
			}
			continue
		}
		note()
		if notedField(text) {
			noted = append([]byte{}, text[:min(len(text), maxNoted)]...)
			continue
		}
		if id, ok := cutFold(text, "X-UIDL:"); ok && e.meta.uidl == "" { // qpopper's; it stays
			e.meta.uidl = string(bytes.TrimSpace(id))
		}
		m.hash.Write(line)
	}
}

// fits reports whether a message may end at end: there the file ends, or a separator follows, perhaps behind one empty line.
func (m *mboxReader) fits(end int64) bool {
	if end < m.at || end > m.size || m.from != nil {
		return false
	}
	buf := make([]byte, len("\r\nFrom "))
	n, err := m.src.ReadAt(buf, end)
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	rest, atEnd := buf[:n], end+int64(n) == m.size
	for range 2 {
		if bytes.HasPrefix(rest, []byte("From ")) || atEnd && len(rest) == 0 {
			return true
		}
		rest = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte("\r")), []byte("\n"))
	}
	return false
}

// nothing goes on behind a message that ends with its header.
func (m *mboxReader) nothing(e *mboxEntry) error {
	m.hash.Sum(e.sum[:0])
	if m.from != nil {
		return nil
	}
	return m.separator()
}

// separator goes to the next one.
func (m *mboxReader) separator() error {
	for {
		line, _, err := m.line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.HasPrefix(line, []byte("From ")) {
			m.from = bytes.Clone(line[:min(len(line), maxFromLine)])
			return nil
		}
	}
}

// counted takes the octets that Content-Length names.
func (m *mboxReader) counted(e *mboxEntry) error {
	e.end = m.at + e.meta.length
	if _, err := io.Copy(m.hash, io.NewSectionReader(m.src, m.at, e.meta.length)); err != nil {
		return err
	}
	m.hash.Sum(e.sum[:0])
	m.seek(e.end)
	return m.separator()
}

// body reads up to the next separator. The empty line before it is not of the message.
func (m *mboxReader) body(e *mboxEntry) error {
	defer func() { m.hash.Sum(e.sum[:0]) }()
	if m.from != nil || e.end == m.size {
		return nil
	}
	var held []byte // an empty line that may belong to the separator
	whole, empty := true, true
	for {
		before := whole
		at := m.at
		line, w, err := m.line()
		whole = w
		if errors.Is(err, io.EOF) {
			e.end = at - int64(len(held))
			return nil
		}
		if err != nil {
			return err
		}
		if before && bytes.HasPrefix(line, []byte("From ")) {
			text := trimEnd(line)
			if strict := isSeparator(text); (empty && (strict || m.fieldFollows())) || strict && m.fieldFollows() {
				e.end = at - int64(len(held))
				m.from = bytes.Clone(line[:min(len(line), maxFromLine)])
				return nil
			}
		}
		m.hash.Write(held)
		held = held[:0]
		empty = before && whole && len(trimEnd(line)) == 0
		if empty {
			held = append(held, line...)
		} else {
			m.hash.Write(line)
		}
	}
}

// fieldFollows reports whether the next line looks like a header field: then the line before it was a separator.
func (m *mboxReader) fieldFollows() bool {
	start, err := m.r.Peek(256)
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	name, _, ok := bytes.Cut(start, []byte{':'})
	return ok && len(name) < 128 && isFieldName(name) || bytes.HasPrefix(start, []byte(">From "))
}

func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
		if n > 1 && line[n-2] == '\r' {
			line = line[:n-2]
		}
	}
	return line
}

// isSeparator reports whether a line that begins with "From " has a date, as separators do.
func isSeparator(text []byte) bool {
	_, ok := fromDate(string(text[:min(len(text), maxFromLine)]))
	return ok
}

// fromLayouts are the dates of separators: asctime, with a zone before or behind the year, and Thunderbird's and RFC 5322's.
var fromLayouts = []string{
	"Mon Jan _2 15:04:05 2006", "Mon Jan _2 15:04:05 2006 -0700", "Mon Jan _2 15:04:05 -0700 2006", "Mon Jan _2 15:04:05 MST 2006",
	"Mon Jan _2 15:04:05 2006 MST", "Mon Jan _2 15:04 2006", "Mon Jan _2 15:04 MST 2006", "Mon, _2 Jan 2006 15:04:05 -0700",
}

// fromDate finds the date of a separator: it begins with the day of the week, behind the sender, who may have spaces in his
// name. Dates without a zone are taken as UTC, as Dovecot, Gmail and mutt's "From" lines of delivery agents mean them today.
func fromDate(line string) (time.Time, bool) {
	words := bytes.Fields([]byte(line))
	for i := 1; i < len(words) && i < 16; i++ {
		if len(words[i]) < 3 || !bytes.Contains([]byte("Sun Mon Tue Wed Thu Fri Sat "), append(bytes.TrimRight(words[i], ","), ' ')) {
			continue
		}
		date := string(bytes.Join(words[i:min(i+7, len(words))], []byte{' '}))
		for _, layout := range fromLayouts {
			if t, err := time.Parse(layout, date); err == nil && t.Unix() > 0 && t.Unix() <= math.MaxUint32 {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// mboxText gives the text of an entry: without what programs noted in its header, unquoted, with the line ends of mail.
type mboxText struct {
	r      *bufio.Reader
	e      *mboxEntry
	out    []byte
	raw    bool // as it is: our export of a text with odd line ends
	header bool // before the empty line
	skip   bool // in a field that is left out
	whole  bool // the line before was read to its end
	cr     bool // a piece of a line ended in CR
	err    error
}

func newMboxText(src io.ReaderAt, e *mboxEntry) *mboxText {
	return &mboxText{
		r: bufio.NewReaderSize(io.NewSectionReader(src, e.start, e.end-e.start), 64<<10),
		e: e, raw: e.meta.raw, header: true, whole: true,
	}
}

func (t *mboxText) Read(p []byte) (int, error) {
	for len(t.out) == 0 {
		if t.err != nil {
			return 0, t.err
		}
		if t.e.meta.empty {
			return 0, io.EOF
		}
		line, err := t.r.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		if whole {
			t.err = err
		}
		before := t.whole
		t.whole = whole
		if len(line) > 0 {
			t.line(line, before)
		}
	}
	n := copy(p, t.out)
	t.out = t.out[n:]
	return n, nil
}

// line puts out one line, or a piece of one; first: it begins here.
func (t *mboxText) line(line []byte, first bool) {
	switch {
	case t.header && first:
		if len(trimEnd(line)) == 0 {
			t.header, t.skip = false, false
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			t.skip = notedField(line)
			if rest, ok := cutFold(line, keptField); ok {
				line = rest
			}
		}
	case !t.header && first && t.e.quoting != quoteNone:
		line = unquote(line, t.e.quoting)
	}
	if t.skip {
		return
	}
	if t.cr && line[0] != '\n' {
		line = append([]byte{'\r'}, line...)
	}
	t.cr = false
	if !t.raw && !t.whole && line[len(line)-1] == '\r' {
		t.cr, line = true, line[:len(line)-1]
	}
	t.out = line
	end := t.whole && len(line) > 0 && line[len(line)-1] == '\n'
	if t.e.meta.unended && t.last() {
		t.out = bytes.TrimSuffix(line, []byte{'\n'})
		return
	}
	if t.raw || !end {
		return
	}
	if n := len(line); n < 2 || line[n-2] != '\r' {
		t.out = append(append(make([]byte, 0, n+1), line[:n-1]...), '\r', '\n')
	}
}

// last reports whether the text ends here.
func (t *mboxText) last() bool {
	_, err := t.r.Peek(1)
	return err != nil
}

func unquote(line []byte, q quoting) []byte {
	n := 0
	for n < len(line) && line[n] == '>' {
		n++
	}
	if n == 0 || q == quoteOne && n > 1 || !bytes.HasPrefix(line[n:], []byte("From ")) {
		return line
	}
	return line[1:]
}

func (t *mboxText) Close() error  { return nil }
func (t *mboxText) Changed() bool { return false } // the line ends of an mbox are its own, not the messages'

// cutFold is bytes.CutPrefix in any case.
func cutFold(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || !bytes.EqualFold(b[:len(prefix)], []byte(prefix)) {
		return b, false
	}
	return b[len(prefix):], true
}

// octets reads a length; -1 for anything else.
func octets(v []byte) int64 {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
