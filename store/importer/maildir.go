package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/posthouse-mail/posthouse/store"
)

// Why a message is passed over, in the words of the summary.
const (
	badUnreadable = "cannot be read"
	badEmpty      = "empty"
	badHuge       = "larger than 4 GiB"
	badKind       = "no plain file"
	badBinary     = "no message, but other data"
	badGone       = "gone before it was read"
	badDeleted    = "deleted there"
	badOwner      = "belongs to another user than the Maildir itself; chown it first if that is right"
	badMailbox    = "whole folders whose mailbox cannot be made; --map OLD=NEW gives them another name"
)

const maxText = 1<<32 - 1

// Limits of a source, so that a folder in a circle ends.
const (
	maxFolders = 10_000
	maxDepth   = 32

	maxSmallFile = 16 << 20 // octets of the small files beside the messages that are read
)

// Maildir is a Maildir, Maildir++ or a tree of Maildirs (Dovecot's LAYOUT=fs).
type Maildir struct {
	path  string
	raw   bool // the files were written by our export: every octet stays as it is
	owner int  // of the folder; -1: whoever it is, because the system looks after that
	notes func(string)
}

// OpenMaildir opens the one at path; note is told in words what was odd about it.
func OpenMaildir(path string, note func(string)) (*Maildir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is a file: say the folder that has cur, new and tmp in it", path)
	}
	m := &Maildir{path: abs, owner: -1, notes: note}
	if os.Geteuid() == 0 { // a user's link to somebody else's Maildir must not bring him that mail
		m.owner = ownerOf(info)
	}
	_, err = os.Stat(filepath.Join(abs, exportMark))
	m.raw = err == nil
	return m, nil
}

// Path is where it stands.
func (m *Maildir) Path() string { return m.path }

// Folders lists INBOX and all that stand below it.
func (m *Maildir) Folders(ctx context.Context) ([]Folder, error) {
	w := &maildirWalk{seen: map[string]bool{}}
	if m.raw {
		w.long = readLongNames(m.path)
	}
	w.subscribed = m.subscriptions(w.long)
	if err := w.walk(ctx, m.path, nil, 0); err != nil {
		return nil, err
	}
	if len(w.out) == 0 {
		return nil, fmt.Errorf("%s is no Maildir: neither it nor a folder in it has a folder cur", m.path)
	}
	for i := range w.out {
		f := &w.out[i]
		if list := openList(f.Path); list != nil {
			f.UIDValidity, f.UIDNext = list.valid, list.next
			if list.bad > 0 {
				m.notes(fmt.Sprintf("%s: %d lines of its list of uids cannot be read", f.Path, list.bad))
			}
		}
		for _, sub := range []string{"cur", "new"} {
			n, err := countFiles(filepath.Join(f.Path, sub))
			if err != nil {
				m.notes(fmt.Sprintf("%s: %v", f.Path, err))
			}
			f.Units += n
		}
	}
	slices.SortFunc(w.out, func(a, b Folder) int { return cmp.Compare(a.Name, b.Name) })
	return w.out, nil
}

// maildirWalk gathers folders.
type maildirWalk struct {
	out        []Folder
	seen       map[string]bool // real paths, against links in a circle
	subscribed map[string]bool
	long       map[string]string // of our own export: the mailbox of a name on the disk
}

