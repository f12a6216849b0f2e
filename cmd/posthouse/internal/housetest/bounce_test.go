package housetest

import (
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// alias makes an alias with members.
func (h *house) alias(address string, members ...string) {
	h.t.Helper()
	if _, err := h.Daemon.House().AddAlias(h.t.Context(), admin.Alias{Address: address, Members: members}); err != nil {
		h.t.Fatal(err)
	}
}

// quiet waits until nothing is in the queues of the houses: all of them at one moment, twice in a row, since what leaves
// one stands in the next.
func quiet(t *testing.T, houses ...*house) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var waiting []string
	for end, calm := time.Now().Add(patience), 0; time.Now().Before(end); <-tick.C {
		waiting = nil
		for _, h := range houses {
			entries, err := h.Daemon.House().Queue(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				waiting = append(waiting, h.name+": "+e.ID)
			}
		}
		if calm++; len(waiting) > 0 {
			calm = 0
		}
		if calm == 2 {
			return
		}
	}
	t.Fatalf("the queues still have %q", waiting)
}

// proves publishes that the houses of the street may send for the domains: without that nobody is told of what fails (backscatter).
func (s *street) proves(domains ...string) {
	s.t.Helper()
	for _, d := range domains {
		if err := s.zone.Add(d + `. IN TXT "v=spf1 ip4:127.0.0.0/8 -all"`); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestAliasMembersOutside: the sender's address goes along, so that the one member that fails comes back to the sender, from
// the house that knows of the failure; the others have their copy once.
func TestAliasMembersOutside(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test", "bob@one.test")
	b := s.build("", "ben@other.test")
	a.alias("team@one.test", "bob@one.test", "ben@other.test", "nobody@other.test")
	alice, bob, ben := a.reader("alice@one.test"), a.reader("bob@one.test"), b.reader("ben@other.test")
	a.send("alice@one.test", "for the team", "team@one.test", "bob@one.test")
	ben.awaits(1, "for the team")
	bob.awaits(1, "for the team")
	quiet(t, a, b)
	bounce := alice.body(alice.awaits(1, "could not be delivered")[0])
	for _, want := range []string{"Final-Recipient: rfc822;nobody@other.test\r\n", "Status: 5.1.1\r\n", "Remote-MTA: dns; mx.other.test\r\n"} {
		if !strings.Contains(bounce, want) {
			t.Errorf("the bounce has no %q:\n%s", want, bounce)
		}
	}
	if strings.Contains(bounce, "ben@other.test") {
		t.Errorf("the bounce names a recipient who has the message:\n%s", bounce)
	}
}

// TestAliasesInACircle: two houses' aliases that lead to each other end in one bounce.
func TestAliasesInACircle(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test")
	b := s.build("", "ben@other.test")
	s.proves("one.test", "other.test")
	a.alias("round@one.test", "round@other.test")
	b.alias("round@other.test", "round@one.test")
	alice := a.reader("alice@one.test")
	a.send("alice@one.test", "round and round", "round@one.test")
	bounce := alice.body(alice.awaits(1, "could not be delivered")[0])
	if !strings.Contains(bounce, "5.4.6") {
		t.Errorf("the bounce does not tell of the loop:\n%s", bounce)
	}
	quiet(t, a, b)
	alice.awaits(1, "could not be delivered")
}

// TestBounceOfABounce: a report that nobody takes ends there (RFC 5321 section 6.1).
func TestBounceOfABounce(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test", "postmaster@one.test")
	b := s.build("", "ben@other.test", "postmaster@other.test")
	b.alias("out@other.test", "nobody@one.test")
	c := b.smtp()
	for _, line := range []string{"MAIL FROM:<ghost@one.test>", "RCPT TO:<out@other.test>"} {
		c.say("%s", line)
		c.want("250 ")
	}
	c.say("DATA")
	c.want("354 ")
	c.say("Subject: from a ghost\r\n\r\nBoo.\r\n.")
	c.want("250 ")
	quiet(t, a, b)
	for _, h := range []*house{a, b} {
		log := h.log.String()
		if n := strings.Count(log, "report="); h == b && n != 1 || h == a && n != 0 {
			t.Errorf("%s made %d reports", h.name, n)
		}
	}
	for _, r := range []*reader{a.reader("alice@one.test"), a.reader("postmaster@one.test"), b.reader("ben@other.test"), b.reader("postmaster@other.test")} {
		r.awaits(0, "could not be delivered")
	}
}
