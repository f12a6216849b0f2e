// Package list carries the mail of lists (ADR 22): a message to a list becomes one copy for each member, reports on copies
// are counted until a member is paused, and members leave.
//
// Lists.Take is called by the local carrier for what the queue holds for a list (post.go, bounce.go, leave.go); Lists.Refuse says
// to the desks what a list does not take while the sender still listens (refuse.go). dsn.go reads reports, token.go
// makes the addresses and links that only we can make.
package list

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// PartKind is the lists' part of a log record: that a message was posted.
const PartKind byte = 'r'

// Options of Lists.
type Options struct {
	Logger    *slog.Logger
	Now       func() time.Time
	Store     *store.Store
	DB        *kv.DB
	Directory *auth.Directory
	Queue     *queue.Queue
	Story     *story.Book // nil: nothing is told
	Hostname  string
	Secret    [32]byte // of the data folder
	// Keys are what signs and seals mail of a domain; nil: nothing is signed.
	Keys func(ctx context.Context, domain mail.Domain) ([]mailauth.SigningKey, error)
	// Checks tells whether a copy still proves its author; nil: nobody asks, and no author is rewritten.
	Checks *mailauth.Checker
	// URL is where leaving works over HTTPS; a token is put behind it. Empty: by mail only.
	URL string
	// BounceDays is on how many days a member's mail comes back before it is paused: 5.
	BounceDays int
	Limits     *limit.Book // how much is posted; nil: no limit
}

// Lists carries the mail of all lists.
type Lists struct {
	o      Options
	log    *slog.Logger
	tokens Tokens

	mu      sync.Mutex
	asked   map[string]time.Time // member -> when it was last asked whether it wants to leave; guarded by mu
	posting map[posted]bool      // guarded by mu
}

// New returns Lists; Register was called before.
func New(o Options) *Lists {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BounceDays <= 0 {
		o.BounceDays = 5
	}
	return &Lists{o: o, log: o.Logger, tokens: NewTokens(o.Secret), asked: make(map[string]time.Time), posting: make(map[posted]bool)}
}

// Take does what mail for a list asks for. It is the local carrier's, for one recipient of one attempt.
func (l *Lists) Take(ctx context.Context, a queue.Attempt, m auth.ListMail) queue.Result {
	d, err := readDraft(a.Content)
	if err != nil {
		return later("the stored message cannot be read at the moment")
	}
	switch m.Role {
	case auth.ListPost:
		return l.post(ctx, a, m.List, d)
	case auth.ListBounces:
		return l.bounced(ctx, a, m, d)
	case auth.ListUnsubscribe:
		return l.leave(ctx, a.Envelope, m, d)
	}
	return never("5.1.1", "no such address here")
}

func done(format string, args ...any) queue.Result {
	return queue.Result{Verdict: queue.Done, Code: 250, Status: "2.1.5", Text: fmt.Sprintf(format, args...), Handoff: queue.Posted}
}

func later(text string) queue.Result {
	return queue.Result{Verdict: queue.Later, Code: 451, Status: "4.3.0", Text: text}
}

func never(status, text string) queue.Result {
	return queue.Result{Verdict: queue.Never, Code: 550, Status: status, Text: text}
}

// maxHeader is how much of a message's header is read: what the desks take, and what they and helpers put in front of it.
const maxHeader = smtp.MaxHeader + 256<<10

// draft is what a header says of a message.
type draft struct {
	header    []byte // without the empty line
	body      int64  // where the body begins
	authors   []mail.Address
	name      string // of the first author, raw
	messageID string
	subject   string // raw, unfolded
	replyTo   bool
	auto      bool     // made by a machine (RFC 3834)
	lists     []string // list-ids that it came through
	loops     []string // X-Loop
	proven    bool     // our own check says dmarc=pass
	forged    bool     // disproven
	results   string   // of our own check; empty: one of our own people sent it, or a program that we trust
	dmarc     mailauth.Result
}

// readDraft reads the header of a stored message.
func readDraft(content *io.SectionReader) (*draft, error) {
	raw := make([]byte, min(content.Size(), maxHeader))
	n, err := content.ReadAt(raw, 0)
	if n < len(raw) && err != nil {
		return nil, err
	}
	d := parseDraft(raw)
	return d, nil
}

func parseDraft(raw []byte) *draft {
	d := &draft{header: raw, body: int64(len(raw))}
	for from := 0; from < len(raw); {
		line := raw[from:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			d.header, d.body = raw[:from:from], int64(from+len(line))
			break
		}
		from += len(line)
	}
	for f := range message.Fields(d.header) {
		switch {
		case f.Is("From"):
			for _, a := range message.ParseAddresses(f.Unfolded()) {
				if p, err := mail.ParseAddress(a.Mailbox + "@" + a.Host); err == nil && a.Host != "" {
					if len(d.authors) == 0 {
						d.name = a.Name
					}
					d.authors = append(d.authors, p)
				}
			}
		case f.Is("Message-ID"):
			d.messageID = strings.TrimSpace(f.Unfolded())
		case f.Is("Subject"):
			d.subject = strings.TrimSpace(f.Unfolded())
		case f.Is("Reply-To"):
			d.replyTo = true
		case f.Is("Auto-Submitted"):
			value, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(f.Unfolded())), ";")
			d.auto = d.auto || strings.TrimSpace(value) != "no"
		case f.Is("X-Autoreply"), f.Is("X-Autorespond"): // what older programs write
			d.auto = true
		case f.Is("Precedence"):
			value := strings.ToLower(strings.TrimSpace(f.Unfolded()))
			d.auto = d.auto || value == "auto_reply" || value == "junk"
		case f.Is("List-Id"):
			d.lists = append(d.lists, inBrackets(f.Unfolded()))
		case f.Is("X-Loop"):
			d.loops = append(d.loops, strings.ToLower(strings.TrimSpace(f.Unfolded())))
		}
	}
	return d
}

