package smtp

import (
	"crypto/tls"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Trace is what a Received field tells (RFC 5321 section 4.4).
type Trace struct {
	Peer     Peer
	Hostname string // ours
	ID       string // of the message
	For      string // the recipient, when there is just one; "" otherwise, so that none learns of another
	UTF8     bool   // SMTPUTF8 was asked for
	Authed   bool
	Hide     bool // do not tell who the client is
	Time     time.Time
}

// Append appends the field with its line end.
func (t Trace) Append(b []byte) []byte {
	b = append(b, "Received: "...)
	if !t.Hide {
		b = append(b, "from "...)
		b = append(b, plainWord(t.Peer.Hello)...)
		if t.Peer.Remote.IsValid() {
			b = append(b, " (["...)
			if t.Peer.Remote.Addr().Is6() {
				b = append(b, "IPv6:"...)
			}
			b = t.Peer.Remote.Addr().WithZone("").AppendTo(b)
			b = append(b, "])"...)
		}
		b = append(b, "\r\n\t"...)
	}
	b = append(b, "by "...)
	b = append(b, t.Hostname...)
	b = append(b, " (posthouse) with "...)
	b = append(b, t.protocol()...)
	b = append(b, " id "...)
	b = append(b, t.ID...)
	if t.Peer.TLS != nil {
		b = append(b, "\r\n\t("...)
		b = append(b, tls.VersionName(t.Peer.TLS.Version)...)
		b = append(b, ' ')
		b = append(b, tls.CipherSuiteName(t.Peer.TLS.CipherSuite)...)
		b = append(b, ')')
	}
	if t.For != "" {
		b = append(b, "\r\n\tfor <"...)
		b = append(b, t.For...)
		b = append(b, '>')
	}
	b = append(b, ";\r\n\t"...)
	b = t.Time.AppendFormat(b, "Mon, 2 Jan 2006 15:04:05 -0700")
	return append(b, '\r', '\n')
}

// protocol is the word behind "with" (RFC 3848, RFC 6531 section 4.3).
func (t Trace) protocol() string {
	if !t.Peer.Extended {
		return "SMTP"
	}
	p := "ESMTP"
	if t.Peer.LMTP {
		p = "LMTP"
	}
	if t.UTF8 {
		p = "UTF8" + strings.TrimPrefix(p, "E")
	}
	if t.Peer.TLS != nil {
		p += "S"
	}
	if t.Authed {
		p += "A"
	}
	return p
}

// plainWord is a client's name as far as it may stand in a header: what a host name or an address literal is made of.
func plainWord(s string) string {
	if s == "" {
		return "unknown"
	}
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune(".-_:[]", c):
			return c
		}
		return '?'
	}, s)
}

// NewEnvelope reads what a session's Mail is told.
func NewEnvelope(from string, o *gosmtp.MailOptions) (mail.Envelope, error) {
	var e mail.Envelope
	if from != "" {
		var err error
		if e.From, err = mail.ParseAddress(from); err != nil {
			return e, Refuse(501, code(5, 1, 7), "Bad sender address syntax")
		}
	}
	if o == nil {
		return e, nil
	}
	e.UTF8, e.EnvelopeID, e.RequireTLS = o.UTF8, o.EnvelopeID, o.RequireTLS
	if o.Body == gosmtp.Body8BitMIME {
		e.Body = mail.Body8BitMIME
	}
	switch o.Return {
	case gosmtp.DSNReturnFull:
		e.Return = mail.ReturnFull
	case gosmtp.DSNReturnHeaders:
		e.Return = mail.ReturnHeaders
	}
	return e, nil
}

// NewRecipient reads what a session's Rcpt is told.
func NewRecipient(to string, o *gosmtp.RcptOptions) (mail.Recipient, error) {
	r := mail.Recipient{Address: mail.Address{Local: "postmaster"}}
	if !strings.EqualFold(to, "postmaster") {
		var err error
		if r.Address, err = mail.ParseAddress(to); err != nil {
			return r, Refuse(501, code(5, 1, 3), "Bad recipient address syntax")
		}
	}
	if o == nil {
		return r, nil
	}
	for _, n := range o.Notify {
		for _, w := range notifyWords {
			if string(n) == w.word {
				r.Notify |= w.bit
			}
		}
	}
	r.OriginalType, r.Original = string(o.OriginalRecipientType), o.OriginalRecipient
	return r, nil
}
