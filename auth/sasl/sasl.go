// Package sasl is the server side of the login mechanisms (RFC 4422): PLAIN,
// LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, OAUTHBEARER and XOAUTH2, each a go-sasl Server.
//
// It knows no accounts: who may log in comes as functions. A nil response to the
// first Next means that the client sent no initial response; an empty one that it sent "=".
package sasl

import (
	"bytes"
	"errors"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"
)

// Names of the mechanisms.
const (
	Plain           = "PLAIN"
	Login           = "LOGIN"
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
)

// MaxMessage bounds one message of a client, decoded. RFC 4616 section 2 asks for 255 octets a field at least.
const MaxMessage = 4096

var (
	// ErrMalformed: the client's message breaks the mechanism's rules.
	ErrMalformed = errors.New("sasl: malformed message")
	// ErrFailed: the proof does not fit.
	ErrFailed = errors.New("sasl: authentication failed")
	// ErrBinding: the client's channel binding does not fit the mechanism or the connection (RFC 5802 section 6).
	ErrBinding = errors.New("sasl: channel binding does not fit")
)

// Check takes what the client claims; authzid is empty where it asks to be
// nobody else. Its error ends the exchange.
type Check func(authzid, user, password string) error

// NewPlain is PLAIN (RFC 4616).
func NewPlain(check Check) gosasl.Server { return &plain{check: check} }

type plain struct {
	check   Check
	prompts int
	ended   bool
}

func (p *plain) Next(response []byte) ([]byte, bool, error) {
	if p.ended {
		return nil, false, gosasl.ErrUnexpectedClientResponse
	}
	if response == nil && p.prompts == 0 {
		p.prompts++
		return []byte{}, false, nil
	}
	p.ended = true
	fields, err := plainFields(response)
	if err != nil {
		return nil, false, err
	}
	if err := p.check(fields[0], fields[1], fields[2]); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// plainFields cuts "authzid NUL authcid NUL passwd" (RFC 4616 section 2).
func plainFields(message []byte) (fields [3]string, err error) {
	parts := bytes.Split(message, []byte{0})
	if len(message) > MaxMessage || len(parts) != 3 || !utf8.Valid(message) {
		return fields, ErrMalformed
	}
	for i, part := range parts {
		fields[i] = string(part)
	}
	if fields[1] == "" || fields[2] == "" {
		return fields, ErrMalformed
	}
	return fields, nil
}

// The prompts of LOGIN: some clients compare them octet by octet.
const (
	promptUser     = "Username:"
	promptPassword = "Password:"
)

// NewLogin is LOGIN, which was never standardised and is what old Outlooks and many devices speak.
// An initial response is the user name.
func NewLogin(check Check) gosasl.Server { return &login{check: check} }

type login struct {
	check    Check
	user     string
	prompted bool
	ended    bool
}

func (l *login) Next(response []byte) ([]byte, bool, error) {
	if l.ended {
		return nil, false, gosasl.ErrUnexpectedClientResponse
	}
	if len(response) == 0 && l.user == "" && !l.prompted {
		l.prompted = true
		return []byte(promptUser), false, nil
	}
	if len(response) == 0 || len(response) > MaxMessage || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 {
		l.ended = true
		return nil, false, ErrMalformed
	}
	if l.user == "" {
		l.user = string(response)
		return []byte(promptPassword), false, nil
	}
	l.ended = true
	if err := l.check("", l.user, string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
