package smtp

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Outcome is what the server said to one message. A zero Reply: the question was not asked, or not answered.
type Outcome struct {
	Mail       Reply
	Recipients []Reply // to RCPT, one for each recipient of the envelope
	Data       Reply   // to DATA: 354, or why not; with BDAT zero
	Final      []Reply // to the message: one; with LMTP one for each recipient that was taken, in their order
	Sent       bool    // the last octet of the message went out, so that it may have been taken even without a Final
}

// Recipient is the reply that decides about recipient i of the envelope; its class 2 means that the server took the message for it.
func (o *Outcome) Recipient(i int, lmtp bool) Reply {
	if o.Mail.Class() != 2 {
		return o.Mail
	}
	if o.Recipients[i].Class() != 2 {
		return o.Recipients[i]
	}
	if o.Data.Code != 0 && o.Data.Class() != 3 {
		return o.Data
	}
	n := 0
	if lmtp {
		for _, r := range o.Recipients[:i] {
			if r.Class() == 2 {
				n++
			}
		}
	}
	if n < len(o.Final) {
		return o.Final[n]
	}
	return Reply{}
}

// pipelineBatch is how many commands go out before their replies are read: no more than the
// smallest socket buffers hold, so that both sides never wait for each other (RFC 2920 section 3.1).
const pipelineBatch = 100

// Send runs one transaction: MAIL, RCPT of every recipient, and the message of size octets from body when at least one was taken.
// Refusals are in the Outcome, which holds what was said so far when err is not nil too. DSN, SIZE, BODY and SMTPUTF8
// go out where the server offers them. After a refusal of everything the transaction is reset, so that the next Send may follow.
func (k *Client) Send(ctx context.Context, e mail.Envelope, body io.Reader, size int64) (out Outcome, err error) {
	if e.UTF8 && !k.has("SMTPUTF8") {
		return out, ErrNoUTF8
	}
	if max := k.MaxSize(); max > 0 && size > max {
		return out, ErrTooLarge
	}
	done := k.watch(ctx)
	defer func() { err = done(err) }()
	out.Recipients = make([]Reply, len(e.Recipients))
	if err := k.envelope(e, size, &out); err != nil {
		return out, err
	}
	taken := 0
	for _, r := range out.Recipients {
		if r.Class() == 2 {
			taken++
		}
	}
	if taken == 0 {
		if out.Mail.Class() != 2 {
			return out, nil
		}
		return out, k.forget()
	}
	if k.o.Chunking && k.has("CHUNKING") {
		k.line("BDAT " + strconv.FormatInt(size, 10) + " LAST")
		if err := k.chunk(body, size); err != nil {
			return out, err
		}
	} else if err := k.data(body, &out); err != nil {
		return out, err
	} else if out.Data.Code != 354 {
		return out, k.forget()
	}
	out.Sent = true
	if !k.o.LMTP {
		taken = 1
	}
	for range taken {
		r, err := k.reply(k.o.Timeouts.Final)
		if err != nil {
			return out, err
		}
		out.Final = append(out.Final, r)
	}
	return out, nil
}

// forget resets a transaction in which nothing was taken. A server that keeps it open would hear the next MAIL inside of it, and refuse
// a message that has nothing to do with this one.
func (k *Client) forget() error {
	r, err := k.command(k.o.Timeouts.Command, "RSET")
	if err == nil && r.Class() != 2 {
		err = fmt.Errorf("%w: %s to RSET", ErrReply, r)
	}
	return err
}

// envelope says MAIL and RCPT, batched where PIPELINING allows it.
func (k *Client) envelope(e mail.Envelope, size int64, out *Outcome) error {
	batch := 1
	if k.has("PIPELINING") {
		batch = pipelineBatch
	}
	replies := make([]*Reply, 0, len(e.Recipients)+1)
	replies = append(replies, &out.Mail)
	for i := range out.Recipients {
		replies = append(replies, &out.Recipients[i])
	}
	for from := 0; from < len(replies); from += batch {
		part := replies[from:min(from+batch, len(replies))]
		for i := range part {
			if from+i == 0 {
				k.line("MAIL FROM:<" + e.From.String() + ">" + k.mailParams(e, size))
			} else {
				r := e.Recipients[from+i-1]
				k.line("RCPT TO:<" + r.Address.String() + ">" + k.rcptParams(r, e.UTF8))
			}
		}
		if err := k.c.Flush(); err != nil {
			return err
		}
		for _, r := range part {
			var err error
			if *r, err = k.reply(k.o.Timeouts.Command); err != nil {
				return err
			}
		}
		if out.Mail.Class() != 2 {
			return nil
		}
	}
	return nil
}

func (k *Client) mailParams(e mail.Envelope, size int64) string {
	var p strings.Builder
	if k.has("SIZE") && size > 0 {
		p.WriteString(" SIZE=" + strconv.FormatInt(size, 10))
	}
	if k.has("8BITMIME") && e.Body == mail.Body8BitMIME {
		p.WriteString(" BODY=8BITMIME")
	}
	if e.UTF8 {
		p.WriteString(" SMTPUTF8")
	}
	if e.RequireTLS && k.has("REQUIRETLS") && k.TLS() != nil {
		p.WriteString(" REQUIRETLS")
	}
	if k.has("DSN") {
		switch e.Return {
		case mail.ReturnFull:
			p.WriteString(" RET=FULL")
		case mail.ReturnHeaders:
			p.WriteString(" RET=HDRS")
		}
		if e.EnvelopeID != "" {
			p.WriteString(" ENVID=" + encodeXtext(e.EnvelopeID))
		}
	}
	return p.String()
}

func (k *Client) rcptParams(r mail.Recipient, utf8 bool) string {
	if !k.has("DSN") {
		return ""
	}
	p := ""
	if r.Notify != 0 {
		p += " NOTIFY=" + formatNotify(r.Notify)
	}
	if r.OriginalType != "" {
		p += " ORCPT=" + r.OriginalType + ";" + encodeOriginal(r, utf8)
	}
	return p
}

// data says DATA and sends the message dot-coded.
func (k *Client) data(body io.Reader, out *Outcome) error {
	var err error
	if out.Data, err = k.command(k.o.Timeouts.Data, "DATA"); err != nil || out.Data.Code != 354 {
		if out.Data.Class() == 2 { // it is out of step: nothing was sent, so nothing can have been taken
			err, out.Data = fmt.Errorf("%w: %s to DATA", ErrReply, out.Data), Reply{}
		}
		return err
	}
	w := k.c.DotWriter()
	if _, err := io.Copy(w, body); err != nil {
		return err // half a message, and no dot behind it: the server drops it when the connection closes
	}
	if err := w.Close(); err != nil {
		return err
	}
	return k.c.Flush()
}

// chunk sends exactly size octets.
func (k *Client) chunk(body io.Reader, size int64) error {
	n, err := k.c.ReadFrom(io.LimitReader(body, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return k.c.Flush()
}
