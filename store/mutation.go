package store

import (
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// mutation is one change of the tables: it has one ModSeq, taken when something really changes, collects whom to ring, and
// writes the rows that many steps touch (states, usage) once, at its end.
type mutation struct {
	s        *Store
	tx       *kv.Tx
	seq      ModSeq // 0: not taken
	boxes    []*box
	accounts []*account
	names    []mail.AccountID // accounts whose mailbox list changed
	gone     []MailboxID      // mailboxes that were removed
}

// account is a holding that the mutation has read.
type account struct {
	id      mail.AccountID
	holding holding
	was     Quota // its usage as it was read
	dirty   bool
}

func (s *Store) begin(tx *kv.Tx) *mutation { return &mutation{s: s, tx: tx} }

// modSeq is the mutation's ModSeq.
func (m *mutation) modSeq() ModSeq {
	if m.seq == 0 {
		m.seq = counter(m.tx, countModSeq) + 1
		putCounter(m.tx, countModSeq, m.seq)
	}
	return m.seq
}

// account reads a holding once.
func (m *mutation) account(id mail.AccountID) (*account, error) {
	for _, a := range m.accounts {
		if a.id == id {
			return a, nil
		}
	}
	h, err := loadHolding(m.tx, id)
	if err != nil {
		return nil, err
	}
	a := &account{id: id, holding: h, was: h.used}
	m.accounts = append(m.accounts, a)
	return a, nil
}

// box opens a mailbox for change, once in the mutation; ErrReadOnly for the bin, which changes by itself.
func (m *mutation) box(id MailboxID) (*box, error) {
	b, err := m.anyBox(id)
	if err == nil && b.st.bin {
		return nil, ErrReadOnly
	}
	return b, err
}

// anyBox is box for the bin too.
func (m *mutation) anyBox(id MailboxID) (*box, error) {
	for _, b := range m.boxes {
		if b.id == id {
			return b, nil
		}
	}
	st, err := loadState(m.tx, id)
	if err != nil {
		return nil, err
	}
	b := &box{m: m, id: id, st: st, was: st}
	m.boxes = append(m.boxes, b)
	return b, nil
}

// end writes what the mutation gathered and rings after the commit. An error means that nothing may be kept.
func (m *mutation) end() error {
	var rooms []MailboxID
	var accounts []mail.AccountID
	for _, b := range m.boxes {
		if !b.changed {
			continue
		}
		if err := b.end(); err != nil {
			return err
		}
		rooms = append(rooms, b.id)
		accounts = append(accounts, b.st.account)
	}
	for _, a := range m.accounts {
		if !a.dirty {
			continue
		}
		if a.holding.warning.judge(&a.holding.limit, &a.holding.used, m.s.warnAt.Load()) {
			m.tx.OnCommit(m.s.wakeWarnings)
		}
		m.tx.Put(tabHoldings, key32(uint32(a.id)), a.holding.encode())
		if err := m.countPool(a); err != nil {
			return err
		}
	}
	if len(m.names) > 0 {
		m.tx.OnCommit(func() { m.s.routes.forget(m.names) })
		accounts = append(accounts, m.names...)
	}
	rooms = append(rooms, m.gone...)
	if len(rooms)+len(accounts) > 0 {
		m.tx.OnCommit(func() { m.s.bells.ring(rooms, accounts) })
	}
	return nil
}

// count moves the account's usage by what the mailbox gained or lost.
func (a *account) count(was, is *state) {
	a.holding.used.Bytes += is.bytes - was.bytes
	a.holding.used.Messages += uint64(is.exists) - uint64(was.exists)
	a.dirty = true
}
