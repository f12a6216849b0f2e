package story

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestOwned: an account sees its own messages, page by page, however many others there are.
func TestOwned(t *testing.T) {
	b, c := newBook(t, Options{})
	for i := range 300 {
		c.now = c.now.Add(time.Second)
		m := Message{ID: fmt.Sprint("q", i), Direction: In, From: "a@example.org", To: []string{"x@example.net"}, Subject: fmt.Sprint("number ", i), Owners: []uint32{7}}
		switch {
		case i%10 == 0:
			m.Owners = []uint32{7, 3}
		case i == 55: // refused at the door
			m.Owners, m.To = nil, []string{"Me@example.net"}
		}
		b.Begin(m)
	}
	ids := func(o Own) (string, string) {
		t.Helper()
		got, err := b.Owned(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, m := range got.Messages {
			all = append(all, m.ID)
		}
		return strings.Join(all, " "), got.Next
	}
	mine := func(m *Message) bool { return len(m.Owners) == 2 || len(m.Owners) == 0 }
	o := Own{Account: 3, Addresses: []string{"me@EXAMPLE.net"}, Fits: mine, Limit: 4, Look: 1000}
	var all []string
	for range 20 {
		text, next := ids(o)
		all = append(all, strings.Fields(text)...)
		if o.From = next; next == "" {
			break
		}
	}
	if len(all) != 31 || all[0] != "q290" || all[24] != "q55" || all[30] != "q0" {
		t.Errorf("%d: %v", len(all), all)
	}
	o.From, o.Fits, o.Look = "", func(*Message) bool { return false }, 10
	if text, next := ids(o); text != "" || next == "" {
		t.Errorf("%q, next %v: to look at much is more than one page", text, next)
	}
	begin := c.now.Add(-299 * time.Second)
	o = Own{Account: 3, Fits: mine, Limit: 10, Since: begin.Add(100 * time.Second), Before: begin.Add(121 * time.Second)}
	if text, next := ids(o); text != "q120 q110 q100" || next != "" {
		t.Errorf("%q, %v", text, next)
	}
	for _, from := range []string{"-", "zz", "-1", "1-x", "zzzzzzzzzzzzzzzz-3"} {
		o.From = from
		ids(o)
	}
	if text, next := ids(Own{Account: 9, Fits: mine, Limit: 4}); text != "" || next != "" {
		t.Errorf("%q, %v", text, next)
	}
}
