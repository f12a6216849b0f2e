package sasl

import (
	"bytes"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"
)

// External is the mechanism of who has proved himself already, by the certificate of the connection (RFC 4422 appendix A).
const External = "EXTERNAL"

// ExternalCheck takes for whom the client asks to act; empty where it asks to be nobody else. Its error ends the exchange.
type ExternalCheck func(authzid string) error

// NewExternal is EXTERNAL.
func NewExternal(check ExternalCheck) gosasl.Server { return &external{check: check} }

type external struct {
	check ExternalCheck
	asked bool
	ended bool
}

func (e *external) Next(response []byte) ([]byte, bool, error) {
	switch {
	case e.ended:
		return nil, false, gosasl.ErrUnexpectedClientResponse
	case response == nil && !e.asked:
		e.asked = true
		return []byte{}, false, nil
	}
	e.ended = true
	if len(response) > MaxMessage || !utf8.Valid(response) || bytes.IndexByte(response, 0) >= 0 { // appendix A.1: UTF8-char-no-nul
		return nil, false, ErrMalformed
	}
	if err := e.check(string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}
