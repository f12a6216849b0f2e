package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Transport is the carrier as the queue sees it.
func (c *Carrier) Transport() queue.Transport { return transport{c} }

type transport struct{ *Carrier }

// Route takes streams to our own domains. With Across, one between two of our domains is passed on; reports (from <>) and
// strangers' mail never are.
func (c transport) Route(ctx context.Context, s queue.Stream) (queue.Route, error) {
	ours, err := c.o.Directory.IsLocal(ctx, s.To)
	if err != nil {
		return queue.Route{}, fmt.Errorf("look %s up in the directory: %w", s.To, err)
	}
	if !ours && s.To != "" {
		return queue.Route{}, queue.ErrPass
	}
	if c.o.Across && s.From != "" && s.From != s.To {
		fromUs, err := c.o.Directory.IsLocal(ctx, s.From)
		if err != nil {
			return queue.Route{}, fmt.Errorf("look %s up in the directory: %w", s.From, err)
		}
		if fromUs {
			return queue.Route{}, queue.ErrPass
		}
	}
	return queue.Route{Host: "mailboxes", Limit: 64}, nil
}

// Deliver places a queued message: its row goes and the mailboxes' rows come in one transaction, with the body where it is.
// Members of an alias outside become entries of their own in the same transaction.
func (c transport) Deliver(ctx context.Context, _ queue.Route, a queue.Attempt) queue.Outcome {
	p := placing{item: a.Item, now: c.o.Now()}
	results := make([]queue.Result, len(a.Envelope.Recipients))
	for i, r := range a.Envelope.Recipients {
		results[i] = c.find(ctx, &p, a, r)
	}
	for _, r := range p.held {
		r.Release()
	}
	if len(p.boxes) == 0 && len(p.out) == 0 {
		return queue.Outcome{Results: results}
	}
	from, err := c.forwardedFrom(ctx, &a.Envelope, p.alias)
	if err != nil {
		return queue.Fail(len(results), queue.Result{Verdict: queue.Later, Code: 451, Status: "4.3.0", Text: "the directory cannot be read at the moment"})
	}
	p.from = from
	return queue.Outcome{Results: results, Apply: func(tx *kv.Tx) error { return c.place(tx, &p) }}
}

// placing is what one queued message comes to.
type placing struct {
	item  queue.Item
	boxes []store.Delivery
	out   []mail.Recipient
	own   []mail.Envelope // copies that accounts forward in their own name
	held  []*store.Reservation
	now   time.Time
	alias mail.Domain  // of the first recipient whose mail goes on
	from  mail.Address // under which it does
}

