// Package story keeps what happened to each message, in and out, for some days:
// where it came from, what was found out about it, where it went, every attempt
// with what the other side said, who read it.
//
// A Book is told events (Begin, Tell, Read) and forgets them again (Run); Find and
// List give Stories. It stands in side.db: telling never waits and never fails mail.
package story

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Direction is which way a message went.
type Direction string

const (
	In  Direction = "in"  // from outside
	Out Direction = "out" // handed in by one of us
)

// Message is what a story is about.
type Message struct {
	ID         string    `json:"id"` // of the transaction, as in receipts, Received and logs
	At         time.Time `json:"at"`
	Direction  Direction `json:"direction"`
	From       string    `json:"from"` // envelope sender; empty: <>
	To         []string  `json:"to"`   // envelope recipients
	Author     string    `json:"author,omitempty"`
	MessageID  string    `json:"message_id,omitempty"` // with its angle brackets
	Subject    string    `json:"subject,omitempty"`
	Size       int64     `json:"size,omitempty"`
	Client     string    `json:"client,omitempty"` // name and address of who handed it over
	TLS        string    `json:"tls,omitempty"`
	Account    string    `json:"account,omitempty"`    // who was logged in
	Recipients int       `json:"recipients,omitempty"` // in all; To has the first hundred
	Places     []uint64  `json:"places,omitempty"`     // log records of its deliveries
}

// Step is the kind of an event.
type Step string

const (
	Received  Step = "received"
	Checked   Step = "checked" // SPF, DKIM, DMARC, ARC, iprev
	Scored    Step = "scored"  // junk, with reasons
	Signed    Step = "signed"
	Refused   Step = "refused"
	Delivered Step = "delivered" // into a mailbox here
	Queued    Step = "queued"
	Attempted Step = "attempted" // another host was tried
	Relayed   Step = "relayed"   // another host took it
	Expanded  Step = "expanded"  // an alias led to others
	Failed    Step = "failed"    // given up
	Delayed   Step = "delayed"   // the sender was told
	Bounced   Step = "bounced"   // the sender was told that it was given up
	Reported  Step = "reported"  // the sender was told of success
	Held      Step = "held"    // kept back by the operator
	Released  Step = "released"
	Cancelled Step = "cancelled"
	Opened    Step = "read"
)

// Event is one line of a story.
type Event struct {
	At      time.Time  `json:"at"`
	Step    Step       `json:"step"`
	Who     string     `json:"who,omitempty"`  // recipient or account that it concerns; empty: all
	Text    string     `json:"text,omitempty"` // in words; the whole answer when somebody replied
	Code    int        `json:"code,omitempty"` // SMTP reply
	Status  string     `json:"status,omitempty"`
	Host    string     `json:"host,omitempty"`
	Address string     `json:"address,omitempty"`
	TLS     string     `json:"tls,omitempty"`
	Mailbox string     `json:"mailbox,omitempty"`
	Client  string     `json:"client,omitempty"`
	Advice  string     `json:"advice,omitempty"` // what to do
	Next    *time.Time `json:"next,omitempty"`   // the next attempt
}

// Story is a message with its events, in order.
type Story struct {
	Message
	Events []Event `json:"events"`
}

// Options of a Book. The zero value of a duration or size means its default.
type Options struct {
	Side   *kv.Side
	Logger *slog.Logger
	Now    func() time.Time
	Keep   time.Duration // 14 days
	Limit  int64         // octets in all; the oldest go first; 64 MB
}

// What one story may hold: what comes from strangers must not fill the disk.
const (
	maxText   = 1000
	maxTo     = 100
	maxEvents = 500
	maxFound  = 1000
)

// Book keeps stories. A nil Book keeps none.
type Book struct {
	o      Options
	full   chan struct{} // cap 1: there is more than Limit
	seed   maphash.Seed
	recent [8192]atomic.Uint64 // hashes of what was read a moment ago
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

// The tables of this package in side.db.
const (
	tabStory kv.Table = "S" // id -> Message as JSON
	tabEvent kv.Table = "E" // id, 0, number u32 -> how many u16, Events as JSON
	tabTime  kv.Table = "T" // time u64 ns, id -> octets u32
	tabIndex kv.Table = "I" // kind u8, hash u64, time u64, id -> empty
	tabSize  kv.Table = "Z" // "stories" -> octets u64
)

// Kinds of index entries.
const (
	byMessageID byte = 'm'
	byAddress   byte = 'a'
	byPlace     byte = 'l' // log record of a delivery
)

var sizeKey = []byte("stories")

func hashOf(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.ToLower(s)))
	return h.Sum64()
}

func indexKey(kind byte, hash uint64, at time.Time, id string) []byte {
	k := binary.BigEndian.AppendUint64([]byte{kind}, hash)
	k = binary.BigEndian.AppendUint64(k, uint64(at.UnixNano()))
	return append(k, id...)
}

func eventKey(id string, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(id), 0), n)
}

