package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// ImportMessage is a message that comes from another server, with what clients know it by.
type ImportMessage struct {
	AppendMessage
	UID      UID    // what it had there; 0: the next one
	Renumber bool   // take the next uid where UID is not above all that the mailbox has had, instead of ErrUID
	Origin   Origin // where it comes from, kept so that it is not taken in again (Imported); zero: not kept
}

// maxBrought bounds the uids that another server may give here: a mailbox whose uids are used up takes no mail any more, and a
// source that names the last ones, by damage or by malice, must not bring it there.
const maxBrought UID = 0xc0000000

// Import appends the messages, all or none, as Append does, and keeps the UIDs given where they are above all that the
// mailbox has had (ErrUID otherwise), and not far beyond reason (the next one otherwise). Keywords that the mailbox cannot keep are left out. It is made for many messages at
// once: a few hundred, or a few MB. The arrivals are used up.
//
// The bodies are made durable together; one transaction adds the rows, the UIDLs and the origins. So a message is there with
// its origin or not at all, and who asks Imported after a crash never takes one in twice.
func (s *Store) Import(ctx context.Context, mailbox MailboxID, msgs []ImportMessage) ([]UID, error) {
	defer func() {
		for _, m := range msgs {
			m.Arrival.Discard()
		}
	}()
	if len(msgs) > maxCopy {
		return nil, fmt.Errorf("%w: one import takes at most %d messages", ErrLimit, maxCopy)
	}
	in, release, err := s.prepareImport(ctx, mailbox, msgs)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(msgs) == 0 {
		return nil, nil
	}
	bodies := make([]*blob.Body, len(msgs))
	for i, m := range msgs {
		bodies[i], m.Arrival.body = m.Arrival.body, nil
	}
	ctx = context.WithoutCancel(ctx) // the messages are here
	if err := s.db.KeepUpdate(ctx, uint32(in.parts[0].account), bodies, in.apply); err != nil {
		return nil, fmt.Errorf("import %d messages: %w", len(msgs), err)
	}
	return in.uids, nil
}

// imports is one Import on its way into the tables.
type imports struct {
	s       *Store
	mailbox MailboxID
	msgs    []ImportMessage
	parts   []mailPart
	uids    []UID
}

// prepareImport checks all that can be checked before the log is written, and holds the quota.
func (s *Store) prepareImport(ctx context.Context, mailbox MailboxID, msgs []ImportMessage) (*imports, func(), error) {
	plain := make([]AppendMessage, len(msgs))
	last := UID(0)
	for i, m := range msgs {
		plain[i] = m.AppendMessage
		plain[i].Keywords = nil
		if m.UID != 0 && m.UID <= last && !m.Renumber {
			return nil, nil, fmt.Errorf("%w: %d stands behind %d", ErrUID, m.UID, last)
		}
		last = max(last, m.UID)
	}
	parts, release, err := s.prepare(ctx, mailbox, plain)
	if errors.Is(err, ErrOverQuota) {
		return nil, nil, s.missing(ctx, mailbox, plain)
	}
	if err != nil {
		return nil, nil, err
	}
	return &imports{s: s, mailbox: mailbox, msgs: msgs, parts: parts}, release, nil
}

// missing is the ErrOverQuota that says how much of the quota there is not.
func (s *Store) missing(ctx context.Context, mailbox MailboxID, msgs []AppendMessage) error {
	var need Quota
	for _, m := range msgs {
		need = need.plus(Quota{Bytes: uint64(m.Arrival.size), Messages: 1})
	}
	out := &QuotaError{}
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		st, err := loadState(tx, mailbox)
		if err != nil {
			return err
		}
		h, err := loadHolding(tx, st.account)
		if err != nil {
			return err
		}
		held := s.pending.all()
		out.Missing = missingOf(h.limit, h.used.plus(held[st.account]).plus(need))
		p, err := loadPool(tx, h.pool)
		if err != nil {
			return nil //nolint:nilerr // it shares no quota
		}
		used := p.used.plus(need)
		for id, q := range held {
			if other, err := loadHolding(tx, id); err == nil && other.pool == h.pool {
				used = used.plus(q)
			}
		}
		common := missingOf(p.limit, used)
		out.Missing = Quota{Bytes: max(out.Missing.Bytes, common.Bytes), Messages: max(out.Missing.Messages, common.Messages)}
		return nil
	})
	if err != nil {
		return err
	}
	return out
}

