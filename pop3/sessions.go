package pop3

import (
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Sessions counts the open sessions of each account. It may outlive a Server: one with other settings that takes the new
// connections has to know the sessions that are still served with the old ones.
type Sessions struct {
	mu     sync.Mutex // guards what follows
	open   map[mail.AccountID]int
	logins map[mail.AccountID]time.Time // only while there is a delay between logins
}

// NewSessions returns a count of nobody.
func NewSessions() *Sessions {
	return &Sessions{open: make(map[mail.AccountID]int), logins: make(map[mail.AccountID]time.Time)}
}

// enter counts a session of an account, or says why there is no room for it.
func (s *Sessions) enter(id mail.AccountID, o *Options) error {
	now := o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[id] >= o.PerAccount {
		return errInUse
	}
	if o.LoginDelay > 0 {
		if now.Sub(s.logins[id]) < o.LoginDelay {
			return errTooSoon
		}
		for other, at := range s.logins {
			if now.Sub(at) >= o.LoginDelay {
				delete(s.logins, other)
			}
		}
		s.logins[id] = now
	}
	s.open[id]++
	return nil
}

func (s *Sessions) leave(id mail.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[id]--; s.open[id] <= 0 {
		delete(s.open, id)
	}
}
