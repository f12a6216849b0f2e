package store

import (
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// routes remembers which mailbox a delivery's name stands for, so that mail that pours in does not open a snapshot for each
// message. A stale answer does no harm: a part carries id and name, and both are looked at again when it is applied.
type routes struct {
	mu    sync.RWMutex
	epoch uint64                                  // guarded by mu: commits that changed names
	known map[mail.AccountID]map[string]MailboxID // guarded by mu
	size  int                                     // guarded by mu
}

const maxRoutes = 20_000

// find returns the mailbox, and the epoch to hand to keep when it is not known.
func (r *routes) find(id mail.AccountID, name string) (box MailboxID, epoch uint64, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	box, ok = r.known[id][name]
	return box, r.epoch, ok
}

// keep takes an answer over that was read after epoch, unless names changed since.
func (r *routes) keep(id mail.AccountID, name string, box MailboxID, epoch uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if epoch != r.epoch {
		return
	}
	if r.known == nil || r.size >= maxRoutes {
		r.known, r.size = map[mail.AccountID]map[string]MailboxID{}, 0
	}
	if r.known[id] == nil {
		r.known[id] = map[string]MailboxID{}
	}
	r.known[id][name] = box
	r.size++
}

// forget drops what is known of accounts whose names changed; it is called after the commit.
func (r *routes) forget(ids []mail.AccountID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch++
	for _, id := range ids {
		r.size -= len(r.known[id])
		delete(r.known, id)
	}
}
