package local

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Transaction is what both desks keep from MAIL to the end of the message: envelope, recipients, and the room that is kept free for it
// in their mailboxes. It is the part of a gosmtp.Session that does not depend on the desk.
type Transaction struct {
	Envelope mail.Envelope // without recipients
	Size     int64         // as announced; 0: not
	To       []Recipient
	Filed    map[mail.AccountID]Filing // what the desk found for an account (File)

	Own Own // what its sender keeps of it

	// For the message's story: who brings it, which way it goes (both set once by the desk), and what the desk has learned of it.
	Peer smtp.Peer
	Way  story.Direction
	Tale Tale

	// Taken is called once the message is in the log, with its place; nil: nobody cares. Reset forgets it.
	Taken func(id string, at blob.LSN)

	carrier *Carrier
	max     int64
	held    []held
	receipt string
}

// held is quota that a recipient's account keeps free for the message.
type held struct {
	account mail.AccountID
	quota   *store.Reservation
}

// NewTransaction returns one that is not begun; a message whose size is not announced may have max octets.
func (c *Carrier) NewTransaction(max int64) Transaction { return Transaction{carrier: c, max: max} }

// Begin is MAIL. It is refused while the disk is nearly full, for mail that only passes through too.
func (t *Transaction) Begin(e mail.Envelope, o *gosmtp.MailOptions) error {
	t.Reset()
	if err := t.carrier.o.Store.Room(); err != nil {
		return FullDisk(err)
	}
	t.Envelope = e
	if o != nil {
		t.Size = o.Size
	}
	return nil
}

// Reset forgets the transaction.
func (t *Transaction) Reset() {
	for _, h := range t.held {
		h.quota.Release()
	}
	t.leave()
	t.held, t.To, t.Taken = t.held[:0], t.To[:0], nil
	t.Own.discard()
	t.Envelope, t.Size, t.Filed, t.Own, t.Tale = mail.Envelope{}, 0, nil, Own{}, Tale{}
}

// Logout ends the session.
func (t *Transaction) Logout() error {
	t.Reset()
	return nil
}

// Receipt names the message that was taken last.
func (t *Transaction) Receipt() string { return t.receipt }

// reserved is how many octets each account keeps free.
func (t *Transaction) reserved() int64 {
	if t.Size > 0 {
		return t.Size
	}
	return t.max
}

// holdMost is how much of a quota an open transaction keeps from others. Strangers announce what they like, or nothing, and may
// take their time: a few of them must not fill a mailbox with promises. What is larger is reserved when it has arrived.
const holdMost = 1 << 20

// reserve asks for room for the whole message, and holds no more of it than a transaction may.
func (t *Transaction) reserve(ctx context.Context, id mail.AccountID) (*store.Reservation, error) {
	quota, err := t.carrier.o.Store.Reserve(ctx, id, t.reserved())
	if err != nil || t.reserved() <= holdMost {
		return quota, err
	}
	quota.Release()
	return t.carrier.o.Store.Reserve(ctx, id, holdMost)
}

// Add takes a recipient and keeps room for the message in the accounts that it leads to. A full one refuses, unless an alias leads
// to others as well: they are not made to wait for it, and its copy waits for room in the queue.
func (t *Transaction) Add(ctx context.Context, to Recipient) error {
	if err := t.mayForward(ctx, &to); err != nil {
		return err
	}
	var full error
	var boxes []auth.Destination
	var waiting []mail.Address
	taken := len(to.Route.Remote) + len(to.Route.Lists)
	for _, d := range to.Route.Local {
		if slices.ContainsFunc(t.held, func(h held) bool { return h.account == d.Account }) {
			taken++
			boxes = append(boxes, d)
			continue
		}
		quota, err := t.reserve(ctx, d.Account)
		switch {
		case errors.Is(err, store.ErrOverQuota):
			if full, err = t.fullBox(ctx, d.Account, t.Size); err != nil {
				return err
			}
			waiting = append(waiting, d.Address)
		case err != nil:
			return FullDisk(err)
		default:
			taken++
			boxes = append(boxes, d)
			t.held = append(t.held, held{d.Account, quota})
		}
	}
	if taken == 0 && full != nil {
		return full
	}
	if len(waiting) > 0 {
		to.Route.Local, to.Route.Remote = boxes, slices.Concat(to.Route.Remote, waiting)
		to.waits = waiting
	}
	t.To = append(t.To, to)
	return nil
}

