package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Two is a message that goes to others in one form and stays with its sender in another (with its Bcc field).
type Two struct {
	Theirs *Arrival
	To     []Delivery
	Extra  func(tx *kv.Tx, at kv.Entry) error // what else is made of theirs (queue entries); it may run more than once
	Own    *Arrival
	Mine   Delivery
}

// DeliverTwo makes both bodies durable together and then brings all of it into the tables in one transaction: three syncs, where
// Deliver has one. It returns after the commit. The arrivals are used up; the id is that of theirs.
func (s *Store) DeliverTwo(ctx context.Context, d Two) (id blob.LSN, err error) {
	defer d.Theirs.Discard()
	defer d.Own.Discard()
	if d.Theirs.body == nil || d.Own.body == nil {
		return 0, ErrNoMessage
	}
	theirs, err := s.address(ctx, d.Theirs, d.To)
	if err != nil {
		return 0, err
	}
	own, err := s.address(ctx, d.Own, []Delivery{d.Mine})
	if err != nil {
		return 0, err
	}
	bodies := []*blob.Body{d.Theirs.body, d.Own.body}
	d.Theirs.body, d.Own.body = nil, nil
	err = s.db.KeepUpdate(context.WithoutCancel(ctx), uint32(d.Mine.Account), bodies, func(tx *kv.Tx, at []kv.Entry) error {
		id = at[0].LSN
		m := s.begin(tx)
		for i := range theirs {
			p := &theirs[i]
			b, err := m.target(p)
			if errors.Is(err, ErrNoAccount) {
				err = s.applyOrphan(tx, at[0], p)
			} else if err == nil {
				_, err = b.land(at[0], p, false)
			}
			if err != nil {
				return err
			}
		}
		b, err := m.target(&own[0])
		if err != nil {
			return err
		}
		if err := b.arrive(at[1], at[0], &own[0]); err != nil {
			return err
		}
		if d.Extra != nil {
			if err := d.Extra(tx, at[0]); err != nil {
				return err
			}
		}
		return m.end()
	})
	if err != nil {
		return 0, fmt.Errorf("log a message and its sender's copy: %w", err)
	}
	s.met.delivered.Add(float64(len(theirs) + 1))
	return id, nil
}