func timeKey(at time.Time, id string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixNano())), id...)
}

// plainID: ids are made by us; anything else would break the keys.
func plainID(id string) bool {
	return id != "" && len(id) <= 64 && strings.IndexByte(id, 0) < 0
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// Begin begins the story of a message. A story that was begun already goes on.
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
	m.Places = slices.Clone(m.Places[:min(len(m.Places), maxTo)])
	events = b.clip(events)
	b.o.Side.Later(func(tx *kv.Tx) error {
		if tx.Get(tabStory, []byte(m.ID)) != nil {
			return b.append(tx, m.ID, events)
		}
		row, err := json.Marshal(m)
		if err != nil {
			return err
		}
		tx.Put(tabStory, []byte(m.ID), row)
		for _, k := range m.keys() {
			tx.Put(tabIndex, k, []byte{})
		}
		b.weigh(tx, &m, len(row)+100*(len(m.To)+3))
		return b.add(tx, &m, events)
	})
}

// keys are the index entries of a message.
func (m *Message) keys() [][]byte {
	var out [][]byte
	if m.MessageID != "" {
		out = append(out, indexKey(byMessageID, hashOf(m.MessageID), m.At, m.ID))
	}
	people := append([]string{m.From, m.Author, m.Account}, m.To...)
	slices.Sort(people)
	for _, p := range slices.Compact(people) {
		if p != "" {
			out = append(out, indexKey(byAddress, hashOf(p), m.At, m.ID))
		}
	}
	for _, at := range m.Places {
		out = append(out, indexKey(byPlace, at, m.At, m.ID))
	}
	return out
}

// Tell adds events to a story; one that was never begun, or is forgotten, takes none.
func (b *Book) Tell(id string, events ...Event) {
	if b == nil || !plainID(id) || len(events) == 0 {
		return
	}
	events = b.clip(events)
	b.o.Side.Later(func(tx *kv.Tx) error { return b.append(tx, id, events) })
}

// clip gives the events their time, and cuts what strangers may have written.
func (b *Book) clip(events []Event) []Event {
	events = slices.Clone(events[:min(len(events), maxEvents)])
	for i := range events {
		e := &events[i]
		if e.At.IsZero() {
			e.At = b.o.Now()
		}
		e.Text, e.Who, e.Host, e.Client, e.Advice = cut(e.Text, maxText), cut(e.Who, 320), cut(e.Host, 260), cut(e.Client, 200), cut(e.Advice, maxText)
	}
	return events
}

// Placed remembers that the log record at is the story's message, so that Read finds it.
func (b *Book) Placed(id string, at blob.LSN) {
	if b == nil || !plainID(id) {
		return
	}
	b.o.Side.Later(func(tx *kv.Tx) error {
		m, err := load(tx, id)
		if err != nil || m == nil {
			return err
		}
		if len(m.Places) >= maxTo || slices.Contains(m.Places, uint64(at)) {
			return nil
		}
		m.Places = append(m.Places, uint64(at))
		row, err := json.Marshal(m)
		if err != nil {
			return err
		}
		tx.Put(tabStory, []byte(id), row)
		tx.Put(tabIndex, indexKey(byPlace, uint64(at), m.At, id), []byte{})
		b.weigh(tx, m, 60)
		return nil
	})
}

// Read tells that the account has read the message born at a log record and saved at a time, with a client; once for each of them. It
// costs next to nothing for what was read a moment ago or is too old to have a story.
func (b *Book) Read(at blob.LSN, saved time.Time, e Event) {
	if b == nil {
		return
	}
	if e.At.IsZero() {
		e.At = b.o.Now()
	}
	if e.At.Sub(saved) > b.o.Keep {
		return
	}
	h := maphash.String(b.seed, e.Who) ^ maphash.String(b.seed, e.Client)*31 ^ uint64(at)*0x9e3779b97f4a7c15 | 1
	slot := &b.recent[h>>48%uint64(len(b.recent))]
	if slot.Swap(h) != h {
		b.read(at, e)
	}
}

// read is the costly part of Read.
func (b *Book) read(at blob.LSN, e Event) {
	e.Step, e.Client = Opened, cut(e.Client, 200)
	b.o.Side.Later(func(tx *kv.Tx) error {
		for id := range found(tx, byPlace, uint64(at)) {
			for _, old := range events(tx, id) {
				if old.Step == Opened && old.Who == e.Who && old.Client == e.Client {
					return nil
				}
			}
			return b.append(tx, id, []Event{e})
		}
		return nil
	})
}

func (b *Book) append(tx *kv.Tx, id string, list []Event) error {
	m, err := load(tx, id)
	if err != nil || m == nil {
		return err
	}
	return b.add(tx, m, list)
}

