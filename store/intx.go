package store

import (
	"errors"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// QuotaIn is the quota of an account as a transaction has it.
func (s *Store) QuotaIn(tx *kv.Tx, id mail.AccountID) (Quota, error) {
	h, err := loadHolding(tx, id)
	return h.limit, err
}

// UsedIn is what an account holds, as far as it is in the tables.
func (s *Store) UsedIn(tx *kv.Tx, id mail.AccountID) (Quota, error) {
	h, err := loadHolding(tx, id)
	return h.used, err
}

// PoolIn is the limit of a common quota as a transaction has it; none: there is no limit.
func (s *Store) PoolIn(tx *kv.Tx, name string) (Quota, error) {
	p, err := loadPool(tx, name)
	if errors.Is(err, ErrNoPool) {
		return Quota{}, nil
	}
	return p.limit, err
}
