package store

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// PartFor is a part as Deliver logs it, for tests that bring the world out from under it.
func PartFor(account mail.AccountID, mailbox MailboxID, name string) kv.Part {
	p := mailPart{account: account, mailbox: mailbox, name: name, saved: 1}
	return kv.Part{Kind: partMail, Data: p.encode()}
}

// Purge returns when nothing of a dropped mailbox is left.
func (s *Store) Purge(ctx context.Context) error { return s.purgeAll(ctx) }

// MaxTombs is how many tombstones a mailbox keeps.
const MaxTombs = maxTombs
