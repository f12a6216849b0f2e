package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Table q holds the entries by due time and number, table Q the due time by number. Key 0 of Q is the last number given.
const (
	rows kv.Table = "q"
	dues kv.Table = "Q"
)

// What a part of kind 'w' does; the first octet of its data.
const (
	partEntries byte = 1 // entries to be added, their body the record's
	partSettle  byte = 2 // an entry's new form after an attempt; with it stands the report that the attempt made necessary
)

var errGone = errors.New("queue: entry is gone")

func rowKey(due int64, number uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(due)), number)
}

func numberKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), number)
}

// apply is the queue's kv.Kind: it runs in the committer's transaction, at replay too.
func (q *Queue) apply(tx *kv.Tx, at kv.Entry, data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("%w: empty part", errCorrupt)
	}
	switch data[0] {
	case partEntries:
		return q.applyEntries(tx, at, data[1:])
	case partSettle:
		return q.applySettle(tx, data[1:])
	}
	return fmt.Errorf("%w: part %d", errCorrupt, data[0])
}

func (q *Queue) applyEntries(tx *kv.Tx, at kv.Entry, data []byte) error {
	r := &reader{b: data}
	for len(r.b) > 0 {
		e, err := parseEntry(r.bytes())
		if err != nil {
			return err
		}
		e.place, e.size = at.Body, at.Size
		q.insert(tx, e)
	}
	if r.bad {
		return errCorrupt
	}
	return nil
}

// insert gives the entry its number; it is due at once, or when it is to be released.
func (q *Queue) insert(tx *kv.Tx, e *entry) uint64 {
	last := tx.Get(dues, numberKey(0))
	number := uint64(1)
	if len(last) == 8 {
		number = binary.BigEndian.Uint64(last) + 1
	}
	tx.Put(dues, numberKey(0), numberKey(number))
	q.write(tx, number, e.since(), e)
	return number
}

