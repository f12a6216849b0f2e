package admin

import (
	"context"
	"io"

	"github.com/posthouse-mail/posthouse/store/importer"
)

// Export writes an account's mailboxes, or the one that is named, as a stream of messages.
func (h *House) Export(ctx context.Context, account, mailbox string, w io.Writer) error {
	a, err := h.importAccount(ctx, account)
	if err != nil {
		return err
	}
	what := account
	if mailbox != "" {
		what = mailbox
	}
	if err := h.noted(ctx, "export", account, mailbox); err != nil {
		return translate(account, err)
	}
	return importError(what, importer.Give(ctx, h.o.Store, a.ID, mailbox, w))
}
