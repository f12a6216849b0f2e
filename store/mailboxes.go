package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// usable are the special uses that a real mailbox may have; \All and \Flagged are views over others (RFC 6154 section 2).
const usable = UseArchive | UseDrafts | UseJunk | UseSent | UseTrash | UseImportant

// firstMailboxes are in every new account, so that no client makes doubles of its own in its own language.
func firstMailboxes() []Mailbox {
	return []Mailbox{
		{Name: Inbox},
		{Name: "Drafts", Use: UseDrafts},
		{Name: "Sent", Use: UseSent},
		{Name: "Junk", Use: UseJunk},
		{Name: "Trash", Use: UseTrash},
		{Name: "Archive", Use: UseArchive},
	}
}

// CreateAccount makes INBOX and the special-use mailboxes Drafts, Sent, Junk, Trash, Archive, all subscribed.
func (s *Store) CreateAccount(tx *kv.Tx, id mail.AccountID, q Quota) error {
	if id == 0 {
		return fmt.Errorf("account 0: %w", ErrNoAccount)
	}
	if tx.Get(tabHoldings, key32(uint32(id))) != nil {
		return fmt.Errorf("account %d: %w", id, ErrExists)
	}
	m := s.begin(tx)
	a := &account{id: id, holding: holding{limit: q}}
	m.accounts = append(m.accounts, a)
	for _, b := range firstMailboxes() {
		if _, err := m.create(a, b.Name, b.Use); err != nil {
			return err
		}
		m.subscribe(a, b.Name, true)
	}
	return m.end()
}

// Mailboxes lists all, by name, subscriptions to what is gone included. It settles the account first, as every reader does.
func (s *Store) Mailboxes(ctx context.Context, id mail.AccountID) ([]Mailbox, error) {
	if err := s.db.Settle(ctx, uint32(id)); err != nil {
		return nil, err
	}
	var out []Mailbox
	err := s.db.View(ctx, func(tx *kv.Tx) (err error) {
		if _, err := loadHolding(tx, id); err != nil {
			return err
		}
		out, err = listNames(tx, id)
		return err
	})
	return out, err
}

// Special finds the mailbox of a special use (RFC 6154); ErrNoMailbox when the account has none. Names are not logged first, so nothing
// has to be settled: it is asked on the way of each message that is junk.
func (s *Store) Special(ctx context.Context, id mail.AccountID, use SpecialUse) (b Mailbox, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		for k, v := range tx.Scan(tabNames, key32(uint32(id)), after(uint32(id))) {
			n, err := decodeName(v)
			if err != nil {
				return err
			}
			if n.use&use != 0 {
				b = Mailbox{ID: n.id, Account: id, Name: string(k[4:]), Use: n.use}
				return nil
			}
		}
		return ErrNoMailbox
	})
	return b, err
}

// listNames merges the names and the subscriptions of an account.
func listNames(tx *kv.Tx, id mail.AccountID) ([]Mailbox, error) {
	var out []Mailbox
	for k, v := range tx.Scan(tabNames, key32(uint32(id)), after(uint32(id))) {
		n, err := decodeName(v)
		if err != nil {
			return nil, err
		}
		out = append(out, Mailbox{ID: n.id, Account: id, Name: string(k[4:]), Use: n.use})
	}
	n, i := len(out), 0
	for k := range tx.Scan(tabSubs, key32(uint32(id)), after(uint32(id))) {
		name := k[4:]
		for i < n && out[i].Name < string(name) {
			i++
		}
		if i < n && out[i].Name == string(name) {
			out[i].Subscribed = true
			continue
		}
		out = append(out, Mailbox{Account: id, Name: string(name), Subscribed: true})
	}
	if len(out) > n {
		slices.SortFunc(out, func(a, b Mailbox) int { return strings.Compare(a.Name, b.Name) })
	}
	return out, nil
}

// Mailbox finds one by name (INBOX in any case).
func (s *Store) Mailbox(ctx context.Context, id mail.AccountID, name string) (Mailbox, error) {
	stored, err := CheckName(name)
	if err != nil {
		return Mailbox{}, ErrNoMailbox // a name that cannot be is not there
	}
	var out Mailbox
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		n, err := findName(tx, id, stored)
		if err != nil {
			return err
		}
		sub := tx.Get(tabSubs, nameKey(id, stored)) != nil
		out = Mailbox{ID: n.id, Account: id, Name: stored, Use: n.use, Subscribed: sub}
		return nil
	})
	return out, err
}

