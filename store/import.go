package store

import "context"

// ImportMessage is a message that comes from another server, with what clients know it by.
type ImportMessage struct {
	AppendMessage
	UID UID // what it had there; 0: the next one
}

// Import appends the messages, all or none, as Append does, and keeps the UIDs given where they are above all that the
// mailbox has had (ErrUID otherwise). It is made for many messages at once. The arrivals are used up.
func (s *Store) Import(ctx context.Context, mailbox MailboxID, msgs []ImportMessage) ([]UID, error) {
	panic("unbuilt")
}

// AdoptUIDs gives a mailbox that never had a message the UIDVALIDITY it has on another server, and at least that UIDNEXT
// (RFC 9051 section 2.3.1.1): clients that know it there download nothing again.
func (s *Store) AdoptUIDs(ctx context.Context, mailbox MailboxID, uidValidity uint32, next UID) error {
	panic("unbuilt")
}
