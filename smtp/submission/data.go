package submission

import (
	"errors"
	"io"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
)

// Data takes the message: header checked and completed, then one record for mailboxes here and the queue.
// It returns after the record is durable.
func (s *session) Data(r io.Reader) error {
	id := s.d.o.Queue.NewID()
	s.message = draft{id: id}
	s.telling(id)
	var arrival *store.Arrival
	err := s.plan()
	if err == nil {
		arrival, err = s.receive(r)
	}
	s.copy.discard()
	if err != nil {
		err = local.FullDisk(err)
	} else {
		s.Envelope.UTF8 = s.Envelope.UTF8 || s.message.utf8
		err = s.deliver(id, arrival)
	}
	if err == nil {
		s.wrote()
	}
	s.Refused(err)
	return err
}

// wrote tells whom the account writes to: their answers are no junk. Whom only its program answers, because he asked for a receipt or wrote
// in the holidays, is a stranger still.
func (s *session) wrote() {
	if s.d.o.Wrote == nil || s.who.id == 0 || s.message.machine || s.Envelope.From.IsNull() {
		return
	}
	to := make([]mail.Address, len(s.To))
	for i := range s.To {
		to[i] = s.To[i].Address
	}
	s.d.o.Wrote(s.ctx, s.who.id, s.message.name, to)
}

// receive brings the message into the store. What leaves the house passes a spool, because only at its end it is known whether
// it has to be converted to 7 bit; what stays goes straight in, unless somebody looks at it first.
func (s *session) receive(r io.Reader) (*store.Arrival, error) {
	if s.straight() {
		w, err := s.d.o.Store.NewMessage(s.ctx, s.Size)
		if err != nil {
			return nil, err
		}
		if err = s.pass(w, r); err == nil {
			err = s.fronts(w, nil)
		}
		if err != nil {
			w.Discard()
			return nil, err
		}
		return w.Finish()
	}
	s.spool.Reset(s.d.o.Temp)
	defer s.spool.Close()
	scan := message.NewScanner()
	if err := s.pass(io.MultiWriter(&s.spool, scan), r); err != nil {
		return nil, err
	}
	sum := scan.Finish()
	if err := s.scan(); err != nil {
		return nil, err
	}
	w, err := s.d.o.Store.NewMessage(s.ctx, sum.Size)
	if err != nil {
		return nil, err
	}
	if err = s.copy.begin(s, sum.Size); err == nil {
		err = s.sign(w, sum)
	}
	if err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
}

// sign writes the spooled message as it leaves, its signatures in front.
func (s *session) sign(w *store.Writer, sum *message.Summary) error {
	if s.stays() { // looked at, and no more
		if err := s.spool.CopyTo(s.copy.beside(w)); err != nil {
			return err
		}
		return s.fronts(w, nil)
	}
	out := &signing{Writer: w, keys: s.keys(), now: s.d.o.Now()}
	if err := s.convert(s.copy.beside(out), sum); err != nil {
		return err
	}
	fields, err := out.fields()
	if err != nil {
		return err
	}
	if len(fields) > 0 {
		s.signed(out.keys)
	}
	return s.fronts(w, fields)
}

// fronts puts in front of the message, and of its sender's copy, what stands there.
func (s *session) fronts(w *store.Writer, signatures []byte) error {
	front := s.front(signatures)
	if err := w.Prepend(front); err != nil {
		return err
	}
	return s.copy.finish(s, front)
}

// pass streams r into w through the header desk.
func (s *session) pass(w io.Writer, r io.Reader) error {
	s.head.Reset(w, func(header []byte) error { return s.begin(w, header) })
	if _, err := io.Copy(&s.head, r); err != nil {
		return err
	}
	return s.head.Close()
}

// convert writes the spooled message, in 7 bit where that can be: not every host on the way takes 8 bit, and the carrier never
// changes a message, because that would break its signature (RFC 6376 section 5.3).
func (s *session) convert(w io.Writer, sum *message.Summary) error {
	if !sum.Has8Bit && !sum.LongLine {
		s.Envelope.Body = mail.Body7Bit
		return s.spool.CopyTo(w)
	}
	done, err := message.Downgrade(w, &s.spool, sum.Root)
	if errors.Is(err, message.ErrHeaderSize) {
		return smtp.Refuse(552, gosmtp.EnhancedCode{5, 3, 4}, "The header of a part of the message is too large")
	}
	if err != nil {
		return err
	}
	s.Envelope.Body = mail.Body8BitMIME
	if done.SevenBit() {
		s.Envelope.Body = mail.Body7Bit
	}
	return nil
}
