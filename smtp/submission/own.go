package submission

import (
	"io"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
)

// Hold is HOLDFOR or HOLDUNTIL (RFC 4865); smtp has looked at them.
func (s *session) Hold(r mail.Release) { s.Envelope.Release = r }

// plan finds out when the message is sent and what its sender keeps of it: the account's settings, else the house's. Mail from <> is made
// by programs (read receipts): nobody looks for it in Sent, and nobody takes it back. What is scheduled from <> stands in the Outbox like
// the rest: else it would wait in the queue past the account's quota, and past whoever looks at the Outbox of a stolen account.
func (s *session) plan() error {
	now := s.d.o.Now()
	s.Own, s.message.blind = local.Own{}, nil
	if s.who.id != 0 && !s.Envelope.From.IsNull() {
		set, err := s.d.o.Directory.Settings(s.ctx, s.who.id)
		if err != nil {
			return err
		}
		s.Own = local.Own{Account: s.who.id, Copy: s.d.o.SentCopy && set.SentCopy == 0 || set.SentCopy > 0}
		hold := set.Hold
		if hold == 0 {
			hold = s.d.o.Hold
		}
		if until := now.Add(hold); hold > 0 && s.Envelope.Release.At.Before(until) {
			s.Envelope.Release.At = until
		}
	}
	if r := &s.Envelope.Release; !r.At.After(now) {
		*r = mail.Release{}
	} else if s.who.id != 0 {
		s.Own.Account = s.who.id
	}
	return nil
}

// keeps reports whether the sender gets a copy, in Sent or until then in the Outbox.
func (s *session) keeps() bool {
	return s.Own.Account != 0 && (s.Own.Copy || !s.Envelope.Release.At.IsZero())
}

// maxBlind is how many blind recipients the sender's copy names.
const maxBlind = 1000

// blindField is what the sender's copy has in front and the others' have not: the Bcc fields as they were written, and whoever gets the
// message without being named in its header, because many clients leave Bcc out of what they send. nil: both are the same.
func (s *session) blindField(header []byte) []byte {
	named := map[string]bool{}
	for f := range message.Fields(header) {
		for _, name := range []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"} {
			if !f.Is(name) {
				continue
			}
			for _, a := range message.ParseAddresses(f.Unfolded()) {
				if p, err := parse(a); err == nil {
					named[p.Key()] = true
				}
			}
		}
	}
	b := message.FieldFilter{Names: []string{"Bcc", "Resent-Bcc"}}.Append(nil, header)
	var add []message.Address
	for _, to := range s.To {
		if key := to.Address.Key(); !named[key] && len(add) < maxBlind {
			named[key] = true
			add = append(add, message.Address{Mailbox: to.Address.Local, Host: string(to.Address.Domain)})
		}
	}
	if len(add) == 0 {
		return b
	}
	var w message.HeaderWriter
	w.Addresses("Bcc", add...)
	return append(b, w.Bytes()...)
}

// twin is the sender's copy while it is written, where it has fields of its own.
type twin struct{ w *store.Writer }

// begin starts it, its own fields first; without any there is no copy beside the message itself.
func (t *twin) begin(s *session, size int64) error {
	if len(s.message.blind) == 0 {
		return nil
	}
	w, err := s.d.o.Store.NewMessage(s.ctx, size)
	if err != nil {
		return err
	}
	t.w = w
	_, err = w.Write(s.message.blind)
	return err
}

// beside writes to it what goes to w.
func (t *twin) beside(w io.Writer) io.Writer {
	if t.w == nil {
		return w
	}
	return io.MultiWriter(w, t.w)
}

func (t *twin) finish(s *session, front []byte) error {
	if t.w == nil {
		return nil
	}
	if err := t.w.Prepend(front); err != nil {
		return err
	}
	a, err := t.w.Finish()
	if err != nil {
		return err
	}
	t.w, s.Own.Arrival = nil, a
	return nil
}

// discard gives it up, unless it is finished.
func (t *twin) discard() {
	if t.w != nil {
		t.w.Discard()
		t.w = nil
	}
}
