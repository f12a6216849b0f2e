package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// maxHeader is how much of the original's header a report gives back at most.
const maxHeader = 64 << 10

// Actions of RFC 3464 section 2.3.3.
const (
	actionFailed    = "failed"
	actionDelayed   = "delayed"
	actionDelivered = "delivered"
	actionRelayed   = "relayed"
	actionExpanded  = "expanded"
)

// reported is one recipient of a report.
type reported struct {
	recipient
	action string
}

// report is a delivery status notification (RFC 3464) before it is written.
type report struct {
	id         string       // queue id of the report
	of         string       // of the message it is about
	unproven   mail.Address // the sender who is not told; zero: to is the sender
	kind       string       // the gravest action in it
	hostname   string
	to         mail.Address
	recipients []reported
	date       time.Time
	created    time.Time // arrival of the message
	until      time.Time // end of its life
	last       time.Time // of the attempt
	envelopeID string
	asked      string // FUTURERELEASE
	utf8       bool   // travels with SMTPUTF8, so that nothing needs encoding (RFC 6533)
	original   original
}

// original is what the report gives back.
type original struct {
	header  []byte // whole lines
	cut     bool   // the header is longer
	content *io.SectionReader
	full    bool // the whole message is given back
	global  bool // it is an SMTPUTF8 message
}

// written is a report in the store, ready for its record.
type written struct {
	id, kind string
	unproven bool // it is for the postmaster
	about    []reported
	size     int64
	envelope mail.Envelope
	arrival  *store.Arrival
}

// compose writes the report that an attempt made necessary; nil when there is nobody to send it to.
func (q *Queue) compose(ctx context.Context, a *attempt) (*written, error) {
	e := a.after
	r := &report{id: q.NewID(), of: e.id, hostname: q.o.Hostname, to: e.from, date: q.o.Now(), created: time.UnixMilli(e.created),
		until: time.UnixMilli(e.since()).Add(q.o.life(e)), asked: e.timing.asked, last: time.UnixMilli(e.last), envelopeID: e.envid}
	body, err := q.open(ctx, a.number, e)
	if err == nil {
		defer body.Close()
		r.original.content = io.NewSectionReader(body, 0, body.Size())
		r.original.readHeader()
	} else { // the report goes out without the original
		q.log.ErrorContext(ctx, logx.QueueBroken, "id", e.id, "number", a.number, "error", err)
	}
	if e.orphan {
		r.to, _ = mail.ParseAddress(strings.Trim(r.original.field("Return-Path"), " <>")) // none: nobody is told
		if to, err := mail.ParseAddress(r.original.field("Delivered-To")); err == nil {
			e.recipients[0].Address = to
		}
	}
	if r.to.IsNull() {
		return nil, nil
	}
	r.gather(a)
	if e.unproven || e.orphan && r.forged() {
		if !q.unproven.allow(r.recipients, r.date) {
			a.unreported = true
			return nil, nil
		}
		r.unproven, r.to = r.claimed(), mail.Address{Local: "postmaster"}
	}
	r.utf8 = !r.to.IsASCII()
	r.original.global = e.utf8
	r.original.full = r.kind == actionFailed && (e.ret == mail.ReturnFull || !r.unproven.IsNull()) && !e.requireTLS && e.body != mail.BodyBinaryMIME && r.original.content != nil &&
		r.original.content.Size() <= q.o.ReturnMax
	arrival, body8, err := q.writeReport(ctx, r)
	if errors.Is(err, errNoOriginal) { // it is damaged: the sender hears of the failure all the same
		q.log.ErrorContext(ctx, logx.QueueBroken, "id", e.id, "number", a.number, "error", err)
		r.original.content, r.original.full = nil, false
		arrival, body8, err = q.writeReport(ctx, r)
	}
	if err != nil {
		if !r.unproven.IsNull() {
			q.unproven.forget(r.recipients)
		}
		return nil, err
	}
	// RFC 3461 section 6.1: from <>, NOTIFY=NEVER, no RET. RFC 8689 section 5: the report is protected as the message was.
	env := mail.Envelope{Recipients: []mail.Recipient{{Address: r.to, Notify: mail.NotifyNever}}, UTF8: r.utf8, RequireTLS: e.requireTLS}
	if body8 {
		env.Body = mail.Body8BitMIME
	}
	return &written{unproven: !r.unproven.IsNull(), about: r.recipients, size: arrival.Size(), id: r.id, kind: r.kind, envelope: env, arrival: arrival}, nil
}

