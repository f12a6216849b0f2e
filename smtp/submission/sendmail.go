package submission

import (
	"context"
	"errors"
	"io"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/wire"
	"github.com/posthouse-mail/posthouse/smtp"
)

// maxLocalRecipients is how many recipients a program of this machine may name.
const maxLocalRecipients = 1000

// LocalMessage is what a program of this machine submits; the operating system vouches for it.
type LocalMessage struct {
	From       mail.Address   // reverse path, and From where the message has none
	Null       bool           // the reverse path is <> (-f ""); From still completes the header
	Recipients []mail.Address // besides those of the header
	FromHeader bool           // To, Cc and Bcc name recipients too (-t)
	Name       string         // full name for a From that is added
	User       string         // who submits, for the trace
	House      bool           // it is the house's own: no limit counts it
}

// Local takes a message without a login (the sendmail command); its lines may end in LF. Errors are *gosmtp.SMTPError where the message is at fault.
func (d *Desk) Local(ctx context.Context, m LocalMessage, body io.Reader) (receipt string, err error) {
	s := d.session(ctx, smtp.Peer{ID: "local", Service: "sendmail", Hello: m.User, Extended: true})
	s.rcptFrom, s.fullName = m.FromHeader, m.Name
	defer s.Reset()
	s.who = sender{name: m.User, main: m.From, may: func(context.Context, mail.Address) (bool, error) { return true, nil }}
	if !m.Null {
		s.Envelope.From = m.From
	}
	if !m.House {
		if err := s.mayBegin(); err != nil {
			s.RefusedMail(s.Envelope.From, err)
			return "", err
		}
	}
	if len(m.Recipients) > maxLocalRecipients {
		return "", tooMany()
	}
	for _, a := range m.Recipients {
		if err := s.addRecipient(mail.Recipient{Address: a}); err != nil {
			s.RefusedRecipient(a.String(), err)
			return "", err
		}
	}
	err = s.Data(smtp.FixLines(body))
	if errors.Is(err, wire.ErrBareCR) {
		err = smtp.Refuse(550, [3]int{5, 6, 0}, "The message has a bare CR (a CR without LF)")
	}
	if err != nil {
		return "", err
	}
	return s.Receipt(), nil
}

func tooMany() error { return smtp.Refuse(452, [3]int{4, 5, 3}, "Too many recipients") }
