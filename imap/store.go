package imap

import (
	"context"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// storing is one STORE.
type storing struct {
	set    syntax.Set
	change store.FlagsChange
	silent bool
}

// storeFlags answers STORE and UID STORE (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3).
func (c *conn) storeFlags(ctx context.Context, r *request) error {
	s, err := c.parseStore()
	if err != nil {
		return err
	}
	if s.change.UnchangedSince != nil {
		c.enableCondstore()
	}
	ranges, err := c.uids(ctx, s.set, r.byUID)
	if err != nil || len(ranges) == 0 {
		return err
	}
	// What others did before is told before, so that what follows is this STORE's doing.
	cursor := c.box.modseq
	if err := c.update(ctx, r.byUID); err != nil {
		return err
	}
	before, err := c.flagsBefore(ctx, s, ranges, cursor)
	if err != nil {
		return err
	}
	rows, modified, err := c.s.store.SetFlags(ctx, c.box.id, ranges, s.change)
	if err != nil {
		return err
	}
	if err := c.learnStored(ctx, s, rows); err != nil {
		return err
	}
	c.writeStored(s, rows, before)
	c.box.remember(rows)
	switch {
	case len(modified) > 0:
		r.code = "MODIFIED " + c.setOf(modified, r.byUID)
		r.text = "not all were changed"
	case !r.byUID && uint64(len(rows)) < count(spans(ranges)):
		r.code = "EXPUNGEISSUED" // RFC 5530
	}
	return nil
}

// parseStore takes set, modifiers, item and flags.
func (c *conn) parseStore() (s storing, err error) {
	c.d.SP()
	s.set = c.d.Set()
	c.d.SP()
	if c.d.Peek() == '(' {
		c.d.List(func() {
			if c.d.Keyword() != "UNCHANGEDSINCE" {
				c.d.Fail("unknown modifier of STORE")
			}
			c.d.SP()
			since := c.d.Number64()
			s.change.UnchangedSince = &since
		})
		c.d.SP()
	}
	switch item := c.d.Keyword(); item {
	case "FLAGS", "FLAGS.SILENT":
		s.change.Op, s.silent = store.FlagsReplace, len(item) > len("FLAGS")
	case "+FLAGS", "+FLAGS.SILENT":
		s.change.Op, s.silent = store.FlagsAdd, len(item) > len("+FLAGS")
	case "-FLAGS", "-FLAGS.SILENT":
		s.change.Op, s.silent = store.FlagsRemove, len(item) > len("-FLAGS")
	default:
		c.d.Fail("STORE takes FLAGS, +FLAGS or -FLAGS")
	}
	c.d.SP()
	flags := c.d.Flags()
	if err := c.d.End(); err != nil {
		return s, err
	}
	s.change.Flags, s.change.Keywords, err = parseFlags(flags)
	return s, err
}

// known are the flags of one message as the client knows them.
type known struct {
	uid   store.UID
	flags store.Flags
}

// flagsBefore reads the flags as they are before a silent change, sorted by uid, of the messages that nobody changed since
// cursor, where this command began. Only of those can the client compute the outcome; the others, and those that somebody
// changes in the same moment, are told in spite of SILENT.
func (c *conn) flagsBefore(ctx context.Context, s storing, ranges []store.UIDRange, cursor store.ModSeq) ([]known, error) {
	if !s.silent || s.change.Op == store.FlagsReplace {
		return nil, nil
	}
	before := make([]known, 0, count(spans(ranges)))
	for page, err := range c.s.store.Messages(ctx, c.box.id, ranges) {
		if err != nil {
			return nil, err
		}
		for i := range page {
			if m := &page[i]; m.ModSeq <= cursor {
				before = append(before, known{m.UID, m.Flags})
			}
		}
	}
	return before, nil
}

// learnStored makes new keywords known before they are used.
func (c *conn) learnStored(ctx context.Context, s storing, rows []store.Message) error {
	if len(s.change.Keywords) > 0 && s.change.Op != store.FlagsRemove {
		return c.reloadKeywords(ctx)
	}
	return c.learn(ctx, rows)
}

// writeStored tells the flags, or for SILENT what the client cannot know.
func (c *conn) writeStored(s storing, rows []store.Message, before []known) {
	bits := s.change.Flags | c.box.keywordBits(s.change.Keywords)
	for i := range rows {
		m := &rows[i]
		seq := c.box.view.seq(m.UID)
		if seq == 0 {
			continue
		}
		expected := s.silent
		if s.silent && s.change.Op != store.FlagsReplace {
			for len(before) > 0 && before[0].uid < m.UID {
				before = before[1:]
			}
			expected = len(before) > 0 && before[0].uid == m.UID && s.outcome(before[0].flags, bits) == m.Flags
		}
		switch {
		case !expected:
			c.w.Write(c.appendFlagsFetch(c.w.AvailableBuffer(), seq, m))
		case c.enabled.condstore:
			// RFC 7162 section 3.1.3: the new mod-sequence is told even then.
			b := append(c.w.AvailableBuffer(), "* "...)
			b = syntax.AppendNumber(b, seq)
			b = append(b, " FETCH (UID "...)
			b = syntax.AppendNumber(b, m.UID)
			b = append(b, " MODSEQ ("...)
			b = syntax.AppendNumber64(b, m.ModSeq)
			c.w.Write(append(b, "))\r\n"...))
		}
	}
}

// outcome is what the client believes that +FLAGS or -FLAGS makes of flags.
func (s *storing) outcome(flags, bits store.Flags) store.Flags {
	if s.change.Op == store.FlagsAdd {
		return flags | bits
	}
	return flags &^ bits
}

// keywordBits are the bits of keywords in this mailbox.
func (b *mailbox) keywordBits(names []string) store.Flags {
	var bits store.Flags
	for _, name := range names {
		for i := firstKeyword; i < len(b.flags); i++ {
			if equalFlag(b.flags[i], name) {
				bits |= 1 << i
			}
		}
	}
	return bits
}

// enableCondstore is what a CONDSTORE enabling command does; the first one tells the mod-sequence (RFC 7162 section 3.1).
func (c *conn) enableCondstore() {
	if c.enabled.condstore {
		return
	}
	c.enabled.condstore = true
	if c.box != nil {
		c.untagged("OK", "HIGHESTMODSEQ "+strconv.FormatUint(max(c.box.modseq, 1), 10), "the highest mod-sequence")
	}
}

// setOf writes uids, or their sequence numbers, as a set.
func (c *conn) setOf(uids []store.UID, byUID bool) string {
	set := syntax.NewSetBuilder(nil)
	for _, uid := range uids {
		if !byUID {
			uid = c.box.view.seq(uid)
		}
		if uid != 0 {
			set.Add(uid)
		}
	}
	return string(set.Bytes())
}

// equalFlag compares keywords, which have no case (RFC 9051 section 2.3.2).
func equalFlag(f goimap.Flag, name string) bool {
	return strings.EqualFold(string(f), name)
}
