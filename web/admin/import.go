package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
)

// importAccount finds the account that mail is moved into or out of.
func (h *House) importAccount(ctx context.Context, user string) (auth.Account, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	return a, translate(user, err)
}

// ImportPlace finds or makes the mailbox that messages are imported into. A new one, or one that never had a message, gets the
// UIDVALIDITY of the source.
func (h *House) ImportPlace(ctx context.Context, p importer.Place) (importer.Placed, error) {
	a, err := h.importAccount(ctx, p.Account)
	if err != nil {
		return importer.Placed{}, err
	}
	box, err := h.o.Store.Mailbox(ctx, a.ID, p.Mailbox)
	if errors.Is(err, store.ErrNoMailbox) {
		if box, err = h.o.Store.CreateMailbox(ctx, a.ID, p.Mailbox, 0); errors.Is(err, store.ErrExists) {
			box, err = h.o.Store.Mailbox(ctx, a.ID, p.Mailbox) // made by a client just now
		}
	}
	if anyOf(err, store.ErrBadName, store.ErrReserved, store.ErrLimit, store.ErrExists) {
		return importer.Placed{Refused: plain(p.Mailbox, err)}, nil
	}
	if err != nil {
		return importer.Placed{}, importError(p.Mailbox, err)
	}
	if p.Subscribe && !box.Subscribed {
		if err := h.o.Store.Subscribe(ctx, a.ID, box.Name, true); err != nil {
			return importer.Placed{}, importError(p.Mailbox, err)
		}
	}
	out := importer.Placed{ID: uint32(box.ID), Name: box.Name}
	if p.UIDValidity != 0 {
		adopt := h.o.Store.ReserveUIDs
		if p.Whole {
			adopt = h.o.Store.AdoptUIDs
		}
		err := adopt(ctx, box.ID, p.UIDValidity, min(max(p.UIDNext, 1), math.MaxUint32-1))
		if err != nil && !errors.Is(err, store.ErrUID) {
			return out, importError(p.Mailbox, err)
		}
		out.Adopted = err == nil
	}
	return out, nil
}

// Imported writes what the account has taken in from a source, in the form of importer.AppendEntry.
func (h *House) Imported(ctx context.Context, account string, source uint64, w io.Writer) error {
	a, err := h.importAccount(ctx, account)
	if err != nil {
		return err
	}
	var buf []byte
	for page, err := range h.o.Store.Imported(ctx, a.ID, source) {
		if err != nil {
			return importError(account, err)
		}
		buf = buf[:0]
		for i := range page {
			buf = importer.AppendEntry(buf, &page[i])
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// Import stores a stream of messages in the account's mailboxes.
func (h *House) Import(ctx context.Context, account string, r io.Reader) (importer.Taken, error) {
	a, err := h.importAccount(ctx, account)
	if err != nil {
		return importer.Taken{}, err
	}
	var t importer.Taken
	err = h.noting(ctx, aboutHouse("import", account, ""), func() (words string, err error) {
		t, err = importer.Take(ctx, h.o.Store, a.ID, r)
		return fmt.Sprintf("%d messages", t.Messages), err
	})
	if t.Messages > 0 {
		h.done(ctx, "import", fmt.Sprintf("%s: %d messages", account, t.Messages))
	}
	return t, importError(account, err)
}

// importError is translate with the errors of mailboxes, which no other verb touches.
func importError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNoMailbox):
		return &Error{Missing, plain(what, err), err}
	case anyOf(err, store.ErrBadName, store.ErrLimit, store.ErrKeyword, store.ErrUID, importer.ErrBroken):
		return &Error{Invalid, plain(what, err), err}
	}
	return translate(what, err)
}
