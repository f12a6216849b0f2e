package auth

import (
	"context"
	"slices"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// watchers are told which accounts changed. A door that keeps sessions open for hours asks Standing then.
type watchers struct {
	mu   sync.Mutex
	list []*watcher // guarded by mu; never changed in place, so that ring calls without the lock
}

type watcher struct{ ring func(mail.AccountID) }

// Watch calls ring after each commit that changed an account (its password, its doors, its end) until stop is called. It runs
// on the committer's goroutine and must not block; a ring that is on its way may still come after stop.
func (d *Directory) Watch(ring func(mail.AccountID)) (stop func()) {
	w := &watcher{ring}
	ws := &d.watchers
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.list = append(slices.Clone(ws.list), w)
	return func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		ws.list = slices.DeleteFunc(slices.Clone(ws.list), func(o *watcher) bool { return o == w })
	}
}

// told makes the commit of tx known: first to the snapshot, then to those who read it because of the ring.
func (d *Directory) told(tx *kv.Tx, id mail.AccountID) {
	tx.OnCommit(func() {
		d.view.changed()
		d.watchers.mu.Lock()
		list := d.watchers.list
		d.watchers.mu.Unlock()
		for _, w := range list {
			w.ring(id)
		}
	})
}

// Standing tells whether a session that Login or SASL began may go on: ErrNoAccount when the account is gone, ErrDoorClosed
// when it is disabled or the door is closed to it, ErrCredentials when its password is another by now.
func (d *Directory) Standing(ctx context.Context, id Identity, door Door) error {
	s, err := d.snapshot(ctx)
	if err != nil {
		return err
	}
	who := s.accounts[id.Account]
	switch {
	case who == nil:
		return ErrNoAccount
	case who.Disabled || who.Doors&door == 0:
		return ErrDoorClosed
	case d.proof(who) != id.proof:
		return ErrCredentials
	}
	return nil
}

// proof stands for the stored password of an account in memory.
func (d *Directory) proof(who *record) digest { return d.digests.of("standing", who.phc) }
