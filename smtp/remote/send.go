package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// maxRecipients is what every server must take in one transaction (RFC 5321 section 4.5.3.1.8).
const maxRecipients = 100

// maxText is what is kept of an answer; a hostile one has thousands of recipients' answers filled.
const maxText = 2048

// send runs the transactions that bring the message to its recipients over one connection, and gives the connection
// back. The second result is set when it was lost before anybody can have taken the message: the next one's turn.
func (c *Carrier) send(ctx context.Context, k *conn, a queue.Attempt) ([]queue.Result, *queue.Result) {
	e := a.Envelope
	a.Content = withoutReturnPath(a.Content)
	body := content{a.Envelope.Front, a.Content}
	if no := fits(k, &e, a); no != nil {
		c.pool.give(k)
		return queue.Fail(len(e.Recipients), *no).Results, nil
	}
	most := maxRecipients
	if n := k.Limit("RCPTMAX"); n > 0 {
		most = min(n, most)
	}
	var results []queue.Result
	for from := 0; from < len(a.Envelope.Recipients); from += most {
		part := e
		part.Recipients = a.Envelope.Recipients[from:min(from+most, len(a.Envelope.Recipients))]
		k.uses++
		got, alive := transaction(ctx, k, part, body)
		if !alive && got == nil && len(results) == 0 {
			k.Close()
			no := refusal(k.to, "4.4.2", "the connection was lost before the message was handed over")
			no.Host, no.Detail = queue.HostWell, k.detail
			return nil, &no
		}
		if got == nil {
			got = queue.Fail(len(part.Recipients), k.lost("the connection was lost before the message was handed over")).Results
		}
		results, k.reused = append(results, got...), false
		if !alive {
			k.Close()
			for len(results) < len(a.Envelope.Recipients) {
				results = append(results, k.lost("the connection ended before it was this recipient's turn"))
			}
			return results, nil
		}
	}
	if n := k.Limit("MAILMAX"); n > 0 && k.uses >= n {
		k.uses = c.o.MaxUses // RFC 9422: it wants a new connection
	}
	c.pool.give(k)
	return results, nil
}

// withoutReturnPath leaves out the Return-Path that stands at the head of a message which lies in mailboxes here too: it is
// made by the host of the final delivery, and no other passes it on (RFC 5321 section 4.4).
func withoutReturnPath(content *io.SectionReader) *io.SectionReader {
	const name = "return-path:"
	b := make([]byte, min(content.Size(), 4096))
	n, _ := content.ReadAt(b, 0) // what cannot be read is met again when it is sent
	b = b[:n]
	if len(b) < len(name) || !strings.EqualFold(string(b[:len(name)]), name) {
		return content
	}
	for end := 0; ; {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return content
		}
		end += i + 1
		if end == len(b) || b[end] != ' ' && b[end] != '\t' {
			return io.NewSectionReader(content, int64(end), content.Size()-int64(end))
		}
	}
}

// content is a message as it leaves: the fields of this copy alone, then what all copies share.
type content struct {
	front string
	rest  *io.SectionReader
}

func (c content) size() int64 { return int64(len(c.front)) + c.rest.Size() }

func (c content) reader() io.Reader {
	rest := io.NewSectionReader(c.rest, 0, c.rest.Size())
	if c.front == "" {
		return rest
	}
	return io.MultiReader(strings.NewReader(c.front), rest)
}

// rested: the server says that the connection has waited too long, or carried enough, or is out of step (503). That is nothing about
// this message.
func (k *conn) rested(mail smtp.Reply) bool {
	return k.reused && (mail.Code == 421 || mail.Code == 503 || mail.Enhanced == gosmtp.EnhancedCode{4, 4, 2})
}

func (k *conn) lost(text string) queue.Result {
	return queue.Result{Verdict: queue.Later, Status: "4.4.2", Text: k.to.where() + ": " + text, Detail: k.detail}
}

