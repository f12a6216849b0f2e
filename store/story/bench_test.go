package story

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

func bench(b *testing.B, stories int) *Book {
	b.Helper()
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(b.TempDir(), "side.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := side.Close(); err != nil {
			b.Error(err)
		}
	})
	book := New(Options{Side: side, Limit: 1 << 30})
	for i := range stories {
		told(book, i)
		if i%10_000 == 9_999 {
			if err := side.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := side.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	return book
}

// told is what one message from outside comes to.
func told(book *Book, i int) {
	id := fmt.Sprintf("q%012d", i)
	now := time.Now()
	book.Begin(Message{
		ID: id, At: now, Direction: In, From: fmt.Sprintf("sender%d@far%d.test", i%5000, i%300), To: []string{fmt.Sprintf("user%d@one.test", i%500)},
		Author: fmt.Sprintf("sender%d@far%d.test", i%5000, i%300), MessageID: fmt.Sprintf("<%d.abc@far%d.test>", i, i%300), Subject: "About this and that",
		Size: 12345, Client: "mx.far.test [192.0.2.1]", TLS: "TLS 1.3 TLS_AES_128_GCM_SHA256", Places: []uint64{uint64(i)},
	}, Event{At: now, Step: Checked, Text: "SPF pass (far1.test); DKIM pass (far1.test); DMARC pass (far1.test); iprev pass (mx.far.test)"},
		Event{At: now, Step: Delivered, Who: fmt.Sprintf("user%d@one.test", i%500), Mailbox: "INBOX"})
}

// BenchmarkFind finds among 100,000 stories; an address of 200 stories, a Message-ID, an id.
func BenchmarkFind(b *testing.B) {
	book := bench(b, 100_000)
	for name, what := range map[string]string{"address": "user77@one.test", "message-id": "77777.abc@far77.test", "id": "q000000077777"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if s, err := book.Find(b.Context(), what, 20); err != nil || len(s) == 0 {
					b.Fatal(len(s), err)
				}
			}
		})
	}
}

// BenchmarkOwned is a page of what one account of 1,000 has among 100,000 stories: the newest, and a search that finds nothing.
func BenchmarkOwned(b *testing.B) {
	book := bench(b, 100_000)
	for name, fits := range map[string]bool{"newest": true, "nothing": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := book.Owned(b.Context(), Own{Addresses: []string{"user77@one.test"}, Limit: 40, Fits: func(m *Message) bool { return fits && m.concerns("user77@one.test") }})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTell is what telling a message costs in all, the writing of the tables included.
func BenchmarkTell(b *testing.B) {
	book := bench(b, 50_000)
	i := 1_000_000
	for b.Loop() {
		told(book, i)
		if i++; i%5000 == 0 { // a second of a busy house
			if err := book.o.Side.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkRead is what a FETCH of a text pays that was read a moment ago.
func BenchmarkRead(b *testing.B) {
	book := bench(b, 0)
	now := time.Now()
	for b.Loop() {
		book.Read(blob.LSN(77), now, Event{Who: "alice@one.test", Client: "Thunderbird 140"})
	}
}