// find resolves one recipient and reserves its mailboxes' room.
func (c *Carrier) find(ctx context.Context, p *placing, a queue.Attempt, r mail.Recipient) queue.Result {
	var route auth.Route
	var back bool
	var err error
	if p.item.Envelope.From.IsNull() { // our own report on mail that we forwarded, for its sender
		route, back, err = c.Report(ctx, r.Address)
	}
	if !back && err == nil {
		route, err = c.o.Directory.Resolve(ctx, r.Address)
	}
	switch {
	case errors.Is(err, auth.ErrNoAddress), errors.Is(err, auth.ErrNotLocal), errors.Is(err, ErrForwarding), errors.Is(err, ErrUnproven):
		return queue.Result{Verdict: queue.Never, Code: 550, Status: "5.1.1", Text: "no such address here"}
	case err != nil:
		return queue.Result{Verdict: queue.Later, Code: 451, Status: "4.3.0", Text: "the directory cannot be read at the moment"}
	}
	if !back && len(route.Remote) > 0 {
		gone := c.leaveOut(ctx, &route, func(a mail.Address, e limit.Entry) {
			c.o.Story.Tell(p.item.ID, story.Event{At: p.now, Step: story.Failed, Who: a.String(), Status: "5.1.1", Text: "not tried: it is on the suppression list, " + why(e)})
		})
		if leads(route) == 0 {
			return queue.Result{Verdict: queue.Never, Code: 550, Status: "5.1.1", Text: nowhere(r.Address, gone)}
		}
	}
	if len(route.Lists) == 1 && leads(route) == 1 {
		if c.o.Lists == nil {
			return queue.Result{Verdict: queue.Later, Code: 451, Status: "4.3.0", Text: "nobody carries the mail of lists at the moment"}
		}
		return c.o.Lists(ctx, a, route.Lists[0])
	}
	var boxes []store.Delivery
	refused := queue.Result{Verdict: queue.Never, Code: 550, Status: "5.1.1", Text: "no such address here"}
	taken := len(route.Remote) + len(route.Lists)
	for _, d := range route.Local {
		has := func(b store.Delivery) bool { return b.Account == d.Account }
		if slices.ContainsFunc(p.boxes, has) || slices.ContainsFunc(boxes, has) {
			taken++
			continue
		}
		held, err := c.o.Store.Reserve(ctx, d.Account, p.item.Size)
		switch {
		case errors.Is(err, store.ErrOverQuota) && (p.item.Envelope.Unproven || p.item.Envelope.From.IsNull()) && !p.now.Before(c.o.Queue.Expires(p.item)):
			// Its life is over, and nobody may be told, or (of a report) nobody is there: it is filed, past the quota, rather than lost.
			taken++
		case errors.Is(err, store.ErrOverQuota):
			// It is tried again: the owner may make room. At the end of its life it is given up. The others whom an alias leads
			// to are not made to wait for it: with them its copy overshoots, as on port 25.
			refused = queue.Result{Verdict: queue.Later, Code: 452, Status: "4.2.2", Text: "the mailbox is full"}
		case errors.Is(err, store.ErrNoAccount):
			continue
		case err != nil:
			return queue.Result{Verdict: queue.Later, Code: 451, Status: "4.3.0", Text: "the mailbox cannot be read at the moment"}
		default:
			p.held = append(p.held, held)
			taken++
		}
		boxes = append(boxes, store.Delivery{Account: d.Account, Mailbox: inbox, Received: p.now})
	}
	if taken == 0 {
		return refused
	}
	if len(route.Remote) > 0 && !back {
		if later, ok := c.onward(ctx, route.Remote); !ok {
			return later
		}
	}
	p.boxes = append(p.boxes, boxes...)
	to := Recipient{Recipient: r, Route: route}
	p.own = append(p.own, ownForwards(&to, &p.item.Envelope)...)
	route = to.Route
	out := leaving(to)
	if len(route.Remote)+len(route.Lists) > 0 {
		p.out = append(p.out, out...)
		if p.alias == "" && len(route.Remote) > 0 {
			p.alias = r.Address.Domain
		}
	}
	return queue.Result{Verdict: queue.Done, Code: 250, Status: "2.1.5", Text: "delivered to the mailbox", Handoff: handoff(route)}
}

// place is the carrier's share of the transaction.
func (c *Carrier) place(tx *kv.Tx, p *placing) error {
	at, err := c.o.Queue.Body(tx, p.item.Number)
	if err != nil {
		return fmt.Errorf("place in the mailbox: %w", err)
	}
	for _, d := range p.boxes {
		if err := c.o.Store.Place(tx, at, d); err != nil {
			return fmt.Errorf("place in the mailbox: %w", err)
		}
	}
	if len(p.boxes) > 0 {
		c.o.Story.Placed(p.item.ID, at.LSN) // true even if the transaction comes to nothing: it is that message's record
	}
	for _, e := range p.own {
		if err := c.o.Queue.Enqueue(tx, p.item.ID, e, at); err != nil {
			return err
		}
	}
	if len(p.out) == 0 {
		return nil
	}
	e := p.item.Envelope
	e.From, e.Recipients = p.from, once(slices.Clone(p.out))
	return c.o.Queue.Enqueue(tx, p.item.ID, e, at)
}
