package pull

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

const (
	window        = 1000  // messages that one listing command names
	changedWindow = 20000 // the same where only changed ones are answered
	uidGap        = 100_000

	maxFlags      = 200 // of a message that are looked at
	maxFlag       = 200 // octets of one
	maxEmpty      = 20  // windows without any message, though the server says that they are there
	maxTurns      = 100 // windows that did not get further than those before
	maxValidities = 5   // that a folder may have in one run
)

// folder is one folder on its way here.
type folder struct {
	p *puller
	listing
	gmail  bool
	report Folder
	done   bool

	box      store.Mailbox
	validity uint32
	uidNext  uint32 // there
	highest  uint64 // HIGHESTMODSEQ there; 0: it has none
	since    uint64 // only what changed since then is listed; 0: everything is
	ledger   *ledger
	keep     bool // uids of the folder may be kept
	next     uint32
	lastUID  uint32 // of the last message listed
	at       int    // messages done, for the progress
	expected int    // messages to be looked at, as STATUS said
	late     []uint32
	missing  uint32            // messages that are there and could not be brought
	furthest uint32            // number of a message up to which a window has come
	empty    int               // windows in a row without a message
	turns    int               // windows that did not get further
	changes  int               // of UIDVALIDITY in this run
	failures map[uint32]int    // how often the connection broke in the text of a message
	match    *matcher          // nil: nothing here can be one of the folder's without the ledger knowing
	gm       *gmailFolder      // nil: not Gmail
	uidls    *uidls            // nil: no unique-ids wanted
	keywords keywordNames      // of the mailbox here
	warned   map[string]bool   // keywords told already
	multi    map[uint32]uint64 // Gmail's ids of the window's messages with several labels
}

// listedMessage is what a listing says of a message.
type listedMessage struct {
	seq, uid uint32
	flags    []value
	gmail    uint64
	labels   []value
	size     uint64
	date     time.Time
}

// bring makes the mailbox what the folder is. After a lost connection it is called again and goes on where it was.
func (f *folder) bring(ctx context.Context) error {
	if err := f.open(ctx); err != nil {
		return err
	}
	for f.next <= f.p.c.exists {
		n, err := f.window(ctx)
		if err != nil {
			return err
		}
		f.advance(n)
		if err := f.getsOn(); err != nil {
			return err
		}
	}
	if err := f.bringLate(ctx); err != nil {
		return err
	}
	return f.finish(ctx)
}

// advance goes to the next window. Expunges between two commands shift the numbers down: then the listing begins so much
// before, and what is known already costs nothing.
func (f *folder) advance(n uint32) {
	f.next += n
	f.next -= min(f.next-1, f.p.c.shifted)
	f.p.c.shifted = 0
}

// getsOn ends the folder of a server that keeps us listing for ever what is not there.
func (f *folder) getsOn() error {
	lie := func(text string) error { return &refusal{command: "FETCH", name: "OK", text: text} }
	if f.next > f.furthest {
		f.furthest, f.p.gotOn = f.next, true
	} else if f.turns++; f.turns > maxTurns {
		return lie("and other numbers each time")
	}
	if f.empty > maxEmpty {
		return lie(fmt.Sprintf("and no messages, of %d that it says it has", f.p.c.exists))
	}
	return nil
}