// add writes events that were told together as one row.
func (b *Book) add(tx *kv.Tx, m *Message, list []Event) error {
	next := uint32(0)
	for k, v := range tx.ScanBack(tabEvent, eventKey(m.ID, 0), eventKey(m.ID, 0xffffffff)) {
		if next = binary.BigEndian.Uint32(k[len(k)-4:]) + 1; len(v) > 2 {
			next += uint32(binary.BigEndian.Uint16(v)) - 1
		}
		break
	}
	list = list[:min(len(list), maxEvents-int(min(next, maxEvents)))]
	if len(list) == 0 {
		return nil
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	tx.Put(tabEvent, eventKey(m.ID, next), append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), text...))
	b.weigh(tx, m, len(text)+40)
	return nil
}

// weigh adds octets to a story's and to all stories' size.
func (b *Book) weigh(tx *kv.Tx, m *Message, n int) {
	k := timeKey(m.At, m.ID)
	own := uint32(n)
	if v := tx.Get(tabTime, k); len(v) == 4 {
		own += binary.BigEndian.Uint32(v)
	}
	tx.Put(tabTime, k, binary.BigEndian.AppendUint32(nil, own))
	all := size(tx) + uint64(n)
	tx.Put(tabSize, sizeKey, binary.BigEndian.AppendUint64(nil, all))
	if all > uint64(b.o.Limit+b.o.Limit/8) {
		select {
		case b.full <- struct{}{}:
		default:
		}
	}
}

func size(tx *kv.Tx) uint64 {
	if v := tx.Get(tabSize, sizeKey); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func load(tx *kv.Tx, id string) (*Message, error) {
	row := tx.Get(tabStory, []byte(id))
	if row == nil {
		return nil, nil
	}
	m := &Message{}
	if err := json.Unmarshal(row, m); err != nil {
		return nil, fmt.Errorf("story %s: %w", id, err)
	}
	return m, nil
}

func events(tx *kv.Tx, id string) []Event {
	var out []Event
	for _, v := range tx.Scan(tabEvent, eventKey(id, 0), append(eventKey(id, 0xffffffff), 0)) {
		var some []Event
		if len(v) > 2 && json.Unmarshal(v[2:], &some) == nil {
			out = append(out, some...)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.At.Compare(b.At) })
	return out
}

// found yields the ids of an index entry, newest first.
func found(tx *kv.Tx, kind byte, hash uint64) func(yield func(string) bool) {
	from := binary.BigEndian.AppendUint64([]byte{kind}, hash)
	to := append(slices.Clone(from), slices.Repeat([]byte{0xff}, 9)...)
	return func(yield func(string) bool) {
		for k := range tx.ScanBack(tabIndex, from, to) {
			if !yield(string(k[17:])) {
				return
			}
		}
	}
}

// ErrUnknown: no story fits.
var ErrUnknown = errors.New("story: nothing is known of it")

// Find looks for stories by transaction id, Message-ID (with or without its brackets) or address, newest first, at most limit of them.
func (b *Book) Find(ctx context.Context, what string, limit int) ([]Story, error) {
	if b == nil {
		return nil, ErrUnknown
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return nil, err
	}
	limit = min(limit, maxFound)
	what = strings.TrimSpace(what)
	var out []Story
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		take := func(id string) error {
			m, err := load(tx, id)
			if err == nil && m != nil {
				out = append(out, Story{*m, events(tx, id)})
			}
			return err
		}
		if plainID(what) {
			if err := take(what); err != nil || len(out) > 0 {
				return err
			}
		}
		bare := strings.TrimSuffix(strings.TrimPrefix(what, "<"), ">")
		for _, x := range []struct {
			kind byte
			text string
			fits func(m *Message) bool
		}{
			{byMessageID, "<" + bare + ">", func(m *Message) bool { return strings.EqualFold(m.MessageID, "<"+bare+">") }},
			{byAddress, bare, func(m *Message) bool { return m.concerns(bare) }},
		} {
			for id := range found(tx, x.kind, hashOf(x.text)) {
				if len(out) >= limit {
					return nil
				}
				if err := take(id); err != nil {
					return err
				}
				if n := len(out); n > 0 && !x.fits(&out[n-1].Message) { // two texts of one hash
					out = out[:n-1]
				}
			}
		}
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%w: %s", ErrUnknown, what)
	}
	return out, err
}

func (m *Message) concerns(address string) bool {
	return slices.ContainsFunc(append([]string{m.From, m.Author, m.Account}, m.To...), func(s string) bool { return strings.EqualFold(s, address) })
}

// List yields the newest stories, without their events, at most limit, those before a time when it is not zero.
func (b *Book) List(ctx context.Context, before time.Time, limit int) ([]Message, error) {
	if b == nil {
		return nil, nil
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return nil, err
	}
	var to []byte
	if !before.IsZero() {
		to = timeKey(before, "")
	}
	var out []Message
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for k := range tx.ScanBack(tabTime, nil, to) {
			if len(out) >= min(limit, maxFound) {
				return nil
			}
			m, err := load(tx, string(k[8:]))
			if err != nil {
				return err
			}
			if m != nil {
				out = append(out, *m)
			}
		}
		return nil
	})
	return out, err
}
