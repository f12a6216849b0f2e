package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

const (
	chunk      = 100     // messages that one command asks for
	ahead      = 2       // commands that are on their way at once
	batchCount = 500     // messages of one Import
	batchBytes = 8 << 20 // or octets
	maxHeader  = 64 << 10
	brokenIn   = 3 // times that the connection may break in the text of a message until it is left out
)

// sorted orders messages by uid and takes doubles out.
func sorted(list []listedMessage) []listedMessage {
	slices.SortStableFunc(list, func(a, b listedMessage) int { return cmp.Compare(a.uid, b.uid) })
	return slices.CompactFunc(list, func(a, b listedMessage) bool { return a.uid == b.uid })
}

func sortedRanges(r []store.UIDRange) []store.UIDRange {
	slices.SortFunc(r, func(a, b store.UIDRange) int { return cmp.Compare(a.First, b.First) })
	return r
}

// set writes uids as a sequence set.
func set(uids []uint32) string {
	b := syntax.NewSetBuilder(nil)
	for _, uid := range uids {
		b.Add(uid)
	}
	return string(b.Bytes())
}

// request is one command for message texts.
type request struct {
	tag  string
	uids []uint32
}

// fetcher brings the texts of listed messages. The store has the most of them at any time; memory holds one batch.
type fetcher struct {
	f       *folder
	listed  map[uint32]*listedMessage
	waiting map[uint32]bool // asked for or to be asked for
	wanted  [][]uint32
	asked   []request
	absent  []uint32 // asked for, and the answer was OK without them

	writer *store.Writer // of the text that comes now
	head   *header
	failed error // why there is no writer

	batch []pulled
	bytes int64
}

// pulled is a message that has come and is not in the mailbox yet.
type pulled struct {
	uid uint32
	store.ImportMessage
}

// fetch brings the messages of a window.
func (f *folder) fetch(ctx context.Context, list []listedMessage) error {
	if len(list) == 0 {
		return nil
	}
	x := &fetcher{f: f, listed: map[uint32]*listedMessage{}, waiting: map[uint32]bool{}}
	x.plan(list)
	err := x.run(ctx)
	if x.writer != nil {
		x.writer.Discard()
	}
	if ctx.Err() != nil {
		x.discard()
		return err
	}
	if e := x.flush(ctx); e != nil { // what came before the connection broke has come
		return e
	}
	x.discard() // what came ahead of others: it is fetched again behind them, so that all keep their uids
	if err != nil {
		return err
	}
	return x.tellAbsent()
}

func (x *fetcher) discard() {
	for _, m := range x.batch {
		m.Arrival.Discard()
	}
	x.batch = nil
}

// plan parts the messages into commands; one that broke a connection goes alone, and not for ever.
func (x *fetcher) plan(list []listedMessage) {
	var part []uint32
	cut := func() {
		if len(part) > 0 {
			x.wanted = append(x.wanted, part)
		}
		part = nil
	}
	for i := range list {
		uid := list[i].uid
		n := x.f.failures[uid]
		if n >= brokenIn {
			x.leaveOut(uid, "the connection breaks each time in the middle of its text")
			continue
		}
		x.listed[uid], x.waiting[uid] = &list[i], true
		if n > 0 {
			cut()
		}
		part = append(part, uid)
		if n > 0 || len(part) == chunk {
			cut()
		}
	}
	cut()
}

// leaveOut tells of a message that cannot be brought. The next run tries again.
func (x *fetcher) leaveOut(uid uint32, reason string) {
	delete(x.waiting, uid)
	x.f.missing++
	x.f.at++
	x.f.p.skip(x.f, uid, reason)
}

// run keeps the commands going, so that the server always has something to do.
func (x *fetcher) run(ctx context.Context) error {
	for {
		for len(x.asked) < ahead && len(x.wanted) > 0 {
			if err := x.ask(x.wanted[0]); err != nil {
				return err
			}
			x.wanted = x.wanted[1:]
		}
		if len(x.asked) == 0 {
			return nil
		}
		r := x.asked[0]
		x.asked = x.asked[1:]
		_, err := x.f.p.c.wait(r.tag, "FETCH", func(r *response) error { return x.response(ctx, r) }, func(n int64) io.Writer { return x.text(ctx, n) })
		no, refused := errors.AsType[*refusal](err)
		switch {
		case err == nil:
			x.answered(r)
		case refused && no.name != "BYE" && !no.later():
			x.refused(r, no)
		default:
			x.blame(err)
			return err
		}
	}
}

