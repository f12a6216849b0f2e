package auth

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Secret is what an account's password is compared with: for an account that is made again from a backup, whose owner keeps
// his password.
func (d *Directory) Secret(ctx context.Context, id mail.AccountID) (s Secret, err error) {
	err = d.db.View(ctx, func(tx *kv.Tx) error {
		r, err := findRecord(tx, id)
		if err == nil {
			s = r.Secret
		}
		return err
	})
	return s, err
}