// watched notes an error of our own disk, so that it is not taken for one of the connection.
type watched struct {
	io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// transaction sends the message to up to a hundred recipients. nil results: nobody can have taken it. alive: the connection can go on.
func transaction(ctx context.Context, k *conn, e mail.Envelope, content content) (results []queue.Result, alive bool) {
	body := &watched{Reader: content.reader()}
	out, err := k.Send(ctx, e, body, content.size())
	if body.err != nil {
		return queue.Fail(len(e.Recipients), failure(queue.Later, "4.3.0", "the stored message cannot be read at the moment")).Results, false
	}
	if err != nil && !out.Sent && !decided(&out) || k.rested(out.Mail) {
		return nil, false
	}
	alive = err == nil
	_, dsn := k.Extension("DSN")
	taken := false
	for _, r := range out.Recipients {
		taken = taken || r.Class() == 2
	}
	for i := range e.Recipients {
		reply := out.Recipient(i, false)
		if reply.Code == 0 && !out.Sent {
			results = append(results, k.lost("the connection was lost before the message was handed over"))
			continue
		}
		if reply.Code == 0 {
			results = append(results, k.lost("the connection was lost behind the end of the message; it may have been taken"))
			continue
		}
		r := translate(reply, k.to, k.detail)
		if taken && out.Recipients[i].Code == 552 && (r.Status == "5.0.0" || r.Status == "5.5.3") {
			r.Verdict, r.Status = queue.Later, "4.5.3" // too many recipients (RFC 5321 section 4.5.3.1.10)
		}
		if r.Verdict == queue.Done && !dsn {
			r.Handoff = queue.Relayed
		}
		alive = alive && reply.Code != 421 && reply.Class() != 3 // out of step, a 3xx
		results = append(results, r)
	}
	if alive && out.Data.Code != 0 && out.Data.Class() != 3 {
		alive = k.Reset(ctx) == nil
	}
	return results, alive
}

// decided reports whether a server that closed the connection had said enough before: a refusal for every recipient, or
// that it wants us to come later (421, behind which it closes: RFC 5321 section 3.8).
func decided(out *smtp.Outcome) bool {
	all := len(out.Recipients) > 0
	for i := range out.Recipients {
		code := out.Recipient(i, false).Code
		if code == 421 {
			return true
		}
		all = all && code != 0
	}
	return all
}

// fits checks the message against what the server offers, before anything is sent. It may leave SMTPUTF8 out of the
// envelope where nothing needs it.
func fits(k *conn, e *mail.Envelope, a queue.Attempt) *queue.Result {
	refuse := func(status, format string, args ...any) *queue.Result {
		r := failure(queue.Never, status, format, args...)
		r.Remote, r.Detail = k.to.host, k.detail
		return &r
	}
	ascii := e.From.IsASCII()
	for _, r := range e.Recipients {
		ascii = ascii && r.Address.IsASCII()
	}
	if !ascii {
		e.UTF8 = true
	}
	if _, ok := k.Extension("SMTPUTF8"); e.UTF8 && !ok {
		if !ascii || !headerIsASCII(a.Content) {
			return refuse("5.6.7", "the mail server does not take addresses or headers outside of ASCII (it does not offer SMTPUTF8)")
		}
		e.UTF8 = false
	}
	if _, ok := k.Extension("8BITMIME"); e.Body != mail.Body7Bit && !ok && !contentIsASCII(a.Content) {
		return refuse("5.6.3", "the mail server takes 7-bit mail only (it does not offer 8BITMIME)")
	}
	if most, size := k.MaxSize(), (content{e.Front, a.Content}).size(); most > 0 && size > most {
		return refuse("5.3.4", "the message has %d octets, and the mail server takes no more than %d", size, most)
	}
	return nil
}

func contentIsASCII(content *io.SectionReader) bool {
	return scanASCII(content, false)
}

func headerIsASCII(content *io.SectionReader) bool {
	return scanASCII(content, true)
}

// scanASCII looks for an octet over 127, up to the end of the header or of the message.
func scanASCII(content *io.SectionReader, header bool) bool {
	r := io.NewSectionReader(content, 0, content.Size())
	b := make([]byte, 16<<10)
	lineLength := -1 // of the line so far; the empty line ends the header
	for {
		n, err := r.Read(b)
		for _, c := range b[:n] {
			switch {
			case c >= 0x80:
				return false
			case c == '\n':
				if header && lineLength == 0 {
					return true
				}
				lineLength = 0
			case c != '\r':
				lineLength = 1
			}
		}
		if err != nil {
			return true
		}
	}
}

// translate makes a Result of a reply.
func translate(r smtp.Reply, to candidate, detail string) queue.Result {
	x := queue.Result{Code: r.Code, Text: r.Text(), Remote: to.host, Detail: detail}
	if len(x.Text) > maxText {
		x.Text = strings.ToValidUTF8(x.Text[:maxText], "")
	}
	if e := r.Enhanced; e[0] != 0 {
		x.Status = fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
		x.Text = x.Status + " " + x.Text
	}
	switch r.Class() {
	case 2:
		x.Verdict = queue.Done
	case 5:
		x.Verdict = queue.Never
	default:
		x.Verdict = queue.Later // a 3xx where none belongs is no answer
	}
	if x.Status == "" {
		x.Status = statusOf(r)
	}
	if x.Verdict == queue.Later && (r.Code == 421 || r.Enhanced[0] == 4 && r.Enhanced[1] == 7) {
		x.Host = queue.HostSlow
	}
	return x
}

// statusOf is the enhanced code of a reply that came without; only the codes that mean one thing get more than their class.
func statusOf(r smtp.Reply) string {
	switch r.Code {
	case 421:
		return "4.3.2"
	case 530, 535:
		return "5.7.0"
	case 556:
		return "5.1.10"
	}
	switch r.Class() {
	case 2:
		return "2.0.0"
	case 5:
		return "5.0.0"
	}
	return "4.0.0"
}
