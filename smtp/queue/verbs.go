package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

var (
	// ErrBusy: an attempt at the entry runs at this moment; ask again when it is over.
	ErrBusy = errors.New("queue: entry is being delivered at this moment")
	// ErrNoItem: entries were named, and none of them is in the queue (any more).
	ErrNoItem = errors.New("queue: no such entry")
)

// Filter selects entries; an empty field selects all. The fields given must all fit.
type Filter struct {
	IDs       []string // transaction ids, as receipts and logs show them
	Number    uint64   // one entry
	Sender    string   // address in any case, or "<>"
	Recipient string   // address in any case
	Domain    mail.Domain
	Held      bool           // only those that the operator holds
	Outbox    mail.AccountID // only what waits in this account's Outbox
	Scheduled bool           // only those whose time has not come (FUTURERELEASE)
	Tried     bool           // only those that were tried, and are not held
	Address   string         // of Page: a part of an address of it, in small letters
	Limit     int            // at most so many

	now int64
}

func (f *Filter) fits(number uint64, e *entry) bool {
	switch {
	case f.Number != 0 && f.Number != number,
		f.Held && !e.held,
		f.Scheduled && e.timing.release <= f.now,
		f.Outbox != 0 && f.Outbox != e.timing.box.Account,
		f.Tried && (e.held || e.attempts == 0),
		f.Address != "" && !e.about(f.Address),
		f.Domain != "" && f.Domain != e.domain,
		len(f.IDs) > 0 && !slices.Contains(f.IDs, e.id),
		f.Sender == "<>" && !e.from.IsNull(),
		f.Sender != "" && f.Sender != "<>" && !strings.EqualFold(f.Sender, e.from.String()):
		return false
	}
	return f.Recipient == "" || slices.ContainsFunc(e.recipients, func(r recipient) bool {
		return r.state == waiting && strings.EqualFold(f.Recipient, r.Address.String())
	})
}

// mayFit is false for a row that has none of the ids that are asked for: reading it whole would be most of the work.
func (f *Filter) mayFit(row []byte) bool {
	return len(f.IDs) == 0 || slices.ContainsFunc(f.IDs, func(id string) bool { return bytes.Contains(row, []byte(id)) })
}

// List returns the entries that fit, in the order in which they are due.
func (q *Queue) List(ctx context.Context, f Filter) ([]Item, error) {
	var items []Item
	err := q.scan(ctx, f, func(number uint64, due int64, e *entry) { items = append(items, e.item(number, due)) })
	return items, err
}

// scan hands the entries that fit to fn, from one snapshot. ErrNoItem when entries were named and there are none.
func (q *Queue) scan(ctx context.Context, f Filter, fn func(number uint64, due int64, e *entry)) error {
	if err := q.db.SettleAll(ctx); err != nil {
		return err
	}
	found := 0
	f.now = q.now()
	err := q.db.View(ctx, func(tx *kv.Tx) error {
		for key, row := range tx.Scan(rows, nil, nil) {
			if !f.mayFit(row) {
				continue
			}
			e, err := parseEntry(row)
			if err != nil || len(key) != 16 {
				q.log.ErrorContext(ctx, logx.QueueBroken, "key", fmt.Sprintf("%x", key), "error", err)
				continue // the others can still be seen to
			}
			number := binary.BigEndian.Uint64(key[8:])
			if !f.fits(number, e) {
				continue
			}
			fn(number, int64(binary.BigEndian.Uint64(key)), e)
			if found++; found == f.Limit {
				break
			}
		}
		return nil
	})
	if err == nil && found == 0 && (len(f.IDs) > 0 || f.Number != 0) {
		err = ErrNoItem
	}
	return err
}

// Retry makes the entries due now, and forgets that their hosts are to be left alone. Held ones stay held, scheduled ones wait for their time.
func (q *Queue) Retry(ctx context.Context, f Filter) (int, error) {
	numbers, err := q.change(ctx, f, func(tx *kv.Tx, number uint64, e *entry, due int64) (*entry, int64, error) {
		if e.timing.release > q.now() {
			return e, due, nil
		}
		q.mu.Lock()
		q.sched.hurry(number) // before the commit, which starts the entry: else it would meet its host's rest
		q.mu.Unlock()
		return e, q.now(), nil
	})
	return len(numbers), err
}

