package imap

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// longMail has n octets of attachment in lines of base64, between texts.
func longMail(seed uint64, n int) string {
	var src [32]byte
	src[0] = byte(seed)
	data := make([]byte, n/78*57)
	rand.NewChaCha8(src).Read(data)
	var b strings.Builder
	fmt.Fprintf(&b, "Subject: long %d\r\n\r\nmark %d\r\n\r\n", seed, seed)
	for ; len(data) > 0; data = data[min(57, len(data)):] {
		b.WriteString(base64.StdEncoding.EncodeToString(data[:min(57, len(data))]) + "\r\n")
	}
	fmt.Fprintf(&b, "end %d\r\n", seed)
	return b.String()
}

// TestLongTexts: texts that are read a piece ahead come whole and in order between short ones, all of them or a part; damage in
// the middle ends the connection, and so does a client that leaves.
func TestLongTexts(t *testing.T) {
	dir := t.TempDir()
	h := newHouseIn(t, dir, Options{})
	mails := []string{longMail(1, 300<<10), longMail(2, 900), longMail(3, aheadText+80), longMail(4, 2<<20), longMail(5, 500<<10), longMail(6, 10)}
	for _, m := range mails {
		h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, m)
	}
	c := h.benchClient(t)
	for item, part := range map[string]func(m string) string{
		"BODY[]":         func(m string) string { return m },
		"BODY[TEXT]":     func(m string) string { return m[strings.Index(m, "mark"):] },
		"BODY[]<500>":    func(m string) string { return m[min(500, len(m)):min(500+400_000, len(m))] },
		"BODY[]<200000>": func(m string) string { return m[min(200_000, len(m)):min(200_000+400_000, len(m))] },
	} {
		var want strings.Builder
		for i, m := range mails {
			if text := part(m); text != "" {
				fmt.Fprintf(&want, "* %d FETCH (%s {%d}\r\n%s)\r\n", i+1, item, len(text), text)
			} else {
				fmt.Fprintf(&want, "* %d FETCH (%s \"\")\r\n", i+1, item)
			}
		}
		asked := strings.Replace(strings.Replace(item, "BODY", "BODY.PEEK", 1), ">", ".400000>", 1)
		fmt.Fprintf(c.c, "b FETCH 1:* %s\r\n", asked)
		if answer, end, _ := strings.Cut(c.lines("b "), "\r\nb "); answer+"\r\n" != want.String() || !strings.HasPrefix(end, "OK") {
			t.Errorf("%s: %d octets, want %d; %.80s", item, len(answer), want.Len(), end)
		}
	}

	undo := damage(t, dir, "") // in the longest
	io.WriteString(c.c, "d FETCH 3:6 BODY.PEEK[]\r\n")
	c.c.SetReadDeadline(time.Now().Add(5 * time.Second))
	rest, err := io.ReadAll(c.r)
	undo()
	third, fourth := strings.Index(string(rest), "* 3 FETCH"), strings.Index(string(rest), "* 4 FETCH")
	if err != nil || third != 0 || fourth < len(mails[2]) || strings.Contains(string(rest), "* 5 FETCH") || !strings.Contains(mails[3], string(rest[fourth+30:])) {
		t.Errorf("%v, %d octets, messages at %d and %d", err, len(rest), third, fourth)
	}

	c = h.benchClient(t)
	io.WriteString(c.c, "b FETCH 1:* BODY.PEEK[]\r\n")
	c.until("* 4 FETCH")
	c.c.Close() // the house waits for what it does for him, at the end of the test
}

// TestLongTextEnds: whatever of a text is read, no reader and no memory is left, and a panic beside the connection is not lost.
func TestLongTextEnds(t *testing.T) {
	h := newHouse(t, Options{})
	h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, longMail(1, 2<<20))
	box, err := h.Store.Mailbox(t.Context(), 1, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Store.State(t.Context(), box.ID); err != nil { // waits until the message is there
		t.Fatal(err)
	}
	var row store.Message
	for page, err := range h.Store.Messages(t.Context(), box.ID, []store.UIDRange{{First: 1, Last: 1}}) {
		if err != nil {
			t.Fatal(err)
		}
		row = page[0]
	}
	body, err := h.Store.Open(t.Context(), row)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	var l longText
	for take := range 5 {
		l.begin(body, 0, body.Size())
		for range take {
			if b, err := l.next(); err != nil || len(b) == 0 {
				t.Fatal(len(b), err)
			}
		}
		l.end()
		if len(l.free) != 2 {
			t.Fatalf("%d pieces of memory after %d were taken", len(l.free), take)
		}
	}
	l.begin(body, body.Size()-10, 20)
	_, first := l.next()
	_, second := l.next()
	l.end()
	if first != nil || !errors.Is(second, io.ErrUnexpectedEOF) {
		t.Errorf("past the end: %v, %v", first, second)
	}
	l.begin(nil, 0, 1)
	defer func() {
		if recover() == nil {
			t.Error("the panic is lost")
		}
		l.end()
	}()
	l.next()
}
