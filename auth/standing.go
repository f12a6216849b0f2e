package auth

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

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
		d.ring(id)
	})
}

func (d *Directory) ring(id mail.AccountID) {
	d.watchers.mu.Lock()
	list := d.watchers.list
	d.watchers.mu.Unlock()
	for _, w := range list {
		w.ring(id)
	}
}

// Standing tells whether a session that Login or SASL began may go on: ErrNoAccount when the account is gone, ErrDoorClosed
// when it is disabled or the door is closed to it, ErrCredentials when its password is another by now, or the app password, token or
// certificate that it was proved with is revoked or has expired.
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
	}
	proof := d.proof(who)
	if id.Token != 0 {
		t := s.token(id.Token)
		if _, err := d.may(s, t, door); err != nil {
			return err
		}
		proof = d.tokenProof(t)
	} else if id.App != 0 {
		app := who.findApp(id.App)
		if app == nil || app.expired(d.options.Now()) {
			return ErrCredentials
		}
		if app.Doors&door == 0 {
			return ErrDoorClosed
		}
		proof = d.appProof(app)
	} else if id.Certificate != 0 || id.issued != nil {
		if proof, err = d.certificateStands(s, id, who, door); err != nil {
			return err
		}
	} else if who.webOnly(door) {
		return ErrDoorClosed
	}
	if proof != id.proof {
		return ErrCredentials
	}
	return nil
}

// webOnly tells that the account's own password does not open a door.
func (r *record) webOnly(door Door) bool { return r.Settings.WebOnly && door != DoorWeb }

// proof stands for the stored password of an account in memory, appProof for an app password.
func (d *Directory) proof(who *record) digest { return d.digests.of("standing", stamp(who)) }

func (d *Directory) appProof(a *appPassword) digest {
	return d.digests.of("standing app", string(a.sum[:]))
}

// expiries rings for sessions that were opened with an app password, token or certificate when that expires. One timer each: a session asks Standing only
// when it is rung for.
type expiries struct {
	mu      sync.Mutex
	waiting map[expiry]bool // guarded by mu
}

type expiry struct {
	account mail.AccountID
	number  uint32 // of the app password, token or certificate
	kind    endKind
	key     [sha256.Size]byte // of a certificate: those of the authority have no number
}

// endKind is of what an end is waited for.
type endKind uint8

const (
	endOfApp endKind = iota
	endOfToken
	endOfCertificate
)

// awaitEnd makes sure that the account is rung for when an app password, token or certificate ends; zero: it does not.
func (d *Directory) awaitEnd(which expiry, end time.Time) {
	left := end.Sub(d.options.Now())
	if end.IsZero() || left > maxSession {
		return
	}
	x := &d.expiries
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.waiting[which] {
		return
	}
	if x.waiting == nil {
		x.waiting = make(map[expiry]bool)
	}
	x.waiting[which] = true
	time.AfterFunc(max(left, 0), func() {
		x.mu.Lock()
		delete(x.waiting, which)
		x.mu.Unlock()
		d.ring(which.account)
	})
}

// maxSession is longer than any session of a program lasts.
const maxSession = 60 * 24 * time.Hour
