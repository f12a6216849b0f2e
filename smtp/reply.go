package smtp

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// Reply is what a server said to one command (RFC 5321 section 4.2). The zero Reply: nothing was said.
type Reply struct {
	Code     int
	Enhanced gosmtp.EnhancedCode // RFC 3463; zero when the server gave none
	Lines    []string            // without the codes
	size     int                 // octets of all lines, the ones left out too
}

// Class is the first digit of the code: 2 done, 3 go on, 4 not now, 5 never; 0 nothing was said.
func (r Reply) Class() int { return r.Code / 100 }

// Text is the lines as one.
func (r Reply) Text() string { return strings.Join(r.Lines, " ") }

// String is the reply as one line, as a bounce or a log shows it.
func (r Reply) String() string {
	if r.Enhanced != (gosmtp.EnhancedCode{}) {
		return fmt.Sprintf("%d %d.%d.%d %s", r.Code, r.Enhanced[0], r.Enhanced[1], r.Enhanced[2], r.Text())
	}
	return fmt.Sprintf("%d %s", r.Code, r.Text())
}

// ReplyError is a refusal; the connection goes on after it.
type ReplyError struct {
	Command string
	Reply   Reply
}

func (e *ReplyError) Error() string { return "smtp: " + e.Command + ": " + e.Reply.String() }

// Temporary reports a 4xx.
func (e *ReplyError) Temporary() bool { return e.Reply.Class() == 4 }

const (
	maxReplyLine  = 4096 // RFC 5321 section 4.5.3.1.5 says 512; many servers explain at length
	maxReplyLines = 200
	maxReply      = 16 << 10 // octets kept of its lines: a transaction holds the replies of all its recipients
)

// reply reads one reply, all of it within d.
func (k *Client) reply(d time.Duration) (Reply, error) {
	var r Reply
	end := time.Now().Add(d)
	for range maxReplyLines {
		left := time.Until(end)
		if left <= 0 {
			return r, wire.ErrTimeout
		}
		k.c.SetReadTimeout(left)
		line, err := k.c.ReadLineUpTo(maxReplyLine)
		if err == wire.ErrLineTooLong {
			return r, fmt.Errorf("%w: a line of more than %d octets", ErrReply, maxReplyLine)
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // the server owes us a reply
		}
		if err != nil {
			return r, err
		}
		more, err := r.add(line)
		if err != nil || !more {
			return r, err
		}
	}
	return r, fmt.Errorf("%w: more than %d lines", ErrReply, maxReplyLines)
}

// add takes one line: code, "-" when more follow, text.
func (r *Reply) add(line []byte) (more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) || (len(line) > 3 && line[3] != ' ' && line[3] != '-') {
		return false, fmt.Errorf("%w: %.80q", ErrReply, line)
	}
	r.Code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	text := ""
	if len(line) > 4 {
		text = string(line[4:])
	}
	if code, rest, ok := cutEnhanced(text); ok && code[0] == r.Class() {
		r.Enhanced, text = code, rest
	}
	if r.size += len(text) + 1; r.size <= maxReply {
		r.Lines = append(r.Lines, clean(text))
	}
	return len(line) > 3 && line[3] == '-', nil
}

// clean makes text of strangers fit for logs, reports and terminals: no control characters, nothing that turns lines around.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case unicode.IsControl(c), c == '\u2028', c == '\u2029':
			return ' '
		case c >= '\u202a' && c <= '\u202e', c >= '\u2066' && c <= '\u2069', c == '\u200e', c == '\u200f', c == '\ufeff':
			return '?'
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// cutEnhanced reads class "." subject "." detail at the head of a reply's text (RFC 2034 section 4).
func cutEnhanced(s string) (code gosmtp.EnhancedCode, rest string, ok bool) {
	word, rest, _ := strings.Cut(s, " ")
	for i, part := range strings.SplitN(word, ".", 4) {
		if i > 2 || len(part) == 0 || len(part) > 3 {
			return code, s, false
		}
		code[i] = 0
		for _, c := range []byte(part) {
			if !digit(c) {
				return code, s, false
			}
			code[i] = code[i]*10 + int(c-'0')
		}
		ok = i == 2
	}
	if !ok || code[0] < 2 || code[0] > 5 {
		return gosmtp.EnhancedCode{}, s, false
	}
	return code, rest, true
}
