package submission

import (
	"errors"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
)

// Mail checks that the sender may use the reverse path. The null one is everybody's: read receipts need it (RFC 8098 section 3).
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	s.Reset()
	if s.who.may == nil {
		return smtp.Refuse(530, gosmtp.EnhancedCode{5, 7, 0}, "Log in first (AUTH)")
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
	s.envelope = e
	if o != nil {
		s.size = o.Size
	}
	return nil
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
	if err != nil {
		return err
	}
	return s.addRecipient(r)
}

func (s *session) addRecipient(r mail.Recipient) error {
	route, err := s.d.o.Directory.Resolve(s.ctx, r.Address)
	switch {
	case errors.Is(err, auth.ErrNotLocal):
		route = auth.Route{}
	case errors.Is(err, auth.ErrNoAddress):
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, "No such address here: "+r.Address.String())
	case err != nil:
		return err
	}
	if s.d.o.Across && r.Address.Domain != "" && r.Address.Domain != s.envelope.From.Domain {
		route = auth.Route{} // it exists; its mail leaves and comes back by MX
	}
	if err := s.reserve(route); err != nil {
		return err
	}
	s.to = append(s.to, local.Recipient{Recipient: r, Route: route})
	return nil
}

// reserve keeps room in the mailboxes here. A full one refuses, unless an alias leads to others as well.
func (s *session) reserve(route auth.Route) error {
	size := s.size
	if size <= 0 {
		size = s.d.o.MaxSize
	}
	var full error
	taken := len(route.Remote)
	for _, d := range route.Local {
		if s.holds(d.Account) {
			taken++
			continue
		}
		quota, err := s.d.o.Store.Reserve(s.ctx, d.Account, size)
		switch {
		case errors.Is(err, store.ErrOverQuota):
			full = smtp.Refuse(452, gosmtp.EnhancedCode{4, 2, 2}, "The mailbox is full")
		case err != nil:
			return err
		default:
			taken++
			s.held = append(s.held, held{d.Account, quota})
		}
	}
	if taken > 0 {
		return nil
	}
	return full
}

func (s *session) holds(id mail.AccountID) bool {
	for _, h := range s.held {
		if h.account == id {
			return true
		}
	}
	return false
}

// leaves reports whether any recipient is outside.
func (s *session) leaves() bool {
	for _, t := range s.to {
		if len(t.Route.Remote) > 0 || len(t.Route.Local) == 0 {
			return true
		}
	}
	return false
}
