package importer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// Options of Run.
type Options struct {
	Account  string
	Kind     string // maildir, mbox or eml
	Name     string // of the source in the ledger: its path, unless another one is said
	Names    Names
	UIDL     string // pattern of the POP3 unique-ids that the source gave; empty: Dovecot's where the source has uids; none
	Again    bool   // take in what was taken in before
	DryRun   bool
	Progress func(Progress)
	Now      func() time.Time
}

// Progress is how far Run has come.
type Progress struct {
	Folder      string
	Done, Total int64 // units of the source
	Messages    int64 // looked at
	Octets      int64 // sent
	Elapsed     time.Duration
}

// One request to the target holds about this much.
const (
	sendMessages = 4000
	sendOctets   = 32 << 20
)

// PatternDovecot is Dovecot's pop3_uidl_format when nobody has set another.
const PatternDovecot = "%08Xu%08Xv"

// PatternNone: the source has no unique-ids.
const PatternNone = "none"

// Run brings what is new of a source into an account. The summary is true after an error too.
func Run(ctx context.Context, src Source, to Target, o Options) (*Summary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	r := &run{to: to, o: o, places: map[string]Placed{}, owners: map[string]string{}, sum: newSummary(), began: o.Now()}
	folders, err := src.Folders(ctx)
	if err != nil {
		return r.sum, err
	}
	boxes := o.Names.mapped(folders)
	for _, f := range folders {
		r.at.Total += f.Units
	}
	defer func() { r.sum.Elapsed = o.Now().Sub(r.began) }()
	for _, f := range folders {
		if err := r.folder(ctx, src, f, boxes[f.Name]); err != nil {
			r.drop()
			return r.sum, fmt.Errorf("folder %s: %w", f.Name, err)
		}
		r.sum.Folders++
	}
	if r.room != nil {
		r.sum.OverQuota = r.room.without(r.waiting)
		return r.sum, ErrOverQuota
	}
	return r.sum, nil
}

// run is one Run.
type run struct {
	to     Target
	o      Options
	sum    *Summary
	at     Progress
	began  time.Time
	told   time.Time
	places map[string]Placed
	owners map[string]string // mailbox -> path of the folder whose uids it has
	send   *sender

	room    *Needs // what was free when the account was full
	waiting Needs  // what there is no room for
}

// folder brings in one folder.
func (r *run) folder(ctx context.Context, src Source, f Folder, mailbox string) error {
	r.at.Folder = mailbox
	known, err := r.ledger(ctx, f)
	if err != nil {
		return err
	}
	w := &folderRun{run: r, folder: f, mailbox: mailbox, source: r.source(f), known: known}
	if r.room == nil {
		p, err := r.place(ctx, mailbox, f)
		if err != nil {
			return err
		}
		if p.Refused != "" {
			r.sum.skip(badMailbox, f.Path+": "+p.Refused)
			return nil
		}
	}
	for it, err := range src.Items(ctx, f) {
		if why, ok := reason(err); err != nil && ok {
			r.sum.skip(why, f.Path)
			break
		}
		if err != nil {
			return err
		}
		if err := w.item(ctx, it); err != nil {
			return err
		}
		r.progress(it)
	}
	if err := r.finish(); err != nil {
		return err
	}
	if r.room == nil && !r.o.DryRun && f.UIDValidity != 0 && r.places[mailbox].Adopted && r.owners[mailbox] == f.Path {
		_, err = r.to.ImportPlace(ctx, r.wanted(mailbox, f, true))
	}
	return err
}

// wanted is what a folder asks of its mailbox.
func (r *run) wanted(mailbox string, f Folder, whole bool) Place {
	return Place{
		Account: r.o.Account, Mailbox: mailbox, UIDValidity: f.UIDValidity, UIDNext: f.UIDNext, Subscribe: f.Subscribed, Whole: whole,
	}
}

func (r *run) source(f Folder) uint64 { return sourceID(r.o.Kind, r.o.Name, f.Name) }

