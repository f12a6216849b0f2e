package admin

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
)

// ZipExport asks for an account's mail as a file.
type ZipExport struct {
	Mailbox string `json:"mailbox,omitempty"` // empty: all
	Form    string `json:"form"`              // mbox or maildir
}

// maxZips is how many are made at once: each costs the reading of all that it gives. An account has one of them.
const maxZips = 8

// zips are the exports that run.
type zips struct {
	mu  sync.Mutex
	all map[mail.AccountID]bool // guarded by mu
}

func (z *zips) begin(id mail.AccountID) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case z.all[id]:
		return conflict("Your mail is being fetched as a file already. Wait until that has ended, or stop it where it was begun.")
	case len(z.all) >= maxZips:
		return &Error{Class: Unavailable, Message: "Several people are fetching their mail as a file just now. Try again in some minutes."}
	case z.all == nil:
		z.all = make(map[mail.AccountID]bool)
	}
	z.all[id] = true
	return nil
}

func (z *zips) end(id mail.AccountID) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.all, id)
}

// ExportZip writes it while it is read; nothing of it is kept. It ends with the house.
func (h *House) ExportZip(ctx context.Context, user string, in ZipExport, w io.Writer) error {
	a, err := h.importAccount(ctx, user)
	if err != nil {
		return err
	}
	if in.Form != importer.ZipMbox && in.Form != importer.ZipMaildir {
		return invalid("A file has the form mbox or maildir.")
	}
	if err := h.zips.begin(a.ID); err != nil {
		return err
	}
	defer h.zips.end(a.ID)
	ctx, stop := h.Watching(ctx)
	defer stop()
	err = importer.Zip(ctx, h.o.Store, importer.ZipOptions{Account: a.ID, Mailbox: in.Mailbox, Form: in.Form, Now: h.now()}, w)
	switch {
	case errors.Is(err, importer.ErrTooMany):
		return &Error{Conflict, "This is too much for a file for each message: choose mbox, or one mailbox after the other.", err}
	case errors.Is(err, store.ErrNoMailbox):
		return &Error{Missing, "There is no such mailbox.", err}
	}
	return importError(user, err)
}
