package imap

import (
	"context"
	"errors"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// answer is a tagged NO or BAD, as an error.
type answer struct {
	kind goimap.StatusResponseType
	code goimap.ResponseCode // may have arguments
	text string
}

func (a *answer) Error() string { return "imap: " + string(a.kind) + " " + a.text }

func bad(text string) error { return &answer{kind: goimap.StatusResponseTypeBad, text: text} }

func no(code goimap.ResponseCode, text string) error {
	return &answer{kind: goimap.StatusResponseTypeNo, code: code, text: text}
}

// goodbye ends the connection with an untagged BYE. tagged: the command is answered first, with OK.
type goodbye struct {
	code   goimap.ResponseCode
	text   string
	tagged bool
}

func (g *goodbye) Error() string { return "imap: bye: " + g.text }

func bye(code goimap.ResponseCode, text string) error { return &goodbye{code: code, text: text} }

// codeBadName is RFC 3501's answer to what is no name; RFC 5530 calls it CANNOT.
const codeBadName = goimap.ResponseCodeCannot

// textDamaged is said of a message that the disk does not give back; the log of the store has the place.
const textDamaged = "a message is damaged and cannot be read; the operator can name it with posthouse check store"

// translations are the errors of the keepers that a client may see, in the order in which they are tried.
func translations() []struct {
	err error
	as  answer
} {
	const no, bad = goimap.StatusResponseTypeNo, goimap.StatusResponseTypeBad
	return []struct {
		err error
		as  answer
	}{
		{store.ErrNoMailbox, answer{no, goimap.ResponseCodeNonExistent, "no such mailbox"}},
		{store.ErrExists, answer{no, goimap.ResponseCodeAlreadyExists, "the mailbox exists already"}},
		{store.ErrReserved, answer{no, goimap.ResponseCodeCannot, "INBOX cannot be deleted"}},
		{store.ErrReadOnly, answer{no, goimap.ResponseCodeCannot, textDeletedOut}},
		{store.ErrWaiting, answer{no, goimap.ResponseCodeInUse, textOutboxFull}},
		{store.ErrUseTaken, answer{no, "USEATTR", "another mailbox has this special use"}},
		{store.ErrOverQuota, answer{no, goimap.ResponseCodeOverQuota, "the account is over its quota"}},
		{store.ErrKeyword, answer{no, goimap.ResponseCodeCannot, "a keyword is not allowed"}},
		{store.ErrNoAccount, answer{no, goimap.ResponseCodeNonExistent, "the account is gone"}},
		{store.ErrDamaged, answer{no, goimap.ResponseCodeServerBug, textDamaged}},
		{kv.ErrFull, answer{no, goimap.ResponseCodeUnavailable, "the server's disk is full, nothing was changed; try again later"}},
		{kv.ErrClosed, answer{no, goimap.ResponseCodeUnavailable, "the server cannot write now, nothing was changed; try again later"}},
		{errTooMany, answer{no, goimap.ResponseCodeLimit, "too many connections of this account"}},
		{auth.ErrCredentials, answer{no, goimap.ResponseCodeAuthenticationFailed, "wrong user name or password"}},
		{auth.ErrDoorClosed, answer{no, goimap.ResponseCodeAuthorizationFailed, "this account may not use IMAP"}},
		{auth.ErrSlowDown, answer{no, goimap.ResponseCodeUnavailable, "too many failed logins, try again later"}},
		{auth.ErrLater, answer{no, goimap.ResponseCodeUnavailable, "the password cannot be checked now, try again later"}},
		{sasl.ErrMalformed, answer{bad, "", "the mechanism does not know this response"}},
		{sasl.ErrFailed, answer{no, goimap.ResponseCodeAuthenticationFailed, "not authenticated"}},
		{sasl.ErrBinding, answer{no, goimap.ResponseCodeAuthenticationFailed, "the channel binding does not fit"}},
		{auth.ErrMechanism, answer{no, goimap.ResponseCodeCannot, "unknown mechanism, see CAPABILITY"}},
		{auth.ErrNeedTLS, answer{no, goimap.ResponseCodePrivacyRequired, "use TLS before you log in"}},
	}
}

// answerFor is the one place where an error becomes an answer. What it does not know is the server's
// fault: the client learns that and the connection's id, the log learns the cause.
func (c *conn) answerFor(ctx context.Context, err error, r *request) *answer {
	var a *answer
	if errors.As(err, &a) {
		return a
	}
	var wrong *syntax.Error
	if errors.As(err, &wrong) {
		switch wrong.Kind {
		case syntax.TooBig:
			return &answer{goimap.StatusResponseTypeNo, goimap.ResponseCodeTooBig, wrong.Text}
		case syntax.BadName:
			return &answer{goimap.StatusResponseTypeNo, codeBadName, wrong.Text}
		}
		return &answer{kind: goimap.StatusResponseTypeBad, text: wrong.Text}
	}
	// These two say in their text what was wrong.
	if errors.Is(err, store.ErrBadName) {
		return &answer{goimap.StatusResponseTypeNo, goimap.ResponseCodeCannot, reason(err)}
	}
	if errors.Is(err, store.ErrLimit) {
		return &answer{goimap.StatusResponseTypeNo, goimap.ResponseCodeLimit, reason(err)}
	}
	for _, k := range translations() {
		if errors.Is(err, k.err) {
			return &k.as
		}
	}
	c.log.ErrorContext(ctx, logx.IMAPError, "command", r.label(), "error", err)
	return &answer{goimap.StatusResponseTypeNo, goimap.ResponseCodeServerBug, "internal error, the log of the server has it under " + c.peer.ID}
}

// reason is the text of an error of the store that was made for people.
func reason(err error) string { return plain(strings.TrimPrefix(err.Error(), "store: ")) }

// plain makes a text fit for a response line (RFC 9051 section 9, text).
func plain(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return string(b)
}

// gone reports whether what was asked for was deleted meanwhile.
func gone(err error) bool { return errors.Is(err, store.ErrNoMailbox) }
