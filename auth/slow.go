package auth

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Guessing is slowed down twice. An address that fails often has to wait longer and
// longer, up to being refused. An account that many addresses try is only
// answered later, and never by more than a client bears, so that nobody can lock
// its owner out. An address from which the owner has logged in lately waits for neither:
// it has its own count for this account, free for longer, and is never refused either.
// Loopback is no address in this: all users of a webmail on this machine come from there.
const (
	freeByAddress  = 5 // failures that cost nothing: people mistype
	freeByAccount  = 10
	freeByPair     = 20
	firstDelay     = time.Second // doubled with every further failure
	maxByAddress   = 15 * time.Minute
	maxByAccount   = 5 * time.Second
	maxHeld        = 5 * time.Second // an answer is held back this long; more is ErrSlowDown
	forgetAfter    = time.Hour       // without a failure
	knownFor       = 7 * 24 * time.Hour
	maxSlowEntries = 8192 // of each table
	wrongKept      = 8    // different wrong passwords of an account that count once
)

// failures is what is remembered of an address or an account.
type failures struct {
	count int
	last  time.Time
	until time.Time
	wrong [wrongKept]digest // of an account, newest first
}

func (f *failures) stale(now time.Time) bool { return now.Sub(f.last) > forgetAfter }

// knownPair: this account has logged in from this address.
type knownPair struct {
	address netip.Prefix
	account mail.AccountID
}

// acquaintance is what is remembered of a known pair.
type acquaintance struct {
	ends     time.Time
	failures failures // since; others may come from the same address
}

type slowdown struct {
	mu        sync.Mutex
	byAddress map[netip.Prefix]*failures
	byAccount map[digest]*failures
	known     map[knownPair]*acquaintance
}

func newSlowdown() *slowdown {
	return &slowdown{byAddress: make(map[netip.Prefix]*failures), byAccount: make(map[digest]*failures), known: make(map[knownPair]*acquaintance)}
}

// acquainted is what is known of the attempt's pair; nil: nothing. Called with mu held.
func (s *slowdown) acquainted(a attempt, now time.Time) *acquaintance {
	if k := s.known[knownPair{a.address, a.account}]; k != nil && a.account != 0 && now.Before(k.ends) {
		return k
	}
	return nil
}

// attempt is one login as the slow-down sees it.
type attempt struct {
	address netip.Prefix   // not valid: a unix socket
	user    digest         // of the account, or of the name when there is none
	account mail.AccountID // 0: there is none
}

// counts tells whether the failures of the address are counted.
func (a attempt) counts() bool { return a.address.IsValid() && !a.address.Addr().IsLoopback() }

// network is what counts as one address: a customer has a /64 of IPv6 at least.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	switch {
	case a.Is6() && a.IsLoopback():
		bits = 128
	case a.Is6():
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// wait is how long the attempt has to wait from now.
func (s *slowdown) wait(a attempt, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.acquainted(a, now); k != nil {
		return max(k.failures.until.Sub(now), 0)
	}
	var wait time.Duration
	if f := s.byAddress[a.address]; f != nil && a.counts() {
		wait = f.until.Sub(now)
	}
	if f := s.byAccount[a.user]; f != nil {
		wait = max(wait, f.until.Sub(now))
	}
	return max(wait, 0)
}

// failed counts a wrong password. The same one again counts nothing: that is a
// forgotten phone, not somebody who guesses.
func (s *slowdown) failed(a attempt, password digest, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := entry(s.byAccount, a.user, now)
	if password != (digest{}) {
		if slices.Contains(account.wrong[:], password) {
			account.last = now
			return
		}
		copy(account.wrong[1:], account.wrong[:])
		account.wrong[0] = password
	}
	account.fail(now, freeByAccount, maxByAccount)
	if k := s.acquainted(a, now); k != nil {
		if k.failures.stale(now) {
			k.failures = failures{}
		}
		k.failures.fail(now, freeByPair, maxByAccount)
	}
	if a.counts() {
		entry(s.byAddress, a.address, now).fail(now, freeByAddress, maxByAddress)
	}
}

// repeated tells that the password was wrong before, and still is: the digest is of the stored hash too.
func (s *slowdown) repeated(a attempt, password digest, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byAccount[a.user]
	return f != nil && !f.stale(now) && slices.Contains(f.wrong[:], password)
}

func (f *failures) fail(now time.Time, free int, most time.Duration) {
	f.count++
	f.last = now
	if f.count < free {
		return
	}
	delay := most
	if doublings := f.count - free; doublings < 20 {
		delay = min(firstDelay<<doublings, most)
	}
	f.until = now.Add(delay)
}

func entry[K comparable](m map[K]*failures, key K, now time.Time) *failures {
	f := m[key]
	if f == nil || f.stale(now) {
		makeRoom(m, maxSlowEntries, func(f *failures) bool { return f.stale(now) })
		f = &failures{last: now}
		m[key] = f
	}
	return f
}

// succeeded remembers that the account comes from this address.
func (s *slowdown) succeeded(a attempt, now time.Time) {
	if !a.address.IsValid() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.acquainted(a, now); k != nil {
		k.ends = now.Add(knownFor) // what failed stays: each login of the owner's would wipe it out for whoever guesses
		return
	}
	makeRoom(s.known, maxSlowEntries, func(k *acquaintance) bool { return !now.Before(k.ends) })
	s.known[knownPair{a.address, a.account}] = &acquaintance{ends: now.Add(knownFor)}
}

// hold waits as long as the attempt has to, or refuses it with ErrSlowDown when that is too long.
func (d *Directory) hold(ctx context.Context, a attempt) error {
	wait := d.slow.wait(a, d.options.Now())
	switch {
	case wait == 0:
		return nil
	case wait > maxHeld:
		return ErrSlowDown
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
