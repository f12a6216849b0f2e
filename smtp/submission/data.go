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
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Data takes the message: header checked and completed, then one record for mailboxes here and the queue.
// It returns after the record is durable.
func (s *session) Data(r io.Reader) error {
	id := s.d.o.Queue.NewID()
	s.message = draft{id: id}
	arrival, err := s.receive(r)
	if err != nil {
		return fullDisk(err)
	}
	e := s.envelope
	e.UTF8 = e.UTF8 || s.message.utf8
	if _, err := s.d.o.Local.Deliver(s.ctx, local.Message{ID: id, Envelope: e, To: s.to, Arrival: arrival}); err != nil {
		return fullDisk(err)
	}
	s.receipt = "queued as " + id
	return nil
}

// receive brings the message into the store. What leaves the house passes a spool, because only at its end it is known whether
// it has to be converted to 7 bit; what stays goes straight in.
func (s *session) receive(r io.Reader) (*store.Arrival, error) {
	if !s.rcptFrom && !s.leaves() {
		w, err := s.d.o.Store.NewMessage(s.ctx, s.size)
		if err != nil {
			return nil, err
		}
		if err := s.pass(w, r); err != nil {
			w.Discard()
			return nil, err
		}
		return w.Finish()
	}
	s.spool.reset(s.d.o.Temp)
	defer s.spool.close()
	scan := message.NewScanner()
	if err := s.pass(io.MultiWriter(&s.spool, scan), r); err != nil {
		return nil, err
	}
	sum := scan.Finish()
	w, err := s.d.o.Store.NewMessage(s.ctx, sum.Size)
	if err != nil {
		return nil, err
	}
	if err := s.convert(w, sum); err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
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
		s.envelope.Body = mail.Body7Bit
		return s.spool.copyTo(w)
	}
	done, err := message.Downgrade(w, &s.spool, sum.Root)
	if errors.Is(err, message.ErrHeaderSize) {
		return smtp.Refuse(552, gosmtp.EnhancedCode{5, 3, 4}, "The header of a part of the message is too large")
	}
	if err != nil {
		return err
	}
	s.envelope.Body = mail.Body8BitMIME
	if done.SevenBit() {
		s.envelope.Body = mail.Body7Bit
	}
	return nil
}

// fullDisk translates the store's errors that a client can do something about: come back later.
func fullDisk(err error) error {
	if errors.Is(err, kv.ErrFull) {
		return smtp.Refuse(452, gosmtp.EnhancedCode{4, 3, 1}, "No space on the mail server, try again later")
	}
	return err
}
