package story

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// ErrUnknown: no story fits.
var ErrUnknown = errors.New("story: nothing is known of it")

// Book keeps stories. A nil Book keeps none.
type Book struct {
	o      Options
	full   chan struct{} // cap 1: there is more than Limit
	seed   maphash.Seed
	recent [8192]atomic.Uint64 // hashes of what was read a moment ago
	ear    atomic.Pointer[Ear] // who hears of all that is told; nil: nobody

	mu     sync.Mutex
	open   *chunk // takes what is told now; nil: none is open
	last   uint64 // number of the last chunk
	minute int64  // of reads
	reads  int
}

// New returns a Book.
func New(o Options) *Book {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep == 0 {
		o.Keep = 14 * 24 * time.Hour
	}
	if o.Limit == 0 {
		o.Limit = 64 << 20
	}
	return &Book{o: o, full: make(chan struct{}, 1), seed: maphash.MakeSeed()}
}

// plainID: ids are made by us; anything else is none.
func plainID(id string) bool {
	return id != "" && len(id) <= 64 && strings.IndexByte(id, 0) < 0
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// Ear hears what stories are told, as it happens: begun is nil but at the beginning of one. It must not wait, nor keep what it is given.
type Ear func(id string, begun *Message, events []Event)

// Hear gives the book an ear; nil takes it away.
func (b *Book) Hear(ear Ear) {
	switch {
	case b == nil:
	case ear == nil:
		b.ear.Store(nil)
	default:
		b.ear.Store(&ear)
	}
}

// Begin begins the story of a message, once for each.
func (b *Book) Begin(m Message, events ...Event) {
	if b == nil || !plainID(m.ID) {
		return
	}
	if m.At.IsZero() {
		m.At = b.o.Now()
	}
	m.Recipients = max(m.Recipients, len(m.To))
	m.To = slices.Clone(m.To[:min(len(m.To), maxTo)])
	for i := range m.To {
		m.To[i] = cut(m.To[i], 320)
	}
	m.From, m.Author, m.MessageID = cut(m.From, 320), cut(m.Author, 320), cut(m.MessageID, 500)
	m.Subject, m.Client = cut(m.Subject, 200), cut(m.Client, 300)
	m.Places = m.Places[:min(len(m.Places), maxTo)]
	m.Owners = m.Owners[:min(len(m.Owners), maxTo)]
	b.write(func(c *chunk) {
		c.begin(&m)
		if len(events) > 0 {
			c.tell(m.ID, b.clip(events), false)
		}
	})
	if ear := b.ear.Load(); ear != nil {
		(*ear)(m.ID, &m, events)
	}
}

// Tell adds events to a story; one that was never begun, or is forgotten, takes none.
func (b *Book) Tell(id string, events ...Event) {
	if b == nil || !plainID(id) || len(events) == 0 {
		return
	}
	events = b.clip(slices.Clone(events))
	b.write(func(c *chunk) { c.tell(id, events, true) })
	if ear := b.ear.Load(); ear != nil {
		(*ear)(id, nil, events)
	}
}

// clip gives the events their time, and cuts what strangers may have written.
func (b *Book) clip(events []Event) []Event {
	events = events[:min(len(events), maxEvents)]
	for i := range events {
		e := &events[i]
		if e.At.IsZero() {
			e.At = b.o.Now()
		}
		e.Text, e.Who, e.Host, e.Client, e.Advice = cut(e.Text, maxText), cut(e.Who, 320), cut(e.Host, 260), cut(e.Client, 200), cut(e.Advice, maxText)
		e.Status, e.Address, e.TLS, e.Mailbox = cut(e.Status, 16), cut(e.Address, 64), cut(e.TLS, 100), cut(e.Mailbox, 260)
	}
	return events
}

// Placed remembers that the log record at is the story's message, so that Read finds it.
func (b *Book) Placed(id string, at blob.LSN) {
	if b == nil || !plainID(id) {
		return
	}
	b.write(func(c *chunk) { c.placed(id, uint64(at)) })
}

// Read tells that an account has read the message born at a log record, received at a time, with a client; once for each of them. It
// costs next to nothing for what was read a moment ago or is too old to have a story.
func (b *Book) Read(at blob.LSN, received time.Time, e Event) {
	if b == nil {
		return
	}
	now := e.At
	if now.IsZero() {
		now = b.o.Now()
	}
	if now.Sub(received) > b.o.Keep {
		return
	}
	h := maphash.String(b.seed, e.Who) ^ maphash.String(b.seed, e.Client)*31 ^ uint64(at)*0x9e3779b97f4a7c15 | 1
	slot := &b.recent[h>>48%uint64(len(b.recent))]
	if slot.Load() == h || slot.Swap(h) == h {
		return
	}
	b.read(at, now, e)
}

// read is the costly part of Read.
func (b *Book) read(at blob.LSN, now time.Time, e Event) {
	e.At, e.Step, e.Client = now, Opened, cut(e.Client, 200)
	b.write(func(c *chunk) {
		if m := now.Unix() / 60; m != b.minute {
			b.minute, b.reads = m, 0
		}
		if b.reads++; b.reads <= maxReads {
			c.read(uint64(at), &e)
		}
	})
}
