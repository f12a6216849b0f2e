package auth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// Whoever sits behind the same address as the owner, or comes through the webmail of this machine, cannot guess without end; the
// owner there is made to wait for seconds at most, and never refused.
func TestGuessingFromAKnownAddress(t *testing.T) {
	for _, remote := range []string{"192.0.2.7", "127.0.0.1"} {
		s, keyed, now := newSlowdown(), newDigests(), time.Unix(0, 0)
		a := attempt{address: network(netip.MustParseAddr(remote)), user: keyed.of("alice"), account: 1}
		guess := func(n int) time.Duration {
			wait := s.wait(a, now)
			now = now.Add(wait)
			s.failed(a, keyed.of(fmt.Sprint("guess ", n)), now)
			return wait
		}
		s.succeeded(a, now)
		for i := range freeByPair {
			if wait := guess(i); wait > 0 {
				t.Fatalf("%s: wrong password %d of the owner's waits %v", remote, i, wait)
			}
		}
		var held time.Duration
		for i := range 40 {
			wait := guess(100 + i)
			if wait > maxHeld {
				t.Errorf("%s: refused", remote)
			}
			held += wait
			s.succeeded(a, now) // the owner's mail program comes all the time
		}
		if held < 3*time.Minute {
			t.Errorf("%s: 40 guesses were held back %v", remote, held)
		}
		if now = now.Add(maxHeld); s.wait(a, now) > 0 {
			t.Errorf("%s: the owner waits %v after the last guess", remote, maxHeld)
		}
		now = now.Add(2 * forgetAfter)
		if wait := guess(200); wait > 0 || s.wait(a, now) > 0 {
			t.Errorf("%s: two hours later %v", remote, wait)
		}
	}
}
