package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Mail that is to be sent later (FUTURERELEASE, or a setting that holds all of an account's mail for some seconds) stands in the queue
// with its time as due time. Where its sender has an account, its message stands in the sender's Outbox (package store) until one
// transaction lets all its entries go, or takes them back. Its life and the time until a delay is told begin with its release.

// timing is when a scheduled entry goes, and who shows it until then.
type timing struct {
	release int64         // unix ms; 0: at once
	asked   string        // mail.Release.Asked
	box     store.Waiting // the message in its sender's Outbox; zero: there is none (any more)
}

func timingOf(r mail.Release) timing {
	if r.At.IsZero() {
		return timing{}
	}
	return timing{release: r.At.UnixMilli(), asked: r.Asked}
}

func (t timing) envelope() mail.Release {
	if t.release == 0 {
		return mail.Release{}
	}
	return mail.Release{At: time.UnixMilli(t.release), Asked: t.asked}
}

func (t timing) append(b []byte) []byte {
	b = appendString(binary.AppendUvarint(b, uint64(t.release)), t.asked)
	for _, n := range []uint32{uint32(t.box.Account), uint32(t.box.Mailbox), t.box.UID} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func (r *reader) timing() timing {
	t := timing{release: int64(r.uint()), asked: r.string()}
	t.box = store.Waiting{Account: mail.AccountID(r.uint()), Mailbox: store.MailboxID(r.uint()), UID: store.UID(r.uint())}
	return t
}

// since is when the entry's life begins: its arrival, or its release.
func (e *entry) since() int64 { return max(e.created, e.timing.release) }

func lifeOf(it Item) time.Time {
	if it.Envelope.Release.At.After(it.Created) {
		return it.Envelope.Release.At
	}
	return it.Created
}

// life is how long an entry is tried.
func (o *Options) life(e *entry) time.Duration { return o.lifeFrom(e.from) }

// lifeFrom gives mail from <> up sooner: a report that nobody takes for a day has no reader.
func (o *Options) lifeFrom(from mail.Address) time.Duration {
	if from.IsNull() {
		return o.NullLife
	}
	return o.Lifetime
}

// Waits is Part for a message that waits in its sender's Outbox: for store.Delivery, whose message has it bound.
func (q *Queue) Waits(id string, e mail.Envelope) []byte { return q.Part(id, e).Data }

// Put is what the part does when its record is applied, for a message whose body the log has already.
func (q *Queue) Put(tx *kv.Tx, at kv.Entry, p kv.Part) error { return q.apply(tx, at, p.Data) }

// bind puts the entries of a message into the queue that has landed in an Outbox; the note is their numbers.
func (q *Queue) bind(tx *kv.Tx, at kv.Entry, w store.Waiting, data []byte) ([]byte, error) {
	if len(data) == 0 || data[0] != partEntries {
		return nil, fmt.Errorf("%w: what waits in the Outbox", errCorrupt)
	}
	var note []byte
	r := &reader{b: data[1:]}
	for len(r.b) > 0 {
		e, err := parseEntry(r.bytes())
		if err != nil {
			return nil, err
		}
		e.place, e.size, e.timing.box = at.Body, at.Size, w
		note = binary.AppendUvarint(note, q.insert(tx, e))
	}
	if r.bad {
		return nil, errCorrupt
	}
	return note, nil
}

// numbersIn reads a note.
func numbersIn(note []byte) (all []uint64) {
	r := &reader{b: note}
	for len(r.b) > 0 {
		if n := r.uint(); !r.bad {
			all = append(all, n)
		}
	}
	return all
}

// bound reads those of the entries that still wait for the message at w.
func bound(tx *kv.Tx, w store.Waiting, note []byte) (map[uint64]*entry, error) {
	all := map[uint64]*entry{}
	for _, n := range numbersIn(note) {
		e, _, err := load(tx, n)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if e.timing.box == w {
			all[n] = e
		}
	}
	return all, nil
}

// takenBack removes the entries of a message that left the Outbox by somebody's hand. None of them was ever tried.
func (q *Queue) takenBack(tx *kv.Tx, w store.Waiting, note []byte) error {
	all, err := bound(tx, w, note)
	if err != nil {
		return err
	}
	id := ""
	for n, e := range all {
		q.put(tx, n, 0, nil)
		id = e.id
	}
	if id != "" {
		tx.OnCommit(func() { q.toldTakenBack(id, w, len(all)) })
	}
	return nil
}

func (q *Queue) toldTakenBack(id string, w store.Waiting, entries int) {
	q.log.Info(logx.QueueTakenBack, "id", id, "account", w.Account, "entries", entries)
	q.o.Story.Tell(id, story.Event{At: q.o.Now(), Step: story.TakenBack})
}

// letGo releases a message whose time has come: all its entries at once, in the transaction that moves it from Outbox to Sent.
// Whoever takes it back comes before that transaction, and then there is nothing to let go, or behind it, and then it is not there.
func (q *Queue) letGo(ctx context.Context, number uint64) {
	var id string
	var w store.Waiting
	var sent bool
	var n int
	err := q.db.Update(context.WithoutCancel(ctx), func(tx *kv.Tx) error {
		id, sent, n = "", false, 0
		e, _, err := load(tx, number)
		if errors.Is(err, errGone) || err == nil && (e.held || e.timing.box == store.Waiting{}) {
			return nil
		}
		if err != nil {
			return err
		}
		w = e.timing.box
		note, ok := q.store.Waits(tx, w)
		if !ok { // a repair lost it: what is in the queue is sent
			note = binary.AppendUvarint(nil, number)
		}
		all, err := bound(tx, w, note)
		if err != nil {
			return err
		}
		if sent, err = q.store.LetGo(tx, w); err != nil {
			return err
		}
		id, n = e.id, len(all)
		for number, e := range all {
			if !sent {
				q.put(tx, number, 0, nil)
				continue
			}
			e.timing.box = store.Waiting{}
			e.timing.release = min(e.timing.release, q.now()) // one of them may have been sent before its time (SendNow)
			q.put(tx, number, e.timing.release, e)
		}
		return nil
	})
	switch {
	case err != nil:
		q.log.ErrorContext(ctx, logx.QueueUnsettled, "number", number, "error", err)
	case id == "":
	case !sent:
		q.toldTakenBack(id, w, n)
	default:
		q.log.InfoContext(ctx, logx.QueueReleased, "id", id, "account", w.Account, "entries", n)
		q.o.Story.Tell(id, story.Event{At: q.o.Now(), Step: story.LetGo})
	}
}

// Outbox lists what waits in an Outbox, by the message that waits; what it costs has nothing to do with the rest of the queue.
func (q *Queue) Outbox(ctx context.Context, box store.Mailbox) (map[store.UID][]Item, error) {
	if err := q.db.Settle(ctx, uint32(box.Account)); err != nil {
		return nil, err
	}
	var out map[store.UID][]Item
	err := q.db.View(ctx, func(tx *kv.Tx) error {
		out = map[store.UID][]Item{}
		for w, note := range q.store.WaitingIn(tx, box) {
			for _, n := range numbersIn(note) {
				e, due, err := load(tx, n)
				if errors.Is(err, errGone) {
					continue
				}
				if err != nil {
					return err
				}
				if e.timing.box == w {
					out[w.UID] = append(out[w.UID], e.item(n, due))
				}
			}
		}
		return nil
	})
	return out, err
}

// CheckOutbox holds what waits in the queue against what stands in Outboxes, and says in words what does not fit.
func (q *Queue) CheckOutbox(ctx context.Context) (problems []string, err error) {
	if err := q.db.SettleAll(ctx); err != nil {
		return nil, err
	}
	err = q.db.View(ctx, func(tx *kv.Tx) error {
		problems = nil
		shown := map[uint64]store.Waiting{}
		for w, note := range q.store.AllWaiting(tx) {
			all, err := bound(tx, w, note)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				problems = append(problems, fmt.Sprintf("account %d: message %d of mailbox %d waits to be sent, and nothing in the queue does so: move it away and send it again", w.Account, w.UID, w.Mailbox))
			}
			for n := range all {
				shown[n] = w
			}
		}
		for key, row := range tx.Scan(rows, nil, nil) {
			e, err := parseEntry(row)
			if err != nil || len(key) != 16 || e.timing.box == (store.Waiting{}) {
				continue // what cannot be read is told by List
			}
			if n := binary.BigEndian.Uint64(key[8:]); shown[n] != e.timing.box {
				problems = append(problems, fmt.Sprintf("queue entry %s to %s waits for its time, and the sender's Outbox does not show it: it will be sent", e.id, e.domain))
			}
		}
		return nil
	})
	return problems, err
}

// Now is the queue's time.
func (q *Queue) Now() time.Time { return q.o.Now() }

// SendNow lets scheduled entries go before their time.
func (q *Queue) SendNow(ctx context.Context, f Filter) (int, error) {
	by := byOperator{}
	numbers, err := q.change(ctx, f, func(_ *kv.Tx, number uint64, e *entry, due int64) (*entry, int64, error) {
		if now := q.now(); e.timing.release > now {
			by.note(number, e)
			e.timing.release, due = now, now
		}
		return e, due, nil
	})
	q.tellVerb(by, numbers, story.Released, "sent before its time")
	return len(by), err
}

// leave ends the waiting of an entry that the operator cancels. With the last one of a message its sender gets it back, as a draft.
func (q *Queue) leave(tx *kv.Tx, number uint64, e *entry) error {
	w := e.timing.box
	if (w == store.Waiting{}) {
		return nil
	}
	e.timing.box = store.Waiting{}
	note, _ := q.store.Waits(tx, w)
	others, err := bound(tx, w, note)
	if delete(others, number); err != nil || len(others) > 0 {
		return err
	}
	return q.store.GiveBack(tx, w)
}