// fullBox tells a mailbox that is full now from a message that can never fit; size 0: nobody knows how large it is.
func (t *Transaction) fullBox(ctx context.Context, id mail.AccountID, size int64) (refusal, err error) {
	u, err := t.carrier.o.Store.Usage(ctx, id)
	if err != nil {
		return nil, err
	}
	if size > 0 && u.Limit.Bytes > 0 && uint64(size) > u.Limit.Bytes {
		return smtp.Refuse(552, gosmtp.EnhancedCode{5, 2, 2}, "The message is larger than the mailbox"), nil
	}
	return smtp.Refuse(452, gosmtp.EnhancedCode{4, 2, 2}, "The mailbox is full"), nil
}

// ownWords is how much the desks' own fields may add to a message beyond the room that was reserved.
const ownWords = 4 << 10

// fit reserves anew what turned out larger than it was announced: SIZE is a promise of strangers (RFC 1870 section 6.3), and
// quota is not spent on promises.
func (t *Transaction) fit(ctx context.Context, size int64) error {
	if size <= min(t.reserved(), holdMost)+ownWords {
		return nil
	}
	for i, h := range t.held {
		h.quota.Release()
		quota, err := t.carrier.o.Store.Reserve(ctx, h.account, size)
		if errors.Is(err, store.ErrOverQuota) {
			full, err := t.fullBox(ctx, h.account, size)
			return errors.Join(full, err)
		}
		if err != nil {
			return FullDisk(err)
		}
		t.held[i].quota = quota
	}
	return nil
}

// Deliver gives the message to the carrier; after it returned nil, 250 may be said. The arrival is used up.
func (t *Transaction) Deliver(ctx context.Context, id string, a *store.Arrival) error {
	if err := t.fit(ctx, a.Size()); err != nil {
		a.Discard()
		t.Own.discard()
		return err
	}
	if err := t.mayWait(ctx, a.Size()); err != nil {
		a.Discard()
		t.Own.discard()
		return err
	}
	charged, err := t.charge(ctx)
	if err != nil {
		a.Discard()
		t.Own.discard()
		return err
	}
	at, err := t.carrier.Deliver(ctx, Message{ID: id, Envelope: t.Envelope, To: t.To, Arrival: a, Filed: t.Filed, Own: t.Own, Tale: t.Tale})
	charged(err)
	if err != nil {
		return FullDisk(err)
	}
	if t.Taken != nil {
		t.Taken(id, at)
	}
	t.Tale = Tale{}
	t.receipt = "queued as " + id
	if at := t.Envelope.Release.At; !at.IsZero() {
		t.receipt += ", to be sent at " + at.UTC().Format(time.RFC3339)
	}
	return nil
}

// FullDisk translates the errors of a disk that a client can do something about: come back later.
func FullDisk(err error) error {
	if errors.Is(err, kv.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return smtp.Refuse(452, gosmtp.EnhancedCode{4, 3, 1}, "No space on the mail server, try again later")
	}
	return err
}

// Resolve is where an address of this house leads. A stranger's is auth.ErrNotLocal; one that is nowhere here is refused.
func (c *Carrier) Resolve(ctx context.Context, a mail.Address) (auth.Route, error) {
	route, err := c.o.Directory.Resolve(ctx, a)
	if errors.Is(err, auth.ErrNoAddress) {
		return auth.Route{}, smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, "No such address here: "+a.String())
	}
	return route, err
}
