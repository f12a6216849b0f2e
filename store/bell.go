package store

import (
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Bell rings after commits that touched its mailbox or account; one ring may stand for many. It carries no data: the
// ModSeq is the cursor and the store the log, so nothing overflows and no event is lost.
type Bell struct {
	C chan struct{} // has room for one; nil for WatchFunc

	bells   *bells
	mailbox MailboxID
	account mail.AccountID
	call    func()
	all     func([]mail.AccountID)
}

// bells knows who waits for what.
type bells struct {
	mu       sync.RWMutex
	mailbox  map[MailboxID]map[*Bell]struct{}      // guarded by mu
	accounts map[mail.AccountID]map[*Bell]struct{} // guarded by mu
	all      map[*Bell]struct{}                    // guarded by mu
}

func (b *bells) init() {
	b.mailbox = map[MailboxID]map[*Bell]struct{}{}
	b.accounts = map[mail.AccountID]map[*Bell]struct{}{}
	b.all = map[*Bell]struct{}{}
}

// Watch gives a bell for one mailbox: its messages, its flags, its end.
func (s *Store) Watch(id MailboxID) *Bell {
	return s.bells.add(&Bell{C: make(chan struct{}, 1), mailbox: id})
}

// WatchFunc calls ring after each commit that touched the mailbox, instead of sending on C. It is called on the
// committer's goroutine and must not block.
func (s *Store) WatchFunc(id MailboxID, ring func()) *Bell {
	return s.bells.add(&Bell{call: ring, mailbox: id})
}

// WatchAccount gives a bell for all mailboxes of an account, their names and the quota.
func (s *Store) WatchAccount(id mail.AccountID) *Bell {
	return s.bells.add(&Bell{C: make(chan struct{}, 1), account: id})
}

// WatchAll calls ring after each commit with the accounts that it touched; one may be named twice. It is called on the committer's
// goroutine and must not block, nor keep the slice.
func (s *Store) WatchAll(ring func(accounts []mail.AccountID)) *Bell {
	return s.bells.add(&Bell{all: ring})
}

// Close takes the bell down; it may be called twice. A ring that is on its way may still come.
func (b *Bell) Close() { b.bells.remove(b) }

func (b *bells) add(l *Bell) *Bell {
	l.bells = b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case l.all != nil:
		b.all[l] = struct{}{}
	case l.account != 0:
		put(b.accounts, l.account, l)
	default:
		put(b.mailbox, l.mailbox, l)
	}
	return l
}

func put[K comparable](m map[K]map[*Bell]struct{}, key K, l *Bell) {
	if m[key] == nil {
		m[key] = map[*Bell]struct{}{}
	}
	m[key][l] = struct{}{}
}

func (b *bells) remove(l *Bell) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case l.all != nil:
		delete(b.all, l)
	case l.account != 0:
		take(b.accounts, l.account, l)
	default:
		take(b.mailbox, l.mailbox, l)
	}
}

func take[K comparable](m map[K]map[*Bell]struct{}, key K, l *Bell) {
	delete(m[key], l)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// ring rings every bell of the mailboxes and accounts. It runs on the committer and never blocks.
func (b *bells) ring(mailboxes []MailboxID, accounts []mail.AccountID) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, id := range mailboxes {
		for l := range b.mailbox[id] {
			l.ring()
		}
	}
	for _, id := range accounts {
		for l := range b.accounts[id] {
			l.ring()
		}
	}
	if len(accounts) > 0 {
		for l := range b.all {
			l.all(accounts)
		}
	}
}

func (b *Bell) ring() {
	if b.call != nil {
		b.call()
		return
	}
	select {
	case b.C <- struct{}{}:
	default:
	}
}
