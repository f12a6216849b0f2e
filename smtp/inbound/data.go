package inbound

import (
	"bytes"
	"io"

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
	if in.scan = s.waiting(); in.scan != nil {
		defer in.scan.forget()
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
	if err := s.listsRefuse(header); err != nil {
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
	t := smtp.Trace{Peer: s.peer, Hostname: s.d.o.Hostname, ID: id, UTF8: s.Envelope.UTF8, Time: s.d.o.Now()}
	if len(s.To) == 1 { // with more, the line would tell one recipient of the others
		t.For = s.To[0].Address.String()
	}
	in.body = true
	trace := t.Append(make([]byte, 0, 512+len(header)))
	if in.scan != nil {
		in.scan.id, in.scan.trace, in.scan.header = id, trace, bytes.Clone(header)
		return nil
	}
	return s.write(in, trace, header, nil)
}

// write begins the message in the store: the trace, the header, and the empty line even where the message had none, so that no line of
// its body is read as a field of ours. helpers are fields that programs of ours have added.
func (s *session) write(in *intake, trace, header []byte, helpers []string) error {
	if in.check != nil || in.sight != nil {
		header = s.withoutForged(header, helpers)
	}
	b := append(append(trace, smtp.WithoutMboxLine(header)...), "\r\n"...)
	s.seal(in, b)
	_, err := in.Writer.Write(b)
	return err
}

// front is what stands before all else: Return-Path, and what is known only when the message has come whole.
func (s *session) front(in *intake) ([]byte, error) {
	results, err := s.results(in)
	if err == nil {
		err = s.listsRefuseForged(in.author)
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 512+len(results))
	b = append(b, "Return-Path: <"...)
	b = append(b, s.Envelope.From.String()...)
	b = s.marks(append(b, ">\r\n"...))
	if len(s.To) == 1 {
		b = append(b, "Delivered-To: "...)
		b = append(b, s.To[0].Address.String()...)
		b = append(b, "\r\n"...)
	}
	return append(b, results...), nil
}