// CreateMailbox makes the missing parents too. A trailing "/" is ignored (RFC 9051 section 6.3.4).
func (s *Store) CreateMailbox(ctx context.Context, id mail.AccountID, name string, use SpecialUse) (Mailbox, error) {
	name, err := CheckName(strings.TrimSuffix(name, "/"))
	if err != nil {
		return Mailbox{}, err
	}
	if use&^usable != 0 {
		return Mailbox{}, fmt.Errorf("%w: a mailbox of this use cannot be made", ErrUseTaken)
	}
	var out Mailbox
	err = s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		a, err := m.account(id)
		if err != nil {
			return err
		}
		if err := m.vacant(id, name); err != nil {
			return err
		}
		if err := freeUse(tx, id, use); err != nil {
			return err
		}
		row, err := m.createWithParents(a, name, use)
		if err != nil {
			return err
		}
		out = Mailbox{ID: row, Account: id, Name: name, Use: use, Subscribed: tx.Get(tabSubs, nameKey(id, name)) != nil}
		return m.end()
	})
	if err != nil {
		return Mailbox{}, err
	}
	return out, nil
}

// freeUse reports whether another mailbox has one of the uses: each is given once in an account.
func freeUse(tx *kv.Tx, id mail.AccountID, use SpecialUse) error {
	if use == 0 {
		return nil
	}
	for k, v := range tx.Scan(tabNames, key32(uint32(id)), after(uint32(id))) {
		n, err := decodeName(v)
		if err != nil {
			return err
		}
		if n.use&use != 0 {
			return fmt.Errorf("%w by %q", ErrUseTaken, k[4:])
		}
	}
	return nil
}

// vacant reports an error when the name is there already.
func (m *mutation) vacant(id mail.AccountID, name string) error {
	_, err := findName(m.tx, id, name)
	switch {
	case err == nil:
		return fmt.Errorf("%q: %w", name, ErrExists)
	case errors.Is(err, ErrNoMailbox):
		return nil
	}
	return err
}

// createWithParents makes name and the parents that are missing.
func (m *mutation) createWithParents(a *account, name string, use SpecialUse) (MailboxID, error) {
	for _, p := range parents(name) {
		_, err := findName(m.tx, a.id, p)
		if errors.Is(err, ErrNoMailbox) {
			_, err = m.create(a, p, 0)
		}
		if err != nil {
			return 0, err
		}
	}
	return m.create(a, name, use)
}

// create makes one mailbox under a name that is free.
func (m *mutation) create(a *account, name string, use SpecialUse) (MailboxID, error) {
	if a.holding.mailboxes >= maxMailboxes {
		return 0, fmt.Errorf("%w: an account has at most %d mailboxes", ErrLimit, maxMailboxes)
	}
	id, err := nextMailboxID(m.tx)
	if err != nil {
		return 0, err
	}
	st := state{account: a.id, uidNext: 1, uidValidity: m.s.nextUIDValidity(m.tx), highest: m.modSeq()}
	m.tx.Put(tabMail, stateKey(id), st.encode())
	m.tx.Put(tabNames, nameKey(a.id, name), nameRow{id: id, use: use}.encode())
	a.holding.mailboxes++
	a.dirty = true
	m.names = append(m.names, a.id)
	return id, nil
}

// Subscribe adds or removes a subscription; the mailbox need not be there (RFC 9051 section 6.3.7).
func (s *Store) Subscribe(ctx context.Context, id mail.AccountID, name string, on bool) error {
	name, err := CheckName(strings.TrimSuffix(name, "/"))
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		a, err := m.account(id)
		if err != nil {
			return err
		}
		if on && a.holding.subs >= maxSubs && tx.Get(tabSubs, nameKey(id, name)) == nil {
			return fmt.Errorf("%w: an account has at most %d subscriptions", ErrLimit, maxSubs)
		}
		m.subscribe(a, name, on)
		return m.end()
	})
}

func (m *mutation) subscribe(a *account, name string, on bool) {
	key := nameKey(a.id, name)
	if on == (m.tx.Get(tabSubs, key) != nil) {
		return
	}
	if on {
		m.tx.Put(tabSubs, key, []byte{})
		a.holding.subs++
	} else {
		m.tx.Delete(tabSubs, key)
		a.holding.subs--
	}
	a.dirty = true
	m.names = append(m.names, a.id)
}
