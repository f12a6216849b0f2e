package imap

import (
	"strings"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// structureWriter appends ENVELOPE and BODYSTRUCTURE (RFC 9051 section 7.5.2).
type structureWriter struct {
	utf8     bool // the client takes UTF-8 in quoted strings
	extended bool // BODYSTRUCTURE, not BODY
}

func (f *fetcher) writeEnvelope(*fetchItem) error {
	w := structureWriter{utf8: f.c.enabled.names()}
	f.line = w.envelope(f.line, f.open.root.Envelope)
	return nil
}

func (f *fetcher) writeStructure(it *fetchItem) error {
	w := structureWriter{utf8: f.c.enabled.names(), extended: it.name == "BODYSTRUCTURE"}
	f.line = w.body(f.line, f.open.root)
	return nil
}

func (w structureWriter) string(b []byte, s string) []byte {
	if w.utf8 {
		return syntax.AppendUTF8(b, s)
	}
	return syntax.AppendString(b, s)
}

func (w structureWriter) nstring(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return w.string(b, s)
}

func (w structureWriter) envelope(b []byte, e *message.Envelope) []byte {
	if e == nil {
		e = &message.Envelope{}
	}
	b = append(b, '(')
	b = w.nstring(b, e.Date)
	b = append(b, ' ')
	b = w.nstring(b, e.Subject)
	for _, list := range [...][]message.Address{e.From, orFrom(e.Sender, e), orFrom(e.ReplyTo, e), e.To, e.Cc, e.Bcc} {
		b = append(b, ' ')
		b = w.addresses(b, list)
	}
	b = append(b, ' ')
	b = w.nstring(b, e.InReplyTo)
	b = append(b, ' ')
	b = w.nstring(b, e.MessageID)
	return append(b, ')')
}

// orFrom: the server defaults Sender and Reply-To to From (RFC 9051 section 7.5.2).
func orFrom(list []message.Address, e *message.Envelope) []message.Address {
	if len(list) == 0 {
		return e.From
	}
	return list
}

func (w structureWriter) addresses(b []byte, list []message.Address) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for _, a := range list {
		b = append(b, '(')
		b = w.nstring(b, a.Name)
		b = append(b, " NIL "...)
		b = w.nstring(b, a.Mailbox)
		b = append(b, ' ')
		b = w.nstring(b, a.Host)
		b = append(b, ')')
	}
	return append(b, ')')
}

// body appends the structure of one entity.
func (w structureWriter) body(b []byte, p *message.Part) []byte {
	b = append(b, '(')
	if p.IsMultipart() {
		return append(w.multipart(b, p), ')')
	}
	b = w.string(b, p.Type)
	b = append(b, ' ')
	b = w.string(b, p.Subtype)
	b = append(b, ' ')
	b = w.params(b, p.Params, p.Type == "TEXT")
	b = append(b, ' ')
	b = w.nstring(b, p.ID)
	b = append(b, ' ')
	b = w.nstring(b, p.Description)
	b = append(b, ' ')
	b = w.string(b, p.Encoding)
	b = append(b, ' ')
	b = syntax.AppendNumber64(b, uint64(p.Size()))
	switch {
	case p.Type == "TEXT":
		b = append(b, ' ')
		b = syntax.AppendNumber64(b, uint64(p.Lines))
	case p.IsMessage(): // message/global too: what knows it at all expects it so (RFC 9051 section 9, media-message)
		b = w.enclosed(b, p)
	}
	if w.extended {
		b = append(b, ' ')
		b = w.nstring(b, p.MD5)
		b = w.extension(b, p)
	}
	return append(b, ')')
}

// multipart appends its parts. The grammar wants at least one, so that a multipart that could not be
// taken apart shows an empty text.
func (w structureWriter) multipart(b []byte, p *message.Part) []byte {
	for _, c := range p.Parts {
		b = w.body(b, c)
	}
	if len(p.Parts) == 0 {
		b = w.body(b, emptyText(p.End))
	}
	b = append(b, ' ')
	b = w.string(b, p.Subtype)
	if w.extended {
		b = append(b, ' ')
		b = w.params(b, p.Params, false)
		b = w.extension(b, p)
	}
	return b
}

func emptyText(at int64) *message.Part {
	return &message.Part{Type: "TEXT", Subtype: "PLAIN", Encoding: "7BIT", Header: at, Body: at, End: at}
}

// enclosed appends what message/rfc822 has besides: envelope, structure and lines of the message inside. An encoded one, which
// RFC 2046 section 5.2.1 forbids, has an empty message inside.
func (w structureWriter) enclosed(b []byte, p *message.Part) []byte {
	inner := emptyText(p.End)
	if len(p.Parts) == 1 {
		inner = p.Parts[0]
	}
	b = append(b, ' ')
	b = w.envelope(b, inner.Envelope)
	b = append(b, ' ')
	b = w.body(b, inner)
	b = append(b, ' ')
	return syntax.AppendNumber64(b, uint64(p.Lines))
}

// params appends parameters; a text without a charset is US-ASCII (RFC 2045 section 5.2).
func (w structureWriter) params(b []byte, list []message.Param, text bool) []byte {
	for _, p := range list {
		text = text && p.Name != "charset"
	}
	if len(list) == 0 && !text {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i, p := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = w.string(b, p.Name)
		b = append(b, ' ')
		b = w.string(b, p.Value)
	}
	if text {
		if len(list) > 0 {
			b = append(b, ' ')
		}
		b = append(b, `"charset" "us-ascii"`...)
	}
	return append(b, ')')
}

// extension appends disposition, language and location.
func (w structureWriter) extension(b []byte, p *message.Part) []byte {
	if p.Disposition == "" {
		b = append(b, " NIL"...)
	} else {
		b = append(b, " ("...)
		b = w.string(b, strings.ToLower(p.Disposition))
		b = append(b, ' ')
		b = w.params(b, p.DispositionParams, false)
		b = append(b, ')')
	}
	b = append(b, ' ')
	switch len(p.Language) {
	case 0:
		b = append(b, "NIL"...)
	case 1:
		b = w.string(b, p.Language[0])
	default:
		b = append(b, '(')
		for i, l := range p.Language {
			if i > 0 {
				b = append(b, ' ')
			}
			b = w.string(b, l)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return w.nstring(b, p.Location)
}
