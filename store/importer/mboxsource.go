package importer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/store"
)

// Mbox is an mbox file, or a tree of them: Thunderbird's profile (.sbd), Apple's folders (.mbox), Takeout.
type Mbox struct {
	path    string
	variant Variant
	labels  Labels
	notes   func(string)
	ours    bool // the files were written by our export: names are in modified UTF-7
	long    map[string]string
}

// MboxOptions of OpenMbox.
type MboxOptions struct {
	Variant Variant
	Labels  Labels
	Note    func(string) // told in words what is odd
}

// OpenMbox opens the file or folder at path.
func OpenMbox(path string, o MboxOptions) (*Mbox, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(abs); err != nil {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(abs, exportMark))
	return &Mbox{path: abs, variant: o.Variant, labels: o.Labels, notes: o.Note, ours: err == nil, long: readLongNames(abs)}, nil
}

// Path is where it stands.
func (m *Mbox) Path() string { return m.path }

// Folders lists the files.
func (m *Mbox) Folders(ctx context.Context) ([]Folder, error) {
	info, err := os.Stat(m.path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		f, err := m.folder(m.path, []string{singleName(m.path)})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.path, err)
		}
		f.Alone = true
		return []Folder{f}, nil
	}
	var out []Folder
	if err := m.walk(ctx, m.path, nil, &out); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no mbox file in %s: none begins with a line \"From \"", m.path)
	}
	return out, nil
}

// singleName is the mailbox of a file that stands alone.
func singleName(path string) string {
	dir, base := filepath.Dir(path), strings.TrimSuffix(filepath.Base(path), ".mbox")
	if base == "mbox" && strings.HasSuffix(dir, ".mbox") { // Apple: Name.mbox/mbox
		return strings.TrimSuffix(filepath.Base(dir), ".mbox")
	}
	switch strings.ToLower(base) {
	case "mbox", "inbox":
		return store.Inbox
	}
	if dir == "/var/mail" || dir == "/var/spool/mail" {
		return store.Inbox
	}
	return base
}

func (m *Mbox) walk(ctx context.Context, path string, levels []string, out *[]Folder) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		if len(levels) == 0 {
			return err
		}
		m.notes(err.Error())
		return nil
	}
	for _, e := range entries {
		name, sub := e.Name(), filepath.Join(path, e.Name())
		switch {
		case strings.HasPrefix(name, "."), e.Type()&os.ModeSymlink != 0:
		case e.IsDir() && len(levels) < maxDepth:
			level := strings.TrimSuffix(strings.TrimSuffix(name, ".sbd"), ".mbox")
			if m.ours {
				level = fromUTF7(name)
			}
			err = m.walk(ctx, sub, append(slices.Clip(levels), level), out)
		case e.Type().IsRegular() && !besideMbox(name):
			err = m.add(sub, levels, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// besideMbox names files that stand beside mboxes and are none.
func besideMbox(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".msf", ".dat", ".plist", ".json", ".html", ".sqlite", ".wdseml", ".lock", ".idx", ".db":
		return true
	}
	return name == "table_of_contents" || strings.HasPrefix(name, "dovecot")
}

func (m *Mbox) add(path string, levels []string, out *[]Folder) error {
	name := strings.TrimSuffix(filepath.Base(path), ".mbox")
	full := append(slices.Clip(levels), name)
	switch {
	case m.ours && (name == exportMark || name == longNames):
		return nil
	case m.ours && len(levels) == 0 && m.long[name] != "":
		full = strings.Split(m.long[name], "/")
	case m.ours:
		full[len(levels)] = fromUTF7(name)
	case name == "mbox" && len(levels) > 0:
		full = levels // Apple's Name.mbox/mbox
	}
	f, err := m.folder(path, full)
	if err != nil {
		m.notes(fmt.Sprintf("%s: passed over: %v", path, err))
		return nil
	}
	if len(*out) == maxFolders {
		return fmt.Errorf("more than %d folders", maxFolders)
	}
	*out = append(*out, f)
	return nil
}

// folder looks into the first lines of a file.
func (m *Mbox) folder(path string, levels []string) (Folder, error) {
	file, err := openFile(path)
	if err != nil {
		return Folder{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Folder{}, err
	}
	f := Folder{Name: strings.Join(levels, "/"), Path: path, Units: info.Size()}
	if strings.EqualFold(f.Name, store.Inbox) {
		f.Name = store.Inbox
	}
	start := make([]byte, 5)
	n, err := io.ReadFull(file, start)
	if n > 0 && (err != nil || !bytes.Equal(start, []byte("From ")) && len(bytes.TrimLeft(start, "\r\n")) > 0) {
		return Folder{}, errNoMbox
	}
	r := newMboxReader(file, info.Size(), m.variant)
	if err := r.first(); err != nil {
		return f, nil // empty
	}
	e := &mboxEntry{}
	if err := r.header(e); err != nil {
		return Folder{}, err
	}
	f.UIDValidity, f.UIDNext = e.meta.uidValidity, e.meta.uidNext
	return f, nil
}

// Items yields the messages of a file. They are known by what they say, and which of its like it is: programs rewrite such
// files all the time, so nothing else of a message lasts.
func (m *Mbox) Items(ctx context.Context, f Folder) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		file, err := openFile(f.Path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer file.Close()
		r := newMboxReader(file, f.Units, m.variant)
		alike := map[[16]byte]int{}
		before, last := int64(0), uint32(0)
		for {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			e, err := r.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("%s: %w", f.Path, err))
				return
			}
			it := m.item(file, f, e)
			sum := [16]byte(e.sum[:16])
			it.Key = key("mbox", string(e.sum[:]), string(binary.AppendUvarint(nil, uint64(alike[sum]))))
			alike[sum]++
			it.Units, before = e.end-before, e.end
			if it.UID <= last {
				it.UID = 0 // out of order: the next one
			}
			last = max(last, it.UID)
			if !yield(it, nil) {
				return
			}
		}
	}
}

func (m *Mbox) item(file *os.File, f Folder, e *mboxEntry) *Item {
	it := &Item{
		UID: e.meta.uid, UIDL: e.meta.uidl, Flags: e.meta.flags, Keywords: e.meta.keywords,
		Where: fmt.Sprintf("%s, octet %d", f.Path, e.start),
	}
	it.Received, _ = fromDate(e.from)
	label(it, e.meta.labels, m.labels)
	switch {
	case e.meta.removed:
		it.Bad = badDeleted
	case e.end == e.start && !e.meta.empty:
		it.Bad = badEmpty
	case e.end-e.start > maxText:
		it.Bad = badHuge
	}
	it.Size = func() int64 { return e.end - e.start }
	it.Open = func() (Text, error) { return newMboxText(file, e), nil }
	return it
}
