package report

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
)

// maxFeedback bounds the fields of a feedback report, and the header of the message that it is about.
const maxFeedback = 64 << 10

// Complaint is a mailbox provider's report that somebody called a message junk (RFC 5965).
type Complaint struct {
	Type      string // abuse, fraud, virus, not-spam, other (RFC 5965 section 3.5)
	Agent     string // that made the report
	From      string // envelope sender of the message
	To        string // its recipient; providers often hide it
	Domain    string // that the report is about
	MessageID string // with its angle brackets
	Source    string // address that the provider got it from
	Arrived   time.Time
}

// isFeedback tells whether a message is a feedback report (RFC 5965 section 2).
func isFeedback(contentType string) (boundary string, ok bool) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/report" || !strings.EqualFold(params["report-type"], "feedback-report") {
		return "", false
	}
	return params["boundary"], params["boundary"] != ""
}

// complaint reads the parts of a feedback report.
func complaint(body io.Reader, boundary string) (Found, error) {
	var c Complaint
	whole := false
	parts := multipart.NewReader(body, boundary)
	for range maxParts {
		p, err := parts.NextRawPart()
		if err != nil {
			break
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		text := decoded(io.LimitReader(p, maxFeedback), p.Header.Get("Content-Transfer-Encoding"))
		switch kind {
		case "message/feedback-report":
			whole = c.fields(text)
		case "message/rfc822", "message/rfc822-headers", "text/rfc822-headers":
			c.original(text)
		}
	}
	if !whole {
		return Found{}, ErrNone
	}
	return Found{Complaint: &c}, nil
}

// headerOf reads header fields, as many as can be read.
func headerOf(r io.Reader) textproto.MIMEHeader {
	h, _ := textproto.NewReader(bufio.NewReader(io.LimitReader(r, maxFeedback))).ReadMIMEHeader() // what came before a mistake counts
	return h
}

func (c *Complaint) fields(r io.Reader) bool {
	h := headerOf(r)
	c.Type, c.Agent = strings.ToLower(short(h.Get("Feedback-Type"))), short(h.Get("User-Agent"))
	c.From, c.To = bare(h.Get("Original-Mail-From")), bare(h.Get("Original-Rcpt-To"))
	c.Domain = strings.ToLower(strings.TrimSuffix(short(h.Get("Reported-Domain")), "."))
	c.Source, _, _ = strings.Cut(short(h.Get("Source-Ip")), " ")
	for _, name := range []string{"Arrival-Date", "Received-Date"} {
		if at, err := netmail.ParseDate(h.Get(name)); err == nil {
			c.Arrived = at.UTC()
			break
		}
	}
	return c.Type != ""
}

// original adds what the header of the message says, where the report does not.
func (c *Complaint) original(r io.Reader) {
	h := headerOf(r)
	c.MessageID = short(strings.TrimSpace(h.Get("Message-Id")))
	if c.From == "" {
		if a, err := netmail.ParseAddress(h.Get("From")); err == nil {
			c.From = short(a.Address)
		}
	}
}

// complains tells whether it says that somebody called the message bad. Others come in the same form: not-spam takes one back (RFC 6430),
// auth-failure is about mail that is not ours at all (RFC 6591).
func (c *Complaint) complains() bool {
	return slices.Contains([]string{"abuse", "fraud", "virus", "other", "opt-out"}, c.Type)
}

// bare is an address without its angle brackets.
func bare(s string) string {
	return short(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(s), "<"), ">"))
}

// keepComplaint hands a complaint on that is about a domain of ours.
func (r *Reader) keepComplaint(ctx context.Context, w dmarcbook.Waiting, c *Complaint) error {
	if !c.complains() {
		return fmt.Errorf("report: %q is no complaint", c.Type)
	}
	name := c.Domain
	if a, err := mail.ParseAddress(c.From); err == nil { // who sent it says more than what the provider calls the domain
		name = string(a.Domain)
	}
	d, err := mail.ParseDomain(name)
	if err != nil {
		return ErrNone
	}
	if err := r.about(ctx, d); err != nil {
		return err
	}
	if r.o.Complained == nil {
		return nil
	}
	return r.o.Complained(ctx, *c, w.Sender)
}
