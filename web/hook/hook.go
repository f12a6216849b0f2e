// Package hook tells programs elsewhere what happens to mail: a webhook is an address that gets a POST for each event it asks for.
//
// Book has the webhooks (table W of meta.db) and what waits for them (table O of side.db). It hears of events from the stories of
// messages (hear.go) and whoever calls Tell; Run delivers (deliver.go) through a client that reaches nothing inside the house's own
// networks (guard.go). Form and signature are those of the Standard Webhooks specification, version 1 (sign.go).
package hook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

const (
	tableHooks   kv.Table = "W" // of meta.db: id -> Hook as JSON
	tableWaiting kv.Table = "O" // of side.db: hook id | 0 | due u64 (ms) | number u64 -> waiting as JSON
)

var (
	ErrInvalid = errors.New("hook: not allowed") // wrapped with the reason
	ErrUnknown = errors.New("hook: no such webhook")
)

// The events.
const (
	Received  = "message.received"  // mail from outside is in a mailbox here
	Delivered = "message.delivered" // a recipient of mail of ours has it: another host took it, or it is in a mailbox here
	Delayed   = "message.delayed"   // it waits for so long that the sender was told
	Bounced   = "message.bounced"   // given up for a recipient
	Complaint = "message.complaint" // a recipient called it junk (RFC 5965)
	Suspended = "account.suspended" // an account may send nothing any more
	Tested    = "test"              // made by hand
)

// Events are those that can be asked for.
func Events() []string { return []string{Received, Delivered, Delayed, Bounced, Complaint, Suspended} }

// Bounds.
const (
	maxHooks   = 50
	maxURL     = 2000
	maxWaiting = 20_000 // events of one webhook that wait; of more, the new ones are lost and counted

	formerFor = 24 * time.Hour // a former secret signs too, so that the other side can change in between
)

// Hook is a webhook.
type Hook struct {
	ID      string    `json:"id"`
	URL     string    `json:"url"`
	Events  []string  `json:"events"`
	Secret  string    `json:"secret"`            // whsec_ and base64
	Private bool      `json:"private,omitempty"` // it may be in a private network, on this host, and without TLS
	Made    time.Time `json:"made"`

	Former string    `json:"former,omitempty"` // the secret before it, which signs too
	Until  time.Time `json:"until,omitzero"`   // then
}

// Event is something that happened.
type Event struct {
	Type string
	At   time.Time
	Data Data
}

// Data is what an event says. Fields that have no meaning for it are empty.
type Data struct {
	ID        string `json:"id,omitempty"`         // of the transaction, as in receipts and posthouse trace
	MessageID string `json:"message_id,omitempty"` // with its angle brackets
	Direction string `json:"direction,omitempty"`  // in, out
	From      string `json:"from,omitempty"`       // envelope sender
	To        string `json:"to,omitempty"`         // the recipient that it is about
	Account   string `json:"account,omitempty"`
	Size      int64  `json:"size,omitempty"`
	Code      int    `json:"code,omitempty"` // of the other host's reply
	Status    string `json:"status,omitempty"`
	Host      string `json:"host,omitempty"`
	Text      string `json:"text,omitempty"`
}

// Options of a Book.
type Options struct {
	DB      *kv.DB
	Side    *kv.Side
	Story   *story.Book // tells of mail; nil: only what Tell is given
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time
	Program string // named to the other side
	// Dial connects in place of the system's, after it was decided that the address may be reached; for tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Book is the webhooks of a house. A nil Book has none.
type Book struct {
	o     Options
	hooks atomic.Pointer[[]Hook] // as of the last commit; nil: none is set, which costs events one look
	wake  chan struct{}          // cap 1
	tries *prometheus.CounterVec

	mu     sync.Mutex
	states map[string]*State
	last   uint64 // number of the last event that waits
}

// State is how a webhook does.
type State struct {
	Waiting int       `json:"waiting"`
	Lost    int       `json:"lost,omitempty"`     // since the start: given up, or too many waited
	Good    time.Time `json:"delivered,omitzero"` // the last that was taken
	Bad     time.Time `json:"failed,omitzero"`    // the last attempt that failed
	Error   string    `json:"error,omitempty"`    // and why; empty once one was taken again
	pause   time.Time // nothing is tried before
	failed  int       // attempts in a row that found nobody
}

// New returns the webhooks over started keepers. Load comes first.
func New(o Options) *Book {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Book{o: o, wake: make(chan struct{}, 1), states: map[string]*State{}}
	b.tries = o.Metrics.Counters("webhook_attempts_total", "Events sent to webhooks, by result: taken, failed (tried again), lost (given up, or too many waited).", "result")
	for _, result := range []string{"taken", "failed", "lost"} {
		b.tries.WithLabelValues(result) // from 0: what begins at 1 is no increase
	}
	o.Metrics.GaugeFunc("webhook_waiting", "Events that wait for a webhook.", func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		n := 0
		for _, s := range b.states {
			n += s.Waiting
		}
		return float64(n)
	})
	o.DB.Outline(kv.Outline{Whole: []kv.Table{tableHooks}})
	return b
}

