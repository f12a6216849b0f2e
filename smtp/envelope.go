package smtp

import (
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// mail is MAIL FROM:<reverse-path> parameters (RFC 5321 section 4.1.1.2).
func (c *conn) mail(args string) {
	rest, ok := cutFold(args, "FROM:")
	if !ok {
		c.bad(501, code(5, 5, 2), "Write MAIL FROM:<address>")
		return
	}
	path, params, ok := cutPath(rest)
	if !ok {
		c.bad(501, code(5, 1, 7), "Bad sender address syntax")
		return
	}
	var m mailArgs
	if e := readParams(params, c.s.onMail, &m, c); e != nil {
		c.bad(e.Code, e.EnhancedCode, e.Message)
		return
	}
	from := ""
	if path != "" {
		a, err := mail.ParseAddress(path)
		if err != nil {
			c.bad(501, code(5, 1, 7), "Bad sender address syntax")
			return
		}
		if !ascii(path) && !m.UTF8 { // RFC 6531 section 3.5
			c.bad(553, code(5, 6, 7), "This address needs SMTPUTF8")
			return
		}
		from = a.String()
	}
	if c.tally.mails >= c.s.o.MaxMails {
		c.farewell("too many messages", 421, code(4, 7, 0), "Too many messages in one connection, open another")
		return
	}
	if err := c.session.Mail(from, &m.MailOptions); err != nil {
		r := c.fail("MAIL", err)
		c.s.o.Logger.InfoContext(c.ctx, logx.MailRefused, "from", from, "remote", c.peer.Remote.Addr(), "code", r.status, "reason", r.lines[0])
		c.refusal("senders")
		return
	}
	if h, ok := c.session.(Holder); ok {
		h.Hold(m.release)
	}
	c.tally.mails++
	c.state |= inMail
	c.size, c.utf8, c.from = m.Size, m.UTF8, from
	c.answer(250, code(2, 1, 0), "Sender OK")
}

// maxRefusals bounds the search for addresses that exist, or that one may use, until a message is taken.
const maxRefusals = 100

// refusal counts an address that the desk refused.
func (c *conn) refusal(what string) {
	if c.tally.refusals++; c.tally.refusals >= maxRefusals && c.closing == "" {
		c.farewell("too many errors", 421, code(4, 7, 0), "Too many refused "+what+", closing")
	}
}

// rcpt is RCPT TO:<forward-path> parameters (RFC 5321 section 4.1.1.3).
func (c *conn) rcpt(args string) {
	rest, ok := cutFold(args, "TO:")
	if !ok {
		c.bad(501, code(5, 5, 2), "Write RCPT TO:<address>")
		return
	}
	path, params, ok := cutPath(rest)
	if !ok || path == "" {
		c.bad(501, code(5, 1, 3), "Bad recipient address syntax")
		return
	}
	var r rcptArgs
	if e := readParams(params, c.s.onRcpt, &r, c); e != nil {
		c.bad(e.Code, e.EnhancedCode, e.Message)
		return
	}
	to := path
	if !strings.EqualFold(path, "Postmaster") { // the one address without a domain (RFC 5321 section 4.5.1)
		a, err := mail.ParseAddress(path)
		if err != nil {
			c.bad(501, code(5, 1, 3), "Bad recipient address syntax")
			return
		}
		if !ascii(path) && !c.utf8 {
			c.bad(553, code(5, 6, 7), "This address needs SMTPUTF8")
			return
		}
		to = a.String()
	}
	if len(c.rcpts) >= c.s.o.MaxRecipients { // RFC 5321 section 4.5.3.1.10
		c.answer(452, code(4, 5, 3), "Too many recipients, at most "+strconv.Itoa(c.s.o.MaxRecipients)+" in one message")
		return
	}
	if err := c.session.Rcpt(to, &r.RcptOptions); err != nil {
		f := c.fail("RCPT", err)
		c.s.o.Logger.InfoContext(c.ctx, logx.RcptRefused, "from", c.from, "to", to, "remote", c.peer.Remote.Addr(), "code", f.status, "reason", f.lines[0])
		c.refusal("recipients")
		return
	}
	c.state |= inRcpt
	c.rcpts = append(c.rcpts, to)
	c.answer(250, code(2, 1, 5), "Recipient OK")
}

// cutFold removes a prefix in any case, and the space that some clients put behind it.
func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return strings.TrimLeft(s[len(prefix):], " \t"), true
}

// cutPath splits a path from the parameters behind it. A source route is dropped (RFC 5321 section 4.1.1.3), so that it
// can neither relay nor hide the real address; old devices leave out the brackets.
func cutPath(s string) (path, params string, ok bool) {
	if !strings.HasPrefix(s, "<") {
		path, params, _ = strings.Cut(s, " ")
		return path, params, path != "" && !strings.ContainsAny(path, "<>")
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == '>':
			path, params = strings.Trim(s[1:i], " \t"), s[i+1:]
			if params != "" && params[0] != ' ' && params[0] != '\t' {
				return "", "", false
			}
			if strings.HasPrefix(path, "@") {
				_, path, ok = strings.Cut(path, ":")
				if !ok || path == "" {
					return "", "", false
				}
			}
			return path, params, true
		}
	}
	return "", "", false
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] > 0x7f {
			return false
		}
	}
	return true
}

// mailArgs and rcptArgs are what the parameters fill.
type mailArgs struct {
	gosmtp.MailOptions
	release mail.Release
}

type rcptArgs struct{ gosmtp.RcptOptions }
