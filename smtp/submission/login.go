package submission

import (
	"context"
	"errors"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
)

func (s *session) client() auth.Client {
	return auth.Client{Door: auth.DoorSubmission, Remote: s.peer.Remote.Addr(), TLS: s.peer.TLS, Conn: s.peer.ID, Name: s.peer.Hello}
}

// AuthMechanisms lists what may be offered over this connection: nothing in clear, unless a setting allows it on loopback.
func (s *session) AuthMechanisms() []string { return s.d.o.Directory.Mechanisms(s.client()) }

// Auth starts a mechanism.
func (s *session) Auth(mechanism string) (gosasl.Server, error) {
	m, err := s.d.o.Directory.SASL(s.ctx, s.client(), mechanism, s.proved)
	if err != nil {
		return nil, s.loginError(err)
	}
	return &login{s: s, m: m}, nil
}

// proved is login by AUTH: it ends with the password, or the account, that it was made with.
func (s *session) proved(id auth.Identity) {
	s.login(id)
	s.who.stands = func(ctx context.Context) error { return s.d.o.Directory.Standing(ctx, id, auth.DoorSubmission) }
}

// standing refuses a sender whose login counts no more: 421, so that the client connects and logs in again.
func (s *session) standing() error {
	if s.who.stands == nil {
		return nil
	}
	err := s.who.stands(s.ctx)
	if errors.Is(err, auth.ErrNoAccount) || errors.Is(err, auth.ErrDoorClosed) || errors.Is(err, auth.ErrCredentials) {
		return smtp.Refuse(421, gosmtp.EnhancedCode{4, 7, 0}, "The account has changed, log in again")
	}
	return err
}

// login makes the session the account's.
func (s *session) login(id auth.Identity) {
	s.who = sender{name: id.Main.String(), main: id.Main, authed: true, id: id.Account, may: func(ctx context.Context, a mail.Address) (bool, error) {
		return s.d.o.Directory.MaySendAs(ctx, id.Account, a)
	}}
}

// login translates what a mechanism says.
type login struct {
	s *session
	m gosasl.Server
}

func (l *login) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := l.m.Next(response)
	if err != nil {
		err = l.s.loginError(err)
	}
	return challenge, done, err
}

// loginError tells a client what it may know (RFC 4954 section 6).
func (s *session) loginError(err error) error {
	say := func(status, class, subject, detail int, text string) error {
		return smtp.Refuse(status, gosmtp.EnhancedCode{class, subject, detail}, text)
	}
	switch {
	case errors.Is(err, auth.ErrCredentials), errors.Is(err, sasl.ErrFailed), errors.Is(err, sasl.ErrBinding):
		return say(535, 5, 7, 8, "Wrong user name or password")
	case errors.Is(err, auth.ErrDoorClosed):
		return say(535, 5, 7, 1, "This account may not send mail here")
	case errors.Is(err, auth.ErrSlowDown):
		return say(454, 4, 7, 0, "Too many failed logins, try again later")
	case errors.Is(err, auth.ErrLater):
		return say(454, 4, 7, 0, "Cannot check passwords now, try again later")
	case errors.Is(err, auth.ErrNeedTLS):
		return say(538, 5, 7, 11, "Passwords need TLS, say STARTTLS first")
	case errors.Is(err, auth.ErrMechanism):
		return say(504, 5, 5, 4, "Mechanism not offered")
	case errors.Is(err, sasl.ErrMalformed), errors.Is(err, gosasl.ErrUnexpectedClientResponse):
		return say(501, 5, 5, 2, "Malformed authentication message")
	}
	s.d.o.Logger.ErrorContext(s.ctx, logx.SMTPError, "command", "AUTH", "error", err)
	return say(454, 4, 7, 0, "Cannot check passwords now, try again later")
}
