package submission

import (
	"errors"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
)

// Mail checks that the sender may use the reverse path. The null one is everybody's: read receipts need it (RFC 8098 section 3).
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	if s.who.may == nil {
		return smtp.Refuse(530, gosmtp.EnhancedCode{5, 7, 0}, "Log in first (AUTH)")
	}
	if err := s.standing(); err != nil {
		return err
	}
	e, err := smtp.NewEnvelope(from, o)
	if err != nil {
		return err
	}
	if !e.From.IsNull() {
		if err := s.maySend(e.From, "MAIL FROM"); err != nil {
			return err
		}
	}
	if err := s.mayBegin(); err != nil {
		s.RefusedMail(e.From, err)
		return err
	}
	return s.Begin(e, o)
}

// maySend refuses an address that the sender may not use, and says where it stands.
func (s *session) maySend(a mail.Address, where string) error {
	ok, err := s.who.may(s.ctx, a)
	if err != nil {
		return err
	}
	if !ok {
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, where+": "+s.who.name+" may not send as "+a.String())
	}
	return nil
}

// Rcpt takes every recipient that may exist: an address of ours that does not is refused at once.
func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	r, err := smtp.NewRecipient(to, o)
	if err == nil {
		err = s.addRecipient(r)
	}
	if err != nil {
		s.RefusedRecipient(to, err)
	}
	return err
}

func (s *session) addRecipient(r mail.Recipient) error {
	route, err := s.d.o.Local.Resolve(s.ctx, r.Address)
	if err != nil && !errors.Is(err, auth.ErrNotLocal) { // a stranger's has no route: it leads out
		return err
	}
	if err != nil {
		if err := s.outside(r.Address); err != nil {
			return err
		}
	}
	if s.d.o.Across && r.Address.Domain != "" && r.Address.Domain != s.Envelope.From.Domain {
		route = auth.Route{} // it exists; its mail leaves and comes back by MX
	}
	return s.Add(s.ctx, local.Recipient{Recipient: r, Route: route})
}

// leaves reports whether any recipient is outside.
func (s *session) leaves() bool {
	for _, t := range s.To {
		if len(t.Route.Remote) > 0 || len(t.Route.Local) == 0 {
			return true
		}
	}
	return false
}
