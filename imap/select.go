package imap

import (
	"context"
	"strconv"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// selectMailbox answers SELECT (RFC 9051 section 6.3.2).
func (c *conn) selectMailbox(ctx context.Context, r *request) error { return c.open(ctx, r, false) }

// examine answers EXAMINE (RFC 9051 section 6.3.3).
func (c *conn) examine(ctx context.Context, r *request) error { return c.open(ctx, r, true) }

// open reads the numbers of a mailbox only, so that it takes the same time at any size; the view is made when a
// command needs it.
func (c *conn) open(ctx context.Context, r *request, readOnly bool) error {
	c.d.SP()
	name := c.d.Mailbox()
	condstore := c.selectParams()
	if err := c.d.End(); err != nil {
		return err
	}
	if c.box != nil {
		// RFC 9051 section 7.1: what follows is about the new mailbox. A SELECT that fails leaves none selected.
		c.untagged("OK", "CLOSED", "the mailbox before is closed")
		c.deselect()
	}
	m, bin, err := c.mailbox(ctx, name)
	if err != nil {
		return err
	}
	examined := readOnly
	readOnly = readOnly || bin
	keywords, err := c.s.store.Keywords(ctx, m.ID)
	if err != nil {
		return err
	}
	st, err := c.s.store.State(ctx, m.ID)
	if err != nil {
		return err
	}
	if condstore {
		c.enabled.condstore = true
	}
	c.box = &mailbox{id: m.ID, readOnly: readOnly, giving: bin && !examined, validity: st.UIDValidity, modseq: st.HighestModSeq, next: st.UIDNext, exists: st.Exists,
		outbox: m.Use&store.UseOutbox != 0}
	c.box.setKeywords(keywords)
	if first := c.firstRecent(m.ID, st, !readOnly); first < st.UIDNext {
		c.box.recent = []syntax.Span{{First: first, Last: st.UIDNext - 1}}
	}
	c.state = selected
	c.writeSelected(m, st)
	r.code = "READ-WRITE"
	if readOnly {
		r.code = "READ-ONLY"
	}
	return nil
}

// selectParams takes the parameters of SELECT (RFC 4466 section 2.1); CONDSTORE is the one there is (RFC 7162 section 3.1.8).
func (c *conn) selectParams() (condstore bool) {
	if !c.d.TrySP() {
		return false
	}
	c.d.List(func() {
		if c.d.Keyword() == "CONDSTORE" {
			condstore = true
			return
		}
		c.d.Fail("unknown parameter of SELECT")
	})
	return condstore
}

func (c *conn) writeSelected(m store.Mailbox, st store.State) {
	c.writeFlagLists()
	c.writeCount(st.Exists, " EXISTS\r\n")
	if !c.enabled.rev2 {
		c.writeCount(c.box.recentCount(), " RECENT\r\n")
	}
	c.untagged("OK", "UIDVALIDITY "+number(st.UIDValidity), "uids are valid")
	c.untagged("OK", "UIDNEXT "+number(st.UIDNext), "the next uid")
	c.untagged("OK", "HIGHESTMODSEQ "+strconv.FormatUint(max(st.HighestModSeq, 1), 10), "the highest mod-sequence")
	if c.enabled.rev2 {
		// RFC 9051 section 6.3.2 wants the name of what was selected.
		c.writeList("LIST", listed{name: m.Name, attrs: nil})
	}
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// deselect leaves the mailbox.
func (c *conn) deselect() {
	if c.box == nil {
		return
	}
	c.box = nil
	c.state = authenticated
}

// check answers CHECK (RFC 3501 section 6.4.1), which has nothing to do: everything answered is stored.
func (c *conn) check(context.Context, *request) error { return c.d.End() }

// closeMailbox answers CLOSE (RFC 9051 section 6.4.1): what is marked \Deleted goes, and no EXPUNGE is sent.
func (c *conn) closeMailbox(ctx context.Context, _ *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	box := c.box
	c.deselect()
	if box.readOnly {
		return nil
	}
	_, _, err := c.s.store.Expunge(ctx, box.id, everything(), true)
	return err
}

// unselect answers UNSELECT (RFC 9051 section 6.4.2).
func (c *conn) unselect(context.Context, *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.deselect()
	return nil
}

// everything is the range of all uids.
func everything() []store.UIDRange { return []store.UIDRange{{First: 1, Last: 1<<32 - 1}} }
