package cert

import (
	"context"
	"errors"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

var (
	// ErrUnknown: no certificate of that name is looked after.
	ErrUnknown = errors.New("cert: nobody looks after a certificate of this name")
	// ErrUnderWay: somebody has asked for a new one already.
	ErrUnderWay = errors.New("cert: a certificate of this name is on its way already")
)

// renewWait is how long an attempt that somebody asked for may take; an authority that is down is asked again and again.
const renewWait = 5 * time.Minute

// Renew asks for a new certificate of a name now, before it is due, and returns at once: Attempts tells how it goes. Where a first one
// is waited for, the wait between two attempts ends.
func (a *ACME) Renew(name string) error {
	n := normal(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.names[n]
	switch {
	case x == nil || a.closed:
		return ErrUnknown
	case x.renews:
		return ErrUnderWay
	case x.busy:
		x.stop() // who waits for it ends
		y := &managed{Attempt: x.Attempt, from: x.from, busy: true}
		y.ctx, y.stop = context.WithCancel(y.from)
		a.names[n] = y
		a.work.Go(func() { a.get(y) })
		return nil
	}
	x.renews = true
	a.work.Go(func() { a.renew(x) })
	return nil
}

// renew makes one attempt; the certificate that is there stays until another has come.
func (a *ACME) renew(x *managed) {
	ctx, cancel := context.WithTimeout(x.ctx, renewWait)
	defer cancel()
	err := a.magic.RenewCertSync(ctx, x.Name, true)
	a.mu.Lock()
	defer a.mu.Unlock()
	x.renews = false
	if err != nil && x.ctx.Err() == nil {
		x.Tried, x.Error = a.o.Now(), Plain(err)
		a.log.Error(logx.CertRefused, "name", x.Name, "error", x.Error)
	}
}
