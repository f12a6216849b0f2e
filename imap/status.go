package imap

import (
	"context"
	"slices"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// statusItems are what STATUS can tell (RFC 9051 section 6.3.11, RFC 3501, RFC 7162 section 3.1.7, RFC 7889 section 3).
func statusItems() []string {
	return []string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT"}
}

// status answers STATUS.
func (c *conn) status(ctx context.Context, _ *request) error {
	c.d.SP()
	name := c.d.Mailbox()
	c.d.SP()
	items := c.statusItems()
	if err := c.d.End(); err != nil {
		return err
	}
	m, _, err := c.mailbox(ctx, name)
	if err != nil {
		return err
	}
	return c.writeStatus(ctx, m, items)
}

// statusItems takes the list of items, which may not be empty.
func (c *conn) statusItems() []string {
	var items []string
	c.d.List(func() {
		item := c.d.Keyword()
		if !slices.Contains(statusItems(), item) {
			c.d.Fail("unknown STATUS item")
			return
		}
		if !slices.Contains(items, item) {
			items = append(items, item)
		}
	})
	if c.d.Err() == nil && len(items) == 0 {
		c.d.Fail("STATUS needs an item")
	}
	return items
}

func (c *conn) writeStatus(ctx context.Context, m store.Mailbox, items []string) error {
	st, err := c.s.store.State(ctx, m.ID)
	if err != nil {
		return err
	}
	if slices.Contains(items, "HIGHESTMODSEQ") {
		c.enableCondstore() // RFC 7162 section 3.1; it may say so, before this answer has begun
	}
	b := append(c.w.AvailableBuffer(), "* STATUS "...)
	b = syntax.AppendMailbox(b, m.Name, c.enabled.names())
	b = append(b, " ("...)
	for i, item := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, item...)
		b = append(b, ' ')
		b = syntax.AppendNumber64(b, c.statusValue(m, st, item))
	}
	c.w.Write(append(b, ")\r\n"...))
	return nil
}

func (c *conn) statusValue(m store.Mailbox, st store.State, item string) uint64 {
	switch item {
	case "MESSAGES":
		return uint64(st.Exists)
	case "RECENT":
		return uint64(min(st.UIDNext-c.firstRecent(m.ID, st, false), st.Exists))
	case "UIDNEXT":
		return uint64(st.UIDNext)
	case "UIDVALIDITY":
		return uint64(st.UIDValidity)
	case "UNSEEN":
		return uint64(st.Unseen)
	case "DELETED":
		return uint64(st.Deleted)
	case "SIZE":
		return st.Bytes
	case "HIGHESTMODSEQ":
		return max(st.HighestModSeq, 1)
	}
	if st.Bin {
		return 0 // RFC 7889 section 5: nothing can be appended
	}
	return uint64(c.s.o.MaxMessage)
}
