package imap

import (
	"errors"
	"sync"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// Sessions is what all sessions share, whatever settings they were begun with: it may outlive a Server, so that one for new
// settings knows the sessions that are still served with the old ones.
type Sessions struct {
	ahead chan struct{} // a place for each FETCH that reads ahead

	mu     sync.Mutex
	open   map[mail.AccountID]map[*conn]struct{} // connections by account
	quiet  func()                                // ends the watch of the directory; nil while nobody is logged in
	recent map[store.MailboxID]store.UID         // first uid that no session has been told as \Recent
}

// NewSessions returns the books of nobody.
func NewSessions() *Sessions {
	return &Sessions{
		ahead: make(chan struct{}, aheadFetches),
		open:  map[mail.AccountID]map[*conn]struct{}{}, recent: map[store.MailboxID]store.UID{},
	}
}

var errTooMany = errors.New("imap: too many connections of this account")

// enter makes c a connection of an account, which may have so many at most.
func (s *Sessions) enter(id mail.AccountID, c *conn, most int, d *auth.Directory) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open[id]) >= most {
		return errTooMany
	}
	if s.quiet == nil {
		s.quiet = d.Watch(s.changed)
	}
	if s.open[id] == nil {
		s.open[id] = map[*conn]struct{}{}
	}
	s.open[id][c] = struct{}{}
	return nil
}

func (s *Sessions) leave(id mail.AccountID, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.open[id], c); len(s.open[id]) == 0 {
		delete(s.open, id)
	}
	if len(s.open) == 0 && s.quiet != nil {
		s.quiet()
		s.quiet = nil
	}
}

// changed makes the sessions of an account look whether it still lets them in.
func (s *Sessions) changed(id mail.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open[id] {
		c.stale.Store(true)
		c.w.Interrupt()
	}
}

// claimRecent returns the first uid below next that no session has been told as \Recent (RFC 3501 section 2.3.2);
// with take the caller is the one. Nothing is written down: after a start no message is recent.
func (s *Sessions) claimRecent(id store.MailboxID, next store.UID, take bool) store.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, known := s.recent[id]
	if !known || first > next {
		first = next
	}
	if take || !known {
		s.recent[id] = next
	}
	return first
}

// forgetRecent drops what was known of a mailbox that is gone.
func (s *Sessions) forgetRecent(id store.MailboxID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.recent, id)
}
