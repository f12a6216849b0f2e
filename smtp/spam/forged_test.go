package spam

import (
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// TestProofIsTheAuthors: what DMARC has proven is the domain that it read in From. An author whom we read there in another way, because
// the field is longer than what we look at, is not proven by it.
func TestProofIsTheAuthors(t *testing.T) {
	j := judge(t, Options{})
	j.Wrote(t.Context(), alice.Account, "", []mail.Address{addr(t, "bob@example.net")})
	flush(t, j)
	front := `"` + strings.Repeat("a", 4000-len(`"" <bob@example.net`)) + `" <bob@example.net`
	long := front + ".evil.example>"
	f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.evil.example", From: addr(t, "x@evil.example")}, proven("example.net.evil.example"), junkFrom(long))
	if v := j.Verdict(t.Context(), f, alice); v.Known || !f.author.IsNull() {
		t.Errorf("author %s: %s", f.author, describe(v))
	}
	f = look(t.Context(), j, Facts{Remote: client, Hello: "mail.evil.example", From: addr(t, "x@evil.example")}, proven("evil.example"), junkFrom("bob@example.net"))
	if v := j.Verdict(t.Context(), f, alice); v.Known {
		t.Errorf("proven is another domain: %s", describe(v))
	}
}

// TestTraceOfNames: the name of a client may end like the word that follows it.
func TestTraceOfNames(t *testing.T) {
	j := judge(t, Options{})
	for _, hello := range []string{"mail.example.by", "standby", "by", "[192.0.2.25]"} {
		head := fmt.Sprintf("Return-Path: <bob@example.by>\r\nReceived: from %s ([192.0.2.25])\r\n\tby mx.example.org (posthouse) with ESMTP id 1;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\nFrom: x\r\n", hello)
		if a := j.arrival([]byte(head)); a.facts.Hello != hello || a.facts.Remote != client {
			t.Errorf("%s: %+v", hello, a.facts)
		}
	}
	forged := "Received: from x ([192.0.2.25])\r\n\tby other.example.net (by mx.example.org (posthouse) with x\r\nFrom: x\r\n"
	if a := j.arrival([]byte(forged)); a.size != 0 {
		t.Errorf("a stranger's field is believed: %+v", a)
	}
}

// TestLetInUsuallyProven: an entry that lets a domain in does not help a forger when mail of it is proven as a rule.
func TestLetInUsuallyProven(t *testing.T) {
	j := judge(t, Options{})
	to := alice
	to.LetIn = "example.net"
	forged := func() Verdict {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "localhost", From: addr(t, "x@example.info")}, bad(), junkFrom("boss@example.net"))
		return j.Verdict(t.Context(), f, to)
	}
	if v := forged(); v.Class != Good {
		t.Errorf("a domain that offers no proof: %s", describe(v))
	}
	for i := range usual {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, proven("example.net"), letter("boss@example.net", fmt.Sprint("n", i), "t"))
		j.Delivered(t.Context(), f, to, Verdict{})
	}
	flush(t, j)
	if v := forged(); v.Class < Junk || !has(v, "let_in_unproven") {
		t.Errorf("one whose mail is proven: %s", describe(v))
	}
	to.Sent = true
	if v := forged(); v.Class != Good {
		t.Errorf("a list that is let in: %s", describe(v))
	}
}
