package inbound

import (
	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// onlyList is the list that a recipient leads to, when that is all.
func onlyList(r auth.Route) (auth.ListMail, bool) {
	if len(r.Lists) != 1 || len(r.Local)+len(r.Remote) > 0 {
		return auth.ListMail{}, false
	}
	return r.Lists[0], true
}

// listRecipient refuses at RCPT what a list's address never takes.
func (s *session) listRecipient(r auth.Route) error {
	m, ok := onlyList(r)
	if !ok || s.d.o.Lists == nil {
		return nil
	}
	return s.d.o.Lists.Recipient(s.ctx, s.Envelope.From, s.Size, m)
}

// listsRefuse refuses a message that is for lists only, and that one of them does not take, while its sender listens. Where others get
// it too, the list says no later, in a report.
func (s *session) listsRefuse(header []byte) error {
	return s.eachPost(func(l auth.List) error { return s.d.o.Lists.Refuse(s.ctx, l, header) })
}

// listsRefuseForged is listsRefuse for what the checks have found.
func (s *session) listsRefuseForged(found mailauth.DMARC) error {
	return s.eachPost(func(l auth.List) error { return s.d.o.Lists.RefuseForged(s.ctx, l, found, s.Envelope) })
}

// eachPost asks all lists that the message is for, when it is for nobody else; the first refusal counts.
func (s *session) eachPost(ask func(auth.List) error) error {
	if s.d.o.Lists == nil {
		return nil
	}
	var refused error
	for _, to := range s.To {
		m, ok := onlyList(to.Route)
		if !ok || m.Role != auth.ListPost {
			return nil
		}
		if err := ask(m.List); err != nil && refused == nil {
			refused = err
		}
	}
	return refused
}
