package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// notebook is a desk that writes down what it is asked. What it refuses stands in the addresses.
type notebook struct {
	mu    sync.Mutex
	notes []string
	auth  bool
}

func (n *notebook) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.notes = append(n.notes, fmt.Sprintf(format, args...))
}

func (n *notebook) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.notes
	n.notes = nil
	return out
}

func (n *notebook) NewSession(_ context.Context, p Peer) (gosmtp.Session, error) {
	switch p.Hello {
	case "spammer.test":
		return nil, &gosmtp.SMTPError{Code: 550, EnhancedCode: code(5, 7, 1), Message: "Go away"}
	case "broken.test":
		return nil, errors.New("the disk is on fire")
	}
	s := &page{n: n, peer: p}
	if n.auth {
		return &authPage{s}, nil
	}
	return s, nil
}

// page is a session of a notebook.
type page struct {
	n    *notebook
	peer Peer
	user string
	to   []string
}

func (s *page) Reset()        { s.to = nil }
func (s *page) Logout() error { s.n.note("LOGOUT %s", s.peer.Hello); return nil }

func (s *page) Mail(from string, o *gosmtp.MailOptions) error {
	if strings.HasPrefix(from, "closed@") {
		return &gosmtp.SMTPError{Code: 421, EnhancedCode: code(4, 7, 0), Message: "Enough"}
	}
	if strings.HasPrefix(from, "two@") {
		return &gosmtp.SMTPError{Code: 550, Message: "one line\nand another \x07\xc3\xa9"}
	}
	who := ""
	if o.Auth != nil {
		who = fmt.Sprintf(" auth=%q", *o.Auth)
	}
	if o.RequireTLS {
		who += " requiretls"
	}
	s.n.note("MAIL %q size=%d body=%s utf8=%t ret=%s envid=%q%s", from, o.Size, o.Body, o.UTF8, o.Return, o.EnvelopeID, who)
	return nil
}

func (s *page) Rcpt(to string, o *gosmtp.RcptOptions) error {
	switch local, _, _ := strings.Cut(to, "@"); local {
	case "nobody":
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: code(5, 1, 1), Message: "No such user here"}
	case "broken":
		return errors.New("no such table")
	}
	s.n.note("RCPT %q notify=%v orcpt=%s;%s", to, o.Notify, o.OriginalRecipientType, o.OriginalRecipient)
	s.to = append(s.to, to)
	return nil
}

func (s *page) Data(r io.Reader) error {
	if len(s.to) > 0 && strings.HasPrefix(s.to[0], "early@") {
		return &gosmtp.SMTPError{Code: 452, EnhancedCode: code(4, 3, 1), Message: "Disk full"}
	}
	if len(s.to) > 0 && strings.HasPrefix(s.to[0], "panic@") {
		panic("desk")
	}
	var b bytes.Buffer
	_, err := io.Copy(&b, r)
	s.n.note("DATA %d %.60q err=%v", b.Len(), b.String(), err)
	if len(s.to) > 0 && strings.HasPrefix(s.to[0], "careless@") {
		return nil
	}
	return err
}

func (s *page) Receipt() string { return "queued as 1A2B" }

func (s *page) Hold(r mail.Release) {
	if !r.At.IsZero() {
		s.n.note("HOLD %s %q", r.At.UTC().Format(time.RFC3339), r.Asked)
	}
}

// authPage is a page that knows one user.
type authPage struct{ *page }

func (s *authPage) AuthMechanisms() []string {
	if s.peer.TLS == nil && s.peer.Hello != "trusted.test" {
		return nil
	}
	return []string{"PLAIN", "LOGIN"}
}

func (s *authPage) Auth(mechanism string) (gosasl.Server, error) {
	check := func(user, password string) error {
		if user != "alice" || password != "secret" {
			return errors.New("wrong")
		}
		s.user = user
		s.n.note("AUTH %s %s", mechanism, user)
		return nil
	}
	if mechanism == "LOGIN" {
		return &loginServer{check: check}, nil
	}
	return gosasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer asks for user and password, as auth/sasl does.
type loginServer struct {
	check func(user, password string) error
	step  int
	user  string
}

func (l *loginServer) Next(r []byte) ([]byte, bool, error) {
	l.step++
	switch {
	case l.step == 1 && r == nil:
		l.step = 0
		if l.user == "" {
			l.user = "?"
			return []byte("Username:"), false, nil
		}
		return nil, false, errors.New("no answer")
	case l.step == 1:
		l.user = string(r)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(r))
}
