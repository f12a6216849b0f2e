package inbound

import (
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
)

// loop refuses what has come by too often, or has been at this very address before (RFC 5321 section 6.3): Delivered-To says so where
// it was the only recipient, our marks where mail went on from it to somebody outside.
func (s *session) loop(header []byte) error {
	hops := 0
	for f := range message.Fields(header) {
		switch {
		case f.Is("Received"):
			hops++
		case f.Is("Delivered-To") && s.addressed(f.Unfolded()), f.Is(local.LoopField) && s.marked(f.Unfolded()):
			return smtp.Refuse(554, gosmtp.EnhancedCode{5, 4, 6}, "Mail loop: the message was delivered to this address before")
		}
	}
	if hops >= s.d.o.MaxHops {
		return smtp.Refuse(554, gosmtp.EnhancedCode{5, 4, 6}, "Mail loop: too many Received fields")
	}
	return nil
}

// addressed reports whether text is the address of the one recipient, for whom alone we write Delivered-To.
func (s *session) addressed(text string) bool {
	if len(s.To) != 1 {
		return false
	}
	a, err := mail.ParseAddress(strings.TrimSpace(text))
	return err == nil && a.Key() == s.To[0].Address.Key()
}

// marked reports whether text is the mark of a recipient whose mail goes on.
func (s *session) marked(text string) bool {
	text = strings.TrimSpace(text)
	for _, to := range s.To {
		if len(to.Route.Remote) > 0 && text != "" && text == s.d.o.Local.LoopMark(to.Address) {
			return true
		}
	}
	return false
}

// marks are the fields for several recipients of whom some lead outside.
func (s *session) marks(b []byte) []byte {
	if len(s.To) < 2 {
		return b
	}
	for _, to := range s.To {
		if mark := s.d.o.Local.LoopMark(to.Address); len(to.Route.Remote) > 0 && mark != "" {
			b = append(b, local.LoopField+": "+mark+"\r\n"...)
		}
	}
	return b
}
