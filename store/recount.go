package store

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Recounted is what Recount found.
type Recounted struct {
	Was, Is   Quota
	Mailboxes int // whose numbers were wrong
}

// Recount counts the messages of an account anew and writes every number that follows from them: those of its mailboxes, its usage,
// and that of its group. Nothing should ever drift; Check reports it if it does.
func (s *Store) Recount(ctx context.Context, id mail.AccountID) (Recounted, error) {
	if err := s.db.Settle(ctx, uint32(id)); err != nil {
		return Recounted{}, err
	}
	var out Recounted
	err := s.db.Update(ctx, func(tx *kv.Tx) error {
		out = Recounted{}
		h, err := loadHolding(tx, id)
		if err != nil {
			return err
		}
		boxes, err := listNames(tx, id)
		if err != nil {
			return err
		}
		out.Was = h.used
		h.mailboxes, h.subs = 0, 0
		for _, b := range boxes {
			if b.Subscribed {
				h.subs++
			}
			if b.ID == 0 {
				continue
			}
			h.mailboxes++
			n, wrong, err := s.recountBox(tx, b.ID)
			if err != nil {
				return err
			}
			out.Is = out.Is.plus(n)
			out.Mailboxes += wrong
		}
		if h.bin != 0 {
			_, wrong, err := s.recountBox(tx, h.bin)
			if err != nil {
				return err
			}
			out.Mailboxes += wrong
		}
		h.used = out.Is
		if tx.Get(tabPools, []byte(h.pool)) == nil {
			h.pool = "" // its row was lost
		}
		h.warning.judge(&h.limit, &h.used, s.warnAt.Load())
		tx.Put(tabHoldings, key32(uint32(id)), h.encode())
		return s.recountPool(tx, h.pool)
	})
	if err != nil {
		return Recounted{}, err
	}
	return out, nil
}

// recountBox counts one mailbox; wrong is 1 when its row said something else.
func (s *Store) recountBox(tx *kv.Tx, id MailboxID) (n Quota, wrong int, err error) {
	st, err := loadState(tx, id)
	if err != nil {
		return n, 0, err
	}
	is := st
	is.exists, is.unseen, is.deleted, is.bytes, is.firstUnseen = 0, 0, 0, 0, 0
	for p := range pages(tx, id, allUIDs()) {
		for i := range p.len() {
			r := p.row(i)
			is.exists++
			is.bytes += uint64(r.size())
			is.uidNext = max(is.uidNext, r.uid()+1)
			if r.flags()&Deleted != 0 {
				is.deleted++
			}
			if r.flags()&Seen == 0 {
				if is.unseen++; is.unseen == 1 {
					is.firstUnseen = r.uid()
				}
			}
		}
	}
	n = Quota{Bytes: is.bytes, Messages: uint64(is.exists)}
	if is.exists == st.exists && is.unseen == st.unseen && is.deleted == st.deleted && is.bytes == st.bytes && is.uidNext == st.uidNext {
		return n, 0, nil // the hint of the first unseen message may be low
	}
	tx.Put(tabMail, stateKey(id), is.encode())
	tx.OnCommit(func() {
		s.deltas.drop(id)
		s.bells.ring([]MailboxID{id}, []mail.AccountID{st.account})
	})
	return n, 1, nil
}

// recountPool adds up the accounts of a group.
func (s *Store) recountPool(tx *kv.Tx, name string) error {
	if name == "" {
		return nil
	}
	p, err := loadPool(tx, name)
	if err != nil {
		return err
	}
	p.used, p.accounts = Quota{}, 0
	for _, v := range tx.Scan(tabHoldings, nil, nil) {
		if h, err := decodeHolding(v); err == nil && h.pool == name {
			p.used, p.accounts = p.used.plus(h.used), p.accounts+1
		}
	}
	s.putPool(tx, name, p)
	return nil
}
