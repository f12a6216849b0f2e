package imap

import (
	"context"
	"errors"
	"fmt"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store"
)

// fetch answers FETCH and UID FETCH (RFC 9051 section 6.4.5). The rows come from the store a page at a time; what a
// client asks of the text is cut out of the stored body by the offsets that were noted when it arrived.
func (c *conn) fetch(ctx context.Context, r *request) error {
	c.d.SP()
	set := c.d.Set()
	c.d.SP()
	p := fetchParser{c: c}
	p.items()
	p.modifiers()
	if err := c.d.End(); err != nil {
		return err
	}
	ranges, err := c.uids(ctx, set, r.byUID)
	if err != nil {
		return err
	}
	if p.modseq {
		c.enableCondstore() // RFC 7162 section 3.1: asking for it switches it on
	}
	f := newFetcher(c, ctx, r, &p)
	defer f.ahead.leave()
	if err := f.rows(ranges); err != nil {
		return err
	}
	f.markSeen()
	return f.result(ranges, r.byUID)
}

// fetchParser takes the arguments of FETCH behind the set.
type fetchParser struct {
	c            *conn
	list         []fetchItem
	modseq       bool // MODSEQ or CHANGEDSINCE
	changedSince *store.ModSeq
}

// maxItems bounds the items of one FETCH, so that a short command cannot ask for the same body ten thousand times.
const maxItems = 128

// items takes one item, a macro, or a list of items.
func (p *fetchParser) items() {
	d := &p.c.d
	if d.Peek() == '(' {
		d.List(func() { p.item(d.Word()) })
		if d.Err() == nil && len(p.list) == 0 {
			d.Fail("FETCH needs an item")
		}
		return
	}
	word := d.Word()
	if macro := fetchMacro(word); macro != nil {
		for _, name := range macro {
			p.item(name)
		}
		return
	}
	p.item(word)
}

// fetchMacro is what ALL, FAST and FULL stand for (RFC 9051 section 6.4.5).
func fetchMacro(name string) []string {
	switch name {
	case "ALL":
		return []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"}
	case "FAST":
		return []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE"}
	case "FULL":
		return []string{"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"}
	}
	return nil
}

// item takes the rest of an item whose name is read.
func (p *fetchParser) item(name string) {
	d := &p.c.d
	if d.Err() != nil {
		return
	}
	it := fetchItem{name: name}
	bracket := d.Peek() == '['
	switch {
	case bracket && !it.take(sectionItem(name)), !bracket && !it.take(plainItem(name)):
		d.Fail("unknown FETCH item")
		return
	case bracket && it.family == familyBody:
		it.section = d.Section()
		it.root = len(it.section.Part) > 0 || it.section.Text != ""
	case bracket:
		it.section = d.BinarySection()
		it.root = true
	}
	if bracket && it.family != familyBinarySize {
		it.partial, it.hasPartial = d.Partial()
	}
	it.label = it.appendLabel(nil)
	if d.Err() != nil {
		return
	}
	for i := range p.list {
		if p.list[i].same(&it) {
			p.list[i].seen = p.list[i].seen || it.seen
			return
		}
	}
	if len(p.list) == maxItems {
		d.Fail("too many FETCH items")
	}
	p.modseq = p.modseq || it.name == "MODSEQ"
	p.list = append(p.list, it)
}

// modifiers takes the list behind the items (RFC 4466 section 2.4); CHANGEDSINCE is the one there is (RFC 7162 section 3.1.4.1).
func (p *fetchParser) modifiers() {
	d := &p.c.d
	if d.AtEnd() || !d.TrySP() {
		return
	}
	d.List(func() {
		if d.Keyword() != "CHANGEDSINCE" {
			d.Fail("unknown FETCH modifier")
			return
		}
		d.SP()
		since := d.Number64()
		p.changedSince, p.modseq = &since, true
	})
	if d.Err() == nil && p.changedSince != nil {
		p.item("MODSEQ")
	}
}

// fetcher is one FETCH that is being answered.
type fetcher struct {
	c     *conn
	ctx   context.Context
	items []fetchItem
	since *store.ModSeq

	rowItems  bool // all items come from the row
	root      bool // an item needs the structure
	whole     bool // an item needs the text, and all that do need the whole of it
	heads     bool // no item needs more than structure and header
	tellFlags bool
	seen      bool // an item sets \Seen

	cursor  int        // run of the view that holds the message
	known   []numbered // of the page
	line    []byte     // the answer that is being built
	gather  int        // octets that it may have before it is handed on
	flags   flagCache
	ahead   ahead            // the messages of the page
	long    longText         // a text that does not fit there
	open    *openMessage     // the one that is being answered
	buf     []byte           // a piece of a body
	marked  []store.UIDRange // messages that become \Seen
	done    int              // messages answered
	sent    int              // how often the line was handed on
	unknown bool             // an encoding that nobody knows was met
	failed  bool             // a message could not be read
	damaged bool             // because the disk does not give it back
}