// applySettle replaces the entry by its form after an attempt. One that the operator cancelled meanwhile stays away.
func (q *Queue) applySettle(tx *kv.Tx, data []byte) error {
	r := &reader{b: data}
	number, due, row := r.uint(), int64(r.uint()), r.bytes()
	if r.bad || len(r.b) > 0 {
		return errCorrupt
	}
	var after *entry
	if len(row) > 0 {
		e, err := parseEntry(row)
		if err != nil {
			return err
		}
		after = e
	}
	err := q.replace(tx, number, due, after)
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

func settlePart(number uint64, due int64, after *entry) kv.Part {
	data := binary.AppendUvarint(binary.AppendUvarint([]byte{partSettle}, number), uint64(due))
	var row []byte
	if after != nil {
		row = appendEntry(nil, after)
	}
	return kv.Part{Kind: PartKind, Data: appendString(data, row)}
}

// replace writes the entry's form after an attempt, nil to remove it. A hold that the operator put on it meanwhile stays, and so does
// the place that its body has moved to.
func (q *Queue) replace(tx *kv.Tx, number uint64, due int64, after *entry) error {
	before, was, err := load(tx, number)
	if err != nil {
		return err
	}
	after, due = overtaken(before, was, after, due)
	if after != nil && (before.held != after.held || before.place != after.place) {
		after = after.clone()
		after.held, after.place = before.held, before.place
	}
	q.put(tx, number, due, after)
	return nil
}

// put writes the new form of an entry that stands in the tables, nil to remove it.
func (q *Queue) put(tx *kv.Tx, number uint64, due int64, e *entry) {
	old := tx.Get(dues, numberKey(number))
	tx.Delete(rows, rowKey(int64(binary.BigEndian.Uint64(old)), number))
	if e == nil {
		tx.Delete(dues, numberKey(number))
		tx.OnCommit(func() { q.committed(change{number: number, gone: true}) })
		return
	}
	q.write(tx, number, due, e)
}

func (q *Queue) write(tx *kv.Tx, number uint64, due int64, e *entry) {
	tx.Put(rows, rowKey(due, number), appendEntry(nil, e))
	tx.Put(dues, numberKey(number), binary.BigEndian.AppendUint64(nil, uint64(due)))
	c := change{number: number, due: due, created: e.since(), told: e.told, held: e.held}
	c.stream = q.streamFor(e.from.Domain, e.domain, e.attempts, e.waits() == 0)
	tx.OnCommit(func() { q.committed(c) })
}

// streamFor is the Stream of an entry. Entries that wait only for their report have one of their own.
func (q *Queue) streamFor(from, to mail.Domain, attempts int, owed bool) Stream {
	if owed {
		return Stream{Tries: -1}
	}
	return Stream{From: from, To: to, Tries: min(attempts, q.o.DirectTries)}
}

// load reads an entry and its due time; errGone.
func load(tx *kv.Tx, number uint64) (*entry, int64, error) {
	if number == 0 {
		return nil, 0, errGone
	}
	d := tx.Get(dues, numberKey(number))
	if d == nil {
		return nil, 0, errGone
	}
	if len(d) != 8 {
		return nil, 0, errCorrupt
	}
	due := int64(binary.BigEndian.Uint64(d))
	b := tx.Get(rows, rowKey(due, number))
	if b == nil {
		return nil, 0, fmt.Errorf("%w: entry %d has no row", errCorrupt, number)
	}
	e, err := parseEntry(b)
	return e, due, err
}

// fill reads the whole table into the schedule. What is committed meanwhile is gathered and taken over afterwards, in order.
func (q *Queue) fill(ctx context.Context) error {
	q.mu.Lock()
	q.loading, q.running = true, true
	q.mu.Unlock()
	names := map[string]mail.Domain{}
	intern := func(b []byte) mail.Domain {
		d, ok := names[string(b)]
		if !ok {
			d = mail.Domain(b)
			names[string(d)] = d
		}
		return d
	}
	latest := q.now() + q.o.longest()
	err := q.db.View(ctx, func(tx *kv.Tx) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		for key, row := range tx.Scan(rows, nil, nil) {
			g, err := peek(row)
			if err != nil || len(key) != 16 {
				q.log.ErrorContext(ctx, logx.QueueBroken, "key", fmt.Sprintf("%x", key), "error", err)
				continue
			}
			due := int64(binary.BigEndian.Uint64(key[:8]))
			due = min(due, max(latest, g.release))
			q.sched.put(change{number: binary.BigEndian.Uint64(key[8:]), due: due, created: g.since,
				told: g.told, held: g.held, stream: q.streamFor(intern(g.from), intern(g.to), g.attempts, g.owed)})
		}
		return nil
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range q.early {
		q.sched.put(c)
	}
	q.early, q.loading = nil, false
	return err
}

// committed takes over what a commit did. It runs on the committer's goroutine.
func (q *Queue) committed(c change) {
	q.mu.Lock()
	switch {
	case q.loading:
		q.early = append(q.early, c)
	case q.running:
		q.sched.put(c)
	}
	q.mu.Unlock()
	q.poke()
}

func (q *Queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Orphan is for mail that was taken for an account that is gone when the record is applied: the sender, whom the message's
// Return-Path names, hears of it. It is part of the caller's transaction.
func (q *Queue) Orphan(tx *kv.Tx, at kv.Entry, account mail.AccountID) error {
	e := &entry{id: q.NewID(), orphan: true, created: q.now(), place: at.Body, size: at.Size}
	to := mail.Address{Local: fmt.Sprintf("account-%d", account), Domain: mail.Domain(q.o.Hostname)}
	e.domain = to.Domain
	e.recipients = []recipient{{Recipient: mail.Recipient{Address: to}, state: owedFailure,
		result: Result{Verdict: Never, Status: "5.1.1", Text: "the account was removed while the message was on its way"}}}
	q.insert(tx, e)
	return nil
}

// Enqueue is Part for a message whose body the log has already, inside the caller's transaction.
func (q *Queue) Enqueue(tx *kv.Tx, id string, e mail.Envelope, at kv.Entry) error {
	return q.applyEntries(tx, at, q.Part(id, e).Data[1:])
}
