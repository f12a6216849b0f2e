package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// A pool is a group of accounts, named by its owner (a domain, say), that have one limit beside their own. It is there as long as
// it has a limit, so that deliveries to all others pay nothing for it. Its usage is kept in the transaction that changes an account's.

// ErrNoPool: no such group, or its limit was taken away.
var ErrNoPool = errors.New("store: no common quota")

// pool is one row of table o.
type pool struct {
	limit, used Quota
	accounts    uint32
	warning     warning
}

const poolSize = 37

func (p *pool) encode() []byte {
	b := make([]byte, 0, poolSize)
	for _, n := range []uint64{p.limit.Bytes, p.limit.Messages, p.used.Bytes, p.used.Messages} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(binary.BigEndian.AppendUint32(b, p.accounts), byte(p.warning))
}

func decodePool(b []byte) (pool, error) {
	if len(b) < poolSize {
		return pool{}, fmt.Errorf("row of a common quota of %d bytes: %w", len(b), ErrDamaged)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return pool{
		limit: Quota{n(0), n(1)}, used: Quota{n(2), n(3)}, accounts: binary.BigEndian.Uint32(b[32:]), warning: warning(b[36]),
	}, nil
}

func loadPool(tx *kv.Tx, name string) (pool, error) {
	b := tx.Get(tabPools, []byte(name))
	if b == nil {
		return pool{}, fmt.Errorf("%s: %w", name, ErrNoPool)
	}
	return decodePool(b)
}

// SetPool gives the accounts of a group a common limit, or changes it. Members are all accounts of the group; who was a member and
// is not among them leaves it. Without any limit the group is dissolved.
func (s *Store) SetPool(tx *kv.Tx, name string, limit Quota, members []mail.AccountID) error {
	if name == "" || len(name) > 255 {
		return fmt.Errorf("%w: a common quota has a name of up to 255 octets", ErrBadName)
	}
	p := pool{limit: limit}
	if old, err := loadPool(tx, name); err == nil {
		p.warning = old.warning
	} else if !errors.Is(err, ErrNoPool) {
		return err
	}
	if limit == (Quota{}) {
		members = nil
	}
	if err := s.regroup(tx, name, members, &p); err != nil {
		return err
	}
	if limit == (Quota{}) {
		tx.Delete(tabPools, []byte(name))
		return nil
	}
	s.putPool(tx, name, p)
	return nil
}

// regroup makes the accounts members of the group, and no others, and counts them.
func (s *Store) regroup(tx *kv.Tx, name string, members []mail.AccountID, p *pool) error {
	changed := map[mail.AccountID]holding{}
	left, lost := map[string]*pool{}, map[string]bool{} // lost: its row is not there, which Check tells
	for k, v := range tx.Scan(tabHoldings, nil, nil) {
		id := accountOf(k)
		h, err := decodeHolding(v)
		if err != nil {
			return err
		}
		in := slices.Contains(members, id)
		if in {
			p.used, p.accounts = p.used.plus(h.used), p.accounts+1
		}
		if in == (h.pool == name) {
			continue
		}
		if in && h.pool != "" {
			if left[h.pool] == nil {
				other, err := loadPool(tx, h.pool)
				if err != nil && !errors.Is(err, ErrNoPool) {
					return err
				}
				left[h.pool] = &other
				lost[h.pool] = err != nil
			}
			other := left[h.pool]
			other.used, other.accounts = other.used.minus(h.used), other.accounts-1
		}
		if h.pool = name; !in {
			h.pool = ""
		}
		changed[id] = h
	}
	for id, h := range changed {
		tx.Put(tabHoldings, key32(uint32(id)), h.encode())
	}
	for name, other := range left {
		if !lost[name] {
			s.putPool(tx, name, *other)
		}
	}
	return nil
}

func (s *Store) putPool(tx *kv.Tx, name string, p pool) {
	if p.warning.judge(&p.limit, &p.used, s.warnAt.Load()) {
		tx.OnCommit(s.wakeWarnings)
	}
	tx.Put(tabPools, []byte(name), p.encode())
}

// JoinPool makes the account a member of the group, if there is one of that name, and of no other.
func (s *Store) JoinPool(tx *kv.Tx, id mail.AccountID, name string) error {
	h, err := loadHolding(tx, id)
	if err != nil {
		return err
	}
	if tx.Get(tabPools, []byte(name)) == nil {
		name = ""
	}
	if h.pool == name {
		return nil
	}
	for _, to := range []string{h.pool, name} {
		if to == "" {
			continue
		}
		p, err := loadPool(tx, to)
		if errors.Is(err, ErrNoPool) {
			continue // its row was lost, which Check tells
		}
		if err != nil {
			return err
		}
		if to == name {
			p.used, p.accounts = p.used.plus(h.used), p.accounts+1
		} else {
			p.used, p.accounts = p.used.minus(h.used), p.accounts-1
		}
		s.putPool(tx, to, p)
	}
	h.pool = name
	tx.Put(tabHoldings, key32(uint32(id)), h.encode())
	return nil
}

// PoolUsage reads limit and usage of a group, settled; ErrNoPool.
func (s *Store) PoolUsage(ctx context.Context, name string) (Usage, error) {
	if err := s.db.SettleAll(ctx); err != nil {
		return Usage{}, err
	}
	var u Usage
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		p, err := loadPool(tx, name)
		u = Usage{Quota: p.used, Limit: p.limit}
		return err
	})
	return u, err
}

// poolFits asks whether a group has room for q and for what is held for its members. One whose row was lost, which Check tells, limits
// nobody.
func (s *Store) poolFits(tx *kv.Tx, name string, q Quota, held func() map[mail.AccountID]Quota) error {
	if name == "" {
		return nil
	}
	p, err := loadPool(tx, name)
	if errors.Is(err, ErrNoPool) {
		return nil
	}
	if err != nil {
		return err
	}
	for id, more := range held() {
		if h, err := loadHolding(tx, id); err == nil && h.pool == name {
			q = q.plus(more)
		}
	}
	if !fits(&p.limit, &p.used, q) {
		return fmt.Errorf("%s: %w", name, ErrOverQuota)
	}
	return nil
}

// countPool brings what the account gained or lost into the row of its group. That it was lost must not keep mail out that has its 250.
func (m *mutation) countPool(a *account) error {
	if a.holding.pool == "" || a.holding.used == a.was {
		return nil
	}
	p, err := loadPool(m.tx, a.holding.pool)
	if errors.Is(err, ErrNoPool) {
		return nil
	}
	if err != nil {
		return err
	}
	p.used = p.used.plus(a.holding.used).minus(a.was)
	m.s.putPool(m.tx, a.holding.pool, p)
	return nil
}

// leavePool takes the account out of its group.
func (m *mutation) leavePool(a *account) {
	p, err := loadPool(m.tx, a.holding.pool)
	if a.holding.pool == "" || err != nil { // told by Check
		return
	}
	p.used, p.accounts = p.used.minus(a.was), p.accounts-1
	m.s.putPool(m.tx, a.holding.pool, p)
}
