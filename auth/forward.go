package auth

import (
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// maxForward is how many addresses an account's mail goes on to: more is a list.
const maxForward = 20

// SetForward makes an account's mail go on to others; with keep a copy stays. No addresses: it ends. None of them may lead back.
func (d *Directory) SetForward(tx *kv.Tx, id mail.AccountID, to []mail.Address, keep bool) error {
	r, err := findRecord(tx, id)
	if err != nil {
		return err
	}
	if len(to) > maxForward {
		return fmt.Errorf("%w: an account forwards to up to %d addresses; for more make a list", ErrInvalid, maxForward)
	}
	back := loop{d: d, tx: tx, account: id, visited: make(map[string]bool)}
	seen := make(map[string]bool)
	for _, a := range to {
		if seen[a.Key()] {
			return fmt.Errorf("%w: %s is named twice", ErrInvalid, a)
		}
		seen[a.Key()] = true
		if err := back.check(a); err != nil {
			return err
		}
		if err := d.checkMember(tx, a); err != nil {
			return err
		}
	}
	r.Settings.Forward, r.Settings.Keep = to, keep && len(to) > 0
	d.putRecord(tx, r)
	return nil
}

// loop looks for an address, or an account, below what leads to others: members of aliases and lists, addresses that an account
// forwards to.
type loop struct {
	d       *Directory
	tx      *kv.Tx
	key     string         // address key; empty: none
	account mail.AccountID // 0: none
	visited map[string]bool
}

func (d *Directory) loopAt(tx *kv.Tx, a mail.Address) *loop {
	return &loop{d: d, tx: tx, key: a.Key(), visited: make(map[string]bool)}
}

func (l *loop) check(member mail.Address) error {
	r, at, err := l.d.lead(l.tx, member)
	if err != nil || at.IsNull() {
		return err
	}
	home, err := homeOf(l.tx, member) // what is looked for may not be stored yet
	if err != nil {
		return err
	}
	owner := r.owner
	if r.kind == rowMask {
		owner = r.mask.Account
	}
	if home.Key() == l.key || at.Key() == l.key && r.kind != 0 || l.account != 0 && owner == l.account {
		return fmt.Errorf("%w: through %s", ErrLoop, member)
	}
	if r.kind == 0 || l.visited[at.Key()] {
		return nil
	}
	l.visited[at.Key()] = true
	next, err := l.below(r, owner)
	if err != nil {
		return err
	}
	for _, a := range next {
		if err := l.check(a); err != nil {
			return fmt.Errorf("%w, through %s", err, member)
		}
	}
	return nil
}

// below lists what a row leads to.
func (l *loop) below(r row, owner mail.AccountID) ([]mail.Address, error) {
	switch r.kind {
	case rowAlias:
		return r.alias.Members, nil
	case rowList:
		var all []mail.Address
		for _, m := range membersIn(l.tx, r.list.ID) {
			all = append(all, m.Address)
		}
		return all, nil
	case rowAddress, rowMask:
		found, err := findRecord(l.tx, owner)
		if err != nil {
			return nil, nil //nolint:nilerr // a mask of an account that is gone leads nowhere
		}
		return found.Settings.Forward, nil
	}
	return nil, nil
}
