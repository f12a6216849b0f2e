package local

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Tale is what a desk learns of a message in hand. The carrier writes it into the book of stories when the message is taken, or refused.
type Tale struct {
	story.Message
	Events []story.Event
}

// maxTold is how many recipients a story tells of one by one.
const maxTold = 100

// Telling begins the tale of the message that comes now.
func (t *Transaction) Telling(id string) {
	if t.carrier.o.Story == nil {
		return
	}
	refused := t.Tale.Events // of recipients
	t.Tale = Tale{Message: t.heading(id), Events: append(make([]story.Event, 0, len(refused)+4), refused...)}
}

func (t *Transaction) heading(id string) story.Message {
	p := t.Peer
	m := story.Message{ID: id, At: t.carrier.o.Now(), Direction: t.Way, From: t.Envelope.From.String(), Client: clientName(p)}
	if p.TLS != nil {
		m.TLS = tls.VersionName(p.TLS.Version) + " " + tls.CipherSuiteName(p.TLS.CipherSuite)
	}
	return m
}

func clientName(p smtp.Peer) string {
	name := strings.ToValidUTF8(p.Hello, "?")
	switch {
	case p.Service == "sendmail":
		return "sendmail of " + name
	case p.Remote.IsValid():
		return name + " [" + p.Remote.Addr().WithZone("").String() + "]"
	}
	return name
}

// Header takes out of a message's header what a story is found by and known by.
func (t *Transaction) Header(header []byte) {
	if t.carrier.o.Story == nil {
		return
	}
	m := &t.Tale.Message
	for f := range message.Fields(header) {
		switch len(f.Name) {
		case len("From"):
			if m.Author == "" && f.Is("From") {
				m.Author = author(f.Value)
			}
		case len("Subject"):
			if m.Subject == "" && f.Is("Subject") {
				m.Subject = f.Text()
			}
		case len("Message-ID"):
			if m.MessageID == "" && f.Is("Message-ID") {
				m.MessageID = strings.TrimSpace(f.Unfolded())
			}
		}
	}
}

// author is the first address of a From field. The common forms need no parser: this is done for every message.
func author(value []byte) string {
	value = bytes.TrimSpace(value)
	if bytes.IndexByte(value, '"') < 0 && bytes.IndexByte(value, ',') < 0 && bytes.IndexByte(value, '(') < 0 {
		if i, j := bytes.IndexByte(value, '<'), bytes.IndexByte(value, '>'); i >= 0 && j == len(value)-1 {
			return strings.ToLower(string(bytes.TrimSpace(value[i+1 : j])))
		} else if i < 0 && j < 0 && bytes.IndexByte(value, ' ') < 0 {
			return strings.ToLower(string(value))
		}
	}
	for _, a := range message.ParseAddresses(string(value)) {
		if a.Host != "" {
			return strings.ToLower(a.Mailbox + "@" + a.Host)
		}
	}
	return ""
}

// Learned adds to the tale.
func (t *Transaction) Learned(events ...story.Event) {
	if t.carrier.o.Story != nil {
		t.Tale.Events = append(t.Tale.Events, events...)
	}
}

// taken writes the story of a message that is in the log.
func (c *Carrier) taken(m *Message, size int64, boxes []store.Delivery, leaving []mail.Recipient, at blob.LSN) {
	if c.o.Story == nil {
		return
	}
	s := &m.Tale
	if s.ID == "" {
		s.Message = story.Message{ID: m.ID, Direction: story.Out, From: m.Envelope.From.String(), Client: "this house"}
	}
	now := c.o.Now()
	s.Size, s.Recipients = size, len(m.To)
	for i := range m.To[:min(len(m.To), maxTold)] {
		to := &m.To[i]
		s.To = append(s.To, to.Address.String())
		for _, d := range to.Route.Local {
			s.Owners = append(s.Owners, uint32(d.Account))
			s.Events = append(s.Events, story.Event{At: now, Step: story.Delivered, Who: s.To[i], Mailbox: boxOf(boxes, d.Account), Text: through(to.Address, d.Address)})
		}
	}
	for _, r := range leaving[:min(len(leaving), maxTold)] {
		s.Events = append(s.Events, story.Event{At: now, Step: story.Queued, Who: r.Address.String()})
	}
	if len(boxes) > 0 {
		s.Places = append(s.Places, uint64(at))
	}
	for _, e := range s.Events { // it is found by those it was not taken for, too
		if e.Step == story.Refused && e.Who != "" {
			s.To = append(s.To, e.Who)
		}
	}
	c.o.Story.Begin(s.Message, s.Events...)
}

