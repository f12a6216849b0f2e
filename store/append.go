package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// AppendMessage is one message of an APPEND.
type AppendMessage struct {
	Arrival     *Arrival
	Flags       Flags
	Keywords    []string
	Received    time.Time    // zero: now
	Reservation *Reservation // the quota that is held for it already; nil: Append asks
	UIDL        string       // unique-id that another server had given it (RFC 1939 section 7); empty: our own
}

// appendAtOnce is how many records of one MULTIAPPEND wait for the log together.
const appendAtOnce = 64

// Append adds the messages, all or none, and returns their uids after they are in the tables (RFC 9051 section 6.3.12, RFC 3502).
// The arrivals are used up.
func (s *Store) Append(ctx context.Context, mailbox MailboxID, msgs []AppendMessage) (uidValidity uint32, uids []UID, err error) {
	defer func() {
		for _, m := range msgs {
			m.Arrival.Discard()
		}
	}()
	parts, release, err := s.prepare(ctx, mailbox, msgs)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	// From here on it is done whether the client waits or not, so that nothing is half done.
	ctx = context.WithoutCancel(ctx)
	switch len(msgs) {
	case 0:
		return 0, nil, nil
	case 1:
		t, err := s.logged(ctx, msgs[0].Arrival, &parts[0], partMail)
		if err == nil {
			err = s.applied(ctx, &parts[0], t)
		}
		if err != nil {
			return 0, nil, err
		}
		return t.valid, []UID{t.uid}, nil
	}
	return s.appendMany(ctx, msgs, parts)
}

// prepare checks everything that can be checked before the log is written, and holds the quota.
func (s *Store) prepare(ctx context.Context, mailbox MailboxID, msgs []AppendMessage) ([]mailPart, func(), error) {
	parts := make([]mailPart, len(msgs))
	now := s.now().Unix()
	var need Quota
	for i, m := range msgs {
		if m.Arrival.body == nil {
			return nil, nil, ErrNoMessage
		}
		parts[i] = mailPart{
			mailbox: mailbox, flags: m.Flags, keywords: m.Keywords, received: now, saved: now,
			thread: m.Arrival.thread, msgHash: m.Arrival.msgHash, strict: true,
		}
		if !m.Received.IsZero() {
			parts[i].received = m.Received.Unix()
		}
		if validUIDL(m.UIDL) {
			parts[i].uidl = m.UIDL
		}
		if m.Reservation == nil {
			need.Bytes += uint64(m.Arrival.size)
			need.Messages++
		}
	}
	var h holding
	var st state
	err := s.db.View(ctx, func(tx *kv.Tx) (err error) {
		if st, err = loadState(tx, mailbox); err != nil {
			return err
		}
		kw := loadKeywords(tx, mailbox)
		for i, m := range msgs {
			if _, err := kw.learnAll(m.Keywords); err != nil {
				return err
			}
			parts[i].flags &= kw.known()
			parts[i].account = st.account
		}
		h, err = loadHolding(tx, st.account)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	s.pending.add(st.account, need)
	release := func() { s.pending.sub(st.account, need) }
	if need.Messages > 0 {
		// read again behind the hold, as Reserve does
		held := s.pending.of(st.account)
		err := s.db.View(ctx, func(tx *kv.Tx) (err error) {
			h, err = loadHolding(tx, st.account)
			return err
		})
		if err == nil && !h.fits(Quota{}, held) {
			err = overQuota(st.account)
		}
		if err != nil {
			release()
			return nil, nil, err
		}
	}
	return parts, release, nil
}

// logged makes the arrival durable with its part.
func (s *Store) logged(ctx context.Context, a *Arrival, p *mailPart, kind byte) (*ticket, error) {
	t := &ticket{account: p.account}
	p.ticket = s.issue(t)
	data := p.encode()
	if kind == partHold {
		data = binary.BigEndian.AppendUint64([]byte{partVersion}, p.ticket)
	}
	r := kv.Record{Accounts: []uint32{uint32(p.account)}, Parts: []kv.Part{{Kind: kind, Data: data}}, Body: a.body}
	if _, err := s.db.Log(ctx, r); err != nil {
		s.redeem(p.ticket, ticket{err: err})
		return nil, fmt.Errorf("log a message: %w", err)
	}
	a.body = nil
	return t, nil
}

// applied waits until the part is in the tables.
func (s *Store) applied(ctx context.Context, p *mailPart, t *ticket) error {
	if err := s.db.Settle(ctx, uint32(p.account)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.done {
		delete(s.waiting, p.ticket)
		return fmt.Errorf("the appended message was set aside: %w", ErrDamaged)
	}
	return t.err
}

// appendMany logs each body by itself, and adds all of them in one transaction when every one is safe. If the house falls
// down in between, nobody was told anything and no message is there.
func (s *Store) appendMany(ctx context.Context, msgs []AppendMessage, parts []mailPart) (uint32, []UID, error) {
	tickets := make([]*ticket, len(msgs))
	errs := make([]error, len(msgs))
	var wg sync.WaitGroup
	slots := make(chan struct{}, appendAtOnce)
	for i := range msgs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			tickets[i], errs[i] = s.logged(ctx, msgs[i].Arrival, &parts[i], partHold)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, nil, err
	}
	for i := range tickets {
		if err := s.applied(ctx, &parts[i], tickets[i]); err != nil {
			return 0, nil, err
		}
	}
	var uids []UID
	var valid uint32
	err := s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		b, err := m.box(parts[0].mailbox)
		if err != nil {
			return err
		}
		uids, valid = make([]UID, len(parts)), b.st.uidValidity
		for i := range parts {
			if uids[i], err = b.land(tickets[i].entry, &parts[i]); err != nil {
				return err
			}
		}
		return m.end()
	})
	if err != nil {
		return 0, nil, err
	}
	return valid, uids, nil
}

// applyHold tells the waiting MULTIAPPEND where its body stands. In a replay nobody waits, and the body belongs to nobody.
func (s *Store) applyHold(tx *kv.Tx, e kv.Entry, data []byte) error {
	if len(data) != 9 || data[0] != partVersion {
		return fmt.Errorf("hold part of %d bytes: %w", len(data), ErrDamaged)
	}
	id := binary.BigEndian.Uint64(data[1:])
	tx.OnCommit(func() { s.redeem(id, ticket{entry: e}) })
	return nil
}
