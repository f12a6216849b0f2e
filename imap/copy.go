package imap

import (
	"context"
	"errors"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// copy answers COPY and UID COPY (RFC 9051 section 6.4.7).
func (c *conn) copy(ctx context.Context, r *request) error {
	ranges, to, err := c.transfer(ctx, r)
	if err != nil || len(ranges) == 0 {
		return err
	}
	done, err := c.s.store.Copy(ctx, c.box.id, ranges, to)
	if err != nil {
		return tryCreate(err)
	}
	r.code = copyUID(done)
	return nil
}

// move answers MOVE and UID MOVE (RFC 9051 section 6.4.8). COPYUID comes before the EXPUNGE responses, which tell sends.
func (c *conn) move(ctx context.Context, r *request) error {
	ranges, to, err := c.transfer(ctx, r)
	if err != nil {
		return err
	}
	if len(ranges) == 0 {
		return c.tooLate()
	}
	done, _, err := c.s.store.Move(ctx, c.box.id, ranges, to)
	if err != nil {
		return tryCreate(err)
	}
	if len(done.From) == 0 {
		return c.tooLate()
	}
	if code := copyUID(done); code != "" {
		c.untagged("OK", code, "moved")
	}
	return nil
}

// transfer takes the arguments of COPY and MOVE.
func (c *conn) transfer(ctx context.Context, r *request) ([]store.UIDRange, store.MailboxID, error) {
	c.d.SP()
	set := c.d.Set()
	c.d.SP()
	name := c.d.Mailbox()
	if err := c.d.End(); err != nil {
		return nil, 0, err
	}
	m, err := c.destination(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	ranges, err := c.uids(ctx, set, r.byUID)
	return ranges, m.ID, err
}

// tryCreate is for a destination that went away in between.
func tryCreate(err error) error {
	if errors.Is(err, store.ErrNoMailbox) {
		return no(goimap.ResponseCodeTryCreate, "no such mailbox, create it first")
	}
	return err
}

// copyUID is the response code (RFC 9051 section 7.1), empty when nothing was copied.
func copyUID(done store.Copied) string {
	if len(done.From) == 0 {
		return ""
	}
	b := append([]byte("COPYUID "), number(done.UIDValidity)+" "...)
	for i, uids := range [][]store.UID{done.From, done.To} {
		if i > 0 {
			b = append(b, ' ')
		}
		set := syntax.NewSetBuilder(b)
		for _, uid := range uids {
			set.Add(uid)
		}
		b = set.Bytes()
	}
	return string(b)
}

// expunge answers EXPUNGE (RFC 9051 section 6.4.3) and UID EXPUNGE (section 6.4.9); tell sends the responses.
func (c *conn) expunge(ctx context.Context, r *request) error {
	ranges := everything()
	if r.byUID {
		c.d.SP()
		set := c.d.Set()
		if err := c.d.End(); err != nil {
			return err
		}
		var err error
		if ranges, err = c.uids(ctx, set, true); err != nil {
			return err
		}
		if len(ranges) == 0 {
			return c.tooLate()
		}
	} else if err := c.d.End(); err != nil {
		return err
	}
	uids, _, err := c.s.store.Expunge(ctx, c.box.id, ranges, true)
	if err != nil || len(uids) > 0 || !r.byUID || !c.box.outbox {
		return err
	}
	for _, err := range c.s.store.Messages(ctx, c.box.id, ranges) {
		return err // they are there, and not marked
	}
	return c.tooLate()
}
