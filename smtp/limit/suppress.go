package limit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableList has the suppression list in meta.db: address key -> Entry as JSON. It is small, and the operator writes into it.
const tableList kv.Table = "e"

const (
	maxEntries   = 50_000
	maxPending   = 5_000            // failures that wait to be noted
	forgetAfter  = 180 * day        // behind the last failure
	doubtfulDays = 3                // different days on which a doubtful answer counts
	maxSenders   = 4                // that are remembered of an entry
	keptText     = 300              // octets of an answer
	keptNote     = 200              // octets of what the operator says
	workEvery    = 10 * time.Minute // entries that are over are looked for
)

// rounds is for how long an address is suppressed the first time, the second, and so on.
func rounds() []time.Duration { return []time.Duration{day, 7 * day, 30 * day, 90 * day} }

// Entry is one address outside that did not exist when it was tried.
type Entry struct {
	Address string    `json:"address"`
	Code    int       `json:"code,omitempty"`
	Status  string    `json:"status,omitempty"`
	Text    string    `json:"text,omitempty"` // the other host's words
	Host    string    `json:"host,omitempty"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Days    int       `json:"days"`             // different ones on which it failed
	Rounds  int       `json:"rounds"`           // how often it was suppressed
	Until   time.Time `json:"until,omitzero"`   // zero: it is watched only
	Manual  bool      `json:"manual,omitempty"` // the operator's: for everybody
	Note    string    `json:"note,omitempty"`
	Senders []string  `json:"senders,omitempty"`   // hashes of those who met it
	All     bool      `json:"everybody,omitempty"` // of Shown: Everybody
}

// Suppressed reports whether it holds.
func (e *Entry) Suppressed(now time.Time) bool { return now.Before(e.Until) }

// forever is an end that nobody sees.
func forever() time.Time { return time.Unix(1<<36, 0).UTC() }

// Forever reports whether it ends by hand only.
func (e *Entry) Forever() bool { return !e.Until.Before(forever()) }

// Everybody reports whether it holds for all senders: one sender's failure can be a misunderstanding between two hosts.
func (e *Entry) Everybody() bool { return e.All || e.Manual || e.Days > 1 || len(e.Senders) > 1 }

// Shown is the entry for people, without the hashes.
func (e Entry) Shown() Entry {
	e.All, e.Senders = e.Everybody(), nil
	return e
}

// Failure is what another host answered for a recipient, for good.
type Failure struct {
	To, From mail.Address
	Code     int
	Status   string // RFC 3463
	Text     string
	Host     string // empty: it was us
}

// ListOptions of a List.
type ListOptions struct {
	DB      *kv.DB
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time
	Off     bool // nothing is suppressed but by hand
}

// List is the suppression list. A nil List has nobody on it.
type List struct {
	o   ListOptions
	log *slog.Logger

	wake    chan struct{}
	mu      sync.Mutex
	known   map[string]bool // keys of the rows; nil: not read yet
	pending []Failure
	arrived map[string]bool // addresses that wrote to us, whose row goes
}

// NewList returns a List; before db.Start.
func NewList(o ListOptions) *List {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &List{o: o, log: o.Logger, wake: make(chan struct{}, 1), arrived: map[string]bool{}}
	o.DB.Outline(kv.Outline{Rows: func(tx *kv.Tx, yield func(t kv.Table, key, value []byte) error) error {
		for key, v := range tx.Scan(tableList, nil, nil) {
			if e, err := decodeEntry(v); err == nil && e.Manual { // what nobody could learn again
				if err := yield(tableList, key, v); err != nil {
					return err
				}
			}
		}
		return nil
	}})
	o.Metrics.GaugeFunc("suppressed_addresses", "Addresses outside on the suppression list, watched ones included.", func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return float64(len(l.known))
	})
	return l
}

func decodeEntry(v []byte) (e Entry, err error) {
	if err = json.Unmarshal(v, &e); err == nil && e.Address == "" {
		err = fmt.Errorf("an entry without address")
	}
	return e, err
}

func put(tx *kv.Tx, key string, e Entry) error {
	v, err := json.Marshal(e)
	if err == nil {
		tx.Put(tableList, []byte(key), v)
	}
	return err
}

// load reads which addresses have a row, once.
func (l *List) load(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known != nil {
		return nil
	}
	known := map[string]bool{}
	err := l.o.DB.View(ctx, func(tx *kv.Tx) error {
		for key := range tx.Scan(tableList, nil, nil) {
			known[string(key)] = true
		}
		return nil
	})
	if err == nil {
		l.known = known
	}
	return err
}

func (l *List) has(ctx context.Context, key string) bool {
	if err := l.load(ctx); err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[key]
}

// Refuses tells whether mail from a sender to an address is not to be tried now, and why.
func (l *List) Refuses(ctx context.Context, to, from mail.Address) (Entry, bool) {
	if l == nil || to.Domain == "" || !l.has(ctx, to.Key()) {
		return Entry{}, false
	}
	e, ok, err := l.Find(ctx, to)
	if err != nil || !ok || !e.Suppressed(l.o.Now()) {
		return Entry{}, false
	}
	return e, e.Everybody() || slices.Contains(e.Senders, senderHash(from))
}

// Find reads the row of an address.
func (l *List) Find(ctx context.Context, a mail.Address) (e Entry, ok bool, err error) {
	err = l.o.DB.View(ctx, func(tx *kv.Tx) error {
		v := tx.Get(tableList, []byte(a.Key()))
		if v == nil {
			return nil
		}
		ok = true
		e, err = decodeEntry(v)
		return err
	})
	return e, ok && err == nil, err
}

// All lists the entries by address, those that hold, with watched all of them.
func (l *List) All(ctx context.Context, watched bool) (all []Entry, err error) {
	now := l.o.Now()
	err = l.o.DB.View(ctx, func(tx *kv.Tx) error {
		for _, v := range tx.Scan(tableList, nil, nil) {
			if e, err := decodeEntry(v); err == nil && (watched || e.Suppressed(now)) {
				all = append(all, e)
			}
		}
		return nil
	})
	return all, err
}

// Part is some of All: those that hold, stand behind a key and have a text in theirs, at most so many; next is the key to go on behind,
// empty: there are no more.
func (l *List) Part(ctx context.Context, text, after string, most int) (all []Entry, next string, err error) {
	if l == nil {
		return nil, "", nil
	}
	now := l.o.Now()
	err = l.o.DB.View(ctx, func(tx *kv.Tx) error {
		all, next = nil, ""
		last := ""
		for key, v := range tx.Scan(tableList, []byte(after+"\x00"), nil) {
			if text != "" && !strings.Contains(string(key), text) {
				continue
			}
			if e, err := decodeEntry(v); err == nil && e.Suppressed(now) {
				if len(all) == most {
					next = last
					return nil
				}
				all, last = append(all, e), string(key)
			}
		}
		return nil
	})
	return all, next, err
}

// Check names rows that cannot be read.
func (l *List) Check(ctx context.Context) (problems []string, err error) {
	err = l.o.DB.View(ctx, func(tx *kv.Tx) error {
		for key, v := range tx.Scan(tableList, nil, nil) {
			if _, err := decodeEntry(v); err != nil && len(problems) < 100 {
				problems = append(problems, fmt.Sprintf("suppression list: the row of %q cannot be read: %v", key, err))
			}
		}
		return nil
	})
	return problems, err
}

// Add puts an address on the list by hand. for 0: for ever.
func (l *List) Add(ctx context.Context, a mail.Address, d time.Duration, note string) (e Entry, err error) {
	err = l.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		e, err = l.Put(tx, a, d, note)
		return err
	})
	return e, err
}

// Put is Add in a transaction of the caller's.
func (l *List) Put(tx *kv.Tx, a mail.Address, d time.Duration, note string) (Entry, error) {
	now := l.o.Now()
	e := Entry{Address: a.String(), First: now, Last: now, Manual: true, Note: cut(note, keptNote), Until: forever()}
	if d > 0 {
		e.Until = now.Add(d).UTC()
	}
	if v := tx.Get(tableList, []byte(a.Key())); v != nil {
		if old, err := decodeEntry(v); err == nil {
			e.First, e.Last, e.Days, e.Rounds, e.Code, e.Status, e.Text, e.Host = old.First, old.Last, old.Days, old.Rounds, old.Code, old.Status, old.Text, old.Host
		}
	}
	tx.OnCommit(func() { l.note(a.Key(), true) })
	return e, put(tx, a.Key(), e)
}

// Remove takes an address off; ok is false when it was not there.
func (l *List) Remove(ctx context.Context, a mail.Address) (ok bool, err error) {
	err = l.o.DB.Update(ctx, func(tx *kv.Tx) error {
		ok = l.Take(tx, a)
		return nil
	})
	return ok, err
}

// Take is Remove in a transaction of the caller's.
func (l *List) Take(tx *kv.Tx, a mail.Address) bool {
	if tx.Get(tableList, []byte(a.Key())) == nil {
		return false
	}
	tx.Delete(tableList, []byte(a.Key()))
	tx.OnCommit(func() { l.note(a.Key(), false) })
	return true
}

// note keeps the set of keys true; it runs after a commit.
func (l *List) note(key string, there bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.known == nil:
	case there:
		l.known[key] = true
	default:
		delete(l.known, key)
	}
}

// ForgetSender is part of the transaction that removes an account: nothing of its addresses stays.
func (l *List) ForgetSender(tx *kv.Tx, addresses []mail.Address) error {
	if l == nil {
		return nil
	}
	var hashes []string
	for _, a := range addresses {
		hashes = append(hashes, senderHash(a))
	}
	changed := map[string]Entry{}
	for key, v := range tx.Scan(tableList, nil, nil) {
		e, err := decodeEntry(v)
		if err != nil {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(e.Senders), func(s string) bool { return slices.Contains(hashes, s) })
		if len(left) < len(e.Senders) {
			e.Senders = left
			changed[string(key)] = e
		}
	}
	for key, e := range changed {
		if err := put(tx, key, e); err != nil {
			return err
		}
	}
	return nil
}

// senderHash stands for a sender. What goes on from our aliases has one sender, whatever it is called.
func senderHash(a mail.Address) string {
	key := a.Key()
	if s := strings.ToUpper(a.Local); strings.HasPrefix(s, "SRS0") || strings.HasPrefix(s, "SRS1") || a.IsNull() {
		key = "forwarding"
	}
	h := sha256.Sum256([]byte(key))
	return fmt.Sprintf("%x", h[:6])
}

// Class says what an answer tells of the address.
type Class uint8

const (
	Nothing  Class = iota // about the message, the sender or the moment
	Doubtful              // it may not exist: it must be told on several days
	Unknown               // it does not exist
)

// Classify reads an answer. Hosts say "no such user" for many reasons: what sounds of junk, policy, proof or quota is about us or the
// moment, whatever its code.
func Classify(f Failure) Class {
	if f.Host == "" || f.Code < 500 || f.Code > 599 {
		return Nothing
	}
	text := strings.ToLower(f.Text)
	for _, w := range []string{"spam", "junk", "block list", "blocklist", "blacklist", "black list", "blocked", "dnsbl", "rbl ", "reputation", "policy", "listed", "access denied",
		"relaying denied", "not permitted to relay", "quota", "mailbox full", "mailbox is full", "rate limit", "too many", "try again", "temporar", "greylist", "authenticat",
		"spf", "dkim", "dmarc", "ptr", "reverse dns", "virus", "content", "sender address", "sender rejected", "helo ", "ehlo ", "hostname", "client host"} {
		if strings.Contains(text, w) {
			return Nothing
		}
	}
	said := false
	for _, w := range []string{"user unknown", "unknown user", "no such user", "does not exist", "doesn't exist", "not found", "no mailbox", "no such mailbox", "invalid recipient", "unknown recipient",
		"no such recipient", "no such address", "unknown local part", "unrouteable address", "disabled", "inactive", "no such person", "invalid mailbox", "unknown address"} {
		said = said || strings.Contains(text, w)
	}
	switch f.Status {
	case "5.1.1", "5.1.10", "5.1.6":
		return Unknown
	case "5.1.0", "5.1.2", "5.1.3", "5.2.1":
		return Doubtful
	case "5.0.0", "5.5.0", "5.2.0", "5.4.1", "5.3.0", "5.5.1", "": // 5.1.7 and 5.1.8 are about the sender's
		if said {
			return Doubtful
		}
	}
	return Nothing
}

// Heard notes a failure; it never waits.
func (l *List) Heard(f Failure) {
	if l == nil || l.o.Off || f.To.Domain == "" || Classify(f) == Nothing {
		return
	}
	l.mu.Lock()
	if len(l.pending) < maxPending {
		l.pending = append(l.pending, f)
	}
	l.mu.Unlock()
	l.poke()
}

// Arrived tells that proven mail came from an address: it exists.
func (l *List) Arrived(ctx context.Context, from mail.Address) {
	if l == nil || from.IsNull() || !l.has(ctx, from.Key()) {
		return
	}
	l.mu.Lock()
	l.arrived[from.Key()] = true
	l.mu.Unlock()
	l.poke()
}

func (l *List) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes down what was heard, and forgets what is over, until ctx ends; what is left is written before it returns.
func (l *List) Run(ctx context.Context) {
	if l == nil {
		return
	}
	tick := time.NewTicker(workEvery)
	defer tick.Stop()
	work := context.WithoutCancel(ctx) // what was heard is written down, also when the end comes at the same moment
	for {
		select {
		case <-ctx.Done():
			l.work(work, false)
			return
		case <-l.wake:
			l.work(work, false)
		case <-tick.C:
			l.work(work, true)
		}
	}
}

func (l *List) work(ctx context.Context, forget bool) {
	err := l.load(ctx)
	l.mu.Lock()
	failures, arrived := l.pending, l.arrived
	l.pending, l.arrived = nil, map[string]bool{}
	room := maxEntries - len(l.known)
	l.mu.Unlock()
	if err == nil && len(failures)+len(arrived) > 0 || forget {
		var lines []func()
		err = l.o.DB.Update(ctx, func(tx *kv.Tx) error {
			lines = nil
			for key := range arrived {
				lines = append(lines, l.lift(tx, key)...)
			}
			left := room
			for _, f := range failures {
				said, err := l.fail(tx, f, &left)
				if err != nil {
					return err
				}
				lines = append(lines, said...)
			}
			if forget {
				l.forget(tx)
			}
			return nil
		})
		if err == nil {
			for _, say := range lines {
				say()
			}
		}
	}
	if err != nil { // the next failure says it again
		l.log.WarnContext(ctx, logx.LimitsFailed, "error", err)
	}
}

// lift removes the row of an address that has written to us; what the operator put there stays.
func (l *List) lift(tx *kv.Tx, key string) []func() {
	v := tx.Get(tableList, []byte(key))
	if v == nil {
		return nil
	}
	if e, err := decodeEntry(v); err == nil && e.Manual {
		return nil
	}
	tx.Delete(tableList, []byte(key))
	tx.OnCommit(func() { l.note(key, false) })
	return []func(){func() { l.log.Info(logx.Unsuppressed, "address", key, "reason", "mail came from it") }}
}

// fail notes a failure.
func (l *List) fail(tx *kv.Tx, f Failure, room *int) ([]func(), error) {
	key, now := f.To.Key(), l.o.Now().UTC()
	e := Entry{Address: f.To.String(), First: now}
	if v := tx.Get(tableList, []byte(key)); v != nil {
		old, err := decodeEntry(v)
		if err == nil {
			e = old
		}
		if e.Manual {
			return nil, nil
		}
	} else if *room--; *room < 0 {
		return nil, nil
	}
	if e.Days == 0 || e.Last.Unix()/86400 != now.Unix()/86400 {
		e.Days++
	}
	e.Last, e.Code, e.Status, e.Host, e.Text = now, f.Code, f.Status, cut(f.Host, 255), cut(f.Text, keptText)
	if h := senderHash(f.From); !slices.Contains(e.Senders, h) && len(e.Senders) < maxSenders {
		e.Senders = append(e.Senders, h)
	}
	var said []func()
	if !e.Suppressed(now) && (Classify(f) == Unknown || e.Days >= doubtfulDays) {
		all := rounds()
		e.Until = now.Add(all[min(e.Rounds, len(all)-1)])
		e.Rounds++
		said = append(said, func() {
			l.log.Info(logx.Suppressed, "address", e.Address, "status", e.Status, "text", e.Text, "until", e.Until)
		})
	}
	tx.OnCommit(func() { l.note(key, true) })
	return said, put(tx, key, e)
}

// forget removes what is over for long.
func (l *List) forget(tx *kv.Tx) {
	now := l.o.Now()
	var gone []string
	for key, v := range tx.Scan(tableList, nil, nil) {
		e, err := decodeEntry(v)
		if err == nil && !e.Suppressed(now) && (e.Manual || now.Sub(e.Last) > forgetAfter) {
			gone = append(gone, string(key))
		}
	}
	for _, key := range gone {
		tx.Delete(tableList, []byte(key))
		tx.OnCommit(func() { l.note(key, false) })
	}
}

func cut(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}
