package importer

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// moreKeywords is a file beside dovecot-keywords for what has no letter: the file's name without flags, tab, keywords.
const moreKeywords = "posthouse-keywords"

// MaildirWriter writes a Maildir++ that Dovecot can serve with the same uids and unique-ids.
type MaildirWriter struct {
	path       string
	folder     *maildirOut
	subscribed []string
	buf        []byte
}

// CreateMaildir begins an export into a new or empty folder.
func CreateMaildir(path string) (*MaildirWriter, error) {
	if err := emptyFolder(path); err != nil {
		return nil, err
	}
	return &MaildirWriter{path: path, buf: make([]byte, 64<<10)}, nil
}

// maildirOut is the folder that is being written.
type maildirOut struct {
	path    string
	frame   *FolderFrame
	list    *bufio.Writer // of uids
	listed  *os.File
	letters map[string]byte
	names   []string // by letter
	more    *os.File // nil: every keyword has a letter
}

// Folder begins a folder.
func (w *MaildirWriter) Folder(f *FolderFrame) error {
	if err := w.endFolder(); err != nil {
		return err
	}
	path := w.path
	var levels []string
	for _, l := range strings.Split(f.Name, "/") {
		levels = append(levels, toUTF7(l, "./"))
	}
	name := strings.Join(levels, ".")
	if len(name) > maxOnDisk {
		var err error
		if name, err = shortName(w.path, f.Name); err != nil {
			return err
		}
	}
	if f.Name != store.Inbox {
		path = filepath.Join(w.path, "."+name)
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, "maildirfolder"), nil, 0o600); err != nil {
			return err
		}
	}
	if f.Subscribed {
		w.subscribed = append(w.subscribed, name)
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.Mkdir(filepath.Join(path, sub), 0o700); err != nil {
			return err
		}
	}
	list, err := os.OpenFile(filepath.Join(path, "dovecot-uidlist"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w.folder = &maildirOut{path: path, frame: f, listed: list, list: bufio.NewWriter(list), letters: map[string]byte{}}
	guid := sha256.Sum256(fmt.Appendf(nil, "%s %d", f.Name, f.UIDValidity))
	_, err = fmt.Fprintf(w.folder.list, "3 V%d N%d G%s\n", f.UIDValidity, f.UIDNext, hex.EncodeToString(guid[:16]))
	return err
}

// Message writes one file, under a name that it has never had before it was whole.
func (w *MaildirWriter) Message(h *Head, text io.Reader) error {
	o := w.folder
	base := fmt.Sprintf("%d.V%dU%d.posthouse,S=%d,W=%d", h.Received, o.frame.UIDValidity, h.UID, h.Size, h.Size)
	tmp := filepath.Join(o.path, "tmp", base)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{text}, w.buf)
	err = errors.Join(err, f.Close())
	if err == nil && n != h.Size {
		err = fmt.Errorf("%w: uid %d has %d octets, not %d", ErrBroken, h.UID, n, h.Size)
	}
	if err == nil {
		err = os.Chtimes(tmp, time.Time{}, time.Unix(h.Received, 0))
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	letters, err := o.flags(h, base)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(o.path, "cur", base+":2,"+letters)); err != nil {
		return err
	}
	uidl := ""
	if h.UIDL != "" {
		uidl = " P" + h.UIDL
	}
	_, err = fmt.Fprintf(o.list, "%d%s :%s\n", h.UID, uidl, base)
	return err
}

// flags is the letters of a file's name, in the order of the alphabet as Maildir wants them.
func (o *maildirOut) flags(h *Head, base string) (string, error) {
	letters, more := o.spell(h)
	if len(more) > 0 {
		if err := o.noteMore(base, more); err != nil {
			return "", err
		}
	}
	return letters, nil
}

// spell is the letters, and the keywords for which there is none.
func (o *maildirOut) spell(h *Head) (letters string, more []string) {
	var out, words []byte
	for _, f := range []struct {
		flag   store.Flags
		letter byte
	}{
		{store.Draft, 'D'}, {store.Flagged, 'F'}, {store.Forwarded, 'P'}, {store.Answered, 'R'}, {store.Seen, 'S'}, {store.Deleted, 'T'},
	} {
		if h.Flags&f.flag != 0 {
			out = append(out, f.letter)
		}
	}
	for _, k := range allKeywords(h) {
		c, ok := o.letters[k]
		if !ok && len(o.names) < 26 {
			c = 'a' + byte(len(o.names))
			o.letters[k], o.names, ok = c, append(o.names, k), true
		}
		if ok {
			words = append(words, c)
		} else {
			more = append(more, k)
		}
	}
	slices.Sort(words)
	return string(append(out, words...)), more
}

func (o *maildirOut) noteMore(base string, names []string) error {
	if o.more == nil {
		f, err := os.OpenFile(filepath.Join(o.path, moreKeywords), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		o.more = f
	}
	_, err := fmt.Fprintf(o.more, "%s\t%s\n", base, strings.Join(names, " "))
	return err
}

// readMoreKeywords reads what noteMore wrote.
func readMoreKeywords(r io.Reader) map[string][]string {
	out, bad := map[string][]string{}, 0
	for line := range listLines(r, &bad) {
		base, names, _ := strings.Cut(line, "\t")
		out[base] = strings.Fields(names)
	}
	return out
}

// endFolder writes the small files beside the messages.
func (w *MaildirWriter) endFolder() error {
	o := w.folder
	if o == nil {
		return nil
	}
	w.folder = nil
	err := errors.Join(o.list.Flush(), o.listed.Sync(), o.listed.Close())
	if o.more != nil {
		err = errors.Join(err, o.more.Close())
	}
	var b strings.Builder
	for i, n := range o.names {
		fmt.Fprintf(&b, "%d %s\n", i, n)
	}
	if b.Len() > 0 {
		err = errors.Join(err, os.WriteFile(filepath.Join(o.path, "dovecot-keywords"), []byte(b.String()), 0o600))
	}
	return err
}

// Close ends the export: it is on the disk then.
func (w *MaildirWriter) Close() error {
	err := w.endFolder()
	if len(w.subscribed) > 0 {
		text := strings.Join(w.subscribed, "\n") + "\n"
		err = errors.Join(err, os.WriteFile(filepath.Join(w.path, "subscriptions"), []byte(text), 0o600))
	}
	syncDisk()
	return err
}

// allKeywords are those of a message by name, the well-known ones among them: Dovecot knows no letter P for $Forwarded.
func allKeywords(h *Head) []string {
	out := slices.Clip(h.Keywords)
	if h.Flags&store.Forwarded != 0 {
		out = append(out, "$Forwarded")
	}
	if h.Flags&store.Junk != 0 {
		out = append(out, "$Junk")
	}
	if h.Flags&store.NotJunk != 0 {
		out = append(out, "$NotJunk")
	}
	return out
}
