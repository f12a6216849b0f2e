package imap

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store"
)

// TestAhead: many messages of all sizes come in order and whole, whatever part is asked for, with a helper and without one; a
// damaged one is left out.
func TestAhead(t *testing.T) {
	dir := t.TempDir()
	h := newHouseIn(t, dir, Options{})
	var mails []string
	for i := range 70 { // more than a page
		size := []int{10, 900, 5000, aheadText + 1, 40000}[i%5]
		mails = append(mails, fmt.Sprintf("Subject: mail %d\r\n\r\nmark-%d- %s\r\n", i+1, i+1, strings.Repeat("x", size)))
		h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, mails[i])
	}
	c := h.benchClient(t)
	check := func(item string, part func(mail string) string, missing int) {
		t.Helper()
		var want strings.Builder
		for i, mail := range mails {
			if text := part(mail); i != missing {
				fmt.Fprintf(&want, "* %d FETCH (%s {%d}\r\n%s)\r\n", i+1, item, len(text), text)
			}
		}
		fmt.Fprintf(c.c, "b FETCH 1:* %s\r\n", strings.Replace(item, "BODY", "BODY.PEEK", 1))
		answer, end, _ := strings.Cut(c.lines("b "), "b ")
		if answer != want.String() || strings.HasPrefix(end, "OK") != (missing < 0) {
			t.Errorf("%s: %d octets, want %d; %s", item, len(answer), want.Len(), end)
		}
	}
	whole := func(mail string) string { return mail }
	text := func(mail string) string { return mail[strings.Index(mail, "mark"):] }
	check("BODY[]", whole, -1)
	check("BODY[TEXT]", text, -1)
	undo := damage(t, dir, "mark-31-")
	check("BODY[]", whole, 30)
	undo()
	for range aheadFetches { // as if that many others were reading ahead
		h.server.sessions.ahead <- struct{}{}
	}
	check("BODY[]", whole, -1)
	check("BODY[TEXT]", text, -1)
	if len(h.server.sessions.ahead) != aheadFetches {
		t.Error("a FETCH gave back a place that it did not have")
	}
}

// TestAheadEnds: a FETCH that ends early gives back what it holds, and a panic beside the connection ends the connection only.
func TestAheadEnds(t *testing.T) {
	h := newHouse(t, Options{})
	h.fill(t, 60, 100<<10)
	c := h.benchClient(t)
	io.WriteString(c.c, "b FETCH 1:* BODY.PEEK[]\r\n")
	c.until("* 1 FETCH")
	c.c.Close()

	s := &Server{sessions: &Sessions{ahead: make(chan struct{}, 1)}}
	f := &fetcher{c: &conn{s: s}} // without a store
	f.ahead.begin(f, make([]numbered, 20))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		f.ahead.take(0)
	}()
	f.ahead.end()
	f.ahead.leave()
	if len(s.sessions.ahead) != 0 {
		t.Error("the place is still taken")
	}
}
