package submission

import (
	"io"
	"strings"
	"unicode/utf8"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/store"
)

// draft is what the header of the message in hand told.
type draft struct {
	id        string
	from      []mail.Address
	fromCount int
	sender    bool
	date      bool
	messageID bool
	name      string // its Message-ID
	hops      int
	head      int    // octets of what was written of it, with the empty line
	blind     []byte // what only the sender's copy has in front
	utf8      bool   // the header has octets over 127
	machine   bool   // a program wrote it by itself
}

// dropped are fields that a submitted message may carry and nobody may see: blind copies (RFC 5322 section 3.6.3), and the trace of a
// delivery that has not been made yet (RFC 5321 section 4.4).
func dropped() message.FieldFilter {
	return message.FieldFilter{Names: []string{"Bcc", "Resent-Bcc", "Return-Path"}, Not: true}
}

// begin checks the header, completes it (RFC 6409 section 8) and writes it.
func (s *session) begin(w io.Writer, header []byte) error {
	if err := s.read(header); err != nil {
		return err
	}
	if err := s.listsRefuse(header); err != nil {
		return err
	}
	m := &s.message
	now := s.d.o.Now()
	t := smtp.Trace{Peer: s.peer, Hostname: s.d.o.Hostname, ID: m.id, UTF8: s.Envelope.UTF8, Authed: s.who.authed, Hide: s.d.o.HideClient, Time: now}
	if len(s.To) == 1 {
		t.For = s.To[0].Address.String()
	}
	b := t.Append(make([]byte, 0, 768+len(header)))
	var add message.HeaderWriter
	from := s.who.main
	if m.fromCount == 0 {
		if !s.Envelope.From.IsNull() {
			from = s.Envelope.From
		}
		add.Addresses("From", message.Address{Name: s.fullName, Mailbox: from.Local, Host: string(from.Domain)})
		m.from = append(m.from, from)
	} else if len(m.from) > 0 {
		from = m.from[0]
	}
	if len(m.from) > 1 && !m.sender { // RFC 5322 section 3.6.2
		add.Addresses("Sender", message.Address{Mailbox: s.who.main.Local, Host: string(s.who.main.Domain)})
	}
	if !m.date {
		add.Field("Date", message.FormatDate(now))
	}
	if !m.messageID {
		domain := string(from.Domain)
		if domain == "" || domain[0] == '[' {
			domain = s.d.o.Hostname
		}
		m.name = message.NewMessageID(domain)
		add.Field("Message-ID", m.name)
	}
	s.Header(header)
	s.Header(add.Bytes())
	b = append(b, add.Bytes()...)
	b = dropped().Append(b, smtp.WithoutMboxLine(header))
	b = append(b, "\r\n"...)
	if s.keeps() {
		m.blind = s.blindField(header)
	}
	if straight, ok := w.(*store.Writer); ok { // not spooled: both forms are written at once
		if err := s.copy.begin(s, s.Size); err != nil {
			return err
		}
		w = s.copy.beside(straight)
		s.head.W = w
	}
	m.head = len(b)
	_, err := w.Write(b)
	return err
}

// read goes through the fields and refuses what the sender may not say.
func (s *session) read(header []byte) error {
	m := &s.message
	for _, c := range header {
		if c == 0 {
			return smtp.Refuse(550, gosmtp.EnhancedCode{5, 6, 0}, "The header has a NUL")
		}
		m.utf8 = m.utf8 || c > 0x7f
	}
	if m.utf8 && !utf8.Valid(header) {
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 6, 0}, "The header has octets that are not UTF-8")
	}
	for f := range message.Fields(header) {
		var err error
		switch {
		case f.Is("From"):
			m.fromCount++
			m.from, err = s.authors(f.Unfolded(), "From")
		case f.Is("Sender"):
			m.sender = true
			_, err = s.authors(f.Unfolded(), "Sender")
		case f.Is("Date"):
			m.date = true
		case f.Is("Message-ID"):
			m.name = strings.TrimSpace(f.Unfolded())
			m.messageID = m.name != ""
		case f.Is("Received"):
			m.hops++
		case f.Is("Auto-Submitted"), f.Is("Content-Type"):
			m.machine = m.machine || byMachine(f)
		case s.rcptFrom && (f.Is("To") || f.Is("Cc") || f.Is("Bcc")):
			err = s.namedIn(f.Unfolded())
		}
		if err != nil {
			return err
		}
	}
	switch {
	case m.fromCount > 1: // RFC 5322 section 3.6: two of them let two readers see two senders
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, "The message has more than one From field")
	case m.hops >= s.d.o.MaxHops:
		return smtp.Refuse(554, gosmtp.EnhancedCode{5, 4, 6}, "Mail loop: too many Received fields")
	case len(s.To) == 0:
		return smtp.Refuse(554, gosmtp.EnhancedCode{5, 5, 1}, "The message names no recipients")
	}
	return nil
}

// byMachine tells whether a field says that nobody has written the message (RFC 3834 section 5): an answer by itself, or a receipt that it
// was read (RFC 8098 section 3.1).
func byMachine(f message.Field) bool {
	v, _, _ := strings.Cut(strings.ToLower(f.Unfolded()), ";")
	v = strings.TrimSpace(v)
	if f.Is("Content-Type") {
		return v == "multipart/report"
	}
	return v != "" && v != "no"
}

// namedIn adds the recipients that a field names.
func (s *session) namedIn(value string) error {
	for _, a := range message.ParseAddresses(value) {
		if a.Host == "" {
			continue
		}
		p, err := parse(a)
		if err != nil {
			return smtp.Refuse(501, gosmtp.EnhancedCode{5, 1, 3}, a.Mailbox+"@"+a.Host+" is no address")
		}
		if len(s.To) >= maxLocalRecipients { // and not the first so many of them, silently
			return tooMany()
		}
		if err := s.addRecipient(mail.Recipient{Address: p}); err != nil {
			return err
		}
	}
	return nil
}
