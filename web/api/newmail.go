package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/quotedprintable"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// NewMail is a message as JSON. Addresses are written as in a header: "Alice <alice@example.org>".
type NewMail struct {
	From        string            `json:"from,omitempty"` // one that the account may send as; empty: its main address
	To          []string          `json:"to,omitempty"`
	CC          []string          `json:"cc,omitempty"`
	BCC         []string          `json:"bcc,omitempty"` // get it, and stand nowhere in it
	ReplyTo     []string          `json:"reply_to,omitempty"`
	Subject     string            `json:"subject,omitempty"`
	Text        string            `json:"text,omitempty"`
	HTML        string            `json:"html,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"` // In-Reply-To, References, List-*, X-* and some more
	Attachments []Attachment      `json:"attachments,omitempty"`
	At          *time.Time        `json:"at,omitempty"` // when to send it; it waits in the Outbox until then
}

// Attachment is a file of a message.
type Attachment struct {
	Name    string `json:"name"`
	Type    string `json:"type,omitempty"`       // media type; else by the name
	Content []byte `json:"content"`              // base64
	ID      string `json:"content_id,omitempty"` // the HTML shows it as cid:ID
}

// Bounds of a message, besides its octets. A file's name becomes three times as long where it is not ASCII, and stands in one line.
const (
	maxAttachments = 100
	maxAddresses   = 1000 // of all fields
	maxAddressText = 16 << 10
	maxHeaders     = 100
	maxFileName    = 255
	maxLine        = 998 // RFC 5322 section 2.1.1
)

func wrongMail(format string, args ...any) error {
	return &admin.Error{Class: admin.Invalid, Message: fmt.Sprintf(format, args...)}
}

// list reads addresses of one field.
func listed(field string, all []string) (out []message.Address, plain []mail.Address, err error) {
	if len(all) > maxAddresses {
		return nil, nil, tooMany()
	}
	for _, text := range all {
		if len(text) > maxAddressText {
			return nil, nil, wrongMail("%s: write one address in each place of the list, of up to %d octets", field, maxAddressText)
		}
		some := message.ParseAddresses(text)
		if len(some) == 0 {
			return nil, nil, wrongMail("%s: %q is no address", field, text)
		}
		for _, a := range some {
			d, err := mail.ParseDomain(a.Host)
			p := mail.Address{Local: a.Mailbox, Domain: d}
			if err == nil {
				p, err = mail.ParseAddress(p.String()) // with its quotes, where it needs some
			}
			if err != nil || a.Host == message.MissingDomain || !strings.Contains(text, "@") {
				return nil, nil, wrongMail("%s: %q is no address", field, text)
			}
			a.Name = message.DecodeWords(a.Name)
			out, plain = append(out, a), append(plain, p)
		}
	}
	return out, plain, nil
}

func tooMany() error {
	return wrongMail("to, cc, bcc: a message has up to %d recipients", maxAddresses)
}

// envelope says who gets the message, and from whom.
func (m *NewMail) envelope(out *Outgoing) error {
	if m.From != "" {
		_, from, err := listed("from", []string{m.From})
		if err != nil {
			return err
		}
		if len(from) != 1 {
			return wrongMail("from: write one address")
		}
		out.From = from[0]
	}
	known := map[string]bool{}
	for _, f := range []struct {
		name string
		all  []string
	}{{"to", m.To}, {"cc", m.CC}, {"bcc", m.BCC}} {
		_, plain, err := listed(f.name, f.all)
		if err != nil {
			return err
		}
		for _, a := range plain {
			if !known[a.Key()] {
				known[a.Key()] = true
				out.Recipients = append(out.Recipients, a)
			}
		}
		if len(out.Recipients) > maxAddresses {
			return tooMany()
		}
	}
	if len(out.Recipients) == 0 {
		return wrongMail("to, cc or bcc: say who gets the message")
	}
	if m.At != nil {
		out.At = *m.At
	}
	return nil
}

// text is the message. The desk adds From, Date and Message-ID where they are missing.
func (m *NewMail) text() (io.Reader, error) {
	var h message.HeaderWriter
	for _, f := range []struct {
		name string
		all  []string
	}{{"From", slices.DeleteFunc([]string{m.From}, func(s string) bool { return s == "" })}, {"To", m.To}, {"Cc", m.CC}, {"Reply-To", m.ReplyTo}} {
		all, _, err := listed(strings.ToLower(f.name), f.all)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 {
			h.Addresses(f.name, all...)
		}
	}
	h.Text("Subject", m.Subject)
	if err := m.heads(&h); err != nil {
		return nil, err
	}
	h.Field("MIME-Version", "1.0")
	if err := folded(&h); err != nil {
		return nil, err
	}
	body, err := m.body()
	if err != nil {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(h.Bytes()), &body.b), nil
}

// heads adds the fields that the program gives.
func (m *NewMail) heads(h *message.HeaderWriter) error {
	if len(m.Headers) > maxHeaders {
		return wrongMail("headers: %d at most", maxHeaders)
	}
	given := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		if !mayHead(name) {
			return wrongMail("headers: %s is not one that can be given here", name)
		}
		if given[strings.ToLower(name)] {
			return wrongMail("headers: %s is there twice", name)
		}
		given[strings.ToLower(name)] = true
		h.Text(name, m.Headers[name])
	}
	return nil
}

