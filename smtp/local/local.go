// Package local is the carrier to mailboxes of this house: for the desks, which
// have a message in hand (Deliver), and for the queue, which has one in the log
// (Transport).
package local

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// inbox is where mail goes that no filter sends elsewhere.
const inbox = "INBOX"

// Options of a Carrier.
type Options struct {
	Logger    *slog.Logger
	Metrics   *metrics.Set
	Now       func() time.Time
	Store     *store.Store
	Directory *auth.Directory
	Queue     *queue.Queue
	Story     *story.Book // nil: nothing is told
	// Forwarding rewrites the senders of strangers' mail that goes on to somebody outside; nil: they stay.
	Forwarding *Forwarding
	Limits     *limit.Book // how much goes on to addresses outside; nil: no limit
	Suppressed *limit.List // addresses outside that do not exist; nil: nobody knows
	// Junked hears of each message that was put into an account's mailbox for junk: the id that store.Message has of it. It must not wait.
	Junked func(account mail.AccountID, id uint64)
	// Lists takes mail for a list out of the queue; nil: there are none.
	Lists func(ctx context.Context, a queue.Attempt, to auth.ListMail) queue.Result
	// Masked hears of each message that came to a masked address; nil: nobody counts. It must not wait.
	Masked func(a mail.Address)
	Across bool // mail between two domains of ours is left to the MX lookup, like a stranger's
}

// Carrier puts messages into mailboxes.
type Carrier struct {
	o   Options
	log *slog.Logger

	refusals refusals
}

// New returns a Carrier.
func New(o Options) *Carrier {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Carrier{o: o, log: o.Logger}
}

// Recipient is one forward path that a desk accepted, and where it leads. The zero Route leads out, through the queue.
type Recipient struct {
	mail.Recipient
	Route auth.Route
	Back  bool // a report on mail that we forwarded, for its sender

	waits []mail.Address // of Route.Remote: here, and their mailbox is full
}

// Message is a message in hand: it has arrived whole, with its Return-Path and Received lines.
type Message struct {
	ID       string        // from queue.NewID, as in its Received line
	Envelope mail.Envelope // without its recipients
	To       []Recipient
	Arrival  *store.Arrival
	Filed    map[mail.AccountID]Filing // accounts whose copy is not simply for INBOX
	Own      Own
	Tale     Tale // what the desk knows of it
}

// Deliver logs the message once, for all mailboxes and all entries of the queue, and returns after the one fdatasync: the 250 may
// be given. The arrival is used up. An account that several recipients lead to gets one copy.
func (c *Carrier) Deliver(ctx context.Context, m Message) (blob.LSN, error) {
	defer m.Own.discard()
	if !m.Envelope.Release.At.IsZero() {
		return c.later(ctx, m)
	}
	var boxes []store.Delivery
	out, done := m.Envelope, map[queue.Handoff][]mail.Recipient{}
	out.Recipients = nil
	now := c.o.Now()
	var own []mail.Envelope
	for _, to := range m.To {
		own = append(own, ownForwards(&to, &m.Envelope)...)
		for _, d := range to.Route.Local {
			if !slices.ContainsFunc(boxes, func(b store.Delivery) bool { return b.Account == d.Account }) {
				box := store.Delivery{Account: d.Account, Mailbox: inbox, Received: now}
				boxes = append(boxes, c.filed(ctx, &m, box))
			}
		}
		if h := handoff(to.Route); h != queue.Passed {
			done[h] = append(done[h], to.Recipient)
		}
		out.Recipients = append(out.Recipients, leaving(to)...)
	}
	if len(boxes) == 0 && len(out.Recipients) == 0 {
		m.Arrival.Discard()
		return 0, errors.New("local: the message leads nowhere")
	}
	var parts []kv.Part
	var err error
	if len(out.Recipients) > 0 {
		out.Recipients = once(out.Recipients)
		if out.From, err = c.forwardedFrom(ctx, &m.Envelope, aliasOf(m.To)); err != nil {
			m.Arrival.Discard()
			return 0, err
		}
		parts = append(parts, c.o.Queue.Part(m.ID, out))
	}
	if len(own) > 0 {
		parts = append(parts, c.o.Queue.Parts(m.ID, own))
		out.Recipients = append(out.Recipients, firsts(own)...) // for the log and the story
	}
	for _, h := range []queue.Handoff{queue.Delivered, queue.Expanded} {
		e := m.Envelope
		e.Recipients = done[h]
		if p, ok := c.o.Queue.SuccessPart(m.ID, e, h); ok {
			parts = append(parts, p)
		}
	}
	size := m.Arrival.Size()
	lsn, err := c.record(ctx, &m, boxes, parts)
	if err != nil {
		return 0, err
	}
	c.log.InfoContext(ctx, logx.MailTaken, "id", m.ID, "from", m.Envelope.From.String(), "mailboxes", len(boxes), "leaving", len(out.Recipients), "size", size)
	c.tellFiled(&m, boxes, uint64(lsn))
	c.taken(&m, size, boxes, out.Recipients, lsn)
	for _, to := range m.To {
		c.masked(to.Route.Local)
	}
	return lsn, nil
}

