package local

import (
	"context"
	"errors"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Own is what the sender of a message keeps of it. The zero Own is of one who has no account here, or keeps nothing.
type Own struct {
	Account mail.AccountID
	Copy    bool           // into Sent, with the message's record
	Arrival *store.Arrival // in another form than the others get it (with its Bcc field); nil: in the same
}

func (o *Own) discard() {
	if o.Arrival != nil {
		o.Arrival.Discard()
	}
}

// delivery is the sender's copy.
func (o *Own) delivery(use store.SpecialUse, now time.Time) store.Delivery {
	return store.Delivery{Account: o.Account, Use: use, Own: true, Flags: store.Seen, Received: now}
}

// later logs a message that waits for its time: all its recipients stand in the queue, those here too, and it stands in the Outbox of
// its sender, if that has one.
func (c *Carrier) later(ctx context.Context, m Message) (blob.LSN, error) {
	out := m.Envelope
	out.Recipients = make([]mail.Recipient, 0, len(m.To))
	for _, to := range m.To {
		out.Recipients = append(out.Recipients, to.Recipient)
	}
	out.Recipients = once(out.Recipients)
	size := m.Arrival.Size()
	var at blob.LSN
	var err error
	if m.Own.Account == 0 {
		at, err = c.o.Store.Deliver(ctx, m.Arrival, nil, c.o.Queue.Part(m.ID, out))
	} else {
		mine := m.Own.delivery(store.UseOutbox, c.o.Now())
		mine.Waits = c.o.Queue.Waits(m.ID, out)
		at, err = c.both(ctx, &m, nil, mine)
	}
	if err != nil {
		return 0, err
	}
	when := out.Release.At
	c.log.InfoContext(ctx, logx.MailScheduled, "id", m.ID, "from", m.Envelope.From.String(), "recipients", len(out.Recipients), "size", size, "until", when)
	if c.o.Story != nil {
		m.Tale.Events = append(m.Tale.Events, story.Event{At: c.o.Now(), Step: story.Scheduled, Next: &when, Text: out.Release.Asked})
	}
	to := m.To
	m.To = make([]Recipient, len(to))
	for i := range to {
		m.To[i].Recipient = to[i].Recipient // nobody has it yet
	}
	c.taken(&m, size, nil, out.Recipients, at)
	return at, nil
}

// both logs the message with its sender's copy: in one record, or, where the copy has another form, in one transaction.
func (c *Carrier) both(ctx context.Context, m *Message, boxes []store.Delivery, mine store.Delivery, parts ...kv.Part) (blob.LSN, error) {
	if m.Own.Arrival == nil {
		return c.o.Store.Deliver(ctx, m.Arrival, append(boxes[:len(boxes):len(boxes)], mine), parts...)
	}
	return c.o.Store.DeliverTwo(ctx, store.Two{Theirs: m.Arrival, To: boxes, Own: m.Own.Arrival, Mine: mine, Extra: func(tx *kv.Tx, at kv.Entry) error {
		for _, p := range parts {
			if err := c.o.Queue.Put(tx, at, p); err != nil {
				return err
			}
		}
		return nil
	}})
}

// log makes a message durable that goes now. Its sender's copy is left out where the account has no room for it: that must not keep
// anybody from asking for help.
func (c *Carrier) record(ctx context.Context, m *Message, boxes []store.Delivery, parts []kv.Part) (blob.LSN, error) {
	if !m.Own.Copy {
		return c.o.Store.Deliver(ctx, m.Arrival, boxes, parts...)
	}
	room, err := c.o.Store.Reserve(ctx, m.Own.Account, m.Arrival.Size())
	if err != nil {
		if errors.Is(err, store.ErrOverQuota) {
			c.log.WarnContext(ctx, logx.MailUncopied, "id", m.ID, "account", m.Own.Account)
		} else if !errors.Is(err, store.ErrNoAccount) {
			return 0, err
		}
		return c.o.Store.Deliver(ctx, m.Arrival, boxes, parts...)
	}
	defer room.Release()
	return c.both(ctx, m, boxes, m.Own.delivery(store.UseSent, c.o.Now()), parts...)
}

// maxWaiting is how many messages of one account may wait for a time that their sender chose. What a setting holds up for seconds
// does not count.
const maxWaiting = 1000

// mayWait refuses a message that its sender wants kept for long and for which there is no room.
func (t *Transaction) mayWait(ctx context.Context, size int64) error {
	id := t.Own.Account
	if t.Envelope.Release.Asked == "" || id == 0 {
		return nil
	}
	s := t.carrier.o.Store
	room, err := s.Reserve(ctx, id, size)
	if errors.Is(err, store.ErrOverQuota) {
		return smtp.Refuse(452, gosmtp.EnhancedCode{4, 2, 2}, "Your mailbox is full: there is no room in its Outbox for a message that waits")
	}
	if err != nil {
		return err
	}
	room.Release()
	n, err := s.Waiting(ctx, id)
	if err == nil && n >= maxWaiting {
		return smtp.Refuse(452, gosmtp.EnhancedCode{4, 5, 3}, "Too many messages wait in your Outbox")
	}
	return err
}
