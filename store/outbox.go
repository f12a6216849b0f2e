package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// A message that waits to be sent stands in its sender's Outbox, bound to what waits for it in the queue by a row of table c.
// Whoever takes it out of that mailbox takes it back: row, message and the queue's entries go in one transaction. When its time comes,
// one transaction lets the entries go and moves it to Sent. So it is sent or taken back, and never both.

// OutboxName is the mailbox for messages that wait, where an account has none of that use yet.
const OutboxName = "Outbox"

// UseOutbox is the use of the mailbox with what waits to be sent. There is no attribute for it (RFC 6154), so that no client is told,
// and none can ask for it.
const UseOutbox SpecialUse = 1 << 8

// Waiting is the place of a message that waits to be sent.
type Waiting struct {
	Account mail.AccountID
	Mailbox MailboxID
	UID     UID
}

// Outbox is what the owner of the entries does, each time within the caller's transaction.
type Outbox struct {
	// Bind takes what a message carries along (Delivery.Waits) that has landed at w; what it returns is kept with the message.
	Bind func(tx *kv.Tx, at kv.Entry, w Waiting, data []byte) (note []byte, err error)
	// Cancel hears that a message was taken back.
	Cancel func(tx *kv.Tx, w Waiting, note []byte) error
}

// SetOutbox names the owner of what waits; before db.Start.
func (s *Store) SetOutbox(o Outbox) { s.outbox = o }

// waitingRow is a row of table c.
type waitingRow struct {
	copy uint64 // as in table j: whether Sent has the message already
	note []byte // the owner's
}

const waitingVersion = 1

func (r waitingRow) encode() []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 9+len(r.note)), waitingVersion), r.copy)
	return append(b, r.note...)
}

func decodeWaiting(k, v []byte) (waitingRow, error) {
	if len(k) != 8 || len(v) < 9 || v[0] != waitingVersion {
		return waitingRow{}, fmt.Errorf("row of a message that waits to be sent: %w", ErrDamaged)
	}
	return waitingRow{copy: binary.BigEndian.Uint64(v[1:]), note: slices.Clone(v[9:])}, nil
}

func waitingKey(w Waiting) []byte { return key32x2(uint32(w.Mailbox), w.UID) }

// wait binds a message that has landed.
func (m *mutation) wait(at kv.Entry, w Waiting, p *mailPart) error {
	if m.s.outbox.Bind == nil {
		return nil
	}
	note, err := m.s.outbox.Bind(m.tx, at, w, p.waits)
	if err != nil {
		return err
	}
	m.tx.Put(tabWaiting, waitingKey(w), waitingRow{copy: p.copy, note: note}.encode())
	return nil
}

// Waits reads what the owner keeps with a message; false: it does not wait any more.
func (s *Store) Waits(tx *kv.Tx, w Waiting) (note []byte, ok bool) {
	key := waitingKey(w)
	v := tx.Get(tabWaiting, key)
	if v == nil {
		return nil, false
	}
	r, err := decodeWaiting(key, v)
	return r.note, err == nil
}

// AllWaiting yields every message that waits, with what its owner keeps with it.
func (s *Store) AllWaiting(tx *kv.Tx) iter.Seq2[Waiting, []byte] {
	return func(yield func(Waiting, []byte) bool) {
		for k, v := range tx.Scan(tabWaiting, nil, nil) {
			r, err := decodeWaiting(k, v)
			if err != nil {
				continue // told by Check
			}
			w := Waiting{Mailbox: MailboxID(binary.BigEndian.Uint32(k)), UID: binary.BigEndian.Uint32(k[4:])}
			if st, err := loadState(tx, w.Mailbox); err == nil {
				w.Account = st.account
			}
			if !yield(w, r.note) {
				return
			}
		}
	}
}

// WaitingIn yields what waits in one mailbox, by uid, with what its owner keeps with it.
func (s *Store) WaitingIn(tx *kv.Tx, box Mailbox) iter.Seq2[Waiting, []byte] {
	return func(yield func(Waiting, []byte) bool) {
		for k, v := range tx.Scan(tabWaiting, key32(uint32(box.ID)), after(uint32(box.ID))) {
			r, err := decodeWaiting(k, v)
			if err != nil {
				continue // told by Check
			}
			w := Waiting{Account: box.Account, Mailbox: box.ID, UID: binary.BigEndian.Uint32(k[4:])}
			if !yield(w, r.note) {
				return
			}
		}
	}
}

// hasWaiting reports whether messages of a mailbox wait to be sent.
func hasWaiting(tx *kv.Tx, id MailboxID) bool {
	for range tx.Scan(tabWaiting, key32(uint32(id)), after(uint32(id))) {
		return true
	}
	return false
}