func (x *fetcher) ask(uids []uint32) error {
	tag, err := x.f.p.c.send("UID FETCH " + set(uids) + " (UID FLAGS INTERNALDATE BODY.PEEK[])")
	x.asked = append(x.asked, request{tag, uids})
	return err
}

// answered looks for messages that did not come.
func (x *fetcher) answered(r request) {
	for _, uid := range r.uids {
		if x.waiting[uid] {
			delete(x.waiting, uid)
			x.absent = append(x.absent, uid)
		}
	}
}

// refused halves a command until the message that the server cannot give is alone.
func (x *fetcher) refused(r request, no *refusal) {
	var left []uint32
	for _, uid := range r.uids {
		if x.waiting[uid] {
			left = append(left, uid)
		}
	}
	switch n := len(left); {
	case n == 1 && len(r.uids) == 1:
		x.leaveOut(left[0], no.Error())
	case n == 1:
		x.wanted = slices.Insert(x.wanted, 0, left)
	case n > 1:
		x.wanted = slices.Insert(x.wanted, 0, left[:n/2], left[n/2:])
	}
}

// blame notes in the text of which message the connection broke: the first that had not come.
func (x *fetcher) blame(err error) {
	if x.writer == nil && !errors.Is(err, errLost) {
		return
	}
	least := x.least()
	if least == 0 {
		return
	}
	x.f.failures[least]++
	if errors.Is(err, errLost) && x.f.failures[least] > 1 { // not the network's fault: once more alone was enough
		x.f.failures[least] = brokenIn
	}
}

// least is the first message that has not come; 0: all have.
func (x *fetcher) least() uint32 {
	least := uint32(0)
	for uid := range x.waiting {
		if least == 0 || uid < least {
			least = uid
		}
	}
	return least
}

// text gives the writer of a message's text.
func (x *fetcher) text(ctx context.Context, size int64) io.Writer {
	if x.writer != nil { // the one before was in a response that was not understood
		x.writer.Discard()
	}
	x.writer, x.failed = x.f.p.o.Store.NewMessage(ctx, size)
	if x.failed != nil {
		x.writer = nil
		return io.Discard
	}
	x.head = nil
	if x.f.uidls.wantsHeaders() {
		x.head = &header{}
		return io.MultiWriter(x.writer, x.head)
	}
	return x.writer
}

// response takes one message.
func (x *fetcher) response(ctx context.Context, r *response) error {
	if r.name != "FETCH" {
		return nil
	}
	w := x.writer
	x.writer = nil
	uid := uint32(r.number("UID"))
	unwanted := func() {
		if w != nil {
			w.Discard()
		}
	}
	switch {
	case !x.waiting[uid] || r.mangled:
		unwanted()
		return nil
	case x.failed != nil && r.hasBody:
		return x.failed
	case r.nilBody, r.hasBody && r.bodySize == 0:
		unwanted()
		x.leaveOut(uid, "the server has no text for it")
		return nil
	case !r.hasBody: // its flags changed
		return nil
	case errors.Is(r.bodyErr, store.ErrTooBig):
		unwanted()
		x.leaveOut(uid, "it is larger than 4 GiB")
		return nil
	case r.bodyErr != nil:
		unwanted()
		return r.bodyErr
	}
	delete(x.waiting, uid)
	a, err := w.Finish()
	if err != nil {
		return err
	}
	x.take(uid, r, a)
	if len(x.batch) >= batchCount || x.bytes >= batchBytes {
		return x.flush(ctx)
	}
	return nil
}

// take puts a message into the batch.
func (x *fetcher) take(uid uint32, r *response, a *store.Arrival) {
	f := x.f
	m := pulled{uid: uid}
	m.Arrival = a
	flags := x.listed[uid].flags // Gmail's labels are among them
	if v, ok := r.item("FLAGS"); ok && f.gm == nil {
		flags = v.list
	}
	m.Flags, m.Keywords, m.Origin.Stamp = f.flags(flags)
	m.Origin.Source, m.Origin.Key = f.ledger.source, keyOf(f.validity, uid, f.multi[uid])
	v, _ := r.item("INTERNALDATE")
	var ok bool
	if m.Received, ok = parseDate(v.text); !ok {
		m.Received = a.Summary().Date
	}
	m.UIDL = f.uidls.of(uid, x.head)
	x.batch = append(x.batch, m)
	x.bytes += a.Size()
}