// writeReport writes the report into the store. A panic, over whatever strangers wrote into header or answer, is an error:
// the recipients stay owed, and nothing is sent twice.
func (q *Queue) writeReport(ctx context.Context, r *report) (arrival *store.Arrival, body8 bool, err error) {
	defer q.recovered(&err)
	w, err := q.store.NewMessage(ctx, 0)
	if err != nil {
		return nil, false, err
	}
	defer w.Discard()
	if body8, err = r.write(w); err != nil {
		return nil, false, err
	}
	arrival, err = w.Finish()
	return arrival, body8, err
}

// gather takes over the recipients that are owed a report, the gravest first.
func (r *report) gather(a *attempt) {
	for _, want := range []string{actionFailed, actionDelayed, actionRelayed, actionExpanded, actionDelivered} {
		for _, x := range a.after.recipients {
			if actionOf(x) == want {
				r.recipients = append(r.recipients, reported{x, want})
			}
		}
		if want == actionDelayed {
			for _, i := range a.delayed {
				r.recipients = append(r.recipients, reported{a.after.recipients[i], want})
			}
		}
	}
	r.kind = r.recipients[0].action
}

func actionOf(r recipient) string {
	switch {
	case r.state == owedFailure:
		return actionFailed
	case r.state == owedSuccess && (r.result.Handoff == Delivered || r.result.Handoff == Posted):
		return actionDelivered
	case r.state == owedSuccess && r.result.Handoff == Expanded:
		return actionExpanded
	case r.state == owedSuccess:
		return actionRelayed
	}
	return ""
}

// readHeader reads the original's header up to its bound.
func (o *original) readHeader() {
	b := make([]byte, min(maxHeader, o.content.Size()))
	n, _ := o.content.ReadAt(b, 0) // what could be read is given back
	b = b[:n]
	if end := bytes.Index(b, []byte("\r\n\r\n")); end >= 0 {
		o.header = b[:end+2]
		return
	}
	o.cut = int64(n) < o.content.Size()
	o.header = b[:bytes.LastIndexByte(b, '\n')+1]
}

// field returns the first field of that name, unfolded, as it is written.
func (o *original) field(name string) string {
	rest := o.header
	for len(rest) > 0 {
		line := rest
		end := 0
		for {
			i := bytes.IndexByte(rest[end:], '\n')
			if i < 0 {
				end = len(rest)
				break
			}
			end += i + 1
			if end == len(rest) || rest[end] != ' ' && rest[end] != '\t' {
				break
			}
		}
		line, rest = rest[:end], rest[end:]
		if n, value, ok := bytes.Cut(line, []byte(":")); ok && strings.EqualFold(string(bytes.TrimRight(n, " \t")), name) {
			return strings.Join(strings.Fields(string(value)), " ")
		}
	}
	return ""
}

// write writes the message and reports whether it has octets over 127.
func (r *report) write(w io.Writer) (body8 bool, err error) {
	var mark [16]byte
	rand.Read(mark[:]) // never fails (crypto/rand)
	boundary := "=_" + hex.EncodeToString(mark[:])
	m := &lines{w: w}
	r.writeHeader(m, boundary)
	m.line("This is a delivery report in the format of RFC 3464; your mail program can show it.")
	m.line("")
	m.line("--" + boundary)
	r.writeWords(m)
	m.line("")
	m.line("--" + boundary)
	r.writeStatus(m)
	if r.original.content != nil {
		m.line("")
		m.line("--" + boundary)
		r.writeOriginal(m)
	}
	m.line("")
	m.line("--" + boundary + "--")
	return m.eight, m.err
}

func (r *report) writeHeader(m *lines, boundary string) {
	m.line("Return-Path: <>") // for the mailbox here; it stays behind when the report leaves the house (RFC 5321 section 4.4)
	m.line("Date: " + r.date.Format(time.RFC1123Z))
	m.line(`From: "Mail Delivery System" <MAILER-DAEMON@` + r.hostname + ">")
	m.line("To: <" + r.named() + ">")
	m.line("Subject: " + r.subject())
	m.line("Message-ID: <" + r.id + "@" + r.hostname + ">")
	if id := r.original.field("Message-ID"); plainID(id) {
		m.line("In-Reply-To: " + id)
		m.line("References: " + id)
	}
	m.line("Auto-Submitted: auto-replied")
	m.line("MIME-Version: 1.0")
	m.line("Content-Type: multipart/report; report-type=delivery-status;")
	m.line("\tboundary=\"" + boundary + `"`)
	m.line("")
}

