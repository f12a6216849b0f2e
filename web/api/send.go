package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// Outgoing is a message that a program sends in the name of the account whose token it shows.
type Outgoing struct {
	Identity   auth.Identity
	Remote     netip.Addr
	From       mail.Address   // envelope sender; zero: the account's main address
	Recipients []mail.Address // none: those of To, Cc and Bcc
	At         time.Time      // zero: now
}

// Sent is the word of the house that a message is safe.
type Sent struct {
	ID        string `json:"id"`                   // of the message's story: GET /v1/send/{name}
	MessageID string `json:"message_id,omitempty"` // of its header
}

// SentStatus is what has become of a message that was sent.
type SentStatus struct {
	ID         string                  `json:"id"`
	MessageID  string                  `json:"message_id,omitempty"`
	At         time.Time               `json:"at"`
	Subject    string                  `json:"subject,omitempty"`
	Recipients []admin.TracedRecipient `json:"recipients"` // how it went with each
}

// sends is what programs send. The settings bound a message; its parts as JSON are a third larger.
func (s *Server) sends() {
	x := s.raw("POST /v1/send", ownSend, "Sends a message in the name of the account: as JSON, or as it is (message/rfc822).")
	x.asks("to", "array", "of a message/rfc822: envelope recipients; else those of its header").asks("from", "string", "of a message/rfc822: envelope sender, one of the account's addresses")
	x.asks("at", "string", "of a message/rfc822: when to send it (RFC 3339)")
	x.wants("Idempotency-Key", "up to 200 letters of your choice: the same request with the same key within a day is sent once")
	x.In, x.Status, x.slow = body{Type: typed[NewMail]().Type, Or: "message/rfc822"}, http.StatusAccepted, true
	x.gives(Sent{}).by(s.send)
	s.raw("GET /v1/send/{name}", ownSend, "Tells what has become of a message that the account has sent.").gives(SentStatus{}).by(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.sentStatus(r.Context(), r.PathValue("name"))
		s.answer(w, r, out, err)
	})
}

func (s *Server) send(w http.ResponseWriter, r *http.Request) {
	if s.o.Send == nil {
		s.answer(w, r, nil, &admin.Error{Class: admin.Unavailable, Message: "this house sends nothing that comes this way"})
		return
	}
	b, _ := bearerOf(r.Context())
	out := Outgoing{Identity: b.Identity, Remote: page.VisitOf(r.Context()).Remote}
	text, done, err := s.compose(w, r, &out)
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	defer done()
	sent, err := s.once.do(r.Context(), attempt{account: b.Identity.Account, key: r.Header.Get("Idempotency-Key"), what: fmt.Sprint(out.From, out.Recipients, out.At)}, text, func(text io.Reader) (Sent, error) {
		return s.o.Send(r.Context(), out, text)
	})
	if err == nil {
		w.Header().Set("Location", Path+"send/"+sent.ID)
	}
	s.answer(w, r, sent, tooLarge(err, s.o.MaxMessage))
}

// maxParts bounds a message that comes as JSON: it stands in memory. A larger one comes as message/rfc822, which streams.
const maxParts = 10 << 20

// compose is the message of a request, and what to do when it is sent.
func (s *Server) compose(w http.ResponseWriter, r *http.Request, out *Outgoing) (text io.Reader, done func(), err error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && media == "application/json":
		return s.composeJSON(w, r, out)
	case err == nil && media == "message/rfc822":
		if err := queried(r, out); err != nil {
			return nil, nil, err
		}
		return http.MaxBytesReader(w, r.Body, s.o.MaxMessage), func() {}, nil
	}
	return nil, nil, &denied{status: http.StatusUnsupportedMediaType, text: "a message comes as application/json or as message/rfc822; say which in Content-Type"}
}

// composeJSON makes a message of its parts. Its turn comes when all of it is here: who sends an octet a minute keeps nobody waiting.
func (s *Server) composeJSON(w http.ResponseWriter, r *http.Request, out *Outgoing) (text io.Reader, done func(), err error) {
	var spool smtp.Spool
	spool.Reset(s.o.Temp)
	defer spool.Close()
	if _, err := io.Copy(&spool, http.MaxBytesReader(w, r.Body, maxParts*4/3)); err != nil {
		return nil, nil, tooLarge(err, maxParts)
	}
	select { // two of them are what a small machine bears
	case s.composing <- struct{}{}:
		done = func() { <-s.composing }
	case <-r.Context().Done():
		return nil, nil, r.Context().Err()
	}
	var in NewMail
	if err = strictJSON(io.NewSectionReader(&spool, 0, spool.Size()), maxParts, &in); err == nil {
		err = in.envelope(out)
	}
	if err == nil {
		text, err = in.text()
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return text, done, nil
}

// tooLarge says so where that is what is wrong.
func tooLarge(err error, most int64) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &denied{status: http.StatusRequestEntityTooLarge, text: fmt.Sprintf("a message has up to %d octets here", most)}
	}
	return err
}

// queried reads the envelope of a message that comes as it is.
func queried(r *http.Request, out *Outgoing) (err error) {
	q := r.URL.Query()
	if from := q.Get("from"); from != "" {
		if out.From, err = oneAddress("from", from); err != nil {
			return err
		}
	}
	for _, to := range q["to"] {
		a, err := oneAddress("to", to)
		if err != nil {
			return err
		}
		out.Recipients = append(out.Recipients, a)
	}
	if at := q.Get("at"); at != "" {
		if out.At, err = time.Parse(time.RFC3339, at); err != nil {
			return &admin.Error{Class: admin.Invalid, Message: "at: write a time as 2026-11-22T14:00:00Z"}
		}
	}
	return nil
}

func oneAddress(where, text string) (mail.Address, error) {
	a, err := mail.ParseAddress(strings.TrimSpace(text))
	if err != nil {
		return mail.Address{}, &admin.Error{Class: admin.Invalid, Message: where + ": " + err.Error()}
	}
	return a, nil
}

// sentStatus is the story of a message, for the account that has sent it: what it was told by other hosts, and nothing of ours, such as
// where an alias or a forwarding of somebody else's leads.
func (s *Server) sentStatus(ctx context.Context, id string) (SentStatus, error) {
	user, err := ownerOf(ctx)
	if err != nil {
		return SentStatus{}, err
	}
	t, err := s.o.House.OwnStory(ctx, user, id)
	var known *admin.Error
	switch {
	case errors.As(err, &known) && known.Class == admin.Missing, err == nil && !t.Sent:
		return SentStatus{}, &admin.Error{Class: admin.Missing, Message: "nothing is known of " + id + ": the account has not sent it, or so long ago that it is forgotten"}
	case err != nil:
		return SentStatus{}, err
	}
	return SentStatus{ID: t.ID, MessageID: t.MessageID, At: t.At, Subject: t.Subject, Recipients: t.Outcome}, nil
}
