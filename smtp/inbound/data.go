package inbound

import (
	"bytes"
	"io"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
)

// Data takes the message: trace lines in front, into the store while it arrives, one record for all mailboxes and
// everything that leaves again. It returns after the record is durable.
func (s *session) Data(r io.Reader) error {
	id := s.d.o.Queue.NewID()
	s.Telling(id)
	arrival, err := s.receive(r, id)
	if err != nil {
		err = local.FullDisk(err)
	} else {
		err = s.Deliver(s.ctx, id, arrival)
	}
	if err == nil {
		s.delivered()
	}
	s.Refused(err)
	return err
}

func (s *session) receive(r io.Reader, id string) (*store.Arrival, error) {
	w, err := s.d.o.Store.NewMessage(s.ctx, s.Size)
	if err != nil {
		return nil, err
	}
	in := &intake{Writer: w, check: s.check(), sight: s.sight()}
	if in.check != nil {
		defer in.check.Discard()
	}
	if in.sight != nil {
		defer in.sight.Discard()
	}
	s.head.Reset(in, func(header []byte) error { return s.begin(in, id, header) })
	if _, err = io.Copy(&s.head, r); err == nil {
		err = s.head.Close()
	}
	var front []byte
	if err == nil {
		front, err = s.front(in)
	}
	if err == nil {
		err = w.Prepend(front)
	}
	if err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
}

// begin writes the trace and the header as it came (RFC 5321 section 4.4), unless the message goes round in circles.
func (s *session) begin(in *intake, id string, header []byte) error {
	s.Header(header)
	if err := s.loop(header); err != nil {
		return err
	}
	s.lookForReport(header)
	if in.check != nil {
		in.check.Header(bytes.Clone(header))
	}
	if in.sight != nil {
		in.sight.Write(header)
		in.sight.Write([]byte("\r\n"))
	}
	if in.check != nil || in.sight != nil {
		header = s.withoutForged(header)
	}
	t := smtp.Trace{Peer: s.peer, Hostname: s.d.o.Hostname, ID: id, UTF8: s.Envelope.UTF8, Time: s.d.o.Now()}
	if len(s.To) == 1 { // with more, the line would tell one recipient of the others
		t.For = s.To[0].Address.String()
	}
	// The empty line is written even where the message had none, so that no line of its body is read as a field of ours.
	b := append(append(t.Append(make([]byte, 0, 512+len(header))), smtp.WithoutMboxLine(header)...), "\r\n"...)
	s.seal(in, b)
	_, err := in.Write(b)
	in.body = true
	return err
}

// front is what stands before all else: Return-Path, and what is known only when the message has come whole.
func (s *session) front(in *intake) ([]byte, error) {
	results, err := s.results(in)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 512+len(results))
	b = append(b, "Return-Path: <"...)
	b = append(b, s.Envelope.From.String()...)
	b = append(b, ">\r\n"...)
	if len(s.To) == 1 {
		b = append(b, "Delivered-To: "...)
		b = append(b, s.To[0].Address.String()...)
		b = append(b, "\r\n"...)
	}
	return append(b, results...), nil
}

// loop refuses what has come by too often, or has been delivered to this very address before (RFC 5321 section 6.3).
func (s *session) loop(header []byte) error {
	hops := 0
	for f := range message.Fields(header) {
		switch {
		case f.Is("Received"):
			hops++
		case f.Is("Delivered-To") && s.addressed(f.Unfolded()):
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
