package housetest

import (
	"strings"
	"testing"
)

// TestSubmissionToReaders: submission, queue, MX, port 25, store; then read over IMAP and POP3.
func TestSubmissionToReaders(t *testing.T) {
	h := newStreet(t).build("[route]\nacross = \"mx\"", "alice@one.test", "bob@one.test", "carol@two.test")
	carol, bob := h.reader("carol@two.test"), h.reader("bob@one.test")
	h.send("alice@one.test", "to both domains", "carol@two.test", "bob@one.test")

	got := carol.body(carol.awaits(1, "to both domains")[0])
	inside := bob.body(bob.awaits(1, "to both domains")[0])
	for _, text := range []string{got, inside} {
		if !strings.HasPrefix(text, "Return-Path: <alice@one.test>\r\n") || strings.Count(text, "Return-Path:") != 1 {
			t.Errorf("not one Return-Path, in front:\n%s", text)
		}
	}
	for _, want := range []string{
		"\r\nSubject: to both domains\r\n", "\r\nDate: ", "\r\nMessage-ID: <", "\r\n\r\nA line.\r\n.with a dot first\r\n",
	} {
		if !strings.Contains(got, want) || !strings.Contains(inside, want) {
			t.Errorf("%q is missing in\n%s\nor in\n%s", want, got, inside)
		}
	}
	if strings.Contains(got, "Bcc") || strings.Count(got, "Received: from ") != 2 || strings.Count(inside, "Received: from ") != 1 {
		t.Errorf("a Bcc, or not as many Received lines as hops:\n%s\n%s", got, inside)
	}

	p := h.pop("carol@two.test")
	p.say("STAT")
	if s := p.hear(); !strings.HasPrefix(s, "+OK 1 ") {
		t.Errorf("STAT: %s", s)
	}
	p.say("RETR 1")
	p.want("+OK")
	if text := p.dotted(); text != got {
		t.Errorf("POP3 gives\n%s\nIMAP gave\n%s", text, got)
	}
	p.say("QUIT")
	p.want("+OK")
}

// TestTwoHouses mail each other; what one cannot take comes back.
func TestTwoHouses(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test")
	b := s.build("", "ben@other.test")
	alice, ben := a.reader("alice@one.test"), b.reader("ben@other.test")
	a.send("alice@one.test", "there", "ben@other.test")
	if text := ben.body(ben.awaits(1, "there")[0]); !strings.Contains(text, "\r\nReceived: from mx.one.test") || !strings.Contains(text, "TLS") {
		t.Errorf("no Received line that tells of mx.one.test and TLS:\n%s", text)
	}
	b.send("ben@other.test", "back", "alice@one.test")
	alice.awaits(1, "back")

	a.send("alice@one.test", "to nobody", "nobody@other.test", "ben@other.test")
	ben.awaits(1, "to nobody")
	bounce := alice.body(alice.awaits(1, "could not be delivered")[0])
	for _, want := range []string{"Return-Path: <>\r\n", "multipart/report", "nobody@other.test", "5.1.1", "Subject: to nobody"} {
		if !strings.Contains(bounce, want) {
			t.Errorf("the bounce has no %q:\n%s", want, bounce)
		}
	}
}

// TestNoRelay: a stranger cannot send through the house under any spelling.
func TestNoRelay(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test")
	c := h.smtp()
	c.say("MAIL FROM:<spam@elsewhere.test>")
	c.want("250 ")
	for _, to := range []string{"x@elsewhere.test", "x%%elsewhere.test@one.test", "@one.test:x@elsewhere.test", "elsewhere.test!x@one.test", `"x@elsewhere.test"@one.test`, "nobody@one.test"} {
		c.say("RCPT TO:<" + to + ">")
		c.want("55")
	}
	c.say("RCPT TO:<Postmaster>")
	c.want("250 ")
	c.say("QUIT")
	c.want("221 ")
}