// folded refuses a header with a word that no line can hold: hosts on the way break it, or refuse it.
func folded(h *message.HeaderWriter) error {
	for line := range bytes.Lines(h.Bytes()) {
		if len(line) > maxLine+2 {
			name, _, _ := bytes.Cut(line[:60], []byte(":"))
			return wrongMail("%s: it has a word of more than %d octets without a space", name, maxLine)
		}
	}
	return nil
}

// mayHead tells whether a program may give a field of the header: what programs mark their mail with, and nothing that says who sends
// it, to whom, or what is in it.
func mayHead(name string) bool {
	name = strings.ToLower(name)
	if strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' }) {
		return false
	}
	known := []string{"in-reply-to", "references", "auto-submitted", "precedence", "importance", "priority", "feedback-id", "keywords", "comments"}
	return slices.Contains(known, name) || strings.HasPrefix(name, "x-") && len(name) > 2 || strings.HasPrefix(name, "list-") && len(name) > 5
}

// part is a piece of MIME: its fields, an empty line, its octets.
type part struct{ b bytes.Buffer }

// body is the parts in the order in which RFC 2046 wants them: what cannot be shown by all comes last of its group.
func (m *NewMail) body() (*part, error) {
	if len(m.Attachments) > maxAttachments {
		return nil, wrongMail("attachments: %d at most", maxAttachments)
	}
	var shown []*part
	if m.Text != "" || m.HTML == "" {
		shown = append(shown, textPart("text/plain", m.Text))
	}
	var inline, files []*part
	for i := range m.Attachments {
		a := &m.Attachments[i]
		p, err := a.part()
		if err != nil {
			return nil, err
		}
		if a.ID != "" && m.HTML != "" {
			inline = append(inline, p)
		} else {
			files = append(files, p)
		}
	}
	if m.HTML != "" {
		shown = append(shown, together("related", append([]*part{textPart("text/html", m.HTML)}, inline...)))
	}
	return together("mixed", append([]*part{together("alternative", shown)}, files...)), nil
}

// together is parts as one multipart; one alone stays itself.
func together(kind string, all []*part) *part {
	if len(all) == 1 {
		return all[0]
	}
	sum := sha256.New() // the same request makes the same message, and no part has a hash of itself in it
	for _, one := range all {
		sum.Write(one.b.Bytes())
	}
	boundary := "=_" + hex.EncodeToString(sum.Sum(nil)[:16])
	p := &part{}
	fmt.Fprintf(&p.b, "Content-Type: multipart/%s; boundary=\"%s\"\r\n\r\n", kind, boundary)
	for _, one := range all {
		fmt.Fprintf(&p.b, "--%s\r\n", boundary)
		p.b.Write(one.b.Bytes())
		p.b.WriteString("\r\n")
		one.b.Reset()
	}
	fmt.Fprintf(&p.b, "--%s--\r\n", boundary)
	return p
}

func textPart(media, text string) *part {
	p := &part{}
	fmt.Fprintf(&p.b, "Content-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", media)
	w := quotedprintable.NewWriter(&p.b)
	_, _ = io.WriteString(w, strings.ToValidUTF8(text, "\uFFFD")) // a buffer never fails
	_ = w.Close()
	return p
}

// part is an attachment. A message inside a message is not encoded (RFC 2046 section 5.2.1), and a multipart has no octets of its own:
// both are carried as files.
func (a *Attachment) part() (*part, error) {
	media, params, err := mime.ParseMediaType(a.Type)
	if a.Type == "" {
		media, params = mime.TypeByExtension(a.Name[max(0, strings.LastIndexByte(a.Name, '.')):]), nil
		if media, params, err = mime.ParseMediaType(media); err != nil {
			media, params, err = "application/octet-stream", nil, nil
		}
	}
	if err != nil || !strings.Contains(media, "/") {
		return nil, wrongMail("attachments: %q is no media type", a.Type)
	}
	if strings.HasPrefix(media, "multipart/") || strings.HasPrefix(media, "message/") {
		media, params = "application/octet-stream", nil
	}
	kind := mime.FormatMediaType(media, params)
	if kind == "" || len(kind) > maxFileName {
		return nil, wrongMail("attachments: %q is no media type", a.Type)
	}
	if len(a.Name) > maxFileName {
		return nil, wrongMail("attachments: a name has up to %d octets", maxFileName)
	}
	if len(a.ID) > maxFileName || strings.ContainsFunc(a.ID, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '<' || c == '>' }) {
		return nil, wrongMail("attachments: %q is no content_id", a.ID)
	}
	name := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, a.Name)
	p := &part{}
	var h message.HeaderWriter
	h.Field("Content-Type", kind)
	disposition := "attachment"
	if a.ID != "" {
		disposition = "inline"
		h.Field("Content-ID", "<"+a.ID+">")
	}
	h.Field("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": name})) // RFC 2231 where it is not ASCII
	h.Field("Content-Transfer-Encoding", "base64")
	p.b.Write(append(h.Bytes(), "\r\n"...))
	const line = 57 // octets that become 76 letters (RFC 2045 section 6.8)
	buf := make([]byte, base64.StdEncoding.EncodedLen(line))
	for chunk := range slices.Chunk(a.Content, line) {
		n := base64.StdEncoding.EncodedLen(len(chunk))
		base64.StdEncoding.Encode(buf, chunk)
		p.b.Write(buf[:n])
		p.b.WriteString("\r\n")
	}
	a.Content = nil
	return p, nil
}