// takeBack cancels those of the messages that wait: they are about to leave their mailbox by somebody's hand.
func (b *box) takeBack(gone *removal) error {
	if gone.len() == 0 {
		return nil
	}
	var runs []UIDRange
	first, last := gone.row(0).uid(), gone.row(gone.len()-1).uid()
	type bound struct {
		w   Waiting
		row waitingRow
	}
	var all []bound
	for k, v := range b.m.tx.Scan(tabWaiting, key32x2(uint32(b.id), first), append(key32x2(uint32(b.id), last), 0)) {
		if runs == nil {
			for i := range gone.len() {
				runs = addUID(runs, gone.row(i).uid())
			}
		}
		r, err := decodeWaiting(k, v)
		if err != nil {
			return err
		}
		if uid := binary.BigEndian.Uint32(k[4:]); overlap(runs, []UIDRange{{uid, uid}}) != 0 {
			all = append(all, bound{Waiting{b.st.account, b.id, uid}, r})
		}
	}
	for _, x := range all {
		if err := b.m.cancel(x.w, x.row); err != nil {
			return err
		}
	}
	return nil
}

func (m *mutation) cancel(w Waiting, r waitingRow) error {
	m.tx.Delete(tabWaiting, waitingKey(w))
	if m.s.outbox.Cancel == nil {
		return nil
	}
	return m.s.outbox.Cancel(m.tx, w, r.note)
}

// cancelAll takes back everything that waits in a mailbox: its account goes.
func (m *mutation) cancelAll(account mail.AccountID, id MailboxID) error {
	rows := map[Waiting]waitingRow{}
	for k, v := range m.tx.Scan(tabWaiting, key32(uint32(id)), after(uint32(id))) {
		r, err := decodeWaiting(k, v)
		if err != nil {
			return err
		}
		rows[Waiting{account, id, binary.BigEndian.Uint32(k[4:])}] = r
	}
	for w, r := range rows {
		if err := m.cancel(w, r); err != nil {
			return err
		}
	}
	return nil
}

// LetGo ends the waiting of a message because its time has come: it moves to Sent, where it stands once even if the client has put it
// there too. sent is false when its owner has marked it as deleted: it is expunged instead, and must not be sent. It is part of
// the caller's transaction, which lets the entries go.
func (s *Store) LetGo(tx *kv.Tx, w Waiting) (sent bool, err error) {
	v := tx.Get(tabWaiting, waitingKey(w))
	if v == nil {
		return true, nil
	}
	r, err := decodeWaiting(waitingKey(w), v)
	if err != nil {
		return false, err
	}
	tx.Delete(tabWaiting, waitingKey(w))
	m := s.begin(tx)
	b, gone, err := m.waiter(w)
	if err != nil || gone.len() == 0 {
		return true, err
	}
	if gone.row(0).flags()&Deleted != 0 {
		if err := b.expunge(&gone); err != nil {
			return false, err
		}
		return false, m.end()
	}
	dst, err := m.useBox(w.Account, UseSent)
	if err != nil {
		return false, err
	}
	if r.copy != 0 {
		if uid, _, ok := dst.twin(r.copy, s.now()); ok && dst.addFlags(uid, Seen) {
			b.remove(&gone)
			return true, m.end()
		}
	}
	if err := m.shift(b, dst, &gone, func(f Flags) Flags { return f | Seen }, r.copy); err != nil {
		return false, err
	}
	return true, m.end()
}

// GiveBack ends the waiting of a message that the house does not send: it moves to Drafts. It is part of the caller's transaction.
func (s *Store) GiveBack(tx *kv.Tx, w Waiting) error {
	if tx.Get(tabWaiting, waitingKey(w)) == nil {
		return nil
	}
	tx.Delete(tabWaiting, waitingKey(w))
	m := s.begin(tx)
	b, gone, err := m.waiter(w)
	if err != nil || gone.len() == 0 {
		return err
	}
	dst, err := m.useBox(w.Account, UseDrafts)
	if err != nil {
		return err
	}
	if err := m.shift(b, dst, &gone, func(f Flags) Flags { return f&^Deleted | Draft | Seen }, 0); err != nil {
		return err
	}
	return m.end()
}

// waiter finds the message at w; a mailbox or account that is gone has none.
func (m *mutation) waiter(w Waiting) (*box, removal, error) {
	b, err := m.box(w.Mailbox)
	if errors.Is(err, ErrNoMailbox) {
		return nil, removal{}, nil
	}
	if err != nil {
		return nil, removal{}, err
	}
	return b, b.gather([]UIDRange{{w.UID, w.UID}}, 1, func(row) bool { return true }), nil
}

