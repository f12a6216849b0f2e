package housetest

import (
	"strings"
	"testing"
)

// TestStopDuringData: a message that is on its way in when the house stops is taken, and is there afterwards.
func TestStopDuringData(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test")
	c := h.smtp()
	c.say("MAIL FROM:<x@elsewhere.test>")
	c.want("250 ")
	c.say("RCPT TO:<alice@one.test>")
	c.want("250 ")
	c.say("DATA")
	c.want("354 ")
	c.say("Subject: in flight\r\n\r\nthe first half")
	h.stopRun()
	h.refuses("smtp")
	c.say("the second half\r\n.")
	c.want("250 ")
	if s := c.hear(); !strings.HasPrefix(s, "421 ") {
		t.Errorf("after the message: %q, want 421", s)
	}
	h.ended()
	h.start()
	h.reader("alice@one.test").awaits(1, "in flight")
}

// refuses waits until the house accepts no more: from then on the stop has begun.
func (h *house) refuses(service string) {
	h.t.Helper()
	for range 10_000 {
		c, err := dialOnce(h.doors[service])
		if err != nil {
			return
		}
		c.Close()
	}
	h.t.Fatal("the doors stay open")
}

// TestStopDuringRetr and FETCH: who is being given a large message gets all of it.
func TestStopWhileReading(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test")
	const size = 8 << 20 // more than the buffers of both ends hold
	body := strings.Repeat(strings.Repeat("x", 998)+"\r\n", size/1000)
	c := h.submission("alice@one.test")
	if err := c.SendMail("alice@one.test", []string{"alice@one.test"}, strings.NewReader(text("alice@one.test", "large", "alice@one.test")+body)); err != nil {
		t.Fatal(err)
	}
	h.reader("alice@one.test").awaits(1, "large")

	p := h.pop("alice@one.test")
	p.say("RETR 1")
	p.want("+OK")
	i := speak(t, h.dialTLS("imaps"))
	i.want("* OK")
	i.say("a LOGIN alice@one.test \"%s\"", password)
	i.want("a OK")
	i.say("b SELECT INBOX")
	i.want("b OK")
	i.say("c FETCH 1 BODY.PEEK[]")
	first := i.hear()
	if !strings.HasPrefix(first, "* 1 FETCH") {
		t.Fatalf("%q", first)
	}
	h.stopRun()
	h.refuses("imaps")
	if got := p.dotted(); len(got) < size*9/10 || !strings.HasSuffix(got, "x\r\n") {
		t.Errorf("RETR gave %d octets", len(got))
	}
	n := 0
	for {
		s := i.hear()
		if strings.HasPrefix(s, "c ") {
			if !strings.HasPrefix(s, "c OK") {
				t.Errorf("FETCH ended with %q", s)
			}
			break
		}
		n += len(s) + 2
	}
	if n < size*9/10 {
		t.Errorf("FETCH gave %d octets", n)
	}
	h.ended()
}
