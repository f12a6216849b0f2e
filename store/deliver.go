package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Delivery is one copy of a message for one mailbox.
type Delivery struct {
	Account  mail.AccountID
	Mailbox  string // by name; if it is not there, or not any more when the record is applied: INBOX
	Flags    Flags  // system flags and well-known keywords only
	Keywords []string
	Received time.Time  // zero: now
	Use      SpecialUse // not 0: the account's mailbox of this use instead, made when there is none
	Own      bool       // the account's own message: Sent has it once (table j)
	Waits    []byte     // it waits to be sent: what Outbox.Bind is told when it has landed
}

// deliverable are the flags that a delivery may set.
const deliverable = Seen | Answered | Flagged | Deleted | Draft | Forwarded | Junk | NotJunk

// ticket is what this process counts for a part that it logged, until the part is applied.
type ticket struct {
	account mail.AccountID
	quota   Quota
	landed  bool // the commit that takes the part in has applied it
}

// issue counts a part before it is logged.
func (s *Store) issue(t ticket) uint64 {
	id := max(s.tickets.Add(1), 1) // 0 is no ticket
	s.pending.add(t.account, t.quota)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[id] = t
	return id
}

// redeem ends a ticket, if it is of this process.
func (s *Store) redeem(id uint64) {
	s.mu.Lock()
	t, ok := s.waiting[id]
	delete(s.waiting, id)
	s.mu.Unlock()
	if ok {
		s.pending.end(t)
	}
}

// land notes that the part of a ticket stands in the tables as the running commit sees them. If that is done again, because
// the commit begins again, the part stands there again.
func (s *Store) land(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.waiting[id]; ok && !t.landed {
		t.landed = true
		s.waiting[id] = t
		s.pending.land(t)
	}
}

// Deliver logs the arrival once, for all deliveries and all extra parts (queue entries), and returns after the
// one fdatasync (RFC 5321 section 4.2.5: the 250 may be given). The arrival is used up. The returned id is the record's, for logs.
//
// The quota is not asked: it was, by Reserve, when the recipient was accepted.
func (s *Store) Deliver(ctx context.Context, a *Arrival, to []Delivery, extra ...kv.Part) (blob.LSN, error) {
	if a.body == nil {
		return 0, ErrNoMessage
	}
	defer a.Discard()
	parts, err := s.address(ctx, a, to)
	if err != nil {
		return 0, err
	}
	r := kv.Record{Body: a.body, Parts: make([]kv.Part, 0, len(parts)+len(extra))}
	tickets := make([]uint64, 0, len(parts))
	for i := range parts {
		p := &parts[i]
		p.ticket = s.issue(ticket{account: p.account, quota: Quota{Bytes: uint64(a.size), Messages: 1}})
		tickets = append(tickets, p.ticket)
		r.Accounts = append(r.Accounts, uint32(p.account))
		r.Parts = append(r.Parts, kv.Part{Kind: partMail, Data: p.encode()})
	}
	r.Parts = append(r.Parts, extra...)
	// The message is here: whether its sender is still connected does not matter any more.
	a.body = nil
	lsn, err := s.db.Log(context.WithoutCancel(ctx), r)
	if err != nil {
		for _, t := range tickets {
			s.redeem(t)
		}
		return 0, fmt.Errorf("log a message: %w", err)
	}
	s.met.delivered.Add(float64(len(parts)))
	return lsn, nil
}

// address turns deliveries into parts: the accounts exist now, the mailboxes are known by their ids.
func (s *Store) address(ctx context.Context, a *Arrival, to []Delivery) ([]mailPart, error) {
	parts := make([]mailPart, len(to))
	now := s.now().Unix()
	for i, d := range to {
		parts[i] = d.part(now)
		p := &parts[i]
		p.thread, p.msgHash = a.thread, a.msgHash
		if d.Own {
			p.copy = s.keys().copyHash(a.sum)
		}
		id, epoch, ok := s.routes.find(p.account, p.name)
		if !ok {
			var err error
			if id, err = s.route(ctx, p.account, p.name); err != nil {
				return nil, err
			}
			s.routes.keep(p.account, p.name, id, epoch)
		}
		p.mailbox = id
	}
	return parts, nil
}

// route looks a delivery's mailbox up; 0 when the name is not there.
func (s *Store) route(ctx context.Context, id mail.AccountID, name string) (MailboxID, error) {
	var n nameRow
	err := s.db.View(ctx, func(tx *kv.Tx) (err error) {
		if tx.Get(tabHoldings, key32(uint32(id))) == nil {
			return fmt.Errorf("deliver to account %d: %w", id, ErrNoAccount)
		}
		n, err = findName(tx, id, name)
		if errors.Is(err, ErrNoMailbox) {
			return nil
		}
		return err
	})
	return n.id, err
}

// part is what a delivery asks for, in the form of the log.
func (d *Delivery) part(now int64) mailPart {
	p := mailPart{account: d.Account, name: Inbox, flags: d.Flags & deliverable, keywords: d.Keywords, received: now, saved: now, use: d.Use, waits: d.Waits}
	if !d.Received.IsZero() {
		p.received = d.Received.Unix()
	}
	if d.Mailbox == Inbox || d.Mailbox == "" {
		return p
	}
	if name, err := CheckName(d.Mailbox); err == nil {
		p.name = name
	}
	return p
}