// ledger loads what the account has of a folder, sorted by key: 28 octets a message.
func (r *run) ledger(ctx context.Context, f Folder) ([]store.Imported, error) {
	if r.o.Again {
		return nil, nil
	}
	l := &ledgerWriter{}
	if err := r.to.Imported(ctx, r.o.Account, r.source(f), l); err != nil {
		return nil, err
	}
	slices.SortStableFunc(l.list, func(a, b store.Imported) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return l.list, nil
}

// ledgerWriter reads the entries that are written to it.
type ledgerWriter struct {
	list []store.Imported
	part []byte
}

func (l *ledgerWriter) Write(p []byte) (int, error) {
	n := len(p)
	if len(l.part) > 0 {
		k := min(entrySize-len(l.part), len(p))
		l.part, p = append(l.part, p[:k]...), p[k:]
		if len(l.part) < entrySize {
			return n, nil
		}
		l.list, l.part = append(l.list, parseEntry(l.part)), l.part[:0]
	}
	for ; len(p) >= entrySize; p = p[entrySize:] {
		l.list = append(l.list, parseEntry(p))
	}
	l.part = append(l.part, p...)
	return n, nil
}

// place finds or makes a mailbox, once.
func (r *run) place(ctx context.Context, mailbox string, f Folder) (Placed, error) {
	if p, ok := r.places[mailbox]; ok || r.o.DryRun {
		p.Adopted = p.Adopted && r.owners[mailbox] == f.Path // the uids of one folder, not of two that go to one mailbox
		return p, nil
	}
	p, err := r.to.ImportPlace(ctx, r.wanted(mailbox, f, false))
	if err != nil {
		return p, fmt.Errorf("mailbox %s: %w", mailbox, err)
	}
	if f.UIDValidity != 0 && !p.Adopted && p.Refused == "" {
		r.sum.note(fmt.Sprintf("%s: it is no new mailbox, or had another source: its messages get new uids, and clients download them again", p.Name))
	}
	r.places[mailbox], r.owners[mailbox] = p, f.Path
	return p, nil
}

// folderRun is a folder that is being brought in.
type folderRun struct {
	*run
	folder  Folder
	mailbox string
	source  uint64
	known   []store.Imported
}

// find looks a message up in the ledger; the last entry of several holds.
func (w *folderRun) find(key [16]byte) *store.Imported {
	i, ok := slices.BinarySearchFunc(w.known, key, func(e store.Imported, k [16]byte) int { return bytes.Compare(e.Key[:], k[:]) })
	if !ok {
		return nil
	}
	for ; i+1 < len(w.known) && w.known[i+1].Key == key; i++ {
	}
	return &w.known[i]
}

// item sends one message, if it is new, or its flags, if they are.
func (w *folderRun) item(ctx context.Context, it *Item) error {
	if it.Bad != "" {
		w.sum.skip(it.Bad, it.Where)
		return nil
	}
	h := Head{Source: w.source, Key: it.Key[:], Stamp: it.stamp(), Flags: it.Flags, Keywords: it.Keywords}
	if e := w.find(it.Key); e != nil {
		if e.Stamp == h.Stamp {
			w.sum.Already++
			return nil
		}
		if w.o.DryRun {
			w.sum.Taken.Reflagged++
			return nil
		}
		h.Reflag, h.UID, h.Mailbox = true, e.UID, uint32(e.Mailbox)
		return w.write(ctx, &h, nil)
	}
	if w.room != nil {
		w.waiting.Messages++
		w.waiting.Bytes += uint64(max(it.Size(), 0))
		return nil
	}
	text, err := it.Open()
	if why, ok := reason(err); err != nil && ok {
		w.sum.skip(why, it.Where)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", it.Where, err)
	}
	err = w.message(ctx, &h, it, text)
	if text.Changed() {
		w.sum.LineEnds++
	}
	return errors.Join(err, text.Close())
}

func (w *folderRun) message(ctx context.Context, h *Head, it *Item, text io.Reader) error {
	mailbox := cmp.Or(it.Mailbox, w.mailbox)
	if w.o.DryRun {
		n, err := io.Copy(io.Discard, text)
		if err != nil {
			w.sum.skip(badUnreadable, it.Where)
			return nil
		}
		w.sum.Taken.Messages++
		w.sum.Taken.Octets += n
		return nil
	}
	f := w.folder
	if mailbox != w.mailbox {
		f = Folder{}
	}
	p, err := w.place(ctx, mailbox, f)
	if err == nil && p.Refused != "" {
		mailbox = w.mailbox // that of a label; the folder's own is there
		p, err = w.place(ctx, mailbox, w.folder)
	}
	if err != nil {
		return err
	}
	h.Mailbox, h.Flags, h.Keywords, h.Received, h.Size = p.ID, it.Flags, it.Keywords, seconds(it.Received), it.Size()
	h.Stamp = it.stamp() // opening it may have found it at another name, with other flags
	if p.Adopted && mailbox == w.mailbox {
		h.UID = it.UID
		if it.UID == 0 {
			w.sum.Unnumbered++
		}
	}
	if p.Name == store.Inbox {
		h.UIDL = w.uidl(it)
	}
	return w.write(ctx, h, &located{text, it.Where})
}

// uidl is the unique-id that POP3 clients know the message by; empty: they do not.
func (w *folderRun) uidl(it *Item) string {
	id := it.UIDL
	if id == "" && it.UID != 0 && w.folder.UIDValidity != 0 && w.o.UIDL != PatternNone {
		id = expand(cmp.Or(w.o.UIDL, PatternDovecot), it.UID, w.folder.UIDValidity)
	}
	if id == "" || len(id) > 70 || strings.ContainsFunc(id, func(r rune) bool { return r < '!' || r > '~' }) {
		return ""
	}
	return id
}

// expand fills in a pattern in Dovecot's notation: %u the uid, %v UIDVALIDITY; X makes it hexadecimal, a number before it is the width.
func expand(pattern string, uid, valid uint32) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(pattern, "%")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		i := strings.IndexAny(rest, "uv%")
		if i < 0 {
			return out.String()
		}
		if rest[i] == '%' {
			out.WriteByte('%')
			pattern = rest[i+1:]
			continue
		}
		n, base := uid, 10
		if rest[i] == 'v' {
			n = valid
		}
		width := rest[:i]
		if w, hex := strings.CutSuffix(width, "X"); hex {
			width, base = w, 16
		}
		text := strconv.FormatUint(uint64(n), base)
		fill := " "
		if strings.HasPrefix(width, "0") {
			fill = "0"
		}
		if k, err := strconv.Atoi(width); err == nil && k > len(text) && k <= 20 {
			out.WriteString(strings.Repeat(fill, k-len(text)))
		}
		out.WriteString(text)
		pattern = rest[i+1:]
	}
}

