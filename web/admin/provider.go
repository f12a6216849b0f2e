package admin

import (
	"context"

	"github.com/posthouse-mail/posthouse/auth/oidc"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// NoteProvider writes down that a provider says who somebody at the web pages is: nothing else that we keep shows it.
func (h *House) NoteProvider(ctx context.Context, id mail.AccountID, issuer string, who oidc.Person) error {
	a, err := h.o.Directory.Account(ctx, id)
	if err != nil {
		return translate(who.Address, err)
	}
	what := issuer + " says that it is " + who.Subject
	if who.Strong {
		what += ", by a second factor"
	}
	return h.o.DB.Update(ctx, func(tx *kv.Tx) error {
		_, err := h.note(ctx, tx, AuditEntry{
			Verb: "sign in", Kind: OfAccount, Object: a.Addresses[0].String(), Account: uint32(a.ID), Note: what, Stays: "it has happened; the session can be ended on the page of the account",
		})
		return err
	})
}
