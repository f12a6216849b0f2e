package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	// purgeStep is how many rows of a dropped mailbox one commit removes: about 30,000 messages, a megabyte or two of pages.
	purgeStep = 500
	// purgeKept is how many pages one commit takes into the bin, which it writes too.
	purgeKept = 250

	purgeRetry = time.Minute // how long a purge that failed waits for the next try
)

// dropped is one row of table d.
type dropped struct {
	id      MailboxID
	account mail.AccountID
	name    string // empty: its mail is not kept
}

func decodeDropped(k, v []byte) (dropped, error) {
	if len(k) != 4 || len(v) < 4 {
		return dropped{}, fmt.Errorf("row of a deleted mailbox: %w", ErrDamaged)
	}
	return dropped{
		id: MailboxID(binary.BigEndian.Uint32(k)), account: mail.AccountID(binary.BigEndian.Uint32(v)), name: string(v[4:]),
	}, nil
}

func (s *Store) wakePurge() {
	select {
	case s.purge <- struct{}{}:
	default:
	}
}

// purgeAll removes the rows of all dropped mailboxes, a bounded commit at a time.
func (s *Store) purgeAll(ctx context.Context) error {
	return s.purgeWhere(ctx, func(dropped) bool { return true })
}

// settleBin brings what DELETE left to the background into the bin of an account.
func (s *Store) settleBin(ctx context.Context, id mail.AccountID) error {
	return s.purgeWhere(ctx, func(d dropped) bool { return d.account == id && d.name != "" })
}

func (s *Store) purgeWhere(ctx context.Context, mine func(dropped) bool) error {
	for {
		var next dropped
		err := s.db.View(ctx, func(tx *kv.Tx) error {
			next = dropped{}
			for k, v := range tx.Scan(tabDropped, nil, nil) {
				if d, err := decodeDropped(k, v); err == nil && mine(d) {
					next = d
					break
				}
			}
			return nil
		})
		if err != nil || next.id == 0 {
			return err
		}
		for more := true; more; {
			err := s.db.Update(ctx, func(tx *kv.Tx) (err error) {
				m := s.begin(tx)
				if more, err = m.purgeSome(next); err != nil {
					return err
				}
				return m.end()
			})
			if err != nil {
				return err
			}
		}
	}
}

// purgeSome takes a bounded part of a dropped mailbox away and reports whether some is left.
func (m *mutation) purgeSome(d dropped) (more bool, err error) {
	if m.tx.Get(tabDropped, key32(uint32(d.id))) == nil {
		return false, nil // somebody else was quicker
	}
	if d.name != "" && m.s.keepTime.Load() > 0 && m.tx.Get(tabHoldings, key32(uint32(d.account))) != nil {
		if more, err = m.rescue(d); more || err != nil {
			return more, err
		}
	}
	left := purgeStep
	for _, t := range []kv.Table{tabMail, tabGone, tabKeywords, tabUIDL, tabKept, tabWaiting, tabSent} {
		var keys [][]byte
		for k := range m.tx.Scan(t, key32(uint32(d.id)), after(uint32(d.id))) {
			if left == 0 {
				break
			}
			keys = append(keys, bytes.Clone(k))
			left--
		}
		for _, k := range keys {
			m.tx.Delete(t, k)
		}
		if left == 0 {
			return true, nil
		}
	}
	m.tx.Delete(tabDropped, key32(uint32(d.id)))
	return false, nil
}

// rescue brings the first pages of a dropped mailbox into the bin, and takes them away in the same commit.
func (m *mutation) rescue(d dropped) (more bool, err error) {
	var rows []row
	var keys [][]byte
	for k, v := range m.tx.Scan(tabMail, key32(uint32(d.id)), after(uint32(d.id))) {
		if len(keys) == purgeKept {
			more = true
			break
		}
		keys = append(keys, bytes.Clone(k))
		p := page(slices.Clone(v))
		if len(k) != 8 || !p.sound() {
			continue // told by Check while the mailbox was there
		}
		for i := range p.len() {
			rows = append(rows, p.row(i))
		}
	}
	for _, k := range keys {
		m.tx.Delete(tabMail, k)
	}
	return more, m.keep(source{account: d.account, id: d.id, name: d.name}, rows)
}
