package imap

import (
	"context"
	"errors"
	"slices"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// mailbox is the selected mailbox as this session knows it. The store is the log of what happened and modseq is the
// cursor in it, so that no event can be lost and none is queued.
type mailbox struct {
	id       store.MailboxID
	readOnly bool
	giving   bool // read-only, but messages may be moved out: "Recently Deleted", opened by SELECT
	validity uint32
	outbox   bool // what waits to be sent

	// What the client has been told.
	modseq store.ModSeq
	next   store.UID // uids from here on are unknown to it
	exists uint32
	view   view
	built  bool          // view is there; SELECT does not build it
	flags  []goimap.Flag // by bit; the mailbox's keywords from firstKeyword on
	recent []syntax.Span // uids that are \Recent in this session (RFC 3501 section 2.3.2)

	gone  []syntax.Span // uids whose EXPUNGE waits for a command that may tell it
	told  toldFlags     // what this command's answers said already
	saved []syntax.Span // "$" (RFC 5182)
}

// toldFlags are messages whose flags the client knows, by the ModSeq of those flags.
type toldFlags map[store.ModSeq][]syntax.Span

// tell sends what the client has to learn of its mailbox before the answer to r (RFC 9051 section 5.2).
func (c *conn) tell(ctx context.Context, r *request) error {
	b := c.box
	if b == nil || r.command == nil || r.updates == tellNothing {
		return nil
	}
	err := c.update(ctx, r.updates == tellAll || r.byUID)
	b.told = nil
	return err
}

// update brings the client up to date; withGone: EXPUNGE may be sent.
func (c *conn) update(ctx context.Context, withGone bool) error {
	b := c.box
	ch, err := c.s.store.Changes(ctx, b.id, b.modseq)
	if errors.Is(err, store.ErrNoMailbox) {
		return bye("", "the selected mailbox was deleted")
	}
	if err != nil {
		return err
	}
	if ch.State.UIDValidity != b.validity { // an import brought that of another server: RFC 9051 section 2.3.1.1
		return bye(goimap.ResponseCodeUnavailable, "the mailbox has another UIDVALIDITY now, select it again")
	}
	gone := below(syntax.Merge(spans(ch.Vanished)), b.next)
	if !b.built && (len(gone) > 0 || slices.ContainsFunc(ch.Messages, func(m store.Message) bool { return m.UID < b.next })) {
		if ch, err = c.build(ctx); err != nil {
			return err
		}
		gone = below(syntax.Merge(spans(ch.Vanished)), b.next)
	}
	if err := c.learn(ctx, ch.Messages); err != nil {
		return err
	}
	b.gone = syntax.Merge(append(b.gone, gone...))
	if withGone && len(b.gone) > 0 {
		c.writeExpunged(b.view.remove(b.gone))
		b.exists, b.gone = b.view.total, nil
	}
	c.writeNew(ch)
	c.writeChanged(ch.Messages, b.next)
	b.next, b.modseq = max(b.next, ch.State.UIDNext), max(b.modseq, ch.State.HighestModSeq)
	return nil
}

// writeExpunged sends an EXPUNGE for each number; every one moves those behind it (RFC 9051 section 7.5.1).
func (c *conn) writeExpunged(numbers []syntax.Span) {
	removed := uint32(0)
	for _, n := range numbers {
		for range n.Last - n.First + 1 {
			b := append(c.w.AvailableBuffer(), "* "...)
			b = syntax.AppendNumber(b, n.First-removed)
			c.w.Write(append(b, " EXPUNGE\r\n"...))
		}
		removed += n.Last - n.First + 1
	}
}

// writeNew sends EXISTS for messages that have arrived, and RECENT where the client may know that word.
func (c *conn) writeNew(ch store.Changes) {
	b := c.box
	before := b.exists
	for _, m := range ch.Messages {
		if m.UID < b.next {
			continue
		}
		if b.built {
			b.view.add(m.UID, m.UID)
		}
		b.exists++
	}
	if b.exists == before {
		return
	}
	c.writeCount(b.exists, " EXISTS\r\n")
	first := max(c.firstRecent(b.id, ch.State, !b.readOnly), b.next)
	if first < ch.State.UIDNext {
		b.recent = syntax.Merge(append(b.recent, syntax.Span{First: first, Last: ch.State.UIDNext - 1}))
	}
	if !c.enabled.rev2 {
		c.writeCount(b.recentCount(), " RECENT\r\n")
	}
}

// firstRecent is the first uid that is \Recent in this session; what was expunged is nobody's new mail.
func (c *conn) firstRecent(id store.MailboxID, st store.State, take bool) store.UID {
	if st.Bin {
		return st.UIDNext
	}
	return c.s.sessions.claimRecent(id, st.UIDNext, take)
}

// recentCount is how many of the view are \Recent.
func (b *mailbox) recentCount() uint32 {
	if !b.built {
		return min(uint32(count(b.recent)), b.exists)
	}
	var n uint32
	for _, r := range b.view.byUID(b.recent) {
		n += r.Last - r.First + 1
	}
	return n
}

func (b *mailbox) isRecent(uid store.UID) bool {
	for _, r := range b.recent {
		if uid >= r.First && uid <= r.Last {
			return true
		}
	}
	return false
}

func (c *conn) writeCount(n uint32, word string) {
	b := append(c.w.AvailableBuffer(), "* "...)
	b = syntax.AppendNumber(b, n)
	c.w.Write(append(b, word...))
}

// writeChanged sends the flags of messages that the client knows (uid below next) with other flags.
func (c *conn) writeChanged(rows []store.Message, next store.UID) {
	for i := range rows {
		m := &rows[i]
		if m.UID >= next || c.box.knows(m) {
			continue
		}
		if seq := c.box.view.seq(m.UID); seq != 0 {
			c.w.Write(c.appendFlagsFetch(c.w.AvailableBuffer(), seq, m))
		}
	}
}

// knows reports whether this command's answers said the flags of m already.
func (b *mailbox) knows(m *store.Message) bool {
	return contains(b.told[m.ModSeq], m.UID)
}

func contains(s []syntax.Span, n uint32) bool {
	_, ok := slices.BinarySearchFunc(s, n, func(s syntax.Span, n uint32) int {
		switch {
		case s.Last < n:
			return -1
		case s.First > n:
			return 1
		}
		return 0
	})
	return ok
}

// remember notes that the client knows the flags of rows (sorted by uid).
func (b *mailbox) remember(rows []store.Message) {
	for i := range rows {
		m := &rows[i]
		if m.ModSeq <= b.modseq {
			continue // told before, Changes will not name it
		}
		if b.told == nil {
			b.told = toldFlags{}
		}
		uids := b.told[m.ModSeq]
		if n := len(uids); n > 0 && uids[n-1].Last+1 == m.UID {
			uids[n-1].Last++
		} else {
			b.told[m.ModSeq] = append(uids, syntax.Span{First: m.UID, Last: m.UID})
		}
	}
}

// appendFlagsFetch appends a FETCH that tells flags. The uid is always there: RFC 9051 section 6.4.9 asks for it in UID
// commands, RFC 7162 section 3.2.4 likes it elsewhere, and nothing forbids it.
func (c *conn) appendFlagsFetch(b []byte, seq uint32, m *store.Message) []byte {
	b = append(b, "* "...)
	b = syntax.AppendNumber(b, seq)
	b = append(b, " FETCH (UID "...)
	b = syntax.AppendNumber(b, m.UID)
	b = append(b, " FLAGS "...)
	b = c.appendFlags(b, m)
	if c.enabled.condstore {
		b = append(b, " MODSEQ ("...)
		b = syntax.AppendNumber64(b, m.ModSeq)
		b = append(b, ')')
	}
	return append(b, ")\r\n"...)
}

// build makes the view as the client knows the mailbox, which may be older than the mailbox is by now, and returns what
// has changed since. It is done at the first command that needs sequence numbers or a set.
func (c *conn) build(ctx context.Context) (store.Changes, error) {
	b := c.box
	// In this order, so that a message that vanishes between the two is in both, and not in neither.
	ranges, err := c.s.store.UIDs(ctx, b.id)
	if err != nil {
		return store.Changes{}, err
	}
	ch, err := c.s.store.Changes(ctx, b.id, b.modseq)
	if err != nil {
		return store.Changes{}, err
	}
	known := below(spans(ranges), b.next)
	if count(known) != uint64(b.exists) {
		known = below(syntax.Merge(append(known, spans(ch.Vanished)...)), b.next)
	}
	if count(known) != uint64(b.exists) {
		// More was removed since SELECT than the store remembers in detail.
		return store.Changes{}, bye(goimap.ResponseCodeUnavailable, "the mailbox has changed too much, select it again")
	}
	b.view, b.built = newView(known), true
	return ch, nil
}

// ready makes sure that there is a view.
func (c *conn) ready(ctx context.Context) error {
	if c.box.built {
		return nil
	}
	_, err := c.build(ctx)
	if errors.Is(err, store.ErrNoMailbox) {
		return bye("", "the selected mailbox was deleted")
	}
	return err
}

// uids turns the set of a command into the uids that the client knows, sorted and disjoint. They may have vanished from
// the store meanwhile.
func (c *conn) uids(ctx context.Context, set syntax.Set, byUID bool) ([]store.UIDRange, error) {
	if err := c.ready(ctx); err != nil {
		return nil, err
	}
	v := &c.box.view
	switch {
	case set.Saved:
		return v.byUID(c.box.saved), nil
	case byUID:
		return v.byUID(set.Spans(v.last())), nil
	}
	numbers := set.Spans(v.total)
	if n := len(numbers); n > 0 && numbers[n-1].Last > v.total {
		if v.total == 0 && slices.ContainsFunc(set.Ranges, func(r syntax.Range) bool { return r.First == 0 || r.Last == 0 }) {
			return nil, nil // "1:*" of an empty mailbox is what many clients ask first
		}
		return nil, bad("the mailbox has no message of that number") // RFC 9051 section 9, seq-number
	}
	return v.bySeq(numbers), nil
}