func missingOf(limit, used Quota) Quota {
	return Quota{Bytes: above(used.Bytes, limit.Bytes), Messages: above(used.Messages, limit.Messages)}
}

// above is how much used is more than limit; 0 is no limit.
func above(used, limit uint64) uint64 {
	if limit == 0 || used <= limit {
		return 0
	}
	return used - limit
}

// QuotaError is an ErrOverQuota with what would have to be free besides.
type QuotaError struct{ Missing Quota }

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%v: %d octets and %d messages more than the quota allows", ErrOverQuota, e.Missing.Bytes, e.Missing.Messages)
}

func (e *QuotaError) Unwrap() error { return ErrOverQuota }

// apply adds the rows; it may run again.
func (in *imports) apply(tx *kv.Tx, entries []kv.Entry) error {
	m := in.s.begin(tx)
	b, err := m.box(in.mailbox)
	if err != nil {
		return err
	}
	kw := loadKeywords(tx, in.mailbox)
	in.uids = make([]UID, len(in.msgs))
	for i := range in.msgs {
		msg, p := &in.msgs[i], in.parts[i]
		for _, name := range msg.Keywords {
			if f, err := kw.learn(name); err == nil {
				p.flags |= f
			}
		}
		b.keeping = msg.UID != 0 && msg.UID < maxBrought && (msg.UID >= b.st.uidNext || !msg.Renumber)
		if b.keeping {
			if msg.UID < b.st.uidNext {
				return fmt.Errorf("%w: %d, the next uid of the mailbox is %d", ErrUID, msg.UID, b.st.uidNext)
			}
			b.st.uidNext = msg.UID
		}
		if in.uids[i], err = b.land(entries[i], &p, true); err != nil {
			return err
		}
		if msg.UIDL != "" {
			tx.Put(tabUIDL, key32x2(uint32(in.mailbox), in.uids[i]), []byte(msg.UIDL))
		}
	}
	kw.save(tx)
	in.origins(tx, m, b.st.account)
	return m.end()
}

// AdoptUIDs gives a mailbox that never had a message the UIDVALIDITY it has on another server, and at least that UIDNEXT
// (RFC 9051 section 2.3.1.1): clients that know it there download nothing again. ErrUID when the mailbox had a message, or
// when the account has or had a mailbox with that UIDVALIDITY: no pair of UIDVALIDITY and uid may ever name two messages.
// Adopting again what it has already is fine.
func (s *Store) AdoptUIDs(ctx context.Context, mailbox MailboxID, uidValidity uint32, next UID) error {
	if uidValidity == 0 || next > maxBrought {
		return fmt.Errorf("%w: UIDVALIDITY %d, UIDNEXT %d", ErrUID, uidValidity, next)
	}
	return s.adopt(ctx, mailbox, uidValidity, func(b *box) {
		if b.st.uidNext < next {
			b.st.uidNext = next
			b.touch()
		}
	})
}

// ReserveUIDs is AdoptUIDs for a server that still gives uids: those below from are for Import alone, and mail that comes in
// any other way gets the ones from there on. So no client that comes over finds another message at a uid that it knows.
func (s *Store) ReserveUIDs(ctx context.Context, mailbox MailboxID, uidValidity uint32, from UID) error {
	if uidValidity == 0 || from > maxBrought {
		return fmt.Errorf("%w: UIDVALIDITY %d, reserved up to %d", ErrUID, uidValidity, from)
	}
	return s.adopt(ctx, mailbox, uidValidity, func(b *box) {
		if b.st.reserve < from {
			b.st.reserve = from
			b.changed = true
		}
	})
}

// adopt gives a mailbox the UIDVALIDITY, where that is allowed, and lets change do more in the same transaction.
func (s *Store) adopt(ctx context.Context, mailbox MailboxID, uidValidity uint32, change func(b *box)) error {
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		b, err := m.box(mailbox)
		if err != nil {
			return err
		}
		if b.st.uidValidity != uidValidity {
			if b.st.uidNext != 1 {
				return fmt.Errorf("%w: the mailbox has had messages", ErrUID)
			}
			if err := m.unusedUIDValidity(b.st.account, uidValidity); err != nil {
				return err
			}
			b.st.uidValidity = uidValidity
			b.touch()
		}
		change(b)
		return m.end()
	})
}
