package admin

import (
	"context"
	"errors"
	"io"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
)

// ZipExport asks for an account's mail as a file.
type ZipExport struct {
	Mailbox string `json:"mailbox,omitempty"` // empty: all
	Form    string `json:"form"`              // mbox or maildir
}

// maxZips is how many are made at once: each costs the reading of all that it gives.
const maxZips = 4

// ExportZip writes it while it is read; nothing of it is kept.
func (h *House) ExportZip(ctx context.Context, user string, in ZipExport, w io.Writer) error {
	a, err := h.importAccount(ctx, user)
	if err != nil {
		return err
	}
	if in.Form != importer.ZipMbox && in.Form != importer.ZipMaildir {
		return invalid("A file has the form mbox or maildir.")
	}
	if h.zips.Add(1) > maxZips {
		h.zips.Add(-1)
		return &Error{Class: Unavailable, Message: "Several people are fetching their mail as a file just now. Try again in some minutes."}
	}
	defer h.zips.Add(-1)
	err = importer.Zip(ctx, h.o.Store, importer.ZipOptions{Account: a.ID, Mailbox: in.Mailbox, Form: in.Form, Now: h.now()}, w)
	switch {
	case errors.Is(err, importer.ErrTooMany):
		return &Error{Conflict, "This is too much for a file for each message: choose mbox, or one mailbox after the other.", err}
	case errors.Is(err, store.ErrNoMailbox):
		return &Error{Missing, "There is no such mailbox.", err}
	}
	return importError(user, err)
}
