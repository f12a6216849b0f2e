package submission

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/wire"
	"github.com/posthouse-mail/posthouse/smtp"
)

// Handed is a message that a program hands in over the HTTP API in the name of an account.
type Handed struct {
	Identity   auth.Identity // proved by a token
	Remote     netip.Addr    // from where
	From       mail.Address  // envelope sender; zero: the account's main address
	Recipients []mail.Address
	FromHeader bool      // To, Cc and Bcc name recipients too
	At         time.Time // when it is to be sent; zero: now
}

// Hand takes a message of an account; its lines may end in LF. The answer is the id of its story and its Message-ID, once the
// message is on stable storage. Errors are as those of Local.
func (d *Desk) Hand(ctx context.Context, h Handed, body io.Reader) (id, messageID string, err error) {
	s := d.session(ctx, smtp.Peer{ID: "api", Service: "api", Hello: "api", Extended: true, Remote: netip.AddrPortFrom(h.Remote, 0)})
	s.rcptFrom = h.FromHeader
	defer s.Reset()
	s.proved(h.Identity)
	s.Envelope.From = h.From
	if h.From.IsNull() {
		s.Envelope.From = h.Identity.Main
	}
	err = s.standing()
	if err == nil {
		err = s.maySend(s.Envelope.From, "from")
	}
	if err == nil {
		err = s.mayBegin()
	}
	if err != nil {
		s.RefusedMail(s.Envelope.From, err)
		return "", "", err
	}
	if !h.At.IsZero() {
		s.Hold(mail.Release{At: h.At, Asked: "until;" + h.At.UTC().Format(time.RFC3339)})
	}
	if len(h.Recipients) > maxLocalRecipients {
		return "", "", tooMany()
	}
	for _, a := range h.Recipients {
		if err := s.addRecipient(mail.Recipient{Address: a}); err != nil {
			s.RefusedRecipient(a.String(), err)
			return "", "", err
		}
	}
	err = s.Data(smtp.FixLines(body))
	if errors.Is(err, wire.ErrBareCR) {
		err = smtp.Refuse(550, [3]int{5, 6, 0}, "The message has a bare CR (a CR without LF)")
	}
	if err != nil {
		return "", "", err
	}
	return s.message.id, s.message.name, nil
}