// Load reads what is set and what waits.
func (b *Book) Load(ctx context.Context) error {
	all, err := b.Hooks(ctx)
	if err != nil {
		return err
	}
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, h := range all {
			s := b.state(h.ID)
			s.Waiting = 0
			for key := range tx.Scan(tableWaiting, prefixOf(h.ID), endOf(h.ID)) {
				s.Waiting++
				b.last = max(b.last, binary.BigEndian.Uint64(key[len(key)-8:]))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.o.Side.Later(func(tx *kv.Tx) error { dropStray(tx, all); return nil })
	b.set(all)
	b.poke()
	return nil
}

// dropStray removes what waits for webhooks that are gone: side.db may have ended before it heard that they are, and an event may have
// come at that moment.
func dropStray(tx *kv.Tx, all []Hook) {
	var keys [][]byte
	for key := range tx.Scan(tableWaiting, nil, nil) {
		id, _, _ := bytes.Cut(key, []byte{0})
		if !slices.ContainsFunc(all, func(h Hook) bool { return h.ID == string(id) }) {
			keys = append(keys, slices.Clone(key))
		}
	}
	for _, key := range keys {
		tx.Delete(tableWaiting, key)
	}
}

// Deaf tells that no stories are kept: of mail there are no events, whatever a webhook asks for.
func (b *Book) Deaf() bool { return b.o.Story == nil }

// set makes all the webhooks that events are for.
func (b *Book) set(all []Hook) {
	if len(all) == 0 {
		b.hooks.Store(nil)
		b.o.Story.Hear(nil)
		return
	}
	b.hooks.Store(&all)
	b.o.Story.Hear(b.heard)
}

func (b *Book) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// state is called with mu held.
func (b *Book) state(id string) *State {
	s := b.states[id]
	if s == nil {
		s = &State{}
		b.states[id] = s
	}
	return s
}

// States is how each webhook does, by its id.
func (b *Book) States() map[string]State {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]State, len(b.states))
	for id, s := range b.states {
		out[id] = *s
	}
	return out
}

// Make checks a webhook and gives it id and secret.
func (b *Book) Make(h Hook) (Hook, error) {
	if err := h.check(); err != nil {
		return h, err
	}
	slices.Sort(h.Events)
	h.Events = slices.Compact(h.Events)
	h.ID, h.Secret, h.Made = strings.ToLower(rand.Text()[:8]), newSecret(), b.o.Now().UTC().Truncate(time.Second)
	return h, nil
}

func newSecret() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	return secretPrefix + base64.StdEncoding.EncodeToString(secret[:])
}

// Rotate gives a webhook a new secret. The former one signs too for a day.
func (b *Book) Rotate(tx *kv.Tx, id string) (Hook, error) {
	all, err := hooksIn(tx)
	if err != nil {
		return Hook{}, err
	}
	i := slices.IndexFunc(all, func(h Hook) bool { return h.ID == id })
	if i < 0 {
		return Hook{}, ErrUnknown
	}
	h := &all[i]
	h.Former, h.Until, h.Secret = h.Secret, b.o.Now().UTC().Add(formerFor).Truncate(time.Second), newSecret()
	text, err := json.Marshal(h)
	if err != nil {
		return Hook{}, err
	}
	tx.Put(tableHooks, []byte(id), text)
	tx.OnCommit(func() { b.set(all) })
	return *h, nil
}

func (h *Hook) check() error {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || len(h.URL) > maxURL || strings.ContainsFunc(h.URL, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Errorf("%w: %q is no address that a program can be reached at: write https://HOST/PATH", ErrInvalid, h.URL)
	case u.Scheme != "https" && !(u.Scheme == "http" && h.Private):
		return fmt.Errorf("%w: events say who writes to whom, so a webhook has an address with https; http is for private networks", ErrInvalid)
	case u.User != nil || u.Fragment != "":
		return fmt.Errorf("%w: a webhook is proven by its signature: its address has no password and no #", ErrInvalid)
	case len(h.Events) == 0:
		return fmt.Errorf("%w: say which events: %s", ErrInvalid, strings.Join(Events(), ", "))
	}
	for _, e := range h.Events {
		if !slices.Contains(Events(), e) {
			return fmt.Errorf("%w: %q is no event: there are %s", ErrInvalid, e, strings.Join(Events(), ", "))
		}
	}
	return nil
}