func (w *maildirWalk) walk(ctx context.Context, path string, levels []string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || w.seen[real] || depth > maxDepth {
		return nil // a link to nowhere or in a circle
	}
	w.seen[real] = true
	entries, err := os.ReadDir(path)
	if err != nil {
		if depth == 0 {
			return err
		}
		return nil // told when it is counted, if it is a folder with mail
	}
	if isDir(filepath.Join(path, "cur")) {
		name := strings.Join(levels, "/")
		if name == "" {
			name = store.Inbox
		}
		if len(w.out) == maxFolders {
			return fmt.Errorf("more than %d folders", maxFolders)
		}
		w.out = append(w.out, Folder{Name: name, Path: path, Subscribed: w.subscribed[name]})
	}
	for _, e := range entries {
		name := e.Name()
		sub := filepath.Join(path, name)
		switch {
		case name == "cur" || name == "new" || name == "tmp" || !isDir(sub):
		case strings.HasPrefix(name, "."):
			own := splitLevels(name, ".")
			if long := w.long[name[1:]]; long != "" {
				own = strings.Split(long, "/")
			}
			if isDir(filepath.Join(sub, "cur")) {
				err = w.walk(ctx, sub, append(slices.Clip(levels), own...), depth+1)
			}
		case len(levels) > 0 || depth == 0:
			err = w.walk(ctx, sub, append(slices.Clip(levels), fromUTF7(name)), depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// splitLevels reads ".A.B" or "A.B".
func splitLevels(name, separator string) []string {
	var out []string
	for _, l := range strings.Split(name, separator) {
		if l != "" {
			out = append(out, fromUTF7(l))
		}
	}
	return out
}

// fileSize is 0 when there is no such file.
func fileSize(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// subscriptions reads Dovecot's file: names one to a line, or in version 2 their levels divided by tabs.
func (m *Maildir) subscriptions(long map[string]string) map[string]bool {
	out := map[string]bool{}
	for _, name := range []string{"subscriptions", "courierimapsubscribed"} {
		f, err := openFile(filepath.Join(m.path, name))
		if err != nil {
			continue
		}
		bad, separator := 0, "."
		for line := range listLines(io.LimitReader(f, maxSmallFile), &bad) {
			if line == "V\t2" {
				separator = "\t"
				continue
			}
			if long[line] != "" {
				out[long[line]] = true
				continue
			}
			levels := splitLevels(strings.TrimPrefix(line, "INBOX."), separator)
			out[strings.Join(levels, "/")] = true
			if separator == "." { // LAYOUT=fs has "/" between levels
				out[strings.Join(splitLevels(line, "/"), "/")] = true
			}
		}
		if err := f.Close(); err != nil {
			m.notes(err.Error())
		}
	}
	return out
}

// openList reads the list of uids of a folder; nil: there is none.
func openList(path string) *uidList {
	for _, name := range []string{"dovecot-uidlist", "courierimapuiddb"} {
		f, err := openFile(filepath.Join(path, name))
		if err != nil {
			continue
		}
		l := readUIDList(f)
		_ = f.Close() // it was only read
		if l.valid != 0 {
			return l
		}
	}
	return nil
}

// openFile opens a plain file for reading: never a pipe that would make us wait, never a link.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errKind
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var errKind = errors.New(badKind)

// countFiles counts the names of a folder that may be messages.
func countFiles(path string) (int64, error) {
	n := int64(0)
	for _, err := range fileNames(path, func(string) { n++ }) {
		return n, err
	}
	return n, nil
}

// fileNames calls fn with each name in a folder that does not begin with a dot, a thousand at a time.
func fileNames(path string, fn func(string)) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		d, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0) // a pipe of that name would make us wait
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
				yield(0, err)
			}
			return
		}
		defer d.Close()
		for {
			names, err := d.Readdirnames(1024)
			for _, n := range names {
				if !strings.HasPrefix(n, ".") {
					fn(n)
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(0, err)
				}
				return
			}
		}
	}
}