// flush brings the batch into the mailbox: while uids are kept, as far as no message is missing in between. Servers that work
// on several commands at once send the messages of the second among those of the first.
func (x *fetcher) flush(ctx context.Context) error {
	batch := x.batch
	x.batch, x.bytes = nil, 0
	slices.SortFunc(batch, func(a, b pulled) int { return cmp.Compare(a.uid, b.uid) })
	if least := x.least(); least != 0 && x.f.keep {
		n, _ := slices.BinarySearchFunc(batch, least, func(p pulled, uid uint32) int { return cmp.Compare(p.uid, uid) })
		x.batch = slices.Clone(batch[n:])
		for _, p := range x.batch {
			x.bytes += p.Arrival.Size()
		}
		batch = batch[:n]
	}
	batch, err := x.f.number(ctx, batch)
	if err != nil || len(batch) == 0 {
		return err
	}
	msgs := make([]store.ImportMessage, len(batch))
	sizes := int64(0)
	for i := range batch {
		msgs[i] = batch[i].ImportMessage
		sizes += msgs[i].Arrival.Size()
	}
	uids, err := x.f.p.o.Store.Import(ctx, x.f.box.ID, msgs)
	if err != nil {
		if errors.Is(err, store.ErrNoMailbox) { // deleted here meanwhile: it begins anew
			x.f.ledger = nil
		}
		return fmt.Errorf("%s: %w", x.f.report.From, err)
	}
	return x.f.imported(ctx, batch, uids, sizes)
}

// number decides which uids the messages of a batch get. Those that come below what is here already wait for the end, so that
// the others keep theirs; when other mail has arrived in between, none can be kept any more.
func (f *folder) number(ctx context.Context, batch []pulled) ([]pulled, error) {
	if !f.keep || len(batch) == 0 {
		return batch, nil
	}
	st, err := f.p.o.Store.State(ctx, f.box.ID)
	if err != nil {
		return nil, err
	}
	if uint64(st.UIDNext) > uint64(f.uidNext)+uidGap/2 {
		f.keep = false
		f.report.Note = "other mail has arrived in the mailbox: what comes after it has new uids"
		return batch, nil
	}
	out := batch[:0]
	for _, m := range batch {
		if m.uid < st.UIDNext {
			f.late = append(f.late, m.uid)
			m.Arrival.Discard()
			continue
		}
		m.UID = m.uid
		out = append(out, m)
	}
	return out, nil
}

// imported counts what is in the mailbox now.
func (f *folder) imported(ctx context.Context, batch []pulled, uids []store.UID, size int64) error {
	p := f.p
	for i := range batch {
		at := place{f.box.ID, uids[i]}
		f.ledger.add(entry{uid: batch[i].uid, stamp: batch[i].Origin.Stamp, place: at, seen: true})
		if f.validity != 0 && uids[i] != batch[i].uid {
			f.report.NewUIDs++
		}
		if g := f.multi[batch[i].uid]; g != 0 {
			p.bodies[g] = at
		}
	}
	f.report.Pulled += len(batch)
	p.report.Pulled += len(batch)
	p.report.Bytes += size
	p.shown.Pulled, p.shown.Bytes = p.report.Pulled, p.report.Bytes
	p.gotOn = true
	f.at += len(batch)
	f.progress()
	return f.keywords.settle(ctx, f, batch)
}

// tellAbsent asks whether what did not come is still there.
func (x *fetcher) tellAbsent() error {
	for part := range slices.Chunk(x.absent, chunk) {
		there, err := x.f.stillThere(part)
		if err != nil {
			return err
		}
		for _, uid := range part {
			if there[uid] {
				x.leaveOut(uid, "the server lists it and gives no text for it")
			}
		}
	}
	return nil
}

// header keeps the header of a message that passes by.
type header struct {
	b    []byte
	done bool
}

func (h *header) Write(p []byte) (int, error) {
	if !h.done && len(h.b) < maxHeader {
		from := max(0, len(h.b)-3)
		h.b = append(h.b, p[:min(len(p), maxHeader-len(h.b))]...)
		if i := strings.Index(string(h.b[from:]), "\r\n\r\n"); i >= 0 {
			h.b, h.done = h.b[:from+i+2], true
		}
	}
	return len(p), nil
}

// parseDate reads an INTERNALDATE (RFC 9051 section 9, date-time); days of one digit, missing zones and zones in letters are met.
func parseDate(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{"_2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 MST", "2-Jan-2006 15:04:05", "2-Jan-06 15:04:05 -0700"} {
		if t, err := time.Parse(layout, s); err == nil && t.Unix() > 0 {
			return t, true
		}
	}
	return time.Time{}, false
}
