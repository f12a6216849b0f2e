package submission

import (
	"bytes"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store"
)

// signing is where a message that leaves goes: into the store, and through the signer of its author's domain. It is what the store
// gets that is signed: completed, and converted where it had to be (RFC 6376 section 5.3).
type signing struct {
	*store.Writer
	keys   []mailauth.SigningKey
	now    time.Time
	header []byte
	signer *mailauth.Signer // nil until the header is whole
}

var endOfHeader = []byte("\r\n\r\n")

func (w *signing) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err == nil && len(w.keys) > 0 {
		w.take(p)
	}
	return n, err
}

func (w *signing) take(p []byte) {
	if w.signer != nil {
		w.signer.Write(p)
		return
	}
	from := max(len(w.header)-len(endOfHeader)+1, 0)
	w.header = append(w.header, p...)
	i := bytes.Index(w.header[from:], endOfHeader)
	if i < 0 {
		return
	}
	end := from + i + 2
	w.signer = mailauth.NewSigner(w.header[:end:end], w.now, w.keys...)
	w.signer.Write(w.header[end+2:])
}

// fields are the signatures; none when nobody signs for the author.
func (w *signing) fields() ([]byte, error) {
	if w.signer == nil {
		return nil, nil
	}
	return w.signer.Sign()
}

// keys are those of the author's domain, else of the envelope sender's: receivers look for the author's (RFC 7489 section 3.1).
func (s *session) keys() []mailauth.SigningKey {
	if s.d.o.Keys == nil {
		return nil
	}
	for _, a := range append(s.message.from, s.Envelope.From) {
		keys, err := s.d.o.Keys(s.ctx, a.Domain)
		if err != nil { // an unsigned message is better than none
			s.d.o.Logger.ErrorContext(s.ctx, logx.MailUnsigned, "id", s.message.id, "domain", a.Domain, "error", err)
		}
		if len(keys) > 0 {
			return keys
		}
	}
	return nil
}

// front is what stands before all else: Return-Path for the mailboxes here (RFC 5321 section 4.4; the remote carrier leaves a
// leading one out of what it sends), then the signatures.
func (s *session) front(signatures []byte) []byte {
	b := make([]byte, 0, 128+len(signatures))
	b = append(b, "Return-Path: <"...)
	b = append(b, s.Envelope.From.String()...)
	b = append(b, ">\r\n"...)
	return append(b, signatures...)
}