// applyMail puts one copy into its mailbox, when the committer comes to its record. Nothing that can happen to the mailbox
// in between makes it fail.
func (s *Store) applyMail(tx *kv.Tx, e kv.Entry, data []byte) error {
	p, err := parsePart(data)
	if err != nil {
		return err
	}
	tx.OnCommit(func() { s.redeem(p.ticket) })
	m := s.begin(tx)
	b, err := m.target(&p)
	if errors.Is(err, ErrNoAccount) && p.use != 0 {
		return nil // its own message: nobody is left who could look for it
	}
	if errors.Is(err, ErrNoAccount) {
		return s.applyOrphan(tx, e, &p)
	}
	if err != nil {
		return err
	}
	if err := b.arrive(e, e, &p); err != nil {
		return err
	}
	s.land(p.ticket)
	return m.end()
}

// arrive is land for one's own messages too: one that Sent has already is not added, one that waits to be sent is bound to what waits in
// the queue (with the body at).
func (b *box) arrive(e, at kv.Entry, p *mailPart) error {
	when := time.Unix(p.saved, 0) // and not the time now: a repair applies records again, and must find the same
	if p.copy != 0 && len(p.waits) == 0 {
		if uid, _, ok := b.twin(p.copy, when); ok && b.addFlags(uid, p.flags) {
			return nil
		}
	}
	uid, err := b.land(e, p, false)
	if err != nil {
		return err
	}
	if len(p.waits) > 0 {
		return b.m.wait(at, Waiting{p.account, b.id, uid}, p)
	}
	b.noteSent(p.copy, uid, sentByUs, when)
	return nil
}

// asideMail ends what was counted for a part that will never be applied.
func (s *Store) asideMail(data []byte) {
	if p, err := parsePart(data); err == nil {
		s.redeem(p.ticket)
	}
}

// applyOrphan gives a message whose account is gone to whoever bounces it.
func (s *Store) applyOrphan(tx *kv.Tx, e kv.Entry, p *mailPart) error {
	if s.orphan != nil {
		return s.orphan(tx, e, p.account)
	}
	tx.OnCommit(func() {
		s.log.Error(logx.StoreOrphan, slog.Uint64("account", uint64(p.account)), slog.Uint64("lsn", uint64(e.LSN)))
	})
	return nil
}

// target opens the mailbox of a part: by id, because it may have been renamed; by name, because it may have been deleted and
// made again; else INBOX.
func (m *mutation) target(p *mailPart) (*box, error) {
	if _, err := m.account(p.account); err != nil {
		return nil, err
	}
	if p.use != 0 {
		return m.useBox(p.account, p.use)
	}
	if p.mailbox != 0 {
		b, err := m.box(p.mailbox)
		if err == nil && b.st.account == p.account {
			return b, nil
		}
		if err != nil && !errors.Is(err, ErrNoMailbox) {
			return nil, err
		}
	}
	for _, name := range []string{p.name, Inbox} {
		n, err := findName(m.tx, p.account, name)
		if err == nil {
			return m.box(n.id)
		}
		if !errors.Is(err, ErrNoMailbox) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("account %d has no INBOX: %w", p.account, ErrDamaged)
}

// land adds the message of a part to the mailbox. A delivery loses keywords that cannot be kept; when it is strict, an APPEND,
// it is refused for them.
func (b *box) land(e kv.Entry, p *mailPart, strict bool) (UID, error) {
	if b.full(1) {
		return 0, fmt.Errorf("%w: the mailbox has no uids left", ErrLimit)
	}
	flags := p.flags
	if len(p.keywords) > 0 {
		kw := loadKeywords(b.m.tx, b.id)
		for _, name := range p.keywords {
			f, err := kw.learn(name)
			if err != nil && strict {
				return 0, err
			}
			flags |= f
		}
		kw.save(b.m.tx)
	}
	thread := p.thread
	if thread == 0 {
		thread = uint64(e.LSN) // a message that names no other and has no name is a thread of its own
	}
	return b.add(makeRow(&Message{
		Flags: flags, ID: uint64(e.LSN), Place: e.Body, Size: uint32(e.Size),
		Received: time.Unix(p.received, 0), Saved: time.Unix(p.saved, 0), Thread: thread,
	})), nil
}

// Place delivers a body that the log has already (mail out of the queue), inside the caller's transaction. ErrNoAccount when
// the account is gone; a mailbox that is gone is INBOX.
func (s *Store) Place(tx *kv.Tx, body kv.Entry, d Delivery) error {
	p := d.part(s.now().Unix())
	r, err := s.db.OpenBody(body.Body)
	if err != nil {
		return fmt.Errorf("place a message: %w", err)
	}
	defer r.Close()
	if head, err := r.Head(); err == nil {
		p.thread = headThread(head)
	}
	m := s.begin(tx)
	b, err := m.target(&p)
	if err != nil {
		return err
	}
	if _, err := b.land(body, &p, false); err != nil {
		return err
	}
	return m.end()
}