// Put keeps a webhook that Make has made.
func (b *Book) Put(tx *kv.Tx, h Hook) error {
	all, err := hooksIn(tx)
	if err != nil {
		return err
	}
	if len(all) >= maxHooks {
		return fmt.Errorf("%w: a house has up to %d webhooks", ErrInvalid, maxHooks)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	tx.Put(tableHooks, []byte(h.ID), text)
	all = append(all, h)
	tx.OnCommit(func() { b.set(all) })
	return nil
}

// Remove takes a webhook away; what waits for it is dropped.
func (b *Book) Remove(tx *kv.Tx, id string) (Hook, error) {
	all, err := hooksIn(tx)
	if err != nil {
		return Hook{}, err
	}
	i := slices.IndexFunc(all, func(h Hook) bool { return h.ID == id })
	if i < 0 {
		return Hook{}, ErrUnknown
	}
	gone := all[i]
	tx.Delete(tableHooks, []byte(id))
	all = slices.Delete(all, i, i+1)
	tx.OnCommit(func() {
		b.set(all)
		b.mu.Lock()
		delete(b.states, id)
		b.mu.Unlock()
		b.o.Side.Later(func(tx *kv.Tx) error { dropWaiting(tx, id); return nil })
	})
	return gone, nil
}

func dropWaiting(tx *kv.Tx, id string) {
	var keys [][]byte
	for key := range tx.Scan(tableWaiting, prefixOf(id), endOf(id)) {
		keys = append(keys, slices.Clone(key))
	}
	for _, key := range keys {
		tx.Delete(tableWaiting, key)
	}
}

// Hooks lists all, the oldest first.
func (b *Book) Hooks(ctx context.Context) (all []Hook, err error) {
	err = b.o.DB.View(ctx, func(tx *kv.Tx) (err error) {
		all, err = hooksIn(tx)
		return err
	})
	slices.SortStableFunc(all, func(x, y Hook) int { return x.Made.Compare(y.Made) })
	return all, err
}

func hooksIn(tx *kv.Tx) (all []Hook, err error) {
	for key, value := range tx.Scan(tableHooks, nil, nil) {
		var h Hook
		if err := json.Unmarshal(value, &h); err != nil {
			return nil, fmt.Errorf("hook: webhook %q cannot be read: %w", key, err)
		}
		all = append(all, h)
	}
	return all, nil
}

// waiting is an event on its way to one webhook.
type waiting struct {
	Name  string    `json:"name"` // webhook-id: the same at each attempt
	Type  string    `json:"type"`
	At    time.Time `json:"at"`
	Data  Data      `json:"data"`
	Tries int       `json:"tries,omitempty"`
	Body  []byte    `json:"body,omitempty"` // once it was made: each attempt says the same
}

func prefixOf(id string) []byte { return append([]byte(id), 0) }
func endOf(id string) []byte    { return append([]byte(id), 1) }

func waitingKey(id string, due time.Time, number uint64) []byte {
	key := binary.BigEndian.AppendUint64(prefixOf(id), uint64(max(due.UnixMilli(), 0)))
	return binary.BigEndian.AppendUint64(key, number)
}

func dueOf(key []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key[len(key)-16:])))
}

// Tell has an event sent to the webhooks that ask for it. It never waits, and costs a look where there are none.
func (b *Book) Tell(e Event) {
	if b == nil {
		return
	}
	all := b.hooks.Load()
	if all == nil {
		return
	}
	for i := range *all {
		if h := &(*all)[i]; slices.Contains(h.Events, e.Type) {
			b.enqueue(h.ID, e)
		}
	}
}

func (b *Book) enqueue(id string, e Event) {
	if e.At.IsZero() {
		e.At = b.o.Now()
	}
	b.mu.Lock()
	s := b.state(id)
	if s.Waiting >= maxWaiting {
		s.Lost++
		b.mu.Unlock()
		b.tries.WithLabelValues("lost").Inc()
		return
	}
	s.Waiting++
	b.last++
	number := b.last
	b.mu.Unlock()
	w := waiting{Name: "msg_" + rand.Text(), Type: e.Type, At: e.At.UTC(), Data: e.Data}
	text, err := json.Marshal(w)
	if err != nil { // plain values of ours always can
		return
	}
	key := waitingKey(id, b.o.Now(), number)
	b.o.Side.Later(func(tx *kv.Tx) error {
		tx.Put(tableWaiting, key, text)
		return nil
	})
	b.poke()
}