// aliasOf is the domain of the first recipient whose mail goes on to somebody outside; empty: none does.
func aliasOf(to []Recipient) mail.Domain {
	for _, r := range to {
		if len(r.Route.Remote) > 0 {
			return r.Address.Domain
		}
	}
	return ""
}

// forwardedFrom is the envelope sender of mail that goes on from an alias of ours. That of our own people stays: we may use it.
func (c *Carrier) forwardedFrom(ctx context.Context, e *mail.Envelope, alias mail.Domain) (mail.Address, error) {
	from := e.From
	if c.o.Forwarding == nil || alias == "" || from.IsNull() {
		return from, nil
	}
	ours, err := c.o.Directory.IsLocal(ctx, from.Domain)
	if err != nil || ours {
		return from, err
	}
	if e.Unproven {
		return c.o.Forwarding.UnprovenSender(from, alias), nil
	}
	return c.o.Forwarding.Sender(from, alias), nil
}

// Report is where a report to an address of our forwarding goes (SRS): to the sender whom the mail had come from. ok is false for any
// other address.
func (c *Carrier) Report(ctx context.Context, to mail.Address) (route auth.Route, ok bool, err error) {
	if c.o.Forwarding == nil {
		return auth.Route{}, false, nil
	}
	if ours, err := c.o.Directory.IsLocal(ctx, to.Domain); err != nil || !ours {
		return auth.Route{}, false, err
	}
	from, ok, err := c.o.Forwarding.Original(to)
	if !ok || err != nil {
		return auth.Route{}, ok, err
	}
	return auth.Route{Remote: []mail.Address{from}}, true, nil
}

// junk is the account's mailbox for junk (RFC 6154), INBOX when it has none.
func (c *Carrier) junk(ctx context.Context, id mail.AccountID) string {
	b, err := c.o.Store.Special(ctx, id, store.UseJunk)
	if err != nil {
		return inbox
	}
	return b.Name
}

// leaving lists who gets the message through the queue. The sender's wishes for reports go along with a recipient of a stranger's
// domain and with an alias of one member outside (RFC 3461 section 5.2.7.2). With more members, or with a mailbox here
// beside them, success is reported here and not once more for each (section 5.2.7.3 c).
func leaving(to Recipient) []mail.Recipient {
	if len(to.Route.Local) == 0 && len(to.Route.Remote) == 0 && len(to.Route.Lists) <= 1 {
		return []mail.Recipient{to.Recipient}
	}
	out := make([]mail.Recipient, 0, len(to.Route.Remote)+len(to.Route.Lists))
	next := slices.Clone(to.Route.Remote)
	for _, l := range to.Route.Lists {
		next = append(next, l.Address)
	}
	for _, a := range next {
		r := to.Recipient
		r.Address = a
		if r.OriginalType == "" && r.Notify != 0 {
			r.OriginalType, r.Original = originalOf(to.Address)
		}
		if leads(to.Route) > 1 && r.Notify&mail.NotifySuccess != 0 {
			if r.Notify &^= mail.NotifySuccess; r.Notify == 0 {
				r.Notify = mail.NotifyNever // SUCCESS alone meant: nothing else
			}
		}
		out = append(out, r)
	}
	return out
}

// handoff says who owes a recipient's report of success: with Passed the next host, else this one.
func handoff(r auth.Route) queue.Handoff {
	switch {
	case len(r.Remote)+len(r.Lists) == 0 && len(r.Local) > 0:
		return queue.Delivered
	case leads(r) > 1:
		return queue.Expanded
	}
	return queue.Passed
}

// leads is to how many a recipient's mail goes; a list counts as one.
func leads(r auth.Route) int { return len(r.Local) + len(r.Remote) + len(r.Lists) }

// masked tells of the masked addresses that mail came to.
func (c *Carrier) masked(to []auth.Destination) {
	for _, d := range to {
		if d.Masked && c.o.Masked != nil {
			c.o.Masked(d.Address)
		}
	}
}

// originalOf is the ORCPT of an address that came without one, so that a report names what the sender wrote.
func originalOf(a mail.Address) (kind, text string) {
	if a.IsASCII() {
		return "RFC822", a.String()
	}
	return "UTF-8", a.String()
}

// once keeps the first of several recipients with the same address.
func once(all []mail.Recipient) []mail.Recipient {
	seen := make(map[mail.Address]bool, len(all))
	return slices.DeleteFunc(all, func(r mail.Recipient) bool {
		was := seen[r.Address]
		seen[r.Address] = true
		return was
	})
}
