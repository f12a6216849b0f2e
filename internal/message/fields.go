package message

import (
	"bytes"
	"strings"
)

// fieldKind is a header field the scanner knows.
type fieldKind uint8

const (
	fieldOther fieldKind = iota
	fieldContentType
	fieldEncoding
	fieldContentID
	fieldDescription
	fieldDisposition
	fieldLanguage
	fieldLocation
	fieldMD5
	// From here on: fields of a message, not of a body part.
	fieldDate
	fieldSubject
	fieldFrom
	fieldSender
	fieldReplyTo
	fieldTo
	fieldCc
	fieldBcc
	fieldInReplyTo
	fieldMessageID
	fieldReferences
)

// field is the header field that is being read.
type field struct {
	kind  fieldKind
	had   uint32 // kinds of this header that were taken
	value []byte
}

// once tells whether the kind comes for the first time in this header.
func (f *field) once(kind fieldKind) bool {
	had := f.had&(1<<kind) != 0
	f.had |= 1 << kind
	return !had
}

func (f *field) reset() {
	f.kind = fieldOther
	f.value = f.value[:0]
}

// start looks at the first line of a field; ok when the scanner wants its value.
// White space before the colon is obsolete syntax that still occurs (RFC 5322 section 4.5, RFC 7103 section 7.1.4).
func (f *field) start(line []byte) (value []byte, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return nil, false
	}
	f.kind = kindOf(bytes.TrimRight(line[:colon], " \t"))
	return line[colon+1:], f.kind != fieldOther
}

func kindOf(name []byte) fieldKind {
	var buf [25]byte
	if len(name) < 2 || len(name) > len(buf) {
		return fieldOther
	}
	for i, c := range name {
		buf[i] = lower(c)
	}
	switch string(buf[:len(name)]) {
	case "content-type":
		return fieldContentType
	case "content-transfer-encoding":
		return fieldEncoding
	case "content-id":
		return fieldContentID
	case "content-description":
		return fieldDescription
	case "content-disposition":
		return fieldDisposition
	case "content-language":
		return fieldLanguage
	case "content-location":
		return fieldLocation
	case "content-md5":
		return fieldMD5
	case "date":
		return fieldDate
	case "subject":
		return fieldSubject
	case "from":
		return fieldFrom
	case "sender":
		return fieldSender
	case "reply-to":
		return fieldReplyTo
	case "to":
		return fieldTo
	case "cc":
		return fieldCc
	case "bcc":
		return fieldBcc
	case "in-reply-to":
		return fieldInReplyTo
	case "message-id":
		return fieldMessageID
	case "references":
		return fieldReferences
	}
	return fieldOther
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// cleanValue is an unfolded value on one line, without octets that no quoted string of a protocol can carry: a TAB, which
// folding often leaves behind, and a bare CR become spaces, NUL goes.
func cleanValue(b []byte) string {
	b = bytes.Trim(b, " \t\r\n")
	if !bytes.ContainsAny(b, "\x00\t\r\n") {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i, c := range b {
		switch {
		case c == 0, c == '\n', c == '\r' && i+1 < len(b) && b[i+1] == '\n':
		case c == '\t', c == '\r':
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

func trimRight(s string) string { return strings.TrimRight(s, " \t") }

// contentField takes a MIME field. The first of a kind wins (RFC 7103 section 7.6 says to pick one).
func (s *Scanner) contentField(p *Part, kind fieldKind, v string) {
	if v == "" || !s.field.once(kind) {
		return
	}
	switch kind {
	case fieldContentType:
		s.contentType(p, v)
	case fieldEncoding:
		if e := encodingToken(v); e != "" {
			p.Encoding = e
		}
	case fieldContentID:
		p.ID = v
	case fieldDescription:
		p.Description = v
	case fieldDisposition:
		token, rest := cutToken(v)
		p.Disposition = strings.ToUpper(token)
		p.DispositionParams = s.params(rest)
	case fieldLanguage:
		for tag := range strings.SplitSeq(stripComments(v), ",") {
			if tag = strings.TrimSpace(tag); tag != "" && s.weigh(16) {
				p.Language = append(p.Language, tag)
			}
		}
	case fieldLocation:
		p.Location = strings.Join(strings.Fields(v), "") // RFC 2557 section 4.4.1: folded anywhere
	case fieldMD5:
		p.MD5 = v
	}
}

// envelopeField takes a field of the message itself. Of fields that may stand once the first wins; lists of recipients are joined.
func (s *Scanner) envelopeField(p *Part, kind fieldKind, v string) {
	e := p.Envelope
	once := func(dst *string) {
		if *dst == "" {
			*dst = v
		}
	}
	switch kind {
	case fieldDate:
		once(&e.Date)
		if p == s.sum.Root && s.sum.Date.IsZero() {
			s.sum.Date, _ = ParseDate(v)
		}
	case fieldSubject:
		once(&e.Subject)
	case fieldInReplyTo:
		once(&e.InReplyTo)
	case fieldMessageID:
		once(&e.MessageID)
	case fieldReferences:
		if p == s.sum.Root {
			s.sum.References = s.messageIDs(s.sum.References, v)
		}
	case fieldFrom:
		e.From = s.addresses(e.From, v)
	case fieldSender:
		if len(e.Sender) == 0 {
			e.Sender = s.addresses(nil, v)
		}
	case fieldReplyTo:
		e.ReplyTo = s.addresses(e.ReplyTo, v)
	case fieldTo:
		e.To = s.addresses(e.To, v)
	case fieldCc:
		e.Cc = s.addresses(e.Cc, v)
	case fieldBcc:
		e.Bcc = s.addresses(e.Bcc, v)
	}
}

// weigh takes the memory of a small value from what the message may use.
func (s *Scanner) weigh(n int) bool {
	if s.limits.kept < n {
		return false
	}
	s.limits.kept -= n
	return true
}

// messageIDs appends the ids of a References field (RFC 5322 section 3.6.4).
func (s *Scanner) messageIDs(ids []string, v string) []string {
	for len(v) > 0 {
		i := strings.IndexByte(v, '<')
		if i < 0 {
			break
		}
		v = v[i:]
		j := strings.IndexByte(v, '>')
		if j < 0 {
			break
		}
		if id := v[:j+1]; len(id) > 2 && s.weigh(16) {
			ids = append(ids, id)
		}
		v = v[j+1:]
	}
	return ids
}
