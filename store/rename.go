package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// RenameMailbox takes the children along; renaming INBOX moves its messages and leaves it empty, its children where they
// are (RFC 9051 section 6.3.6). Missing parents of the new name are made; subscriptions follow.
func (s *Store) RenameMailbox(ctx context.Context, id mail.AccountID, from, to string) error {
	from, err := CheckName(from)
	if err != nil {
		return ErrNoMailbox
	}
	to, err = CheckName(strings.TrimSuffix(to, "/"))
	if err != nil {
		return err
	}
	if from == Inbox {
		return s.renameInbox(ctx, id, to)
	}
	if strings.HasPrefix(to, from+"/") {
		return fmt.Errorf("%w: a mailbox cannot become its own child", ErrBadName)
	}
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		a, err := m.account(id)
		if err != nil {
			return err
		}
		if err := m.vacant(id, to); err != nil {
			return err
		}
		if err := m.rename(a, from, to); err != nil {
			return err
		}
		return m.end()
	})
}

// moved is a row of table n or b on its way to its new key.
type moved struct {
	table    kv.Table
	old, new []byte
	value    []byte
}

// rename moves the rows of a mailbox and of everything below it.
func (m *mutation) rename(a *account, from, to string) error {
	rows, err := m.family(a.id, from, to)
	if err != nil {
		return err
	}
	for _, p := range parents(to) {
		_, err := findName(m.tx, a.id, p)
		if errors.Is(err, ErrNoMailbox) && !strings.HasPrefix(p+"/", from+"/") {
			_, err = m.create(a, p, 0)
		}
		if err != nil && !errors.Is(err, ErrNoMailbox) {
			return err
		}
	}
	for _, r := range rows {
		m.tx.Delete(r.table, r.old)
		if r.table == tabSubs && m.tx.Get(tabSubs, r.new) != nil {
			a.holding.subs-- // the new name was subscribed before
			a.dirty = true
		}
		m.tx.Put(r.table, r.new, r.value)
		if r.table == tabNames {
			n, err := decodeName(r.value)
			if err != nil {
				return err
			}
			m.gone = append(m.gone, n.id) // its sessions look at their name again
		}
	}
	m.modSeq()
	m.names = append(m.names, a.id)
	return nil
}

// family lists what a rename moves, and refuses it when a name is taken or gets too long.
func (m *mutation) family(id mail.AccountID, from, to string) ([]moved, error) {
	if _, err := findName(m.tx, id, from); err != nil {
		return nil, err
	}
	var rows []moved
	add := func(t kv.Table, k, v []byte) error {
		name := to + string(k[4+len(from):])
		if _, err := CheckName(name); err != nil {
			return err
		}
		if t == tabNames {
			if err := m.vacant(id, name); err != nil {
				return err
			}
		}
		rows = append(rows, moved{table: t, old: bytes.Clone(k), new: nameKey(id, name), value: bytes.Clone(v)})
		return nil
	}
	for _, t := range []kv.Table{tabNames, tabSubs} {
		self := nameKey(id, from)
		if v := m.tx.Get(t, self); v != nil {
			if err := add(t, self, v); err != nil {
				return nil, err
			}
		}
		for k, v := range m.tx.Scan(t, nameKey(id, from+"/"), nameKey(id, from+"0")) { // '0' follows '/'
			if err := add(t, k, v); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

// renameInbox makes the new mailbox and moves all messages of INBOX into it.
func (s *Store) renameInbox(ctx context.Context, id mail.AccountID, to string) error {
	if err := s.db.Settle(ctx, uint32(id)); err != nil {
		return err
	}
	inbox, err := s.Mailbox(ctx, id, Inbox)
	if err != nil {
		return err
	}
	made, err := s.CreateMailbox(ctx, id, to, 0)
	if err != nil {
		return err
	}
	_, _, err = s.Move(ctx, inbox.ID, allUIDs(), made.ID)
	return err
}

// DeleteMailbox removes the mailbox and its mail; children stay (their parent is then listed as \NonExistent). The
// name goes at once, the pages in the background.
func (s *Store) DeleteMailbox(ctx context.Context, id mail.AccountID, name string) error {
	name, err := CheckName(name)
	if err != nil {
		return ErrNoMailbox
	}
	if name == Inbox {
		return ErrReserved
	}
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		a, err := m.account(id)
		if err != nil {
			return err
		}
		n, err := findName(tx, id, name)
		if err != nil {
			return err
		}
		st, err := loadState(tx, n.id)
		if err != nil {
			return err
		}
		if hasWaiting(tx, n.id) {
			return fmt.Errorf("delete %q: %w", name, ErrWaiting)
		}
		tx.Delete(tabNames, nameKey(id, name))
		retire(tx, &st)
		m.drop(id, n.id, name)
		a.holding.mailboxes--
		a.count(&st, &state{})
		m.modSeq()
		m.names = append(m.names, id)
		return m.end()
	})
}

// drop removes the state row, by which a mailbox is there, and leaves its pages to the background. With a name its mail is kept
// as if it had been expunged from there; until the background comes to it, it stands in the pages as before.
func (m *mutation) drop(id mail.AccountID, box MailboxID, name string) {
	m.tx.Delete(tabMail, stateKey(box))
	m.tx.Put(tabDropped, key32(uint32(box)), nameKey(id, name))
	m.gone = append(m.gone, box)
	m.tx.OnCommit(m.s.wakePurge)
}

// DeleteAccount removes the account's names at once; its pages go in the background. Nothing of it is kept: without an
// account there is nobody who could take it back.
func (s *Store) DeleteAccount(tx *kv.Tx, id mail.AccountID) error {
	m := s.begin(tx)
	a, err := m.account(id)
	if err != nil {
		return err
	}
	boxes, err := listNames(tx, id)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if b.ID != 0 {
			if err := m.cancelAll(id, b.ID); err != nil {
				return err
			}
			tx.Delete(tabNames, nameKey(id, b.Name))
			m.drop(id, b.ID, "")
		}
		if b.Subscribed {
			tx.Delete(tabSubs, nameKey(id, b.Name))
		}
	}
	if bin := a.holding.bin; bin != 0 {
		m.drop(id, bin, "")
	}
	m.leavePool(a)
	tx.Delete(tabHoldings, key32(uint32(id)))
	m.accounts = nil // its row must not be written again
	dropRows(tx, tabImports, key32(uint32(id)), after(uint32(id)))
	m.names = append(m.names, id)
	return m.end()
}
