package inbound

import (
	"errors"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
)

// Rcpt takes recipients of this house. The directory knows addresses as they are, nothing is rewritten: a percent
// hack, a bang path or a quoted address inside a local part is just a name that nobody has here.
func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	err := s.rcpt(to, o)
	if err != nil {
		s.RefusedRecipient(to, err)
	}
	return err
}

func (s *session) rcpt(to string, o *gosmtp.RcptOptions) error {
	r, err := smtp.NewRecipient(to, o)
	if err != nil {
		return err
	}
	r.Address = s.atUs(r.Address)
	if route, ok, err := s.report(r.Address); ok || err != nil {
		if err != nil {
			return err
		}
		return s.Add(s.ctx, local.Recipient{Recipient: r, Route: route, Back: true})
	}
	route, err := s.d.o.Local.Resolve(s.ctx, r.Address)
	if errors.Is(err, auth.ErrNotLocal) {
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "This server does not relay for "+r.Address.String())
	}
	if err == nil {
		err = s.listRecipient(route)
	}
	if err != nil {
		return err
	}
	return s.Add(s.ctx, local.Recipient{Recipient: r, Route: route})
}

// report takes reports on mail that we forwarded, for its sender, and nothing else: the address says where they go, and must not be a
// way past our rules.
func (s *session) report(to mail.Address) (auth.Route, bool, error) {
	route, ok, err := s.d.o.Local.Report(s.ctx, to)
	switch {
	case errors.Is(err, local.ErrUnproven):
		return route, ok, smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "Nothing proved that the forwarded mail came from its sender, so that no report goes there: "+to.String())
	case errors.Is(err, local.ErrForwarding):
		return route, ok, smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, "This address is for reports on forwarded mail, and is too old or was changed: "+to.String())
	case ok && err == nil && !s.Envelope.From.IsNull():
		return route, ok, smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "This address takes reports (MAIL FROM:<>) only: "+to.String())
	}
	return route, ok, err
}

// atUs reads postmaster@[our address] as <Postmaster>, which always arrives (RFC 5321 section 4.5.1).
func (s *session) atUs(a mail.Address) mail.Address {
	literal, ok := strings.CutPrefix(string(a.Domain), "[")
	if !ok || !strings.EqualFold(a.Local, "postmaster") || !s.peer.Local.IsValid() {
		return a
	}
	literal = strings.TrimPrefix(strings.ToLower(strings.TrimSuffix(literal, "]")), "ipv6:")
	if literal == s.peer.Local.Addr().String() {
		return mail.Address{Local: a.Local}
	}
	return a
}

// postmaster reports an address that every domain has for its troubles.
func postmaster(a mail.Address) bool {
	return strings.EqualFold(a.Local, "postmaster") || strings.EqualFold(a.Local, "abuse")
}
