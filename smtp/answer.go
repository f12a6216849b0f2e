package smtp

import (
	"errors"
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

func code(class, subject, detail int) gosmtp.EnhancedCode {
	return gosmtp.EnhancedCode{class, subject, detail}
}

// noCode goes with replies that carry no enhanced code: greeting, EHLO, 334, 354 (RFC 2034 section 3).
func noCode() gosmtp.EnhancedCode { return gosmtp.NoEnhancedCode }

// maxReplyText keeps a reply line within the 512 octets of RFC 5321 section 4.5.3.1.5.
const maxReplyText = 490

// answer buffers a reply; every line of it carries the codes (RFC 2034 section 4).
func (c *conn) answer(status int, enhanced gosmtp.EnhancedCode, lines ...string) {
	if enhanced == gosmtp.EnhancedCodeNotSet {
		enhanced = code(status/100, 0, 0)
	}
	for i, text := range lines {
		b := strconv.AppendInt(c.c.AvailableBuffer(), int64(status), 10)
		if i < len(lines)-1 {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if enhanced != gosmtp.NoEnhancedCode {
			for j, n := range enhanced {
				if j > 0 {
					b = append(b, '.')
				}
				b = strconv.AppendInt(b, int64(n), 10)
			}
			b = append(b, ' ')
		}
		b = appendText(b, text)
		c.c.Write(append(b, '\r', '\n')) // its error comes back at Flush
	}
}

// appendText appends what a reply line may carry: printable ASCII, not too long.
func appendText(b []byte, text string) []byte {
	for i := range min(len(text), maxReplyText) {
		ch := text[i]
		if ch < ' ' || ch > '~' {
			ch = '?'
		}
		b = append(b, ch)
	}
	return b
}

// bad answers a command that was wrong in itself, and counts it.
func (c *conn) bad(status int, enhanced gosmtp.EnhancedCode, text string) {
	c.tally.errors++
	c.answer(status, enhanced, text)
}

// refusal is an error as the client sees it.
type refusal struct {
	status   int
	enhanced gosmtp.EnhancedCode
	lines    []string
}

// translate is the one place where errors become replies: a desk's *gosmtp.SMTPError as it is, faults of the message's
// own, and everything else as 451 4.3.0, which the log explains.
func (c *conn) translate(command string, err error) refusal {
	if e, ok := errors.AsType[*gosmtp.SMTPError](err); ok && e.Code >= 400 && e.Code <= 599 {
		enhanced := e.EnhancedCode
		if enhanced == gosmtp.NoEnhancedCode || enhanced[0] != e.Code/100 {
			enhanced = code(e.Code/100, 0, 0)
		}
		return refusal{e.Code, enhanced, strings.Split(e.Message, "\n")}
	}
	one := func(status int, enhanced gosmtp.EnhancedCode, text string) refusal {
		return refusal{status, enhanced, []string{text}}
	}
	switch {
	case errors.Is(err, wire.ErrBareCR):
		return one(550, code(5, 6, 0), "Message refused: it has a bare CR (a CR without LF)")
	case errors.Is(err, wire.ErrBareLF):
		return one(550, code(5, 6, 0), "Message refused: it has a bare LF (a LF without CR)")
	case errors.Is(err, wire.ErrTooBig):
		return one(552, code(5, 3, 4), "Message is larger than "+strconv.FormatInt(c.s.o.MaxSize, 10)+" octets")
	}
	c.s.o.Logger.ErrorContext(c.ctx, logx.SMTPError, "command", command, "error", err)
	return one(451, code(4, 3, 0), "Internal error, try again later")
}

// fail answers a command that the desk, or the message, made fail. 421 ends the connection (RFC 5321 section 3.8).
func (c *conn) fail(command string, err error) refusal {
	r := c.translate(command, err)
	c.answer(r.status, r.enhanced, r.lines...)
	if r.status == 421 {
		c.closing = "refused"
	}
	return r
}
