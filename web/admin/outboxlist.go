package admin

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
)

// OutboxMessage is a message that waits in its sender's Outbox.
type OutboxMessage struct {
	UID     uint32    `json:"uid"`
	Subject string    `json:"subject"`
	To      []string  `json:"to"`
	Size    uint32    `json:"size"`
	Handed  time.Time `json:"handed_in"`
	Due     time.Time `json:"due"`
	Held    bool      `json:"held,omitempty"` // by the postmaster: it is not sent until he has looked at it
}

// OutboxPage is a part of what waits.
type OutboxPage struct {
	Total    int             `json:"total"`
	Messages []OutboxMessage `json:"messages"`
}

// Outbox lists what waits in an account's Outbox, the next to go first.
func (h *House) Outbox(ctx context.Context, user string) ([]OutboxMessage, error) {
	p, err := h.OutboxPage(ctx, user, 0, math.MaxInt)
	return p.Messages, err
}

// OutboxPage lists at most n of them, behind the first skip, or the last n of the list; the texts of others are not read.
func (h *House) OutboxPage(ctx context.Context, user string, skip, n int) (OutboxPage, error) {
	out := OutboxPage{Messages: []OutboxMessage{}}
	box, _, err := h.outboxOf(ctx, user)
	if errors.Is(err, store.ErrNoMailbox) { // nothing ever waited
		return out, nil
	}
	if err != nil {
		return out, translate(user, err)
	}
	waiting, err := h.o.Queue.Outbox(ctx, box)
	if err != nil {
		return out, translate(user, err)
	}
	all := make([]OutboxMessage, 0, len(waiting))
	for uid, items := range waiting {
		if len(items) > 0 {
			all = append(all, ofItems(uid, items))
		}
	}
	slices.SortFunc(all, func(a, b OutboxMessage) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.UID, b.UID)) })
	out.Total = len(all)
	all = all[max(0, min(skip, (len(all)-1)/n*n)):]
	for _, x := range all[:min(n, len(all))] {
		rows, err := h.row(ctx, box, store.UID(x.UID))
		if err != nil {
			return out, translate(user, err)
		}
		if len(rows) == 0 { // gone meanwhile
			continue
		}
		x.Subject, x.Size = message.DecodeWords(h.envelope(ctx, rows[0]).Subject), rows[0].Size
		out.Messages = append(out.Messages, x)
	}
	return out, nil
}

// ofItems is a message as far as the queue knows it.
func ofItems(uid store.UID, items []queue.Item) OutboxMessage {
	x := OutboxMessage{UID: uint32(uid), Handed: items[0].Created}
	for _, it := range items {
		for _, r := range it.Envelope.Recipients {
			x.To = append(x.To, r.Address.String())
		}
		if x.Due.IsZero() || it.Due.Before(x.Due) {
			x.Due = it.Due
		}
		x.Held = x.Held || it.Held
	}
	slices.Sort(x.To)
	return x
}

func (h *House) outboxOf(ctx context.Context, user string) (store.Mailbox, auth.Account, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return store.Mailbox{}, a, err
	}
	if _, err := h.o.Store.Waiting(ctx, a.ID); err != nil { // what was handed in a moment ago is in the tables now
		return store.Mailbox{}, a, err
	}
	box, err := h.o.Store.Special(ctx, a.ID, store.UseOutbox)
	return box, a, err
}

// row is the message with a uid, if it is there.
func (h *House) row(ctx context.Context, box store.Mailbox, uid store.UID) ([]store.Message, error) {
	for page, err := range h.o.Store.Messages(ctx, box.ID, []store.UIDRange{{First: uid, Last: uid}}) {
		return slices.Clone(page), err
	}
	return nil, nil
}

// errTooLate is what is said of a message that has gone.
func errTooLate() error {
	return conflict("It waits no more: its time has come and it was sent, or it was taken back already. Look into Sent and Drafts.")
}

// TakeBack takes a message that waits back: it is a draft then.
func (h *House) TakeBack(ctx context.Context, user string, uid uint32) error {
	box, a, err := h.outboxOf(ctx, user)
	if errors.Is(err, store.ErrNoMailbox) {
		return errTooLate()
	}
	if err != nil {
		return translate(user, err)
	}
	drafts, err := h.drafts(ctx, a.ID)
	if err != nil {
		return translate(user, err)
	}
	done, _, err := h.o.Store.Move(ctx, box.ID, []store.UIDRange{{First: store.UID(uid), Last: store.UID(uid)}}, drafts.ID)
	if err != nil {
		return undeleteError(user, 0, err)
	}
	if len(done.To) == 0 {
		return errTooLate()
	}
	return nil
}

// drafts finds the account's Drafts, and makes them where it has none.
func (h *House) drafts(ctx context.Context, id mail.AccountID) (store.Mailbox, error) {
	box, err := h.o.Store.Special(ctx, id, store.UseDrafts)
	if errors.Is(err, store.ErrNoMailbox) {
		if box, err = h.o.Store.Mailbox(ctx, id, "Drafts"); errors.Is(err, store.ErrNoMailbox) {
			box, err = h.o.Store.CreateMailbox(ctx, id, "Drafts", store.UseDrafts)
		}
	}
	return box, err
}

// SendWaiting lets a message that waits go now.
func (h *House) SendWaiting(ctx context.Context, user string, uid uint32) error {
	box, _, err := h.outboxOf(ctx, user)
	if errors.Is(err, store.ErrNoMailbox) {
		return errTooLate()
	}
	if err != nil {
		return translate(user, err)
	}
	waiting, err := h.o.Queue.Outbox(ctx, box)
	if err != nil {
		return translate(user, err)
	}
	items := waiting[store.UID(uid)]
	if len(items) == 0 {
		return errTooLate()
	}
	for _, it := range items {
		if it.Held {
			return conflict("The postmaster holds it, until he has looked at it: it cannot be sent now.")
		}
		if _, err := h.o.Queue.SendNow(ctx, queue.Filter{Number: it.Number}); err != nil && !errors.Is(err, queue.ErrNoItem) {
			return translate(user, err)
		}
	}
	return nil
}
