package imap

import (
	"context"
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/store"
)

// The mailbox "Recently Deleted" shows what the account has expunged and the store still keeps. To the store it is nearly a mailbox as
// any other (its bin), so that SELECT, FETCH, SEARCH, STATUS, IDLE and CONDSTORE work as ever; here stands what is different: it is
// found by another way, it is always read-only, and MOVE out of it is allowed all the same, because that is how mail comes back.

const (
	textDeletedFixed = store.BinName + " is kept by the server, it cannot be renamed or deleted"
	textDeletedTaken = store.BinName + " is the name of the server's mailbox of expunged mail"
	textDeletedChild = store.BinName + " has no mailboxes below it"
	textDeletedInto  = "mail comes into " + store.BinName + " by itself when it is expunged"
	textDeletedOut   = store.BinName + " is read-only: copy or move the message to another mailbox to have it back"
)

// mailbox finds a mailbox by its name, the one of expunged mail too.
func (c *conn) mailbox(ctx context.Context, name string) (store.Mailbox, bool, error) {
	m, err := c.s.store.Mailbox(ctx, c.who.Account, name)
	if !errors.Is(err, store.ErrNoMailbox) || name != store.BinName {
		return m, false, err
	}
	m, err = c.deleted(ctx)
	return m, true, err
}

// deleted is the mailbox of expunged mail; ErrNoMailbox when this house or account does not show it.
func (c *conn) deleted(ctx context.Context) (store.Mailbox, error) {
	if !c.s.o.RecentlyDeleted {
		return store.Mailbox{}, store.ErrNoMailbox
	}
	return c.s.store.Bin(ctx, c.who.Account)
}

// underDeleted reports whether a name is that of the mailbox of expunged mail or stands below it.
func underDeleted(name string) bool {
	rest, ok := strings.CutPrefix(name, store.BinName)
	return ok && (rest == "" || rest[0] == delimiter)
}

// mayName refuses to give a mailbox a name that is the server's.
func (c *conn) mayName(ctx context.Context, name string) error {
	if !underDeleted(name) {
		return nil
	}
	_, err := c.deleted(ctx)
	switch {
	case gone(err):
		return nil
	case err != nil:
		return err
	case strings.TrimSuffix(name, string(delimiter)) == store.BinName:
		return no(goimap.ResponseCodeAlreadyExists, textDeletedTaken)
	}
	return no(goimap.ResponseCodeCannot, textDeletedChild)
}

// mayChange refuses what cannot be done to the mailbox of expunged mail, when name is it.
func (c *conn) mayChange(ctx context.Context, name, text string) error {
	if name != store.BinName {
		return nil
	}
	_, bin, err := c.mailbox(ctx, name)
	if err == nil && bin {
		return no(goimap.ResponseCodeCannot, text)
	}
	return nil // another mailbox of that name, or none: the command finds out
}

// addDeleted lists the mailbox of expunged mail with the others, also while it is empty: one that comes and goes confuses clients. When
// it cannot be had (to look at it may write, which a full disk refuses), the others are listed all the same.
func (c *conn) addDeleted(ctx context.Context, all []store.Mailbox) ([]store.Mailbox, store.MailboxID, error) {
	m, err := c.deleted(ctx)
	if err != nil {
		return all, 0, ctx.Err()
	}
	for i := range all {
		if all[i].Name == m.Name { // it is subscribed
			all[i].ID = m.ID
			return all, m.ID, nil
		}
	}
	return append(all, m), m.ID, nil
}
