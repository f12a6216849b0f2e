package imap

import (
	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/store"
)

// The Outbox shows what waits to be sent. It is a mailbox as any other, but that mail comes into it only by submission, and that whoever
// deletes a message there, or moves it away, takes it back, as long as it has not been sent (package store, outbox.go). There is no
// attribute for it in RFC 6154, so LIST shows none.

const (
	textOutboxInto = "mail comes into this mailbox when it is submitted and waits to be sent"
	textOutboxFull = "messages in it wait to be sent: delete them or move them to Drafts first"
	textTooLate    = "too late: it has been sent, and is in Sent now"
)

// intoOutbox refuses messages that would not be sent and look as if.
func intoOutbox(m store.Mailbox) error {
	if m.Use&store.UseOutbox != 0 {
		return no(goimap.ResponseCodeCannot, textOutboxInto)
	}
	return nil
}

// tooLate says that none of the messages named is there any more (RFC 5530 section 3, EXPUNGEISSUED); in other mailboxes that is no news.
func (c *conn) tooLate() error {
	if c.box != nil && c.box.outbox {
		return no("EXPUNGEISSUED", textTooLate)
	}
	return nil
}
