package story

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

type clock struct{ now time.Time }

func newBook(t *testing.T, o Options) (*Book, *clock) {
	t.Helper()
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	o.Side, o.Now = side, func() time.Time { return c.now }
	return New(o), c
}

func find(t *testing.T, b *Book, what string) []Story {
	t.Helper()
	s, err := b.Find(t.Context(), what, 100)
	if err != nil && !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	return s
}

func TestFind(t *testing.T) {
	b, c := newBook(t, Options{})
	b.Begin(Message{ID: "q1", Direction: In, From: "alice@example.org", To: []string{"bob@example.net", "carol@example.net"}, MessageID: "<One@example.org>"},
		Event{At: c.now, Step: Received, Host: "mx.example.org"})
	c.now = c.now.Add(time.Minute)
	b.Begin(Message{ID: "q2", Direction: Out, From: "bob@example.net", To: []string{"alice@example.org"}, MessageID: "<one@EXAMPLE.org>"})
	b.Tell("q1", Event{Step: Delivered, Who: "bob@example.net", Mailbox: "INBOX"})
	b.Tell("nobody", Event{Step: Delivered})
	for what, want := range map[string]string{
		"q1": "q1", "q2": "q2", "<one@example.org>": "q2 q1", "one@example.org": "q2 q1", "ALICE@example.org": "q2 q1", "carol@example.net": "q1",
		"nobody": "", "": "", "zoe@example.org": "", "\x00": "",
	} {
		var got []string
		for _, s := range find(t, b, what) {
			got = append(got, s.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", what, got, want)
		}
	}
	s := find(t, b, "q1")[0]
	if len(s.Events) != 2 || s.Events[0].Step != Received || s.Events[1].Mailbox != "INBOX" || s.Events[1].At != c.now {
		t.Errorf("%+v", s.Events)
	}
	if list, err := b.List(t.Context(), time.Time{}, 10); err != nil || len(list) != 2 || list[0].ID != "q2" {
		t.Errorf("%+v %v", list, err)
	}
	if list, err := b.List(t.Context(), c.now, 10); err != nil || len(list) != 1 || list[0].ID != "q1" {
		t.Errorf("before the second: %+v %v", list, err)
	}
}

// Each client that reads a message is told once.
func TestRead(t *testing.T) {
	b, c := newBook(t, Options{})
	b.Begin(Message{ID: "q1", From: "a@b"})
	b.Placed("q1", blob.LSN(77))
	for range 3 {
		b.Read(77, c.now, Event{Who: "bob", Client: "Thunderbird"})
		b.Read(77, c.now, Event{Who: "bob", Client: "phone"})
	}
	b.Read(78, c.now, Event{Who: "bob", Client: "phone"})
	if s := find(t, b, "q1"); len(s) != 1 || len(s[0].Events) != 2 || s[0].Events[0].Client != "Thunderbird" {
		t.Errorf("%+v", s)
	}
}

func rows(t *testing.T, b *Book) int {
	t.Helper()
	n := 0
	err := b.o.Side.View(t.Context(), func(tx *kv.Tx) error {
		for _, tab := range []kv.Table{tabStory, tabEvent, tabTime, tabIndex} {
			for range tx.Scan(tab, nil, nil) {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestForgetsByAge(t *testing.T) {
	b, c := newBook(t, Options{Keep: time.Hour})
	for i := range 450 {
		id := fmt.Sprintf("q%03d", i)
		b.Begin(Message{ID: id, From: "a@b", To: []string{id + "@c"}, MessageID: "<" + id + "@x>"}, Event{At: c.now, Step: Received})
		b.Placed(id, blob.LSN(i))
	}
	if err := b.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(find(t, b, "q000")) != 1 {
		t.Fatal("forgotten too early")
	}
	c.now = c.now.Add(61 * time.Minute)
	b.Begin(Message{ID: "new", From: "a@b"})
	if err := b.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, b); n != 3 { // story, time, one address
		t.Errorf("%d rows are left", n)
	}
	if len(find(t, b, "q449")) != 0 || len(find(t, b, "new")) != 1 {
		t.Error("the wrong ones are forgotten")
	}
}

// The oldest go when all together are too large; what is left is within the limit.
func TestForgetsBySize(t *testing.T) {
	b, c := newBook(t, Options{Limit: 20_000})
	for i := range 300 {
		c.now = c.now.Add(time.Second)
		id := fmt.Sprintf("q%03d", i)
		b.Begin(Message{ID: id, From: "a@b"})
		b.Tell(id, Event{Step: Attempted, Text: strings.Repeat("x", 5000)})
	}
	if err := b.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := b.List(t.Context(), time.Time{}, 1000)
	if err != nil || len(list) < 5 || len(list) > 20 || list[0].ID != "q299" {
		t.Fatalf("%d left, %v", len(list), err)
	}
	if s := find(t, b, "q299"); len(s[0].Events[0].Text) > maxText+3 {
		t.Errorf("a text of %d octets", len(s[0].Events[0].Text))
	}
}

// What strangers can repeat is bounded in each story.
func TestStoryIsBounded(t *testing.T) {
	b, _ := newBook(t, Options{})
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("r%d@example.org", i))
	}
	b.Begin(Message{ID: "q1", From: strings.Repeat("é", 4000), To: many, Subject: strings.Repeat("s", 9000)})
	for range 700 {
		b.Tell("q1", Event{Step: Attempted, Text: "no"})
	}
	s := find(t, b, "q1")[0]
	if len(s.Events) != maxEvents || len(s.To) != maxTo || s.Recipients != 5000 || len(s.From) > 330 || len(s.Subject) > 210 {
		t.Errorf("%d events, %d of %d recipients, %d, %d", len(s.Events), len(s.To), s.Recipients, len(s.From), len(s.Subject))
	}
}
