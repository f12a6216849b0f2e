package sasl

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"
)

// The mechanisms that take a token instead of a password.
const (
	OAuthBearer = "OAUTHBEARER" // RFC 7628
	XOAuth2     = "XOAUTH2"     // what Google and Microsoft had before it, and programs still speak
)

// BearerScope is what the error of both names as the scopes of a token for mail programs.
const BearerScope = "mail send"

// BearerCheck takes a token and the account that it is said to be for; user is empty where the client names none. Its error ends the
// exchange.
type BearerCheck func(user, token string) error

// NewOAuthBearer is OAUTHBEARER (RFC 7628).
func NewOAuthBearer(check BearerCheck) gosasl.Server {
	return &bearer{check: check, parse: parseOAuthBearer}
}

// NewXOAuth2 is XOAUTH2.
func NewXOAuth2(check BearerCheck) gosasl.Server {
	return &bearer{check: check, parse: parseXOAuth2, x: true}
}

type bearer struct {
	check  BearerCheck
	parse  func(message string) (user, token string, err error)
	x      bool
	asked  bool  // for the first message
	failed error // told already; the client's next message ends the exchange
	ended  bool
}

func (b *bearer) Next(response []byte) ([]byte, bool, error) {
	switch {
	case b.ended:
		return nil, false, gosasl.ErrUnexpectedClientResponse
	case b.failed != nil: // RFC 7628 section 3.2.3: whatever it says, it has seen why
		b.ended = true
		return nil, false, b.failed
	case response == nil && !b.asked:
		b.asked = true
		return []byte{}, false, nil
	}
	message := string(response)
	if len(message) > MaxMessage || !utf8.ValidString(message) {
		b.ended = true
		return nil, false, ErrMalformed
	}
	user, token, err := b.parse(message)
	if err != nil {
		return b.refuse(err, "invalid_request")
	}
	if err := b.check(user, token); err != nil {
		return b.refuse(err, "invalid_token")
	}
	b.ended = true
	return nil, true, nil
}

// refuse tells the client why in the mechanism's words; the exchange ends with its answer.
func (b *bearer) refuse(why error, status string) ([]byte, bool, error) {
	b.failed = why
	answer := struct {
		Status  string `json:"status"`
		Schemes string `json:"schemes,omitempty"`
		Scope   string `json:"scope,omitempty"`
	}{Status: status, Schemes: "bearer", Scope: BearerScope}
	if b.x && status == "invalid_token" {
		answer.Status = "401"
	} else if b.x {
		answer.Status = "400"
	}
	text, err := json.Marshal(answer)
	return text, false, err
}

// parseOAuthBearer reads gs2-header %x01 *(key "=" value %x01) %x01 (RFC 7628 section 3.1).
func parseOAuthBearer(message string) (user, token string, err error) {
	header, rest, ok := strings.Cut(message, "\x01")
	flag, name, ok2 := strings.Cut(header, ",")
	if !ok || !ok2 || flag != "n" && flag != "y" || !strings.HasSuffix(name, ",") { // a token is bound to no channel (section 3.1)
		return "", "", ErrMalformed
	}
	if name = strings.TrimSuffix(name, ","); name != "" {
		if user, ok = saslname(strings.TrimPrefix(name, "a=")); !ok || !strings.HasPrefix(name, "a=") {
			return "", "", ErrMalformed
		}
	}
	values, err := pairs(rest)
	if err != nil {
		return "", "", err
	}
	token, err = bearerOf(values["auth"])
	return user, token, err
}

// parseXOAuth2 reads "user=" name %x01 "auth=Bearer " token %x01 %x01.
func parseXOAuth2(message string) (user, token string, err error) {
	values, err := pairs(message)
	if err != nil {
		return "", "", err
	}
	if user = values["user"]; user == "" {
		return "", "", ErrMalformed
	}
	token, err = bearerOf(values["auth"])
	return user, token, err
}

// pairs reads key=value, each ended by %x01, and one more %x01. A key that comes twice is no pair of ours.
func pairs(rest string) (map[string]string, error) {
	body, ok := strings.CutSuffix(rest, "\x01")
	if !ok {
		return nil, ErrMalformed
	}
	out := make(map[string]string)
	for body != "" {
		pair, next, ok := strings.Cut(body, "\x01")
		key, value, ok2 := strings.Cut(pair, "=")
		_, twice := out[key]
		if !ok || !ok2 || twice || !letters(key) || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' && c != '\r' && c != '\n' }) {
			return nil, ErrMalformed
		}
		out[key], body = value, next
	}
	return out, nil
}

// saslname takes the escapes of a name out (RFC 5801 section 4): =2C is a comma, =3D an equals sign.
func saslname(text string) (name string, ok bool) {
	name = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(text)
	return name, text != "" && strings.Count(text, "=") == strings.Count(text, "=2C")+strings.Count(text, "=3D") && !strings.Contains(text, ",")
}

func letters(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') })
}

// bearerOf is the token of "Bearer TOKEN" (RFC 6750 section 2.1); the word is in any case.
func bearerOf(value string) (string, error) {
	scheme, token, _ := strings.Cut(value, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "bearer") || token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", ErrMalformed
	}
	return token, nil
}
