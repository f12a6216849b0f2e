package store

import (
	"sync"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// mending is what a replay of the journal finds out for Mend.
type mending struct {
	mu        sync.Mutex
	seen      map[blob.LSN]bool    // bodies that a journaled row named
	displaced map[displaced][]byte // rows that stood where others are wanted
}

// displaced names a row that lost its place.
type displaced struct {
	mailbox MailboxID
	uid     UID
	id      uint64
}

// saw notes that a journaled row named a body: whether or not a row does now, its message was not forgotten.
func (s *Store) saw(place blob.LSN) {
	s.mend.mu.Lock()
	defer s.mend.mu.Unlock()
	if s.mend.seen == nil {
		s.mend.seen = map[blob.LSN]bool{}
	}
	s.mend.seen[place] = true
}

// displace keeps a row that a journaled one takes the place of.
func (s *Store) displace(id MailboxID, r row) {
	s.mend.mu.Lock()
	defer s.mend.mu.Unlock()
	if s.mend.displaced == nil {
		s.mend.displaced = map[displaced][]byte{}
	}
	s.mend.displaced[displaced{id, r.uid(), r.id()}] = append([]byte(nil), r...)
}
