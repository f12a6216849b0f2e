package inbound

import (
	"errors"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
)

// Rcpt takes recipients of this house. The directory knows addresses as they are, nothing is rewritten: a percent
// hack, a bang path or a quoted address inside a local part is just a name that nobody has here.
func (s *session) Rcpt(to string, o *gosmtp.RcptOptions) error {
	r, err := smtp.NewRecipient(to, o)
	if err != nil {
		return err
	}
	r.Address = s.postmaster(r.Address)
	route, err := s.d.o.Directory.Resolve(s.ctx, r.Address)
	switch {
	case errors.Is(err, auth.ErrNotLocal):
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "This server does not relay for "+r.Address.String())
	case errors.Is(err, auth.ErrNoAddress):
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, "No such address here: "+r.Address.String())
	case err != nil:
		return err
	}
	if err := s.reserve(route); err != nil {
		return err
	}
	s.to = append(s.to, local.Recipient{Recipient: r, Route: route})
	return nil
}

// postmaster reads postmaster@[our address] as <Postmaster>, which always arrives (RFC 5321 section 4.5.1).
func (s *session) postmaster(a mail.Address) mail.Address {
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

// reserve keeps room for the message in the accounts that the recipient leads to. A full one refuses, unless an alias leads to others
// as well: they are not made to wait for it, and its copy overshoots.
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
			full = s.fullBox(d.Account, size)
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

// fullBox tells a mailbox that is full now from a message that can never fit.
func (s *session) fullBox(id mail.AccountID, size int64) error {
	u, err := s.d.o.Store.Usage(s.ctx, id)
	if err != nil {
		return err
	}
	if s.size > 0 && u.Limit.Bytes > 0 && uint64(size) > u.Limit.Bytes {
		return smtp.Refuse(552, gosmtp.EnhancedCode{5, 2, 2}, "The message is larger than the mailbox")
	}
	return smtp.Refuse(452, gosmtp.EnhancedCode{4, 2, 2}, "The mailbox is full")
}

func (s *session) holds(id mail.AccountID) bool {
	for _, h := range s.held {
		if h.account == id {
			return true
		}
	}
	return false
}