// ValidPattern reports whether pattern makes unique-ids that differ.
func ValidPattern(pattern string) bool {
	if pattern == "" || pattern == PatternNone {
		return true
	}
	a := expand(pattern, 1, 7)
	return a != expand(pattern, 2, 7) && len(a) <= 70 && !strings.Contains(a, " ")
}

// located names the message in what went wrong while it was read.
type located struct {
	io.Reader
	where string
}

// write sends one frame.
func (w *folderRun) write(ctx context.Context, h *Head, text *located) error {
	if w.send == nil {
		w.send = w.begin(ctx)
	}
	s := w.send
	var r io.Reader
	if text != nil {
		r = text.Reader
	}
	n, broken, err := s.frames.Write(h, r)
	if err != nil {
		return w.finish() // it says why
	}
	if broken != nil {
		w.sum.skip(badUnreadable, text.where)
	}
	s.messages++
	s.octets += n
	w.at.Octets += n
	if s.messages >= sendMessages || s.octets >= sendOctets {
		return w.finish()
	}
	return nil
}

// sender is one request to the target.
type sender struct {
	frames   *FrameWriter
	pipe     *io.PipeWriter
	done     chan error
	taken    Taken
	messages int
	octets   int64
}

func (r *run) begin(ctx context.Context) *sender {
	in, out := io.Pipe()
	s := &sender{frames: NewFrameWriter(out), pipe: out, done: make(chan error, 1)}
	go func() {
		var err error
		s.taken, err = r.to.Import(ctx, r.o.Account, in)
		in.CloseWithError(cmp.Or(err, io.ErrClosedPipe)) // whoever still writes learns it here
		s.done <- err
	}()
	return s
}

// finish ends the request and takes its result; errFull when the account is full.
func (r *run) finish() error {
	s := r.send
	if s == nil {
		return nil
	}
	r.send = nil
	closed := errors.Join(s.frames.Close(), s.pipe.Close())
	err := <-s.done
	r.sum.Taken.add(s.taken)
	switch {
	case err != nil:
		return err
	case s.taken.OverQuota != nil:
		r.room = s.taken.OverQuota
		r.waiting.Messages += uint64(max(int64(s.messages)-s.taken.Messages-s.taken.TooBig, 0))
		r.waiting.Bytes += uint64(max(s.octets-s.taken.Octets, 0))
		return nil
	}
	return closed
}

// drop gives a request up.
func (r *run) drop() {
	if s := r.send; s != nil {
		r.send = nil
		s.pipe.CloseWithError(io.ErrUnexpectedEOF)
		<-s.done
		r.sum.Taken.add(s.taken)
	}
}

// progress tells, a few times a second.
func (r *run) progress(it *Item) {
	r.at.Done += it.Units
	r.at.Messages++
	if r.at.Messages%64 != 0 {
		return
	}
	if now := r.o.Now(); now.Sub(r.told) > 200*time.Millisecond {
		r.told, r.at.Elapsed = now, now.Sub(r.began)
		r.o.Progress(r.at)
	}
}