// plainID takes a message-id over only when it is one.
func plainID(id string) bool {
	if len(id) < 5 || len(id) > 900 || id[0] != '<' || id[len(id)-1] != '>' || !strings.Contains(id, "@") {
		return false
	}
	return !strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

func (r *report) subject() string {
	switch r.kind {
	case actionFailed:
		if !r.unproven.IsNull() {
			return "Undelivered, and its sender not told: a message from outside"
		}
		return "Undelivered: your message could not be delivered"
	case actionDelayed:
		return "Your message is delayed"
	case actionDelivered:
		return "Your message was delivered"
	}
	return "Your message was passed on"
}

// lines writes lines with CRLF and notes the first error and any octet over 127.
type lines struct {
	w     io.Writer
	err   error
	eight bool
}

func (m *lines) line(s string) { m.raw([]byte(s + "\r\n")) }

func (m *lines) raw(b []byte) {
	if m.err != nil {
		return
	}
	if !ascii(b) {
		m.eight = true
	}
	_, m.err = m.w.Write(b)
}

func (m *lines) Write(b []byte) (int, error) {
	m.raw(b)
	return len(b), m.err
}

func ascii[S ~string | ~[]byte](s S) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// plainLines reports whether b can travel as it is: ASCII, whole lines of up to 998 octets, no NUL (RFC 5322 section 2.1.1).
func plainLines(b []byte) bool {
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok || len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") || !ascii(line) {
			return false
		}
		b = rest
	}
	return true
}

var errNoOriginal = errors.New("the original cannot be read")

// writeOriginal gives the message or its header back (RFC 6522 section 3, RFC 6533 section 4). What is not ASCII is
// encoded, unless the report itself travels with SMTPUTF8 or gives a whole 8-bit message back.
func (r *report) writeOriginal(m *lines) {
	o := &r.original
	if !o.full {
		kind, description := "text/rfc822-headers", "Header of your message"
		if o.global && !ascii(o.header) {
			kind = "message/global-headers"
		}
		if o.cut {
			description = "Beginning of the header of your message"
		}
		m.line("Content-Type: " + kind)
		m.line("Content-Description: " + description)
		r.encoded(m, bytes.NewReader(o.header), plainLines(o.header))
		return
	}
	seven, err := o.seven()
	if err != nil {
		m.err = fmt.Errorf("%w: %w", errNoOriginal, err)
		return
	}
	kind := "message/rfc822"
	if o.global {
		kind = "message/global"
	}
	m.line("Content-Type: " + kind)
	m.line("Content-Description: Your message")
	whole := io.NewSectionReader(o.content, 0, o.content.Size())
	if !seven && !o.global { // message/rfc822 may not be encoded (RFC 2046 section 5.2.1)
		m.line("Content-Transfer-Encoding: 8bit")
		m.line("")
		r.copy(m, whole)
		return
	}
	r.encoded(m, whole, seven)
}

// seven reports whether the content is ASCII throughout.
func (o *original) seven() (bool, error) {
	b := make([]byte, 32<<10)
	for at := int64(0); at < o.content.Size(); {
		n, err := o.content.ReadAt(b, at)
		if !ascii(b[:n]) {
			return false, nil
		}
		at += int64(n)
		if err != nil && (!errors.Is(err, io.EOF) || at < o.content.Size()) {
			return false, err
		}
	}
	return true, nil
}

func (r *report) copy(m *lines, from io.Reader) {
	if _, err := io.Copy(m, from); err != nil && m.err == nil {
		m.err = fmt.Errorf("%w: %w", errNoOriginal, err)
	}
}

// encoded writes the part's last fields and its content, in base64 where it is not ASCII and must be.
func (r *report) encoded(m *lines, content io.Reader, plain bool) {
	switch {
	case plain:
		m.line("Content-Transfer-Encoding: 7bit")
		m.line("")
		r.copy(m, content)
	case r.utf8 && r.original.global:
		m.line("Content-Transfer-Encoding: 8bit")
		m.line("")
		r.copy(m, content)
	default:
		m.line("Content-Transfer-Encoding: base64")
		m.line("")
		enc := newBase64Lines(m)
		r.copy(&lines{w: enc}, content)
		enc.close()
	}
}
