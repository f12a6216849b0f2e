package store

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	countEpoch = "epoch"

	// More than any store gives between a backup and its restore: changes, and mailboxes beyond one a second.
	modSeqStep      = 1 << 32
	uidValidityStep = 1 << 20
)

// BeginEpoch makes everything that will be given from now on differ from everything that may have been given before by a
// store that this one was restored or repaired from: a new UIDVALIDITY for every mailbox (RFC 9051 section 2.3.1.1), ModSeq ahead by
// 2^32, ids ahead by 4 million log segments. Uids, ids and UIDLs of what is there stay. Before the first client is served; when it is
// cut short it may run again.
func (s *Store) BeginEpoch(ctx context.Context) error {
	if err := s.db.SettleAll(ctx); err != nil {
		return err
	}
	if err := s.db.SkipAhead(ctx); err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		putCounter(tx, countEpoch, counter(tx, countEpoch)+1)
		putCounter(tx, countUIDValidity, max(s.validityClock(), counter(tx, countUIDValidity))+uidValidityStep)
		seq := counter(tx, countModSeq) + modSeqStep
		putCounter(tx, countModSeq, seq)
		for _, id := range mailboxIDs(tx) {
			st, err := loadState(tx, id)
			if err != nil {
				return fmt.Errorf("mailbox %d: %w", id, err)
			}
			retire(tx, &st) // in the time that was lost it may have given more uids
			st.uidValidity, st.highest = s.nextUIDValidity(tx), seq
			tx.Put(tabMail, stateKey(id), st.encode())
		}
		kv.EpochBegun(tx)
		return nil
	})
}

// Epoch counts how often BeginEpoch ran: part of every state that a client may bring back from before.
func (s *Store) Epoch(ctx context.Context) (n uint64, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		n = counter(tx, countEpoch)
		return nil
	})
	return n, err
}

// mailboxIDs lists every mailbox that has a state row, those without a name included.
func mailboxIDs(tx *kv.Tx) []MailboxID {
	var out []MailboxID
	for next := uint32(0); next < 0xffffffff; next++ {
		found := false
		for k := range tx.Scan(tabMail, key32(next), nil) {
			if found = len(k) == 8; found {
				next = binary.BigEndian.Uint32(k)
			}
			break
		}
		if !found {
			break
		}
		if id := MailboxID(next); tx.Get(tabMail, stateKey(id)) != nil {
			out = append(out, id)
		}
	}
	return out
}

// BeginDueEpoch is BeginEpoch for a folder whose tables ask for one: it was restored or repaired and never served since. Whoever opens a
// folder calls it behind kv.DB.Start.
func (s *Store) BeginDueEpoch(ctx context.Context) (begun bool, err error) {
	due, err := s.db.EpochDue(ctx)
	if err != nil || !due {
		return false, err
	}
	return true, s.BeginEpoch(ctx)
}
