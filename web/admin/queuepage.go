package admin

import (
	"context"
	"errors"
	"strings"

	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// The states of a QueueFilter.
const (
	QueueTried     = "tried"     // tried at least once, and waits for the next time
	QueueHeld      = "held"      // kept back by an operator
	QueueScheduled = "scheduled" // its sender wants it to be sent later
)

// QueueFilter says which part of the queue is wanted; an empty field takes all.
type QueueFilter struct {
	Domain  string `json:"domain,omitempty"`  // of the recipients
	Address string `json:"address,omitempty"` // a part of the sender's or a recipient's
	State   string `json:"state,omitempty"`   // tried, held or scheduled
	After   string `json:"after,omitempty"`   // QueuePage.Next of the part before
	Limit   int    `json:"limit,omitempty"`   // 50; at most 500
}

// QueuePage is a part of the queue, the next to be tried first. It may have no entries although there are more.
type QueuePage struct {
	Entries []QueueEntry `json:"entries"`
	Next    string       `json:"next,omitempty"` // empty: this is the last
}

// FindQueue shows a part of the queue.
func (h *House) FindQueue(ctx context.Context, f QueueFilter) (QueuePage, error) {
	qf := queue.Filter{Address: strings.TrimSpace(f.Address), Limit: f.Limit}
	if f.Limit == 0 {
		qf.Limit = 50
	}
	if qf.Limit < 0 || qf.Limit > 500 {
		return QueuePage{}, invalid("a page of the queue has 1 to 500 entries")
	}
	if f.Domain != "" {
		d, err := domain(f.Domain)
		if err != nil {
			return QueuePage{}, err
		}
		qf.Domain = d
	}
	switch f.State {
	case "":
	case QueueTried:
		qf.Tried = true
	case QueueHeld:
		qf.Held = true
	case QueueScheduled:
		qf.Scheduled = true
	default:
		return QueuePage{}, invalid(f.State + ": the states are tried, held and scheduled")
	}
	p, err := h.o.Queue.Page(ctx, qf, f.After)
	if errors.Is(err, queue.ErrNoItem) {
		return QueuePage{}, invalid("this is no place of the queue: begin at its first page")
	}
	if err != nil {
		return QueuePage{}, translate("queue", err)
	}
	out := QueuePage{Entries: make([]QueueEntry, 0, len(p.Items)), Next: p.Next}
	for _, it := range p.Items {
		out.Entries = append(out.Entries, h.entry(it))
	}
	return out, nil
}
