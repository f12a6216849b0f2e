package pop3

import (
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/store"
)

var (
	errInUse   = errors.New("pop3: maildrop in use")
	errTooSoon = errors.New("pop3: login too soon")
	errClose   = errors.New("pop3: connection ends") // nothing more to say
)

// refusal is an -ERR for the client: text with a response code (RFC 2449 section 8) or without.
type refusal struct {
	code, text string
	last       bool // the connection ends after it
}

func (r *refusal) Error() string { return r.text }

func refuse(text string) error { return &refusal{text: text} }

func refusef(format string, args ...any) error { return refuse(fmt.Sprintf(format, args...)) }

// answers is the one place where an error becomes what a client is told. What is not here is a failure of ours.
var answers = [...]struct {
	err        error
	code, text string
}{
	{serve.ErrShutdown, "SYS/TEMP", "server is shutting down"},
	{store.ErrNoMailbox, "SYS/PERM", "the maildrop is gone"},
	{auth.ErrCredentials, "AUTH", "wrong user name or password"}, // RFC 3206
	{auth.ErrDoorClosed, "SYS/PERM", "this account may not use POP3"},
	{auth.ErrSlowDown, "SYS/TEMP", "too many failed logins, try again later"},
	{auth.ErrLater, "SYS/TEMP", "the password cannot be checked now, try again later"},
	{auth.ErrNeedTLS, "", "no password without TLS: use STLS first or port 995"},
	{auth.ErrMechanism, "", "mechanism not offered"},
	{sasl.ErrMalformed, "", "malformed response"},
	{sasl.ErrBinding, "AUTH", "channel binding does not fit"},
	{errInUse, "IN-USE", "another session has the maildrop"}, // RFC 2449 section 8.1.2
	{errTooSoon, "LOGIN-DELAY", "too soon after the last login"},
	{store.ErrNoMessage, "", "message is gone"},
	{store.ErrDamaged, "SYS/PERM", "the message is damaged and cannot be read; the operator can name it with posthouse check store"}, // RFC 3206 section 4
}

// translate makes the refusal of an error; internal tells that it has to be logged.
func translate(err error) (r *refusal, internal bool) {
	if errors.As(err, &r) {
		return r, false
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			last := a.err == serve.ErrShutdown || a.err == store.ErrNoMailbox
			return &refusal{code: a.code, text: a.text, last: last}, false
		}
	}
	return &refusal{code: "SYS/TEMP", text: "internal error, try again later"}, true
}
