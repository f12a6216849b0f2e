package submission

import (
	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
)

// maxAuthors is how many addresses From may name: what is checked must be all there is.
const maxAuthors = 100

// authors reads the addresses of From or Sender, all of which the sender must be allowed to use.
func (s *session) authors(value, field string) ([]mail.Address, error) {
	refuse := func(text string) error { return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, field+text) }
	if !oneReading(value) {
		return nil, refuse(" is not a list of addresses that every reader understands alike")
	}
	var all []mail.Address
	for _, a := range message.ParseAddresses(value) {
		if a.Host == "" { // begin or end of a group
			continue
		}
		parsed, err := parse(a)
		if err != nil {
			return nil, refuse(": " + a.Mailbox + "@" + a.Host + " is no address")
		}
		if len(all) == maxAuthors {
			return nil, refuse(" has too many addresses")
		}
		if err := s.maySend(parsed, field); err != nil {
			return nil, err
		}
		all = append(all, parsed)
	}
	if len(all) == 0 {
		return nil, refuse(" has no address")
	}
	return all, nil
}

// parse reads an address of a header, whose local part may stand there with or without its quotes.
func parse(a message.Address) (mail.Address, error) {
	if p, err := mail.ParseAddress(a.Mailbox + "@" + a.Host); err == nil {
		return p, nil
	}
	d, err := mail.ParseDomain(a.Host)
	if err != nil {
		return mail.Address{}, err
	}
	return mail.ParseAddress(mail.Address{Local: a.Mailbox, Domain: d}.String())
}

// oneReading reports whether a list of addresses is so clear that no reader can find another address in it than we check: message's
// parser bears what is broken by leaving some of it out, and another one may leave out something else. Each element has one <> at the most
// and nothing with an "@" behind it, or one "@" without; quotes, comments and brackets are closed. A phrase in front of <> may be sloppy.
func oneReading(v string) bool {
	var quoted, angle, closed bool
	comments, ats := 0, 0
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '\\' && (quoted || comments > 0):
			i++
		case c == '\\':
			return false
		case quoted:
			quoted = c != '"'
		case c == '(':
			comments++
		case c == ')' && comments > 0:
			comments--
		case comments > 0:
		case c == '"':
			quoted = true
		case c == '<':
			if angle || closed {
				return false
			}
			angle, ats = true, 0
		case c == '>':
			if !angle || ats != 1 {
				return false
			}
			angle, closed, ats = false, true, 0
		case c == '@':
			if ats++; closed {
				return false
			}
		case c == ':':
			if angle || closed || ats > 0 {
				return false
			}
		case c == ',' || c == ';':
			if angle || ats > 1 {
				return false
			}
			closed, ats = false, 0
		}
	}
	return !quoted && !angle && comments == 0 && ats <= 1
}
