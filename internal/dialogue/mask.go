package dialogue

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// safe are the commands that are shown as they are sent. Any other line of a client is hidden whole: a program that has lost its
// place sends passwords where nobody expects them.
func safe(p Protocol) []string {
	switch p {
	case SMTP:
		return []string{"HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "STARTTLS", "VRFY", "EXPN", "HELP"}
	case POP3:
		return []string{"USER", "CAPA", "STLS", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET", "QUIT", "LAST", "UTF8", "LANG"}
	}
	return []string{
		"CAPABILITY", "NOOP", "LOGOUT", "STARTTLS", "ENABLE", "SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "LIST", "LSUB", "XLIST",
		"NAMESPACE", "STATUS", "APPEND", "IDLE", "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "SEARCH", "FETCH", "STORE", "COPY", "MOVE", "UID", "ID", "COMPRESS", "SORT",
		"THREAD", "GETQUOTA", "GETQUOTAROOT", "SETQUOTA", "GETACL", "MYRIGHTS", "LISTRIGHTS", "SETACL", "DELETEACL", "GETMETADATA", "SETMETADATA", "ESEARCH", "REPLACE",
	}
}

// mechanisms are the names that may be shown behind AUTH.
func mechanisms() []string {
	return []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS"}
}

// secret stands for what may be one: not even its length is told.
const secret = "(hidden)"

// hidden stands for n octets of a message.
func hidden(n int64) string { return fmt.Sprintf("(%d octets hidden)", n) }

// clientLine is what is shown of a line of the client, without its CRLF.
func (r *Recorder) clientLine(line []byte) string {
	if r.authenticating() || r.secret {
		r.secret = r.secret && r.client.more // the line of a hidden command goes on behind its literal
		return secret
	}
	if r.going { // the rest of a command whose first part was safe
		r.going = r.client.more
		if len(bytes.Trim(line, " )")) > 0 { // a client that has lost its place may begin to log in here
			return secret
		}
		return string(line)
	}
	words := bytes.Fields(line)
	tag := ""
	if r.protocol == IMAP {
		if len(words) == 1 && bytes.EqualFold(words[0], []byte("DONE")) { // RFC 2177: the end of IDLE
			return "DONE"
		}
		if len(words) < 2 {
			return r.hide()
		}
		tag, words = string(words[0]), words[1:]
		r.command = tag
	}
	if len(words) == 0 {
		return ""
	}
	verb := strings.ToUpper(string(words[0]))
	switch {
	case verb == "AUTH" && r.protocol != IMAP, verb == "AUTHENTICATE" && r.protocol == IMAP:
		return r.authCommand(tag, verb, words[1:])
	case verb == "PASS" && r.protocol == POP3, verb == "APOP" && r.protocol == POP3:
		r.ask(verb)
		return verb + " " + secret
	case verb == "LOGIN" && r.protocol == IMAP && len(tag) <= 20:
		r.secret = r.client.more
		return tag + " LOGIN " + secret
	case !slices.Contains(safe(r.protocol), verb):
		return r.hide()
	}
	r.ask(verb)
	r.going = r.client.more
	if verb == "BDAT" && len(words) > 1 {
		if n, err := strconv.ParseInt(string(words[1]), 10, 64); err == nil && n > 0 {
			r.client.literal = n
			r.going = false
		}
	}
	return string(line)
}

// hide is a line that is no command we know.
func (r *Recorder) hide() string {
	r.ask("")
	r.secret = r.client.more
	return secret
}

// authCommand is AUTH or AUTHENTICATE: its mechanism is shown when it is one, all that follows belongs to the exchange.
func (r *Recorder) authCommand(tag, verb string, rest [][]byte) string {
	r.ask(verb)
	r.auth, r.tag, r.secret = true, tag, r.client.more
	shown := verb
	if tag != "" && len(tag) <= 20 {
		shown = tag + " " + verb
	}
	if len(rest) > 0 && slices.Contains(mechanisms(), strings.ToUpper(string(rest[0]))) {
		shown += " " + string(rest[0])
	} else if len(rest) > 0 {
		return shown + " " + secret
	}
	if len(rest) > 1 {
		shown += " " + secret
	}
	return shown
}

// ask notes a command of POP3, whose answers come in the order of the commands.
func (r *Recorder) ask(verb string) {
	if r.protocol == POP3 && len(r.asked) < maxAsked {
		r.asked = append(r.asked, verb)
	}
}

// authenticating: what the client sends belongs to a SASL exchange, as far as can be known.
func (r *Recorder) authenticating() bool { return r.auth || r.challenged }

// serverLine is what is shown of a line of ours.
func (r *Recorder) serverLine(line []byte) string {
	switch r.protocol {
	case SMTP:
		return r.replySMTP(line)
	case POP3:
		return r.replyPOP3(line)
	}
	return r.responseIMAP(line)
}

func (r *Recorder) replySMTP(line []byte) string {
	r.challenged = false
	switch {
	case bytes.HasPrefix(line, []byte("334")): // RFC 4954 section 4
		r.challenged = true
		return "334 " + secret
	case bytes.HasPrefix(line, []byte("354")):
		r.client.text = true
	case bytes.HasPrefix(line, []byte("235")), len(line) > 0 && (line[0] == '4' || line[0] == '5'):
		r.auth = false
	}
	return string(line)
}

func (r *Recorder) replyPOP3(line []byte) string {
	r.challenged = false
	ok := bytes.HasPrefix(line, []byte("+OK"))
	switch {
	case ok || bytes.HasPrefix(line, []byte("-ERR")):
		verb := ""
		if len(r.asked) > 0 {
			verb, r.asked = r.asked[0], r.asked[1:]
		}
		if verb == "AUTH" {
			r.auth = false
		}
		r.server.text = ok && (verb == "RETR" || verb == "TOP")
	case bytes.HasPrefix(line, []byte("+ ")), bytes.Equal(line, []byte("+")): // RFC 5034 section 4
		r.challenged = true
		return "+ " + secret
	}
	return string(line)
}

func (r *Recorder) responseIMAP(line []byte) string {
	switch {
	case line[0] == '+' && r.auth:
		return "+ " + secret
	case r.client.waits && r.client.passed == 0 && r.command != "" && bytes.HasPrefix(line, []byte(r.command+" ")): // the literal is not wanted, and does not come
		r.client.literal, r.client.more, r.client.waits, r.secret, r.going = 0, false, false, false, false
	}
	if r.auth && r.tag != "" && bytes.HasPrefix(line, []byte(r.tag+" ")) {
		r.auth, r.tag = false, ""
	}
	return string(line)
}
