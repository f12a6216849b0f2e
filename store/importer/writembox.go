package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// spoolMemory is how much of a message is held in memory before its form is known.
const spoolMemory = 1 << 20

// MboxWriter writes one mboxrd file for each mailbox, in a tree. What the file needs to say of a message stands at the top of its header
// and is taken out again by an import; X-Posthouse-Text says what lines alone cannot.
type MboxWriter struct {
	path  string
	file  *os.File
	w     *bufio.Writer
	frame *FolderFrame
	first bool
	spool bytes.Buffer
	buf   []byte
	cr    bool // a piece of a line ended in CR
}

// CreateMbox begins an export into a new or empty folder.
func CreateMbox(path string) (*MboxWriter, error) {
	if err := emptyFolder(path); err != nil {
		return nil, err
	}
	return &MboxWriter{path: path, buf: make([]byte, 64<<10)}, nil
}

// Folder begins a file.
func (m *MboxWriter) Folder(f *FolderFrame) error {
	if err := m.endFolder(); err != nil {
		return err
	}
	path, long := m.path, false
	for _, l := range strings.Split(f.Name, "/") {
		level := mboxLevel(l)
		path, long = filepath.Join(path, level), long || len(level) > maxOnDisk
	}
	if long {
		name, err := shortName(m.path, f.Name)
		if err != nil {
			return err
		}
		path = filepath.Join(m.path, name)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path+".mbox", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	m.file, m.w, m.frame, m.first = file, bufio.NewWriterSize(file, 64<<10), f, true
	return nil
}

// mboxLevel is the name of a level on the disk, in modified UTF-7 like a Maildir's, so that every name can stand there.
func mboxLevel(l string) string { return toUTF7(l, "./") }

// form is what was found out about a text.
type form struct {
	size    int64
	raw     bool // not only CRLF
	unended bool
	body    bool // there is an empty line
	last    [3]byte
}

// scan takes the next octets. A line end is CRLF, or the text is raw.
func (f *form) scan(p []byte) {
	for _, c := range p {
		a, b := f.last[1], f.last[2] // 0 before the first octet
		if (c == '\n') != (b == '\r') {
			f.raw = true
		}
		if c == '\n' && (b == '\n' || b == '\r' && (a == '\n' || f.size == 1) || f.size == 0) {
			f.body = true
		}
		f.last = [3]byte{a, b, c}
		f.size++
	}
}

func (f *form) end() {
	f.unended = f.size > 0 && f.last[2] != '\n'
	f.raw = f.raw || f.size > 0 && f.last[2] == '\r'
}

func (f *form) words() string {
	var out []string
	for _, w := range []struct {
		is   bool
		word string
	}{{f.raw, "raw"}, {f.unended, "unended"}, {!f.body && f.size > 0, "bodyless"}, {f.size == 0, "empty"}} {
		if w.is {
			out = append(out, w.word)
		}
	}
	return strings.Join(out, " ")
}

// Message writes one message; it is read whole first, into memory or a file beside.
func (m *MboxWriter) Message(h *Head, text io.Reader) error {
	f := &form{}
	if again, ok := text.(io.ReadSeeker); ok { // no copy is needed
		if _, err := io.CopyBuffer(scanner{f}, struct{ io.Reader }{text}, m.buf); err != nil {
			return fmt.Errorf("%w: %w", errGivenUp, err)
		}
		if _, err := again.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return m.write(h, again, f)
	}
	m.spool.Reset()
	spool := &spoolWriter{memory: &m.spool, form: f, dir: m.path}
	_, err := io.CopyBuffer(spool, struct{ io.Reader }{text}, m.buf)
	defer spool.close()
	if err != nil {
		return err
	}
	src, err := spool.reader()
	if err != nil {
		return err
	}
	return m.write(h, src, f)
}

// scanner finds out about what is written to it.
type scanner struct{ *form }

func (s scanner) Write(p []byte) (int, error) {
	s.scan(p)
	return len(p), nil
}

// write writes a message whose form is known.
func (m *MboxWriter) write(h *Head, src io.Reader, f *form) error {
	f.end()
	if err := m.top(h, f); err != nil {
		return err
	}
	return m.text(src, f)
}

// top writes the line "From " and what programs keep in the header.
func (m *MboxWriter) top(h *Head, f *form) error {
	date := time.Unix(h.Received, 0).UTC().Format("Mon Jan _2 15:04:05 2006")
	fmt.Fprintf(m.w, "From MAILER-DAEMON %s\n", date) // an error of a bufio.Writer stays
	if m.first {
		fmt.Fprintf(m.w, "X-IMAPbase: %d %010d\n", m.frame.UIDValidity, m.frame.UIDNext-1)
		m.first = false
	}
	fmt.Fprintf(m.w, "X-UID: %d\nStatus: %sO\n", h.UID, letter(h.Flags, store.Seen, "R"))
	if x := letter(h.Flags, store.Answered, "A") + letter(h.Flags, store.Flagged, "F") + letter(h.Flags, store.Draft, "T") +
		letter(h.Flags, store.Deleted, "D"); x != "" {
		fmt.Fprintf(m.w, "X-Status: %s\n", x)
	}
	if words := allKeywords(h); len(words) > 0 {
		fmt.Fprintf(m.w, "X-Keywords: %s\n", strings.Join(words, " "))
	}
	if h.UIDL != "" {
		fmt.Fprintf(m.w, "X-Posthouse-UIDL: %s\n", h.UIDL)
	}
	_, err := fmt.Fprint(m.w, prefixed("X-Posthouse-Text: ", f.words()))
	return err
}

func letter(f, flag store.Flags, l string) string {
	if f&flag != 0 {
		return l
	}
	return ""
}

func prefixed(name, v string) string {
	if v == "" {
		return ""
	}
	return name + v + "\n"
}

// text writes the octets, quoted, and the empty line behind them.
func (m *MboxWriter) text(src io.Reader, f *form) error {
	r := bufio.NewReaderSize(src, 64<<10)
	header, begins, first := true, true, true
	for {
		line, err := r.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		if whole && err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) > 0 {
			if begins {
				if header && len(trimEnd(line)) == 0 {
					header = false
				}
				m.w.WriteString(guard(line, header, first)) // its error stays
			}
			first = false
			m.line(line, f.raw)
		}
		begins = whole
		if whole && err != nil {
			break
		}
	}
	if f.unended {
		m.w.WriteByte('\n') // its error stays
	}
	return m.w.WriteByte('\n')
}

