package importer

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// The forms of mail in a zip file.
const (
	ZipMbox    = "mbox"    // a file for each mailbox
	ZipMaildir = "maildir" // a folder for each, with a file for each message
)

// MaxZipFiles is how many messages a Maildir in a zip may have: the list at the end of the file needs memory for each.
const MaxZipFiles = 100_000

// ErrTooMany: a Maildir would have too many files.
var ErrTooMany = errors.New("importer: too many messages for a zip of single files")

// ZipOptions of Zip.
type ZipOptions struct {
	Account mail.AccountID
	Mailbox string // empty: all
	Form    string // ZipMbox or ZipMaildir
	Now     time.Time
}

// Zip writes mailboxes as a zip file, which needs no more memory however large they are. Messages that cannot be read are named in a
// file of their own; the others are there.
func Zip(ctx context.Context, s *store.Store, o ZipOptions, w io.Writer) error {
	z := &zipper{zip: zip.NewWriter(w), now: o.Now, maildir: o.Form == ZipMaildir, names: map[string]bool{}, buf: make([]byte, 64<<10)}
	z.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	if z.maildir {
		if err := countFor(ctx, s, o); err != nil {
			return err
		}
	}
	err := walk(ctx, s, from{o.Account, o.Mailbox}, func(h *Head, text io.Reader) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case h.Folder != nil:
			return z.folder(h.Folder)
		}
		return z.message(h, text)
	})
	if err == nil {
		err = z.end()
	}
	return err
}

// countFor refuses what would take too much memory.
func countFor(ctx context.Context, s *store.Store, o ZipOptions) error {
	u, err := s.Usage(ctx, o.Account)
	if err != nil || u.Messages <= MaxZipFiles {
		return err
	}
	if o.Mailbox == "" {
		return ErrTooMany
	}
	b, err := s.Mailbox(ctx, o.Account, o.Mailbox)
	if err != nil {
		return err
	}
	st, err := s.State(ctx, b.ID)
	if err == nil && st.Exists > MaxZipFiles {
		err = ErrTooMany
	}
	return err
}

// zipper is a zip file that is being written.
type zipper struct {
	zip     *zip.Writer
	now     time.Time
	maildir bool
	names   map[string]bool // of folders, in lower case
	buf     []byte
	lost    []string

	place string // of the mailbox that is being written
	frame *FolderFrame
	mbox  *MboxWriter // of its file
	out   maildirOut
}

func (z *zipper) create(name string, at time.Time) (io.Writer, error) {
	return z.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: at})
}

// folder begins a mailbox.
func (z *zipper) folder(f *FolderFrame) error {
	if err := z.endFolder(); err != nil {
		return err
	}
	var levels []string
	for _, l := range strings.Split(f.Name, "/") {
		levels = append(levels, zipLevel(l))
	}
	z.place, z.frame = strings.Join(levels, "/"), f
	for i := 2; z.names[strings.ToLower(z.place)]; i++ { // two names that are one on some systems
		z.place = fmt.Sprintf("%s (%d)", strings.Join(levels, "/"), i)
	}
	z.names[strings.ToLower(z.place)] = true
	if z.maildir {
		z.out = maildirOut{frame: f, letters: map[string]byte{}}
		for _, sub := range []string{"cur/", "new/", "tmp/"} {
			if _, err := z.create(z.place+"/"+sub, z.now); err != nil {
				return err
			}
		}
		return nil
	}
	w, err := z.create(z.place+".mbox", z.now)
	z.mbox = &MboxWriter{w: bufio.NewWriterSize(w, 64<<10), frame: f, first: true, buf: z.buf}
	return err
}

// zipLevel is a level of a mailbox's name as a name that can stand on every system; people read it. What this file gives a name itself
// is no mailbox's: a folder and a file of one name could not both be unpacked.
func zipLevel(l string) string {
	l = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || strings.ContainsRune(`<>:"/\\|?*`, c) {
			return '_'
		}
		return c
	}, l)
	for len(l) > maxOnDisk/2 {
		l = strings.ToValidUTF8(l[:maxOnDisk/2], "")
	}
	if l = strings.TrimRight(l, ". "); l == "" || strings.HasPrefix(l, ".") {
		l = "_" + l
	}
	low := strings.ToLower(l)
	if strings.HasSuffix(low, ".mbox") || low == "cur" || low == "new" || low == "tmp" || low == zipKeywords || low == strings.ToLower(zipLost) {
		return l + "_"
	}
	device, _, _ := strings.Cut(low, ".")
	switch device = strings.TrimRight(device, " "); { // of Windows, whatever stands behind a dot
	case device == "con", device == "prn", device == "aux", device == "nul",
		len(device) == 4 && (device[:3] == "com" || device[:3] == "lpt") && device[3] >= '0' && device[3] <= '9':
		return "_" + l
	}
	return l
}

// Names of files that are no mailbox.
const (
	zipKeywords = "dovecot-keywords"
	zipLost     = "NOT EXPORTED.txt"
)

// message writes one. It is read once before: what cannot be read is left out whole.
func (z *zipper) message(h *Head, text io.Reader) error {
	src, ok := text.(io.ReadSeeker)
	if ok && !z.maildir {
		err := z.mbox.Message(h, src)
		if errors.Is(err, errGivenUp) {
			err = z.lose(h)
		}
		return err
	}
	if ok {
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{src}, z.buf)
		ok = err == nil && n == h.Size
	}
	if !ok {
		return z.lose(h)
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return err
	}
	base := fmt.Sprintf("%d.V%dU%d.posthouse,S=%d,W=%d", h.Received, z.frame.UIDValidity, h.UID, h.Size, h.Size)
	letters, _ := z.out.spell(h)
	w, err := z.create(z.place+"/cur/"+base+":2,"+letters, time.Unix(h.Received, 0).UTC())
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, z.buf)
	return err
}

// lose notes a message that cannot be read.
func (z *zipper) lose(h *Head) error {
	if len(z.lost) < 10_000 {
		z.lost = append(z.lost, fmt.Sprintf("%s, message %d of %s", z.frame.Name, h.UID, time.Unix(h.Received, 0).UTC().Format(time.RFC3339)))
	}
	return nil
}

// endFolder ends a mailbox: the names of the letters of its keywords stand beside it.
func (z *zipper) endFolder() error {
	if z.mbox != nil {
		err := z.mbox.w.Flush()
		z.mbox = nil
		return err
	}
	if len(z.out.names) == 0 {
		return nil
	}
	w, err := z.create(z.place+"/"+zipKeywords, z.now)
	for i, n := range z.out.names {
		if err == nil {
			_, err = fmt.Fprintf(w, "%d %s\n", i, n)
		}
	}
	z.out.names = nil
	return err
}

func (z *zipper) end() error {
	if err := z.endFolder(); err != nil {
		return err
	}
	if len(z.lost) > 0 {
		w, err := z.create(zipLost, z.now)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "These messages could not be read. The postmaster can look for them in a backup.\n\n%s\n", strings.Join(z.lost, "\n")); err != nil {
			return err
		}
	}
	return z.zip.Close()
}
