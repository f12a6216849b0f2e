package store

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// warning is how far the owner of a quota has been told that it is nearly used up. It is kept in the row, in the transaction that
// crosses the line, so that a house that falls down tells him all the same.
type warning byte

const (
	warnNone warning = iota
	warnDue          // the line was crossed
	warnTold
)

// warnBack is how many percent below the line the usage must fall before its next crossing is told.
const warnBack = 5

// judge moves the warning on, and reports whether it became due.
func (w *warning) judge(limit, used *Quota, percent int64) (due bool) {
	switch share := max(share(used.Bytes, limit.Bytes), share(used.Messages, limit.Messages)); {
	case percent <= 0 || share < percent-warnBack:
		*w = warnNone
	case share >= percent && *w == warnNone:
		*w = warnDue
		return true
	}
	return false
}

// share is how many percent of a limit are used.
func share(used, limit uint64) int64 {
	if limit == 0 {
		return 0
	}
	return int64(float64(used) / float64(limit) * 100)
}

// SetWarn changes the percent of a quota at which its owner is warned; it holds for the next message.
func (s *Store) SetWarn(percent int) { s.warnAt.Store(int64(percent)) }

func (s *Store) wakeWarnings() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// Warnings rings when NearlyFull has something new.
func (s *Store) Warnings() <-chan struct{} { return s.due }

// NearlyFull is a quota whose owner is to be told that it is nearly used up.
type NearlyFull struct {
	Account mail.AccountID // 0: Pool
	Pool    string
	Usage
}

// NearlyFull lists who is to be told.
func (s *Store) NearlyFull(ctx context.Context) (out []NearlyFull, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		for k, v := range tx.Scan(tabHoldings, nil, nil) {
			if h, err := decodeHolding(v); err == nil && h.warning == warnDue {
				out = append(out, NearlyFull{Account: accountOf(k), Usage: Usage{Quota: h.used, Limit: h.limit}})
			}
		}
		for k, v := range tx.Scan(tabPools, nil, nil) {
			if p, err := decodePool(v); err == nil && p.warning == warnDue {
				out = append(out, NearlyFull{Pool: string(k), Usage: Usage{Quota: p.used, Limit: p.limit}})
			}
		}
		return nil
	})
	return out, err
}

// Told notes that the owner has been told.
func (s *Store) Told(ctx context.Context, n NearlyFull) error {
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		if n.Account == 0 {
			p, err := loadPool(tx, n.Pool)
			if err == nil && p.warning == warnDue {
				p.warning = warnTold
				tx.Put(tabPools, []byte(n.Pool), p.encode())
			}
			return err
		}
		h, err := loadHolding(tx, n.Account)
		if err == nil && h.warning == warnDue {
			h.warning = warnTold
			tx.Put(tabHoldings, key32(uint32(n.Account)), h.encode())
		}
		return err
	})
}