// inBrackets is what stands in the last <>, in lower case: the list-id behind its phrase (RFC 2919 section 3).
func inBrackets(v string) string {
	if i := strings.LastIndexByte(v, '<'); i >= 0 {
		v, _, _ = strings.Cut(v[i+1:], ">")
	}
	return strings.ToLower(strings.TrimSpace(v))
}

// checked takes over what our own check of the message found; a field of ours on mail from outside is ours (RFC 8601 section 5).
func (d *draft) checked(hostname string) {
	for f := range message.Fields(d.header) {
		if !f.Is("Authentication-Results") || !mailauth.Ours(f, hostname) {
			continue
		}
		_, results, _ := strings.Cut(f.Unfolded(), ";")
		d.results = strings.TrimSpace(results)
		d.dmarc = mailauth.Said(results, "dmarc")
		d.proven = d.dmarc == mailauth.Pass
		return
	}
}

// domains are those of its authors.
func (d *draft) domains() (all []mail.Domain) {
	for _, a := range d.authors {
		all = append(all, a.Domain)
	}
	return all
}

// ID is a list's list-id: its address with a dot for the @ (RFC 2919 section 2).
func ID(l auth.List) string {
	return strings.ToLower(strings.Trim(l.Address.QuotedLocal(), `"`)) + "." + string(l.Address.Domain)
}

// notice is a letter of a list to one person.
type notice struct {
	from    mail.Address
	to      mail.Address
	subject string
	text    string // lines end with \n
}

// send puts a letter into the queue; nobody hears when it does not arrive (RFC 3834 section 3.3).
func (l *Lists) send(ctx context.Context, n notice) error {
	var h message.HeaderWriter
	h.Field("From", "<"+n.from.String()+">")
	h.Field("To", "<"+n.to.String()+">")
	h.Text("Subject", n.subject)
	h.Field("Date", message.FormatDate(l.o.Now()))
	h.Field("Message-ID", message.NewMessageID(string(n.from.Domain)))
	h.Field("Auto-Submitted", "auto-generated")
	h.Field("MIME-Version", "1.0")
	h.Field("Content-Type", "text/plain; charset=utf-8")
	h.Field("Content-Transfer-Encoding", "8bit")
	body := []byte(strings.ReplaceAll(n.text, "\n", "\r\n"))
	fields, err := l.signatures(ctx, n.from.Domain, h.Bytes(), body)
	if err != nil {
		return err
	}
	w, err := l.o.Store.NewMessage(ctx, int64(len(body)))
	if err != nil {
		return err
	}
	for _, b := range [][]byte{[]byte("Return-Path: <>\r\n"), fields, h.Bytes(), []byte("\r\n"), body} {
		if _, err := w.Write(b); err != nil {
			w.Discard()
			return err
		}
	}
	arrival, err := w.Finish()
	if err != nil {
		return err
	}
	id := l.o.Queue.NewID()
	e := mail.Envelope{Body: mail.Body8BitMIME, Recipients: []mail.Recipient{{Address: n.to, Notify: mail.NotifyNever}}}
	l.o.Story.Begin(story.Message{ID: id, Direction: story.Out, To: []string{n.to.String()}, Subject: n.subject, Size: arrival.Size()})
	_, err = l.o.Store.Deliver(ctx, arrival, nil, l.o.Queue.Part(id, e))
	return err
}

func (l *Lists) signatures(ctx context.Context, domain mail.Domain, header, body []byte) ([]byte, error) {
	keys := l.keys(ctx, domain)
	if len(keys) == 0 {
		return nil, nil
	}
	s := mailauth.NewSigner(header, l.o.Now(), keys...)
	if _, err := s.Write(body); err != nil {
		return nil, err
	}
	return s.Sign()
}

// keys are the domain's; without them mail goes unsigned, which is better than not at all.
func (l *Lists) keys(ctx context.Context, domain mail.Domain) []mailauth.SigningKey {
	if l.o.Keys == nil {
		return nil
	}
	keys, err := l.o.Keys(ctx, domain)
	if err != nil {
		l.log.ErrorContext(ctx, logx.MailUnsigned, "domain", domain, "error", err)
	}
	return keys
}

// tell writes to a list's owners. What goes wrong is logged: the list goes on.
func (l *Lists) tell(ctx context.Context, list auth.List, subject, text string) {
	owners := l.o.Directory.OwnersOf(list)
	if err := l.send(ctx, notice{from: owners, to: owners, subject: subject, text: text}); err != nil {
		l.log.ErrorContext(ctx, logx.ListFailed, "list", list.Address.String(), "error", err)
	}
}