// Hold keeps the entries from being tried until Release. An attempt that runs is finished.
func (q *Queue) Hold(ctx context.Context, f Filter) (int, error) {
	return q.setHeld(ctx, f, true)
}

// Release lets held entries go; those that are due go at once.
func (q *Queue) Release(ctx context.Context, f Filter) (int, error) {
	return q.setHeld(ctx, f, false)
}

func (q *Queue) setHeld(ctx context.Context, f Filter, on bool) (int, error) {
	step := story.Released
	if on {
		step = story.Held
	}
	by := byOperator{}
	numbers, err := q.change(ctx, f, func(tx *kv.Tx, number uint64, e *entry, due int64) (*entry, int64, error) {
		by.note(number, e)
		e.held = on
		return e, due, nil
	})
	q.tellVerb(by, numbers, step, "")
	return len(numbers), err
}

// Cancel takes the entries out of the queue; with bounce their senders hear of it. Entries that are being
// delivered at this moment are left and reported with ErrBusy.
func (q *Queue) Cancel(ctx context.Context, f Filter, bounce bool) (int, error) {
	r := Result{Verdict: Never, Status: "5.7.0", Text: "cancelled by the postmaster of " + q.o.Hostname}
	by := byOperator{}
	numbers, err := q.change(ctx, f, func(tx *kv.Tx, number uint64, e *entry, due int64) (*entry, int64, error) {
		if q.leased(number) {
			return nil, 0, ErrBusy
		}
		by.note(number, e)
		if err := q.leave(tx, number, e); err != nil {
			return nil, 0, err
		}
		if !bounce {
			return nil, 0, nil
		}
		e.held = false
		e.recipients = slices.DeleteFunc(e.recipients, func(x recipient) bool {
			x.result = r
			return x.state == waiting && stateAfter(e, x) == gone
		})
		for i := range e.recipients {
			if x := &e.recipients[i]; x.state == waiting {
				x.result, x.state = r, owedFailure
			}
		}
		if len(e.recipients) == 0 {
			return nil, 0, nil
		}
		return e, q.now(), nil
	})
	for _, n := range numbers {
		q.log.InfoContext(ctx, logx.QueueCancelled, "number", n, "bounce", bounce)
	}
	how := "nobody is told"
	if bounce {
		how = "the sender is told"
	}
	q.tellVerb(by, numbers, story.Cancelled, how)
	return len(numbers), err
}

func (q *Queue) leased(number uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.sched.tickets[number]
	return t != nil && t.place == leased
}

// change applies fn to the entries that fit, some hundred in a transaction. fn returns the new form, nil to
// remove the entry; ErrBusy leaves it alone and is returned at the end.
func (q *Queue) change(ctx context.Context, f Filter, fn func(tx *kv.Tx, number uint64, e *entry, due int64) (*entry, int64, error)) ([]uint64, error) {
	var all []uint64
	if err := q.scan(ctx, f, func(number uint64, _ int64, _ *entry) { all = append(all, number) }); err != nil {
		return nil, err
	}
	var changed []uint64
	var busy bool
	for chunk := range slices.Chunk(all, deferChunk) {
		var now []uint64
		err := q.db.Update(ctx, func(tx *kv.Tx) error {
			now = now[:0] // the closure may run again
			for _, number := range chunk {
				e, due, err := load(tx, number)
				if errors.Is(err, errGone) {
					continue
				}
				if err != nil {
					return err
				}
				e, due, err = fn(tx, number, e, due)
				if errors.Is(err, ErrBusy) {
					busy = true
					continue
				}
				if err != nil {
					return err
				}
				q.put(tx, number, due, e)
				now = append(now, number)
			}
			return nil
		})
		if err != nil {
			return changed, err
		}
		changed = append(changed, now...)
	}
	if busy {
		return changed, ErrBusy
	}
	return changed, nil
}