func boxOf(boxes []store.Delivery, a mail.AccountID) string {
	for _, b := range boxes {
		if b.Account == a {
			return b.Mailbox
		}
	}
	return inbox
}

// through says whose mailbox it is where the address is another's name.
func through(a, leadsTo mail.Address) string {
	if leadsTo.Local == "" || a.Key() == leadsTo.Key() {
		return ""
	}
	return "of " + leadsTo.String()
}

// Refused writes the story of a message that was not taken. Nothing is told of what only we know (an error without a reply).
func (t *Transaction) Refused(err error) {
	no, ok := errors.AsType[*gosmtp.SMTPError](err)
	book := t.carrier.o.Story
	if !ok || book == nil || t.Tale.ID == "" || !t.carrier.refusals.allow(t.Peer.Remote, t.carrier.o.Now()) {
		return
	}
	s := &t.Tale
	s.Recipients = len(t.To)
	for i := range t.To[:min(len(t.To), maxTold)] {
		s.To = append(s.To, t.To[i].Address.String())
		for _, d := range t.To[i].Route.Local {
			s.Owners = append(s.Owners, uint32(d.Account))
		}
	}
	book.Begin(s.Message, append(s.Events, refusal("", no))...)
	t.Tale = Tale{}
}

func refusal(who string, no *gosmtp.SMTPError) story.Event {
	e := story.Event{Step: story.Refused, Who: who, Code: no.Code, Text: no.Message}
	if c := no.EnhancedCode; c[0] > 0 {
		e.Status = fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2])
	}
	return e
}

// maxRefusedRecipients are told of in one transaction: who guesses addresses does so with thousands.
const maxRefusedRecipients = 10

// RefusedRecipient notes a recipient that was not taken, for the story of the message when there is one, and one of its own when there is not.
func (t *Transaction) RefusedRecipient(to string, err error) {
	no, ok := errors.AsType[*gosmtp.SMTPError](err)
	if !ok || t.carrier.o.Story == nil || len(t.Tale.Events) >= maxRefusedRecipients {
		return
	}
	e := refusal(strings.ToValidUTF8(to, "?"), no)
	e.At = t.carrier.o.Now()
	t.Tale.Events = append(t.Tale.Events, e)
}

// leave writes what is still to be told at the end of a transaction: recipients were refused, and no message came.
func (t *Transaction) leave() {
	c := t.carrier
	events := t.Tale.Events
	if len(events) == 0 || t.Tale.ID != "" || c.o.Story == nil || !c.refusals.allow(t.Peer.Remote, c.o.Now()) {
		return
	}
	m := t.heading(c.o.Queue.NewID())
	for _, e := range events {
		m.To = append(m.To, e.Who)
	}
	c.o.Story.Begin(m, events...)
	t.Tale = Tale{}
}

// Most refusals of strangers that are told in a minute, of one network and of all: refusing costs a stranger nothing, and must not push
// the stories of real mail out of the book.
const (
	refusalsOfOne = 20
	refusalsOfAll = 300
)

// refusals counts them.
type refusals struct {
	mu     sync.Mutex
	minute int64
	all    int
	of     map[netip.Prefix]int // at most refusalsOfAll
}

func (r *refusals) allow(client netip.AddrPort, now time.Time) bool {
	a := client.Addr().Unmap()
	bits := 64
	if a.Is4() {
		bits = 24
	}
	network, _ := a.WithZone("").Prefix(bits) // the zero prefix for programs of this machine
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := now.Unix() / 60; m != r.minute || r.of == nil {
		r.minute, r.all, r.of = m, 0, map[netip.Prefix]int{}
	}
	if r.all >= refusalsOfAll || r.of[network] >= refusalsOfOne {
		return false
	}
	r.all++
	r.of[network]++
	return true
}