// line writes a line, or a piece of one, with the line end of the file.
func (m *MboxWriter) line(line []byte, raw bool) {
	if m.cr && line[0] != '\n' {
		m.w.WriteByte('\r')
	}
	m.cr = false
	n := len(line)
	switch {
	case raw:
	case line[n-1] == '\r': // its LF is the next piece
		m.cr, line = true, line[:n-1]
	case n > 1 && line[n-1] == '\n' && line[n-2] == '\r':
		m.w.Write(line[:n-2]) // its error stays
		line = line[n-1:]
	}
	m.w.Write(line)
}

// guard is what goes before a line that would be taken for something else.
func guard(line []byte, header, first bool) string {
	if header {
		_, kept := cutFold(line, keptField)
		if kept || notedField(line) || bytes.HasPrefix(line, []byte("From ")) || first && (line[0] == ' ' || line[0] == '\t') ||
			string(line) == "\r" { // the last octet, which gets a LF behind it

			return keptField
		}
		return ""
	}
	if bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
		return ">"
	}
	return ""
}

func (m *MboxWriter) endFolder() error {
	if m.file == nil {
		return nil
	}
	err := errors.Join(m.w.Flush(), m.file.Sync(), m.file.Close())
	m.file = nil
	return err
}

// Close ends the export: it is on the disk then.
func (m *MboxWriter) Close() error {
	err := m.endFolder()
	syncDisk()
	return err
}

// spoolWriter holds a text until it is known.
type spoolWriter struct {
	memory *bytes.Buffer
	file   *os.File // what is longer
	form   *form
	dir    string
}

func (s *spoolWriter) Write(p []byte) (int, error) {
	s.form.scan(p)
	if s.file == nil && s.memory.Len()+len(p) <= spoolMemory {
		return s.memory.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, ".spool-")
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	return s.file.Write(p)
}

func (s *spoolWriter) reader() (io.Reader, error) {
	if s.file == nil {
		return s.memory, nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.MultiReader(s.memory, s.file), nil
}

func (s *spoolWriter) close() {
	if s.file != nil {
		s.file.Close() // it was a copy
		os.Remove(s.file.Name())
	}
}
