package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
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

// Append adds the messages, all or none, and returns their uids after they are in the tables (RFC 9051 section 6.3.12, RFC 3502).
// The arrivals are used up. A message that the house has put into Sent itself is not added to it once more: its uid is that of the one
// that is there (sent.go).
//
// The bodies are made durable together, then one transaction adds the rows. If the house falls down in between, nobody was
// told anything and no message is there.
func (s *Store) Append(ctx context.Context, mailbox MailboxID, msgs []AppendMessage) (uidValidity uint32, uids []UID, err error) {
	defer func() {
		for _, m := range msgs {
			m.Arrival.Discard()
		}
	}()
	if len(msgs) > maxCopy {
		return 0, nil, fmt.Errorf("%w: one append takes at most %d messages", ErrLimit, maxCopy)
	}
	parts, release, err := s.prepare(ctx, mailbox, msgs)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	if len(msgs) == 0 {
		return 0, nil, nil
	}
	if len(msgs) == 1 && parts[0].copy != 0 {
		validity, uid, ok, err := s.repeated(ctx, &parts[0])
		if err != nil {
			return 0, nil, err
		}
		if ok {
			return validity, []UID{uid}, nil
		}
	}
	bodies := make([]*blob.Body, len(msgs))
	for i, m := range msgs {
		bodies[i], m.Arrival.body = m.Arrival.body, nil
	}
	// The messages are here: whether their sender is still connected does not matter any more.
	ctx = context.WithoutCancel(ctx)
	err = s.db.KeepUpdate(ctx, uint32(parts[0].account), bodies, func(tx *kv.Tx, entries []kv.Entry) error {
		m := s.begin(tx)
		b, err := m.box(mailbox)
		if err != nil {
			return err
		}
		uids, uidValidity = make([]UID, len(parts)), b.st.uidValidity
		for i := range parts {
			uid, known, err := b.merge(&parts[i])
			if err != nil {
				return err
			}
			if known {
				uids[i] = uid
				continue
			}
			if uids[i], err = b.land(entries[i], &parts[i], true); err != nil {
				return err
			}
			b.noteSent(parts[i].copy, uids[i], sentByClient, s.now())
			if msgs[i].UIDL != "" {
				tx.Put(tabUIDL, key32x2(uint32(mailbox), uids[i]), []byte(msgs[i].UIDL))
			}
		}
		return m.end()
	})
	if err != nil {
		return 0, nil, err
	}
	return uidValidity, uids, nil
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
		if m.UIDL != "" && !validUIDL(m.UIDL) {
			return nil, nil, fmt.Errorf("%w: unique-id %q", ErrKeyword, m.UIDL)
		}
		parts[i] = mailPart{
			mailbox: mailbox, keywords: m.Keywords, received: now, saved: now,
			thread: m.Arrival.thread, msgHash: m.Arrival.msgHash,
		}
		if !m.Received.IsZero() {
			parts[i].received = m.Received.Unix()
		}
		if m.Reservation == nil {
			need.Bytes += uint64(m.Arrival.size)
			need.Messages++
		}
	}
	var st state
	err := s.db.View(ctx, func(tx *kv.Tx) (err error) {
		if st, err = loadState(tx, mailbox); err != nil {
			return err
		}
		n, err := s.names.find(tx, st.account, mailbox)
		if err != nil && !errors.Is(err, ErrNoMailbox) {
			return err
		}
		kw := loadKeywords(tx, mailbox)
		for i, m := range msgs {
			if n.use&UseSent != 0 && m.UIDL == "" {
				parts[i].copy = s.keys().copyHash(m.Arrival.sum)
			}
			if _, err := kw.learnAll(m.Keywords); err != nil {
				return err
			}
			parts[i].flags, parts[i].account = m.Flags&kw.known(), st.account
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if need.Messages == 0 {
		return parts, func() {}, nil
	}
	r, err := s.reserve(ctx, st.account, need)
	if err != nil {
		return nil, nil, err
	}
	return parts, r.Release, nil
}