// shift moves a message to another mailbox of its account. Where it has no room for it (uids, keywords) the message stays: that must not
// keep it from being sent.
func (m *mutation) shift(src, dst *box, gone *removal, flags func(Flags) Flags, copy uint64) error {
	if src == dst {
		return nil
	}
	t := transfer{m: m, from: src.id, dst: dst, raw: slices.Clone(gone.raw)}
	err := t.check()
	if errors.Is(err, ErrLimit) {
		return nil
	}
	if err != nil {
		return err
	}
	t.at(0).setFlags(flags(t.at(0).flags()))
	src.remove(gone)
	done := t.add()
	dst.noteSent(copy, done.To[0], sentByUs, m.s.now())
	return nil
}

// useBox opens the account's mailbox of a use; it is made when there is none, or becomes the one that has its name. An account that may
// have no more mailboxes keeps such mail in INBOX.
func (m *mutation) useBox(id mail.AccountID, use SpecialUse) (*box, error) {
	a, err := m.account(id)
	if err != nil {
		return nil, err
	}
	for _, v := range m.tx.Scan(tabNames, key32(uint32(id)), after(uint32(id))) {
		n, err := decodeName(v)
		if err != nil {
			return nil, err
		}
		if n.use&use != 0 {
			return m.box(n.id)
		}
	}
	name := usualName(use)
	n, err := findName(m.tx, id, name)
	switch {
	case errors.Is(err, ErrNoMailbox):
		n.id, err = m.create(a, name, use)
		if errors.Is(err, ErrLimit) {
			n, err = findName(m.tx, id, Inbox)
			break
		}
		m.subscribe(a, name, true)
	case err == nil:
		n.use |= use
		m.tx.Put(tabNames, nameKey(id, name), n.encode())
		m.names = append(m.names, id)
	}
	if err != nil {
		return nil, err
	}
	return m.box(n.id)
}

func usualName(use SpecialUse) string {
	switch use {
	case UseOutbox:
		return OutboxName
	case UseDrafts:
		return "Drafts"
	}
	return "Sent"
}

// waiting walks table c: each row names a message that is there.
func (c *checker) waiting() {
	for k, v := range c.rows(tabWaiting, 8, 8) {
		id, uid := MailboxID(binary.BigEndian.Uint32(k)), binary.BigEndian.Uint32(k[4:])
		if _, err := decodeWaiting(k, v); err != nil {
			c.bad("mailbox %d uid %d: %v", id, uid, err)
		}
		b := c.boxes[id]
		if b == nil && c.dropped[id] {
			continue
		}
		if b == nil || overlap(b.runs, []UIDRange{{uid, uid}}) == 0 {
			c.bad("mailbox %d: message %d waits to be sent, and is not there", id, uid)
		}
	}
}

// waiting forgets what waits and is not there: a repair could not bring its message back.
func (m *mender) waiting(tx *kv.Tx) error {
	var lost []Waiting
	for k := range tx.Scan(tabWaiting, nil, nil) {
		if len(k) != 8 {
			continue // told by Check
		}
		w := Waiting{Mailbox: MailboxID(binary.BigEndian.Uint32(k)), UID: binary.BigEndian.Uint32(k[4:])}
		if _, err := loadState(tx, w.Mailbox); err == nil {
			there := false
			for p, rr := range pages(tx, w.Mailbox, []UIDRange{{w.UID, w.UID}}) {
				for range p.hits(rr) {
					there = true
				}
			}
			if there {
				continue
			}
		}
		lost = append(lost, w)
	}
	for _, w := range lost {
		tx.Delete(tabWaiting, waitingKey(w))
		m.note("message %d of mailbox %d waited to be sent and is gone: what waits in the queue is sent", w.UID, w.Mailbox)
	}
	return nil
}

// Waiting counts what waits to be sent in an account's Outbox.
func (s *Store) Waiting(ctx context.Context, id mail.AccountID) (n int, err error) {
	if err := s.db.Settle(ctx, uint32(id)); err != nil {
		return 0, err
	}
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		n = 0
		for _, v := range tx.Scan(tabNames, key32(uint32(id)), after(uint32(id))) {
			if name, err := decodeName(v); err != nil || name.use&UseOutbox == 0 {
				continue
			}
			box := binary.BigEndian.Uint32(v)
			for range tx.Scan(tabWaiting, key32(box), after(box)) {
				n++
			}
		}
		return nil
	})
	return n, err
}
