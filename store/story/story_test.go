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
		for _, tab := range []kv.Table{tabChunk, tabHash} {
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
	if n := rows(t, b); n != 2 { // entries and hashes
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
		find(t, b, id) // commits it
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

// A story goes on over chunks and restarts; what is told twice as one is one.
func TestGoesOn(t *testing.T) {
	b, c := newBook(t, Options{})
	b.Begin(Message{ID: "q1", From: "a@b", Places: []uint64{5}}, Event{Step: Received})
	for i := range 2000 { // more than a chunk
		b.Begin(Message{ID: fmt.Sprint("x", i), From: "c@d", Subject: strings.Repeat("s", 100)})
	}
	find(t, b, "q1")
	b.Tell("q1", Event{Step: Delivered, Who: "x@y"})
	b.Placed("q1", 6)
	c.now = c.now.Add(48 * time.Hour)
	again := New(b.o)
	again.Read(6, c.now, Event{Who: "x@y", Client: "phone"})
	again.Read(5, c.now, Event{Who: "x@y", Client: "phone"})
	again.Read(7, c.now, Event{Who: "x@y", Client: "another's"})
	again.Read(5, c.now.Add(-15*24*time.Hour), Event{Who: "x@y", Client: "too late"})
	again.Tell("q1", Event{Step: Queued})
	s := find(t, again, "q1")
	var steps []string
	for _, e := range s[0].Events {
		steps = append(steps, string(e.Step)+" "+e.Client)
	}
	if got := strings.Join(steps, ","); got != "received ,delivered ,read phone,queued " {
		t.Errorf("%s", got)
	}
	if s := find(t, again, "c@d"); len(s) != 100 || s[0].ID != "x1999" || s[99].ID != "x1900" {
		t.Errorf("%d stories of an address", len(s))
	}
}

// Programs that fetch everything do not push the stories out.
func TestReadsAreBounded(t *testing.T) {
	b, c := newBook(t, Options{})
	for i := range 3 * maxReads {
		b.Read(blob.LSN(i), c.now, Event{Who: "bob", Client: "greedy"})
	}
	find(t, b, "q1")
	err := b.o.Side.View(t.Context(), func(tx *kv.Tx) error {
		if n := size(tx); n > maxReads*60 {
			t.Errorf("%d octets", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// FuzzEntries: a broken table is nobody's panic; what was written is read.
func FuzzEntries(f *testing.F) {
	c := &chunk{}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	c.begin(&Message{ID: "q1", At: now, From: "a@b", To: []string{"c@d"}, Places: []uint64{7}})
	c.tell("q1", []Event{{At: now, Step: Attempted, Text: "421 later", Next: &now}}, true)
	c.placed("q1", 9)
	c.read(9, &Event{At: now, Step: Opened, Who: "c@d"})
	f.Add(c.w.b)
	f.Add([]byte{3, 'm', 0, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := Story{}
		for e := range entries(b) {
			switch e.kind {
			case kindBegin:
				m := e.rest.message(string(e.id))
				if e.rest.bad {
					continue
				}
				x := &chunk{}
				x.begin(m)
				for again := range messages(x.w.b) {
					if again.From != m.From || len(again.To) != len(m.To) || again.Subject != m.Subject {
						t.Errorf("%+v became %+v", m, again)
					}
				}
			case kindTell:
				for range e.rest.count() {
					s.add(e.rest.event(), &e.rest)
				}
			}
		}
		if len(s.Events) > maxEvents {
			t.Error(len(s.Events))
		}
	})
}
