package store

import (
	"context"
	"iter"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Gone is a message that was expunged and can still come back (table x).
type Gone struct {
	Message
	Ref      uint64 // names it in its account, in the order of expunging
	Mailbox  MailboxID
	Name     string // of the mailbox, at that time
	Keywords []string
	Expunged time.Time
}

// Gone yields what the account has expunged and the store still keeps, oldest first, in pages (the slice is reused).
func (s *Store) Gone(ctx context.Context, id mail.AccountID) iter.Seq2[[]Gone, error] {
	panic("unbuilt")
}

// Undelete puts the messages back, all or none: into the mailbox named to, or, when to is empty, each into the one it was in, which is
// made again when it is gone. They get new uids; ids, dates, flags (without Deleted) and keywords stay. ErrOverQuota.
func (s *Store) Undelete(ctx context.Context, id mail.AccountID, refs []uint64, to string) (Copied, error) {
	panic("unbuilt")
}
