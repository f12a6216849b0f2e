package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// QueueEntry is a message that waits for recipients of one domain.
type QueueEntry struct {
	ID         string           `json:"id"`
	Number     uint64           `json:"number"`
	Domain     string           `json:"domain"`
	From       string           `json:"from"`
	Recipients []QueueRecipient `json:"recipients"`
	Size       int64            `json:"size"`
	Created    time.Time        `json:"created"`
	Due        time.Time        `json:"due"`
	Expires    time.Time        `json:"expires"`
	Last       time.Time        `json:"last,omitzero"`
	Attempts   int              `json:"attempts"`
	Held       bool             `json:"held,omitempty"`
	Release    time.Time        `json:"release,omitzero"`    // it was to be sent then, and not before
	Waits      bool             `json:"scheduled,omitempty"` // it still waits for that; in its sender's Outbox, where there is one
}

// QueueRecipient is one of its recipients and what the last attempt came to.
type QueueRecipient struct {
	Address string `json:"address"`
	Result  string `json:"result,omitempty"`
	Advice  string `json:"advice,omitempty"` // what to do about it, where the answer is known
}

// The actions of QueueAction.
const (
	Retry   = "retry"   // try now, and forget that the host is to be left alone
	Hold    = "hold"    // keep back
	Release = "release" // let go on
	Cancel  = "cancel"  // give up: the sender gets the message back
	Drop    = "drop"    // give up in silence
	SendNow = "send"    // let scheduled ones go before their time
)

// Queue lists all that waits, the next to be tried first.
func (h *House) Queue(ctx context.Context) ([]QueueEntry, error) {
	return h.entries(ctx, queue.Filter{}, "queue")
}

// QueueEntry shows the entries of one transaction: one for each domain that still waits.
func (h *House) QueueEntry(ctx context.Context, id string) ([]QueueEntry, error) {
	return h.entries(ctx, queue.Filter{IDs: []string{id}}, id)
}

// QueueEntries shows those of several, as far as they still wait.
func (h *House) QueueEntries(ctx context.Context, ids []string) ([]QueueEntry, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	all, err := h.entries(ctx, queue.Filter{IDs: ids}, "queue")
	if errors.Is(err, queue.ErrNoItem) {
		return nil, nil
	}
	return all, err
}

func (h *House) entries(ctx context.Context, f queue.Filter, what string) ([]QueueEntry, error) {
	items, err := h.o.Queue.List(ctx, f)
	if err != nil {
		return nil, translate(what, err)
	}
	out := make([]QueueEntry, 0, len(items))
	for _, it := range items {
		out = append(out, h.entry(it))
	}
	return out, nil
}

func (h *House) entry(it queue.Item) QueueEntry {
	e := QueueEntry{
		ID: it.ID, Number: it.Number, Domain: string(it.Domain), From: it.Envelope.From.String(), Size: it.Size,
		Created: it.Created, Due: it.Due, Expires: h.o.Queue.Expires(it), Last: it.Last, Attempts: it.Attempts, Held: it.Held,
	}
	e.Release, e.Waits = it.Envelope.Release.At, it.Waits || it.Envelope.Release.At.After(h.o.Queue.Now())
	for i, r := range it.Envelope.Recipients {
		q := QueueRecipient{Address: r.Address.String()}
		if i < len(it.Results) && it.Results[i].Verdict != 0 {
			q.Result, q.Advice = it.Results[i].Error(), it.Results[i].Advice()
		}
		e.Recipients = append(e.Recipients, q)
	}
	return e
}

// QueueAction does one of the actions to the entries of the named transactions, of all when none is named, and says how
// many entries it changed.
func (h *House) QueueAction(ctx context.Context, action string, ids []string) (int, error) {
	q := h.o.Queue
	do := map[string]func(context.Context, queue.Filter) (int, error){
		Retry: q.Retry, Hold: q.Hold, Release: q.Release, SendNow: q.SendNow,
		Cancel: func(ctx context.Context, f queue.Filter) (int, error) { return q.Cancel(ctx, f, true) },
		Drop:   func(ctx context.Context, f queue.Filter) (int, error) { return q.Cancel(ctx, f, false) },
	}[action]
	switch {
	case do == nil:
		return 0, invalid(action + ": write retry, hold, release, cancel, drop or send")
	case action == SendNow && len(ids) == 0:
		return 0, invalid("name what is to be sent before its time")
	}
	what := strings.Join(ids, " ")
	if len(ids) == 0 {
		what = "all"
	}
	n := 0
	err := h.noting(ctx, aboutHouse("queue "+action, what, ""), func() (words string, err error) {
		n, err = do(ctx, queue.Filter{IDs: ids})
		return fmt.Sprintf("%d entries", n), err
	})
	if err != nil {
		return n, translate(what, err)
	}
	h.done(ctx, "queue "+action, what)
	return n, nil
}
