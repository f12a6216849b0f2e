package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Quota is the limit of an account; 0 means none.
type Quota struct{ Bytes, Messages uint64 }

// Usage is what an account holds now, reservations not counted.
type Usage struct {
	Quota
	Limit Quota
}

// ledger counts in memory what is reserved, and what is logged and not yet known to be in the tables.
type ledger struct {
	mu     sync.Mutex
	held   map[mail.AccountID]Quota // guarded by mu
	landed map[mail.AccountID]Quota // guarded by mu: the part of held that the running commit has brought into its tables
}

func (q Quota) plus(o Quota) Quota {
	return Quota{Bytes: q.Bytes + o.Bytes, Messages: q.Messages + o.Messages}
}
func (q Quota) minus(o Quota) Quota {
	return Quota{Bytes: q.Bytes - o.Bytes, Messages: q.Messages - o.Messages}
}

// move adds to one of the maps, or with n = -1 takes away.
func move(m map[mail.AccountID]Quota, id mail.AccountID, q Quota, n int) {
	if n > 0 {
		q = m[id].plus(q)
	} else {
		q = m[id].minus(q)
	}
	if q == (Quota{}) {
		delete(m, id)
		return
	}
	m[id] = q
}

func (l *ledger) add(id mail.AccountID, q Quota) {
	l.mu.Lock()
	defer l.mu.Unlock()
	move(l.held, id, q, 1)
}

func (l *ledger) sub(id mail.AccountID, q Quota) {
	l.mu.Lock()
	defer l.mu.Unlock()
	move(l.held, id, q, -1)
}

func (l *ledger) of(id mail.AccountID) Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[id]
}

// land notes that the running commit has a ticket's message in its tables; the ticket is still held.
func (l *ledger) land(t ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	move(l.landed, t.account, t.quota, 1)
}

// end takes a ticket out.
func (l *ledger) end(t ticket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	move(l.held, t.account, t.quota, -1)
	if t.landed {
		move(l.landed, t.account, t.quota, -1)
	}
}

// beside is what is held beside the tables as the running commit sees them; for the committer only.
func (l *ledger) beside(id mail.AccountID) Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[id].minus(l.landed[id])
}

// all is what is held, by account; allBeside is beside for all, for the committer only.
func (l *ledger) all() map[mail.AccountID]Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.held)
}

func (l *ledger) allBeside() map[mail.AccountID]Quota {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := maps.Clone(l.held)
	for id, q := range l.landed {
		out[id] = out[id].minus(q)
	}
	return out
}

// SetQuota changes the limit; it holds for the next message.
func (s *Store) SetQuota(tx *kv.Tx, id mail.AccountID, q Quota) error {
	h, err := loadHolding(tx, id)
	if err != nil {
		return err
	}
	h.limit = q
	if h.warning.judge(&h.limit, &h.used, s.warnAt.Load()) {
		tx.OnCommit(s.wakeWarnings)
	}
	tx.Put(tabHoldings, key32(uint32(id)), h.encode())
	tx.OnCommit(func() { s.bells.ring(nil, []mail.AccountID{id}) })
	return nil
}

// Usage reads limit and usage, settled.
func (s *Store) Usage(ctx context.Context, id mail.AccountID) (Usage, error) {
	if err := s.db.Settle(ctx, uint32(id)); err != nil {
		return Usage{}, err
	}
	var u Usage
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		h, err := loadHolding(tx, id)
		u = Usage{Quota: h.used, Limit: h.limit}
		return err
	})
	return u, err
}

// Reservation holds a part of an account's quota.
type Reservation struct {
	ledger  *ledger
	account mail.AccountID
	quota   Quota
	once    sync.Once
}

// Reserve holds size octets and one message of the account's quota until Release, which may be called twice. ErrOverQuota when they are not there.
func (s *Store) Reserve(ctx context.Context, id mail.AccountID, size int64) (*Reservation, error) {
	return s.reserve(ctx, id, Quota{Bytes: uint64(max(size, 0)), Messages: 1})
}

func (s *Store) reserve(ctx context.Context, id mail.AccountID, q Quota) (*Reservation, error) {
	if err := s.Room(); err != nil {
		return nil, err
	}
	// Held first, so that of two who reserve the last octets at the same moment both may be refused, never both served.
	s.pending.add(id, q)
	err := s.room(ctx, id)
	if errors.Is(err, ErrOverQuota) {
		// A delivery whose commit is just done counted twice, perhaps. Settled, it counts once.
		if err = s.db.Settle(ctx, uint32(id)); err == nil {
			err = s.room(ctx, id)
		}
	}
	if err != nil {
		s.pending.sub(id, q)
		return nil, err
	}
	return &Reservation{ledger: &s.pending, account: id, quota: q}, nil
}

// room asks whether what is held fits. It is read before the tables: a message that is applied in between counts twice, never
// not at all.
func (s *Store) room(ctx context.Context, id mail.AccountID) error {
	held := s.pending.of(id)
	return s.db.View(ctx, func(tx *kv.Tx) error {
		h, err := loadHolding(tx, id)
		if err != nil {
			return err
		}
		if !fits(&h.limit, &h.used, held) {
			return overQuota(id)
		}
		return s.poolFits(tx, h.pool, Quota{}, s.pending.all)
	})
}

// Release gives the reserved octets back.
func (r *Reservation) Release() {
	if r != nil {
		r.once.Do(func() { r.ledger.sub(r.account, r.quota) })
	}
}

func overQuota(id mail.AccountID) error { return fmt.Errorf("account %d: %w", id, ErrOverQuota) }

// fits asks whether the account has room for q, reservations counted.
func (m *mutation) fits(id mail.AccountID, q Quota) error {
	a, err := m.account(id)
	if err != nil {
		return err
	}
	if !fits(&a.holding.limit, &a.holding.used, q.plus(m.s.pending.beside(id))) {
		return overQuota(id)
	}
	return m.s.poolFits(m.tx, a.holding.pool, q, m.s.pending.allBeside)
}