// Items lists a folder: by uid, then those without one as they came.
func (m *Maildir) Items(ctx context.Context, f Folder) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		r := &maildirFolder{m: m, folder: f, list: openList(f.Path)}
		if k, err := openFile(filepath.Join(f.Path, "dovecot-keywords")); err == nil {
			r.keywords, _ = readKeywords(io.LimitReader(k, maxSmallFile))
			_ = k.Close() // it was only read
		}
		if k, err := openFile(filepath.Join(f.Path, moreKeywords)); err == nil && m.raw {
			r.more = readMoreKeywords(k)
			_ = k.Close() // it was only read
		}
		files, err := r.files()
		if err != nil {
			yield(nil, err)
			return
		}
		var last *Item
		var base string
		for f := range files.all() {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			it := r.item(&f)
			if b, _ := splitName(f.name); b != base {
				last, base = it, b
			} else if sameFile(last.Where, it.Where) {
				continue
			} else {
				it.Key = key("maildir", base, "another")
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

// sameFile reports whether two names that differ in their flags only are one message: the server that works there has given the file
// its second name while the folder was read.
func sameFile(a, b string) bool {
	x, err := os.Lstat(a)
	y, other := os.Lstat(b)
	return err != nil || other != nil || os.SameFile(x, y)
}

// maildirFolder is a folder that is being read.
type maildirFolder struct {
	m        *Maildir
	folder   Folder
	list     *uidList
	keywords [26]string
	more     map[string][]string    // of our own export: those behind the letter z
	moved    map[string]maildirFile // where files are now, after one was not found
	buf      []byte
}

func (r *maildirFolder) files() (*fileList, error) {
	out := newFileList(r.folder.Units)
	for _, cur := range []bool{true, false} {
		path := filepath.Join(r.folder.Path, sub(cur))
		for _, err := range fileNames(path, func(n string) {
			base, _ := splitName(n)
			out.add(maildirFile{name: n, uid: r.list.uid(base), cur: cur})
		}) {
			return nil, err
		}
	}
	out.sort()
	return out, nil
}

func sub(cur bool) string {
	if cur {
		return "cur"
	}
	return "new"
}

func (r *maildirFolder) item(f *maildirFile) *Item {
	base, flags := splitName(f.name)
	if !f.cur {
		flags = "" // a file in new has not been seen by any client
	}
	it := &Item{Key: key("maildir", base), UID: f.uid, Units: 1, Where: filepath.Join(r.folder.Path, sub(f.cur), f.name)}
	if r.list != nil {
		it.UIDL = r.list.uidls[f.uid]
	}
	r.flags(it, flags)
	for _, k := range r.more[base] {
		addKeyword(it, k)
	}
	it.Open = func() (Text, error) { return r.open(it, base) }
	it.Size = func() int64 { return fileSize(it.Where) }
	return it
}

// flags reads the letters behind ":2,".
func (r *maildirFolder) flags(it *Item, letters string) {
	for _, c := range []byte(letters) {
		switch c {
		case 'S':
			it.Flags |= store.Seen
		case 'R':
			it.Flags |= store.Answered
		case 'F':
			it.Flags |= store.Flagged
		case 'T':
			it.Flags |= store.Deleted
		case 'D':
			it.Flags |= store.Draft
		case 'P':
			it.Flags |= store.Forwarded
		}
		if c >= 'a' && c <= 'z' && r.keywords[c-'a'] != "" {
			addKeyword(it, r.keywords[c-'a'])
		}
	}
}

// addKeyword gives an item a keyword; those that every mailbox knows are flags.
func addKeyword(it *Item, name string) {
	switch strings.ToLower(name) {
	case "$forwarded":
		it.Flags |= store.Forwarded
	case "$junk":
		it.Flags |= store.Junk
	case "$notjunk":
		it.Flags |= store.NotJunk
	default:
		if !slices.ContainsFunc(it.Keywords, func(k string) bool { return strings.EqualFold(k, name) }) {
			it.Keywords = append(it.Keywords, name)
		}
	}
}

// open opens the file, at another name when a server that still works there has renamed it.
func (r *maildirFolder) open(it *Item, base string) (Text, error) {
	f, err := openFile(it.Where)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = r.find(it, base)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if r.m.owner >= 0 && ownerOf(info) != r.m.owner {
		return nil, errors.Join(errBad(badOwner), f.Close())
	}
	it.Received = info.ModTime()
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	return openText(f, info.Size(), r.buf, r.m.raw)
}

func (r *maildirFolder) find(it *Item, base string) (*os.File, error) {
	again := func() error {
		files, err := r.files()
		if err != nil {
			return err
		}
		r.moved = map[string]maildirFile{}
		for f := range files.all() {
			b, _ := splitName(f.name)
			r.moved[b] = f
		}
		return nil
	}
	for try := range 2 {
		if r.moved == nil || try > 0 {
			if err := again(); err != nil {
				return nil, err
			}
		}
		f, ok := r.moved[base]
		if !ok {
			continue
		}
		path := filepath.Join(r.folder.Path, sub(f.cur), f.name)
		file, err := openFile(path)
		if err == nil {
			it.Where, it.Flags, it.Keywords = path, 0, nil
			if _, flags := splitName(f.name); f.cur {
				r.flags(it, flags)
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, fs.ErrNotExist
}