func newFetcher(c *conn, ctx context.Context, r *request, p *fetchParser) *fetcher {
	f := &fetcher{c: c, ctx: ctx, items: p.list, since: p.changedSince, rowItems: true, heads: true, gather: lineRoom}
	hasUID, parts := false, false
	for i := range f.items {
		it := &f.items[i]
		f.rowItems = f.rowItems && it.row != nil
		f.root = f.root || it.root
		f.heads = f.heads && it.heads()
		f.tellFlags = f.tellFlags || it.name == "FLAGS"
		f.seen = f.seen || it.seen
		hasUID = hasUID || it.name == "UID"
		f.whole = f.whole || it.whole()
		parts = parts || it.family > familyStructure && !it.whole()
	}
	f.whole = f.whole && !parts
	if r.byUID && !hasUID { // RFC 9051 section 6.4.9
		uid := fetchItem{name: "UID"}
		uid.take(plainItem("UID"))
		uid.label = uid.appendLabel(nil)
		f.items = append([]fetchItem{uid}, f.items...)
	}
	f.seen = f.seen && !c.box.readOnly
	return f
}

// rows answers for the messages that exist in ranges, and have changed where CHANGEDSINCE asks so.
func (f *fetcher) rows(ranges []store.UIDRange) error {
	if len(ranges) == 0 {
		return nil
	}
	since := store.ModSeq(0)
	if f.since != nil {
		since = *f.since
	}
	for page, err := range f.c.s.store.MessagesSince(f.ctx, f.c.box.id, ranges, since) {
		if err != nil {
			return err
		}
		if err := f.page(page); err != nil {
			return err
		}
	}
	return nil
}

// page answers for some rows.
func (f *fetcher) page(page []store.Message) error {
	if f.tellFlags {
		if err := f.c.learn(f.ctx, page); err != nil {
			return err
		}
		f.flags.names = len(f.c.box.flags)
	}
	if err := f.messages(page); err != nil {
		return err
	}
	if f.tellFlags {
		f.c.box.remember(page)
	}
	return f.flush(0)
}

// messages answers for those of the page that the client knows.
func (f *fetcher) messages(page []store.Message) error {
	f.known = f.known[:0]
	for i := range page {
		if seq := f.sequence(page[i].UID); seq != 0 {
			f.known = append(f.known, numbered{seq, &page[i]})
		}
	}
	if !f.rowItems {
		f.ahead.begin(f, f.known)
		defer f.ahead.end()
		if f.ahead.helped {
			f.gather = lineRoomMany
		}
	}
	for i, m := range f.known {
		before := f.done
		if err := f.message(m, i); err != nil {
			return err
		}
		if f.seen && f.done > before && m.Flags&store.Seen == 0 {
			f.mark(m.UID)
		}
	}
	return nil
}

// sequence is the sequence number of a uid; uids come in order, so that the view is walked once.
func (f *fetcher) sequence(uid store.UID) uint32 {
	runs := f.c.box.view.runs
	for f.cursor < len(runs) && runs[f.cursor].last < uid {
		f.cursor++
	}
	if f.cursor == len(runs) || runs[f.cursor].first > uid {
		return 0
	}
	return runs[f.cursor].seq + uid - runs[f.cursor].first
}

// How much of answers is gathered before it is handed to the connection. Who reads many messages gets them in few packets: to
// send one and to wake the client costs as much as to copy some thousand octets.
const (
	lineRoom     = 4 << 10
	lineRoomMany = 32 << 10
	leastDirect  = 16 << 10 // that are handed on without being gathered
)

// flush hands what is gathered to the connection when it is more than room.
func (f *fetcher) flush(room int) error {
	if len(f.line) <= room {
		return nil
	}
	err := f.write(f.line)
	f.line = f.line[:0]
	return err
}

// write hands octets to the connection; what goes wrong there ends it.
func (f *fetcher) write(b []byte) error {
	f.sent++
	if _, err := f.c.w.Write(b); err != nil {
		return broken{err}
	}
	return nil
}

