package imap

import (
	"context"
	"slices"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// A mailbox's own keywords begin at bit firstKeyword; there are maxFlags bits in all.
const (
	firstKeyword = 8
	maxFlags     = 64
)

// systemFlags are the first bits of store.Flags, in order.
func systemFlags() [firstKeyword]goimap.Flag {
	return [...]goimap.Flag{goimap.FlagSeen, goimap.FlagAnswered, goimap.FlagFlagged, goimap.FlagDeleted, goimap.FlagDraft,
		goimap.FlagForwarded, goimap.FlagJunk, goimap.FlagNotJunk}
}

// parseFlags splits flags of a command into the store's. \Recent is the server's alone (RFC 3501 section 2.3.2), other
// flags with a backslash are not known here.
func parseFlags(flags []goimap.Flag) (store.Flags, []string, error) {
	var bits store.Flags
	var keywords []string
next:
	for _, f := range flags {
		for i, known := range systemFlags() {
			if strings.EqualFold(string(f), string(known)) {
				bits |= 1 << i
				continue next
			}
		}
		if f[0] == '\\' {
			return 0, nil, bad("flag " + plain(string(f)) + " cannot be set")
		}
		keywords = append(keywords, string(f))
	}
	return bits, keywords, nil
}

// setKeywords makes the names of the mailbox's keywords known to this session.
func (b *mailbox) setKeywords(names []string) {
	b.flags = flagNames()
	for _, name := range names {
		b.flags = append(b.flags, goimap.Flag(name))
	}
}

func flagNames() []goimap.Flag {
	system := systemFlags()
	return system[:]
}

// learn tells the client of keywords that rows carry and it has not been told (RFC 9051 section 7.3.5 wants FLAGS before
// their first use). Whoever writes rows to a client calls it first.
func (c *conn) learn(ctx context.Context, rows []store.Message) error {
	b := c.box
	var all store.Flags
	for i := range rows {
		all |= rows[i].Flags
	}
	if all>>len(b.flags) == 0 {
		return nil
	}
	return c.reloadKeywords(ctx)
}

func (c *conn) reloadKeywords(ctx context.Context) error {
	names, err := c.s.store.Keywords(ctx, c.box.id)
	if err != nil {
		return err
	}
	if firstKeyword+len(names) != len(c.box.flags) {
		c.box.setKeywords(names)
		c.writeFlagLists()
	}
	return nil
}

// writeFlagLists sends FLAGS and PERMANENTFLAGS (RFC 9051 sections 7.1 and 7.3.5).
func (c *conn) writeFlagLists() {
	box := c.box
	flags := box.flags
	b := append(c.w.AvailableBuffer(), "* FLAGS "...)
	b = append(syntax.AppendFlags(b, flags), "\r\n* OK [PERMANENTFLAGS "...)
	switch {
	case box.readOnly:
		flags = nil
	case len(flags) < maxFlags: // there is room for more keywords
		flags = append(slices.Clip(flags), goimap.FlagWildcard)
	}
	b = syntax.AppendFlags(b, flags)
	c.w.Write(append(b, "] flags that are kept\r\n"...))
}

// appendFlags appends the flag list of a message, with \Recent for clients of RFC 3501.
func (c *conn) appendFlags(b []byte, m *store.Message) []byte {
	box := c.box
	b = append(b, '(')
	from := len(b)
	for i, bits := 0, m.Flags; bits != 0; i, bits = i+1, bits>>1 {
		if bits&1 == 0 || i >= len(box.flags) {
			continue
		}
		if len(b) > from {
			b = append(b, ' ')
		}
		b = append(b, box.flags[i]...)
	}
	if len(box.recent) > 0 && !c.enabled.rev2 && box.isRecent(m.UID) {
		if len(b) > from {
			b = append(b, ' ')
		}
		b = append(b, `\Recent`...)
	}
	return append(b, ')')
}
