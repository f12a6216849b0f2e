package imap

import (
	"context"
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/store"
)

// delimiter stands between the levels of a name.
const delimiter = '/'

// create answers CREATE (RFC 9051 section 6.3.4), with USE (RFC 6154 section 3).
func (c *conn) create(ctx context.Context, _ *request) error {
	c.d.SP()
	name := c.d.Mailbox()
	use, err := c.createParams()
	if e := c.d.End(); e != nil {
		return e
	}
	if err != nil {
		return err
	}
	if err := c.mayName(ctx, name); err != nil {
		return err
	}
	_, err = c.s.store.CreateMailbox(ctx, c.who.Account, name, use)
	return err
}

// createParams takes "(USE (\Sent))".
func (c *conn) createParams() (use store.SpecialUse, err error) {
	if !c.d.TrySP() {
		return 0, nil
	}
	c.d.List(func() {
		if c.d.Keyword() != "USE" {
			c.d.Fail("unknown parameter of CREATE")
			return
		}
		c.d.SP()
		c.d.List(func() {
			bit := useNamed(goimap.MailboxAttr(c.d.Flag()))
			if bit == 0 {
				err = no("USEATTR", "unknown special use")
			}
			use |= bit
		})
	})
	return use, err
}

// uses are the special-use attributes by bit, in the order of store.SpecialUse (RFC 6154, RFC 8457).
func uses() []goimap.MailboxAttr {
	return []goimap.MailboxAttr{goimap.MailboxAttrAll, goimap.MailboxAttrArchive, goimap.MailboxAttrDrafts, goimap.MailboxAttrFlagged,
		goimap.MailboxAttrJunk, goimap.MailboxAttrSent, goimap.MailboxAttrTrash, goimap.MailboxAttrImportant}
}

// useNamed is the bit of an attribute. What nobody keeps up here (\All, \Flagged: views of other mailboxes) is not given.
func useNamed(attr goimap.MailboxAttr) store.SpecialUse {
	for i, a := range uses() {
		if strings.EqualFold(string(attr), string(a)) {
			if bit := store.SpecialUse(1) << i; bit != store.UseAll && bit != store.UseFlagged {
				return bit
			}
		}
	}
	return 0
}

// delete answers DELETE (RFC 9051 section 6.3.5). Other sessions that have the mailbox selected get a BYE.
func (c *conn) delete(ctx context.Context, _ *request) error {
	c.d.SP()
	name := c.d.Mailbox()
	if err := c.d.End(); err != nil {
		return err
	}
	if err := c.mayChange(ctx, name, textDeletedFixed); err != nil {
		return err
	}
	m, err := c.s.store.Mailbox(ctx, c.who.Account, name)
	if err != nil {
		return err
	}
	if err := c.s.store.DeleteMailbox(ctx, c.who.Account, name); err != nil {
		return err
	}
	c.s.sessions.forgetRecent(m.ID)
	if c.box != nil && c.box.id == m.ID {
		c.deselect()
		c.untagged("OK", "CLOSED", "the selected mailbox is deleted")
	}
	return nil
}

// rename answers RENAME (RFC 9051 section 6.3.6).
func (c *conn) rename(ctx context.Context, _ *request) error {
	c.d.SP()
	from := c.d.Mailbox()
	c.d.SP()
	to := c.d.Mailbox()
	if err := c.d.End(); err != nil {
		return err
	}
	if err := c.mayChange(ctx, from, textDeletedFixed); err != nil {
		return err
	}
	if err := c.mayName(ctx, to); err != nil {
		return err
	}
	return c.s.store.RenameMailbox(ctx, c.who.Account, from, to)
}

// subscribe answers SUBSCRIBE (RFC 9051 section 6.3.7).
func (c *conn) subscribe(ctx context.Context, _ *request) error { return c.setSubscribed(ctx, true) }

// unsubscribe answers UNSUBSCRIBE (RFC 9051 section 6.3.8).
func (c *conn) unsubscribe(ctx context.Context, _ *request) error { return c.setSubscribed(ctx, false) }

func (c *conn) setSubscribed(ctx context.Context, on bool) error {
	c.d.SP()
	name := c.d.Mailbox()
	if err := c.d.End(); err != nil {
		return err
	}
	return c.s.store.Subscribe(ctx, c.who.Account, name, on)
}

// namespace answers NAMESPACE (RFC 9051 section 6.3.10): one personal namespace without prefix.
func (c *conn) namespace(context.Context, *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.w.WriteString("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
	return nil
}

// destination finds the mailbox that a message shall go to (RFC 9051 section 6.3.12: TRYCREATE when it is not there).
func (c *conn) destination(ctx context.Context, name string) (store.Mailbox, error) {
	m, err := c.s.store.Mailbox(ctx, c.who.Account, name)
	if errors.Is(err, store.ErrNoMailbox) {
		if err := c.mayChange(ctx, name, textDeletedInto); err != nil {
			return m, err
		}
		return m, no(goimap.ResponseCodeTryCreate, "no such mailbox, create it first")
	}
	if err == nil {
		err = intoOutbox(m)
	}
	return m, err
}