// put gathers octets, or hands them on when they are many.
func (f *fetcher) put(b []byte) error {
	if len(f.line)+len(b) > f.gather {
		n := min(len(b), max(f.gather-len(f.line), 0))
		f.line = append(f.line, b[:n]...)
		if err := f.flush(0); err != nil {
			return err
		}
		if b = b[n:]; len(b) >= leastDirect {
			return f.write(b)
		}
	}
	f.line = append(f.line, b...)
	return nil
}

// Write is write for what copies into an answer.
func (f *fetcher) Write(b []byte) (int, error) { return len(b), f.write(b) }

// message writes one answer, for message i of what is opened ahead.
func (f *fetcher) message(m numbered, i int) (err error) {
	if !f.rowItems {
		if f.open, err = f.ahead.take(i); err != nil {
			return f.broken(m.UID, err, len(f.line), f.sent)
		}
	}
	start, sent, first := len(f.line), f.sent, true
	f.line = append(f.line, "* "...)
	f.line = syntax.AppendNumber(f.line, m.seq)
	f.line = append(f.line, " FETCH ("...)
	for i := range f.items {
		it := &f.items[i]
		if it.refuses != nil && it.refuses(f, it) {
			f.unknown = true
			continue
		}
		if !first {
			f.line = append(f.line, ' ')
		}
		first = false
		f.line = append(f.line, it.label...)
		if it.row != nil {
			f.line = it.row(f, f.line, m.Message)
			continue
		}
		if err := it.text(f, it); err != nil {
			return f.broken(m.UID, err, start, sent)
		}
	}
	if first { // nothing but items that this message refuses
		f.line = f.line[:start]
		return nil
	}
	f.done++
	f.line = append(f.line, ")\r\n"...)
	return f.flush(f.gather)
}

// broken deals with a message that cannot be read. As long as nothing of its answer is sent, the answer is taken back and the
// others go on; in the middle of a literal the connection has to end, since a client waits for octets that nobody has.
func (f *fetcher) broken(uid store.UID, err error, start, sent int) error {
	if dead(err) {
		return err
	}
	f.c.log.ErrorContext(f.ctx, logx.IMAPError, "conn", f.c.peer.ID, "command", "fetch", "uid", uid, "error", err)
	if f.sent != sent {
		return broken{fmt.Errorf("a message ended inside of its answer: %w", err)}
	}
	f.line = f.line[:start]
	f.failed, f.damaged = true, f.damaged || errors.Is(err, store.ErrDamaged)
	return nil
}

// mark notes a message that becomes \Seen.
func (f *fetcher) mark(uid store.UID) {
	if n := len(f.marked); n > 0 && f.marked[n-1].Last+1 == uid {
		f.marked[n-1].Last = uid
		return
	}
	f.marked = append(f.marked, store.UIDRange{First: uid, Last: uid})
}

// markSeen sets \Seen on all messages of this FETCH in one mutation; the client learns of it before the answer. Mail that was
// read stays read to its client even when the flag cannot be kept, so that this is no reason to refuse the FETCH.
func (f *fetcher) markSeen() {
	if len(f.marked) == 0 {
		return
	}
	change := store.FlagsChange{Op: store.FlagsAdd, Flags: store.Seen}
	if _, _, err := f.c.s.store.SetFlags(f.ctx, f.c.box.id, f.marked, change); err != nil {
		f.c.log.WarnContext(f.ctx, logx.IMAPError, "command", "fetch", "error", err)
	}
}

// result is the answer to the command. Messages that another session has expunged are left out; the client is told so
// where it named them by sequence number and may not see the EXPUNGE yet (RFC 2180 section 4.1, RFC 5530). A uid that is not
// there is no error (RFC 9051 section 6.4.9).
func (f *fetcher) result(ranges []store.UIDRange, byUID bool) error {
	const gone = goimap.ResponseCode("EXPUNGEISSUED")
	switch {
	case f.unknown:
		return no("UNKNOWN-CTE", "a part has a transfer encoding that is not known here")
	case f.damaged:
		return no(goimap.ResponseCodeServerBug, textDamaged)
	case f.failed:
		return no(goimap.ResponseCodeServerBug, "some messages could not be read, the log of the server says why")
	case byUID || f.since != nil || f.c.box == nil:
		return nil
	}
	asked := 0
	for _, r := range ranges {
		asked += int(r.Last-r.First) + 1
	}
	if f.done < asked && f.done == 0 {
		return no(gone, "the messages were expunged by another session")
	}
	return nil
}
