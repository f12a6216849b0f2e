package importer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// Eml is files with one message each: one file, or a tree whose folders become mailboxes. Apple's .emlx is one of them.
type Eml struct {
	path   string
	unseen bool
	notes  func(string)
}

// OpenEml opens the file or folder at path; unseen: the messages come without the flag that they were read.
func OpenEml(path string, unseen bool, note func(string)) (*Eml, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, err
	}
	return &Eml{path: abs, unseen: unseen, notes: note}, nil
}

// Path is where it stands.
func (m *Eml) Path() string { return m.path }

// Folders lists the folders of the tree that have messages; a file, and the files at the top, go to INBOX.
func (m *Eml) Folders(ctx context.Context) ([]Folder, error) {
	info, err := os.Stat(m.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []Folder{{Name: store.Inbox, Path: m.path, Units: 1}}, nil
	}
	var out []Folder
	err = filepath.WalkDir(m.path, func(path string, d fs.DirEntry, err error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			m.notes(err.Error())
			return fs.SkipDir
		}
		if !d.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(m.path, path)
		if err != nil {
			return err
		}
		f := Folder{Name: filepath.ToSlash(rel), Path: path}
		if rel == "." || strings.EqualFold(rel, store.Inbox) {
			f.Name = store.Inbox
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			m.notes(err.Error())
			return fs.SkipDir
		}
		for _, e := range entries {
			if !e.IsDir() && isEml(e.Name()) {
				f.Units++
			}
		}
		if f.Units > 0 {
			out = append(out, f)
		}
		if len(out) > maxFolders {
			return fmt.Errorf("more than %d folders", maxFolders)
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("no message file in %s (*.eml, *.emlx)", m.path)
	}
	return out, err
}

func isEml(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".eml", ".emlx", ".mai", ".mht", ".nws":
		return true
	}
	return false
}

// Items yields the files of a folder, by name. They are known by what they say, and which of its like it is.
func (m *Eml) Items(ctx context.Context, f Folder) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		names := []string{f.Path}
		if isDir(f.Path) {
			names = nil
			for _, err := range fileNames(f.Path, func(n string) {
				if isEml(n) {
					names = append(names, filepath.Join(f.Path, n))
				}
			}) {
				yield(nil, err)
				return
			}
		}
		slices.Sort(names)
		alike := map[[16]byte]int{}
		buf := make([]byte, 64<<10)
		for _, path := range names {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			it := &Item{Units: 1, Where: path}
			e, sum, err := m.look(path)
			if why, ok := reason(err); err != nil && !ok {
				yield(nil, err)
				return
			} else if err != nil {
				it.Bad = why
			}
			it.Flags, it.Received = e.flags, e.received
			it.Key = key("eml", string(sum[:]), string(binary.AppendUvarint(nil, uint64(alike[[16]byte(sum[:16])]))))
			alike[[16]byte(sum[:16])]++
			it.Size = func() int64 { return e.size }
			it.Open = func() (Text, error) { return e.open(path, buf) }
			if !yield(it, nil) {
				return
			}
		}
	}
}

// emlFile is what was found out about a file.
type emlFile struct {
	start, size int64 // of the text in the file
	flags       store.Flags
	received    time.Time
}

// look reads a file once: for its hash, its date, and what Apple wrote behind the message.
func (m *Eml) look(path string) (e emlFile, sum [sha256.Size]byte, err error) {
	f, err := openFile(path)
	if err != nil {
		return e, sum, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return e, sum, err
	}
	if info.Size() > maxText {
		return e, sum, errBad(badHuge)
	}
	e = emlFile{size: info.Size()}
	if !m.unseen {
		e.flags = store.Seen
	}
	if strings.EqualFold(filepath.Ext(path), ".emlx") {
		if err := e.apple(f, info.Size()); err != nil {
			return e, sum, err
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, e.start, e.size)); err != nil {
		return e, sum, err
	}
	if e.received.IsZero() {
		e.received = dateOf(io.NewSectionReader(f, e.start, e.size), info.ModTime())
	}
	return e, [sha256.Size]byte(h.Sum(nil)), nil
}

func (e *emlFile) open(path string, buf []byte) (Text, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if e.size == 0 {
		return nil, errors.Join(errBad(badEmpty), f.Close())
	}
	n, err := f.ReadAt(buf[:min(e.size, 4096)], e.start)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, f.Close())
	}
	if !looksLikeMail(buf[:n]) {
		return nil, errors.Join(errBad(badBinary), f.Close())
	}
	lines := newCRLF(io.NewSectionReader(f, e.start, e.size), buf)
	return &fileText{Reader: lines, lines: lines, close: f.Close}, nil
}

var (
	appleFlags = regexp.MustCompile(`<key>flags</key>\s*<integer>([0-9]{1,18})</integer>`)
	appleDate  = regexp.MustCompile(`<key>date-received</key>\s*<(?:integer|real)>([0-9]{1,12})`)
)

// apple reads the frame of an .emlx: the length of the message in a line before it, a property list behind it.
func (e *emlFile) apple(f *os.File, size int64) error {
	line, err := bufio.NewReaderSize(io.NewSectionReader(f, 0, 64), 64).ReadSlice('\n')
	n := octets(line)
	if err != nil || n < 0 || int64(len(line))+n > size {
		return errBad(badBinary)
	}
	e.start, e.size = int64(len(line)), n
	list := make([]byte, min(size-e.start-n, 64<<10))
	k, err := f.ReadAt(list, e.start+n)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if v := appleFlags.FindSubmatch(list[:k]); v != nil {
		bits, _ := strconv.ParseUint(string(v[1]), 10, 64) // 18 digits fit
		e.flags = 0
		for _, b := range []struct {
			bit  uint
			flag store.Flags
		}{{0, store.Seen}, {1, store.Deleted}, {2, store.Answered}, {4, store.Flagged}, {6, store.Draft}, {8, store.Forwarded}} {
			if bits>>b.bit&1 != 0 {
				e.flags |= b.flag
			}
		}
	}
	if v := appleDate.FindSubmatch(list[:k]); v != nil {
		t, _ := strconv.ParseInt(string(v[1]), 10, 64) // 12 digits fit
		e.received = time.Unix(t, 0)
	}
	return nil
}

// dateOf is when a message came: the first Received field says it, else Date, else the file.
func dateOf(r io.Reader, file time.Time) time.Time {
	head, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return file
	}
	if v := message.HeaderValue(head, "Received"); v != "" {
		if i := strings.LastIndexByte(v, ';'); i >= 0 {
			if t, ok := message.ParseDate(v[i+1:]); ok && plausible(t) {
				return t
			}
		}
	}
	if t, ok := message.ParseDate(message.HeaderValue(bytes.TrimLeft(head, "\r\n"), "Date")); ok && plausible(t) {
		return t
	}
	return file
}

func plausible(t time.Time) bool { return t.Unix() > 0 && t.Unix() < 1<<32 }