// open selects the folder and finds out where to go on.
func (f *folder) open(ctx context.Context) error {
	c := f.p.c
	command := "EXAMINE " + quote(f.raw)
	if c.caps["CONDSTORE"] || c.caps["QRESYNC"] {
		command += " (CONDSTORE)"
	}
	c.exists, c.shifted = 0, 0
	var validity, uidNext uint32
	var highest uint64
	_, err := c.do(command, func(r *response) error {
		n, _ := strconv.ParseUint(strings.TrimSpace(r.arg), 10, 64)
		switch r.code {
		case "UIDVALIDITY":
			validity = uint32(n)
		case "UIDNEXT":
			uidNext = uint32(n)
		case "HIGHESTMODSEQ":
			highest = n
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.shifted = 0
	same := f.ledger != nil && f.validity == validity
	if f.ledger != nil && !same {
		f.p.warn(fmt.Sprintf("%s: its UIDVALIDITY became %d while it was brought; it begins anew", f.report.From, validity))
		if f.changes++; f.changes == maxValidities {
			return &refusal{command: "EXAMINE", name: "OK", text: "and another UIDVALIDITY each time"}
		}
	}
	f.uidNext = uidNext
	if same { // with the HIGHESTMODSEQ of the beginning: what changed since then is listed by the next run
		return f.resume(ctx)
	}
	f.validity, f.highest = validity, highest
	return f.begin(ctx)
}

// resume goes on after a lost connection: where the last listed message stands where it stood, nothing before it is listed again.
func (f *folder) resume(ctx context.Context) error {
	if f.next <= 1 {
		return nil
	}
	var uid uint64
	if f.next-1 <= f.p.c.exists {
		_, err := f.p.c.do(fmt.Sprintf("FETCH %d (UID)", f.next-1), func(r *response) error {
			if r.name == "FETCH" && r.num == f.next-1 {
				uid = r.number("UID")
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if uint32(uid) != f.lastUID || f.since != 0 {
		f.next = 1
	}
	return nil
}

// begin prepares a folder for its first window.
func (f *folder) begin(ctx context.Context) (err error) {
	if f.box, err = f.p.destination(ctx, f); err != nil {
		if errors.Is(err, store.ErrBadName) || errors.Is(err, store.ErrLimit) {
			return fmt.Errorf("%w: mailbox %q: %w", errPlan, f.report.To, err)
		}
		return err
	}
	if f.ledger, err = loadLedger(ctx, f, f.validity); err != nil {
		return err
	}
	if err := f.sameMailbox(ctx); err != nil {
		return err
	}
	f.next, f.lastUID, f.missing, f.failures, f.warned = 1, 0, 0, map[uint32]int{}, map[string]bool{}
	f.furthest, f.empty, f.turns = 0, 0, 0
	f.keep, f.late, f.report.KeptUIDs, f.report.Note = false, nil, false, "" // of another UIDVALIDITY, when it has changed
	if err := f.keywords.load(ctx, f.p.o.Store, f.box.ID); err != nil {
		return err
	}
	if f.gmail {
		f.gm = newGmail(f)
	}
	if err := f.beginMatch(ctx); err != nil {
		return err
	}
	f.since = 0
	// What changed is known by its ModSeq, unless something has to be looked at that did not change (RFC 7162 section 3.1.4.1).
	if l := f.ledger; f.match == nil && l.modSeq() != 0 && f.highest >= l.modSeq() && l.fact(factMissing).Stamp == 0 && !f.p.o.Mirror {
		f.since = l.modSeq()
	}
	if err := f.adopt(ctx); err != nil {
		return err
	}
	return f.beginUIDLs(ctx)
}

// sameMailbox forgets the ledger of a folder whose mailbox here was deleted: it is brought again. A renamed mailbox is followed.
func (f *folder) sameMailbox(ctx context.Context) error {
	was := f.ledger.fact(factMailbox).Mailbox
	if was != 0 && was != f.box.ID {
		boxes, err := f.p.o.Store.Mailboxes(ctx, f.p.o.Account)
		if err != nil {
			return err
		}
		gone := true
		for _, b := range boxes {
			if b.ID == was {
				f.p.warn(fmt.Sprintf("%s: goes on into %q, where it went before", f.report.From, b.Name))
				f.box, f.report.To, gone = b, b.Name, false
			}
		}
		if gone {
			f.p.warn(fmt.Sprintf("%s: the mailbox it had gone into was deleted here; it is brought again", f.report.From))
			if err := f.p.o.Store.ForgetImported(ctx, f.p.o.Account, f.ledger.source); err != nil {
				return err
			}
			f.ledger.entries = nil
			if err := f.ledger.setModSeq(ctx, 0); err != nil {
				return err
			}
		}
	}
	if f.ledger.fact(factValidity).Stamp != f.validity {
		if err := f.ledger.setModSeq(ctx, 0); err != nil {
			return err
		}
	}
	return f.ledger.state(ctx, factMailbox, store.Imported{Mailbox: f.box.ID})
}

// adopt keeps the uids where that is possible: the mailbox was never used, or this folder's were kept from the beginning. What
// else arrives here meanwhile gets uids that the server will not give for long.
func (f *folder) adopt(ctx context.Context) error {
	st, err := f.p.o.Store.State(ctx, f.box.ID)
	if err != nil {
		return err
	}
	unused := st.UIDNext == 1 && st.Exists == 0
	switch {
	case f.validity == 0 || f.uidNext == 0:
		f.report.Note = "the server gives no UIDVALIDITY or UIDNEXT"
	case f.gm != nil:
		f.report.Note = "a message with several labels is stored once here, and its copies get uids of their own"
	case !unused && st.UIDValidity != f.validity:
		f.report.Note = "the mailbox was used before"
	default:
		err := f.p.o.Store.ReserveUIDs(ctx, f.box.ID, f.validity, f.uidNext+min(uidGap, math.MaxUint32-f.uidNext))
		if errors.Is(err, store.ErrUID) {
			f.report.Note = strings.TrimPrefix(err.Error(), store.ErrUID.Error()+": ")
			return nil
		}
		if err != nil {
			return err
		}
		f.keep, f.report.KeptUIDs = true, true
	}
	return nil
}

// window lists the next messages, brings those that are not here, and changes the flags of the others. It returns how many
// numbers it went over.
func (f *folder) window(ctx context.Context) (uint32, error) {
	size := uint32(window)
	if f.since != 0 {
		size = changedWindow
	}
	list, n, err := f.list(min(size, f.p.c.exists-f.next+1))
	if err != nil {
		return 0, err
	}
	var unknown []listedMessage
	changes := newFlagChanges(f)
	for i := range list {
		m := &list[i]
		e := f.ledger.find(m.uid)
		switch {
		case e != nil:
			e.seen = true
			changes.compare(e, m)
		case f.gm != nil && f.gm.elsewhere(m): // counted as looked at
		default:
			unknown = append(unknown, *m)
		}
	}
	if unknown, err = f.known(ctx, unknown); err != nil {
		return 0, err
	}
	f.at = int(f.next) - 1 + len(list) - len(unknown)
	if err := changes.apply(ctx); err != nil {
		return 0, err
	}
	if err := f.fetch(ctx, unknown); err != nil {
		return 0, err
	}
	if len(list) > 0 {
		f.lastUID = list[len(list)-1].uid
	}
	f.progress()
	return n, nil
}

// progress tells how far the folder is.
func (f *folder) progress() {
	f.p.shown.Done = f.p.before + min(f.at, f.expected)
	f.p.tell()
}

// known takes away what is here without the ledger knowing it: another folder brought it, or the ledger was lost.
func (f *folder) known(ctx context.Context, list []listedMessage) ([]listedMessage, error) {
	var err error
	if f.gm != nil && len(list) > 0 {
		if list, err = f.gm.copies(ctx, list); err != nil {
			return nil, err
		}
	}
	if f.match != nil && len(list) > 0 {
		return f.match.claim(ctx, list)
	}
	return list, nil
}

// list asks for n messages from f.next on.
func (f *folder) list(n uint32) ([]listedMessage, uint32, error) {
	items := "UID FLAGS"
	if f.gm != nil {
		items += " X-GM-MSGID X-GM-LABELS"
	}
	if f.match != nil {
		items += " INTERNALDATE RFC822.SIZE"
	}
	command := fmt.Sprintf("FETCH %d:%d (%s)", f.next, f.next+n-1, items)
	if f.since != 0 {
		command += fmt.Sprintf(" (CHANGEDSINCE %d)", f.since)
	}
	var list []listedMessage
	f.multi = map[uint32]uint64{}
	_, err := f.p.c.do(command, func(r *response) error {
		if r.name == "FETCH" && r.mangled && r.num >= f.next && r.num < f.next+n {
			f.missing++ // so that the next run lists it again
			f.p.skip(f, uint32(r.number("UID")), "what the server says of it cannot be read")
		}
		if r.name != "FETCH" || r.mangled {
			return nil
		}
		m := listedMessage{seq: r.num, uid: uint32(r.number("UID")), gmail: r.number("X-GM-MSGID"), size: r.number("RFC822.SIZE")}
		if m.uid == 0 || r.num < f.next || r.num >= f.next+n || len(list) >= 4*changedWindow {
			return nil // flags that another client changes come without having been asked for
		}
		if v, ok := r.item("FLAGS"); ok {
			m.flags = few(v.list, maxFlag)
		}
		if v, ok := r.item("X-GM-LABELS"); ok {
			m.labels = few(v.list, maxFolderName)
		}
		if v, ok := r.item("INTERNALDATE"); ok {
			m.date, _ = parseDate(v.text)
		}
		if f.gm != nil {
			f.gm.note(&m)
		}
		list = append(list, m)
		return nil
	})
	if f.empty++; len(list) > 0 || f.since != 0 {
		f.empty = 0
	}
	return sorted(list), n, err
}

// few keeps of a list what somebody can have meant.
func few(list []value, longest int) []value {
	out := make([]value, 0, min(len(list), maxFlags))
	for _, v := range list {
		if len(out) < maxFlags && len(v.text) <= longest {
			out = append(out, value{kind: v.kind, text: v.text})
		}
	}
	return out
}

// bringLate brings what comes with uids below those that are here already: they get new ones.
func (f *folder) bringLate(ctx context.Context) error {
	late := f.late
	f.late = nil
	if len(late) == 0 {
		return nil
	}
	f.keep = false
	list := make([]listedMessage, len(late))
	for i, uid := range late {
		list[i].uid = uid
	}
	if err := f.fetch(ctx, sorted(list)); err != nil {
		f.late = late
		return err
	}
	return nil
}

// finish keeps what the next run needs, and mirrors.
func (f *folder) finish(ctx context.Context) error {
	f.report.There = int(f.p.c.exists)
	if f.p.o.Mirror {
		if err := f.mirror(ctx); err != nil {
			return err
		}
	}
	if f.match != nil {
		if err := f.ledger.state(ctx, factMatching, store.Imported{}); err != nil {
			return err
		}
	}
	if err := f.ledger.state(ctx, factMissing, store.Imported{Stamp: f.missing}); err != nil {
		return err
	}
	if err := f.ledger.state(ctx, factValidity, store.Imported{Stamp: f.validity}); err != nil {
		return err
	}
	f.ledger.claimed, f.match, f.uidls = nil, nil, nil
	err := f.ledger.setModSeq(ctx, f.highest)
	f.ledger = nil
	return err
}

// mirror expunges what is gone there. Undelete brings it back for a while. Each uid is asked for once more: an answer that was
// cut short or misunderstood must not cost a message here.
func (f *folder) mirror(ctx context.Context) error {
	var gone []*entry
	for i := range f.ledger.entries {
		if e := &f.ledger.entries[i]; !e.seen {
			gone = append(gone, e)
		}
	}
	for part := range slices.Chunk(gone, chunk) {
		uids := make([]uint32, len(part))
		for i, e := range part {
			uids[i] = e.uid
		}
		there, err := f.stillThere(uids)
		if err != nil {
			return err
		}
		ranges := map[store.MailboxID][]store.UIDRange{}
		for _, e := range part {
			if !there[e.uid] {
				ranges[e.mailbox] = append(ranges[e.mailbox], store.UIDRange{First: e.place.uid, Last: e.place.uid})
			}
		}
		for box, r := range ranges {
			done, _, err := f.p.o.Store.Expunge(ctx, box, sortedRanges(r), false)
			f.report.Expunged += len(done)
			if err != nil && !errors.Is(err, store.ErrNoMailbox) {
				return err
			}
		}
	}
	return nil
}

// stillThere asks which of the uids the folder has.
func (f *folder) stillThere(uids []uint32) (map[uint32]bool, error) {
	there := map[uint32]bool{}
	_, err := f.p.c.do("UID FETCH "+set(uids)+" (UID)", func(r *response) error {
		if uid := uint32(r.number("UID")); r.name == "FETCH" && slices.Contains(uids, uid) {
			there[uid] = true
		}
		return nil
	})
	return there, err
}
