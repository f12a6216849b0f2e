// Package limit keeps the house from harming its own name: how much each
// account, program and forwarding may send, what a stolen password looks like,
// and addresses outside that do not exist.
//
// Start at Book: Begin a Draft for each message, ask it at MAIL and RCPT, Take
// before the message is taken, then Keep or Return. window.go counts,
// memory.go knows to whom and from where an account has sent before. Both stand
// in side.db: losing it forgets a day's counts and no mail. List (suppress.go) is
// the suppression list, in meta.db.
package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Limits are the most of each in a window that slides; 0: no limit.
type Limits struct {
	MessagesHour, MessagesDay     int64
	RecipientsHour, RecipientsDay int64 // outside
	NewDay                        int64 // outside, whom the account has never written to
}

// Over is the limits where some are set for one alone: 0 leaves one as it is, below 0 is no limit.
func (l Limits) Over(own Limits) Limits {
	set := func(at *int64, n int64) {
		if n != 0 {
			*at = max(n, 0)
		}
	}
	set(&l.MessagesHour, own.MessagesHour)
	set(&l.MessagesDay, own.MessagesDay)
	set(&l.RecipientsHour, own.RecipientsHour)
	set(&l.RecipientsDay, own.RecipientsDay)
	set(&l.NewDay, own.NewDay)
	return l
}

// Settings are what holds where nothing is set for one alone.
type Settings struct {
	Account    Limits
	Program    Limits // programs of this machine, and devices without a password
	Forward    Limits // to one address outside, by aliases and forwards together
	ForwardAll Limits // to all of them together
	List       Limits // messages posted to one list: each is one for every member
	// SuspendAt is how many first-time recipients of an hour, from a network that is new for the account, look like a stolen
	// password; 0: none do.
	SuspendAt int64
}

// Options of a Book.
type Options struct {
	Side     *kv.Side
	Logger   *slog.Logger
	Metrics  *metrics.Set
	Now      func() time.Time
	Settings Settings
}

// Book counts what is sent. A nil Book limits nothing.
type Book struct {
	o        Options
	log      *slog.Logger
	settings atomic.Pointer[Settings]
	limited  *prometheus.CounterVec
	stopped  prometheus.Counter
	events   chan Event

	mu      sync.Mutex
	windows map[string]*window
	dirty   map[string]time.Time // windows that are on their way to the tables, and since when
	homes   map[mail.AccountID]map[netip.Prefix]sighting
	fresh   map[string]bool // keys of recipients that are on their way to the tables
}

// New returns a Book.
func New(o Options) *Book {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &Book{o: o, log: o.Logger, events: make(chan Event, 64), windows: map[string]*window{}, dirty: map[string]time.Time{},
		homes: map[mail.AccountID]map[netip.Prefix]sighting{}, fresh: map[string]bool{}}
	b.settings.Store(&o.Settings)
	b.limited = o.Metrics.Counters("sending_limited_total", "Messages and recipients refused because a limit of sending was reached, by limit.", "limit")
	b.stopped = o.Metrics.Counter("sending_suspended_total", "Accounts kept from sending because it looked as if somebody else had their password.")
	return b
}

// Set changes the settings.
func (b *Book) Set(s Settings) {
	if b != nil {
		b.settings.Store(&s)
	}
}

// Settings are those that hold.
func (b *Book) Settings() Settings {
	if b == nil {
		return Settings{}
	}
	return *b.settings.Load()
}

// Event is something that user and postmaster are told, once a day for each limit.
type Event struct {
	Who      string // as Sender.Name
	Account  mail.AccountID
	Exceeded *Exceeded  // nil: it looks like a stolen password
	Stolen   *Suspicion // and its account was kept from sending
}

// Events are to be read by whoever tells them; what nobody reads is dropped.
func (b *Book) Events() <-chan Event { return b.events }

func (b *Book) tell(e Event) {
	select {
	case b.events <- e:
	default: // it is in the log
	}
}

// Sender is who sends.
type Sender struct {
	Name    string         // for people: alice@one.test
	Account mail.AccountID // 0: a program or device; then first-time recipients are not known
	Program string         // its name
	Own     Limits         // set for it alone
	Domain  mail.Domain    // whose Limits hold for all its accounts together
	Shared  Limits
	Client  netip.Addr // from where; the zero one says nothing
}

// Exceeded is the error of a limit that was reached.
type Exceeded struct {
	Who   string
	Limit string // messages_per_hour, ...
	Used  int64
	Most  int64
	Opens time.Time // when there is room again
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("%s has reached the limit of %s (%d); there is room again from %s on", e.Who, e.words(), e.Most, e.Opens.UTC().Format("2 January 15:04 MST"))
}

func (e *Exceeded) words() string {
	return map[string]string{
		"messages_per_hour": "messages an hour", "messages_per_day": "messages a day", "recipients_per_hour": "recipients outside an hour",
		"recipients_per_day": "recipients outside a day", "new_recipients_per_day": "recipients a day who were never written to before",
	}[e.Limit]
}

// Suspicion is the error of a message that looks as if somebody else had the account's password.
type Suspicion struct {
	Who        string
	Recipients int64 // first-time ones within an hour
	Network    netip.Prefix
}

func (s *Suspicion) Error() string {
	return fmt.Sprintf("%s wrote to %d recipients within an hour who were never written to before, from the network %s, where the account has not been before", s.Who, s.Recipients, s.Network)
}

// Draft is a message before it is taken. A nil Draft limits nothing.
type Draft struct {
	b      *Book
	sender Sender
	limits []limited
	seen   map[string]bool // keys of its recipients outside
	learn  []string        // rows of those that are new, or known for long
	want   counts
	taken  int64 // bucket that was charged; 0: none
}

// limited is one window that the message counts in, with what may be in it.
type limited struct {
	key, name string
	Limits
}

// Begin begins a message.
func (b *Book) Begin(s Sender) *Draft {
	if b == nil {
		return nil
	}
	set := b.settings.Load()
	d := &Draft{b: b, sender: s, seen: map[string]bool{}, want: counts{messages: 1}}
	if s.Account == 0 {
		d.limits = []limited{{programKey(s.Program), s.Name, set.Program.Over(s.Own)}}
		return d
	}
	d.limits = []limited{{accountKey(s.Account), s.Name, set.Account.Over(s.Own)}}
	if s.Domain != "" && s.Shared != (Limits{}) {
		d.limits = append(d.limits, limited{domainKey(s.Domain), "the domain " + s.Domain.String(), Limits{}.Over(s.Shared)})
	}
	return d
}

// Forward begins a message that goes on to addresses outside, on behalf of aliases and forwards.
func (b *Book) Forward(to ...mail.Address) *Draft {
	if b == nil || len(to) == 0 {
		return nil
	}
	set := b.settings.Load()
	d := &Draft{b: b, sender: Sender{Name: "forwarding"}, want: counts{recipients: int64(len(to))}}
	d.limits = append(d.limits, limited{forwardKey(""), "forwarding", set.ForwardAll})
	for _, a := range to {
		d.limits = append(d.limits, limited{forwardKey(a.Key()), "forwarding to " + a.String(), set.Forward})
	}
	return d
}

// List begins a message that is posted to a list.
func (b *Book) List(a mail.Address) *Draft {
	if b == nil {
		return nil
	}
	return &Draft{b: b, sender: Sender{Name: "list"}, want: counts{messages: 1},
		limits: []limited{{listKey(a.Key()), "the list " + a.String(), b.settings.Load().List}}}
}

// share is how much of what the draft wants counts in its i-th window: of a forward each address has its own.
func (d *Draft) share(i int) counts {
	want := d.want
	if d.sender.Account == 0 && d.sender.Program == "" && i > 0 {
		want.recipients = 1
	}
	return want
}

// Ask reports whether there is room for the message as it is by now. Its errors are *Exceeded.
func (d *Draft) Ask(ctx context.Context) error {
	if d == nil {
		return nil
	}
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	return d.ask(ctx)
}

// Recipient adds one who is outside. It is refused with *Exceeded when there is no room for one more.
func (d *Draft) Recipient(ctx context.Context, a mail.Address) error {
	if d == nil || d.seen[a.Key()] {
		return nil
	}
	before := d.want
	row := ""
	d.want.recipients++
	if d.sender.Account != 0 {
		first, stale := d.b.never(ctx, knownKey(d.sender.Account, a))
		if first {
			d.want.firsts++
		}
		if first || stale {
			row = knownKey(d.sender.Account, a)
		}
	}
	if err := d.Ask(ctx); err != nil {
		d.want = before
		return err
	}
	d.seen[a.Key()] = true
	if row != "" {
		d.learn = append(d.learn, row)
	}
	return nil
}

func (d *Draft) ask(ctx context.Context) error {
	now := d.b.o.Now()
	for i, l := range d.limits {
		w := d.b.window(ctx, l.key)
		if no := w.room(now, l.Limits, d.share(i)); no != nil {
			no.Who = l.name
			d.b.refused(ctx, w, d, l.key, no)
			return no
		}
	}
	return nil
}

// refused counts, and tells whoever must know, once a day for each limit.
func (b *Book) refused(ctx context.Context, w *window, d *Draft, key string, no *Exceeded) {
	now := b.o.Now()
	b.limited.WithLabelValues(no.Limit).Inc()
	w.add(now, counts{refused: 1})
	b.changed(key)
	day := now.Unix() / 86400
	if w.told[no.Limit] == day {
		return
	}
	w.told[no.Limit] = day
	b.log.WarnContext(ctx, logx.SendLimited, "who", no.Who, "limit", no.Limit, "used", no.Used, "most", no.Most, "opens", no.Opens)
	told := *no
	b.tell(Event{Who: no.Who, Account: d.sender.Account, Exceeded: &told})
}

// Take charges the message, all of it or nothing; after it Keep or Return must be called. Errors are *Exceeded or *Suspicion; after a
// *Suspicion the account is to be kept from sending.
func (d *Draft) Take(ctx context.Context) error {
	if d == nil {
		return nil
	}
	b := d.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := d.ask(ctx); err != nil {
		return err
	}
	now := b.o.Now()
	d.want.strange = 0
	if d.want.firsts > 0 && b.away(ctx, d.sender.Account, d.sender.Client) {
		d.want.strange = d.want.firsts
		w := b.window(ctx, d.limits[0].key)
		all := w.sum(now, time.Hour).strange + d.want.strange
		if most := b.settings.Load().SuspendAt; most > 0 && all >= most && w.told[trusted] < now.Unix()/86400 {
			b.stopped.Inc()
			no := &Suspicion{Who: d.sender.Name, Recipients: all, Network: network(d.sender.Client)}
			b.log.WarnContext(ctx, logx.SendSuspended, "account", no.Who, "recipients", no.Recipients, "network", no.Network)
			b.tell(Event{Who: no.Who, Account: d.sender.Account, Stolen: no})
			return no
		}
	}
	for i, l := range d.limits {
		d.taken = b.window(ctx, l.key).add(now, d.share(i))
		b.changed(l.key)
	}
	return nil
}

// trusted stands among what was told: the day up to which nothing of the account looks stolen.
const trusted = "trusted"

// Trust is what an operator says who has looked at an account: for a day nothing of it looks stolen.
func (b *Book) Trust(ctx context.Context, id mail.AccountID) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.o.Now()
	w := b.window(ctx, accountKey(id))
	w.told[trusted] = now.Unix()/86400 + 1
	w.add(now, counts{}) // the row is kept for a day
	b.changed(accountKey(id))
}

// Return gives back what Take charged: the message was refused.
func (d *Draft) Return(ctx context.Context) {
	if d == nil || d.taken == 0 {
		return
	}
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	for i, l := range d.limits {
		d.b.window(ctx, l.key).giveBack(d.taken, d.share(i))
		d.b.changed(l.key)
	}
	d.taken = 0
}

// Keep ends a message that was taken: its recipients and its network are known from now on.
func (d *Draft) Keep(ctx context.Context) {
	if d == nil || d.taken == 0 || d.sender.Account == 0 {
		return
	}
	d.b.know(d.learn)
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	d.b.seenAt(ctx, d.sender.Account, d.sender.Client)
}

// Usage is what was sent.
type Usage struct {
	MessagesHour   int64 `json:"messages_hour"`
	MessagesDay    int64 `json:"messages_day"`
	RecipientsHour int64 `json:"recipients_hour"`
	RecipientsDay  int64 `json:"recipients_day"`
	NewDay         int64 `json:"new_recipients_day"`
	RefusedDay     int64 `json:"refused_day"`
}

// Account is what an account has sent.
func (b *Book) Account(ctx context.Context, id mail.AccountID) Usage {
	return b.usage(ctx, accountKey(id))
}

// Domain is what the accounts of a domain have sent since it has limits.
func (b *Book) Domain(ctx context.Context, d mail.Domain) Usage { return b.usage(ctx, domainKey(d)) }

func (b *Book) usage(ctx context.Context, key string) Usage {
	if b == nil {
		return Usage{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w, now := b.window(ctx, key), b.o.Now()
	h, d := w.sum(now, time.Hour), w.sum(now, day)
	return Usage{h.messages, d.messages, h.recipients, d.recipients, d.firsts, d.refused}
}

// IsLimit reports an error of this package: the sender did nothing wrong that another try later would not mend.
func IsLimit(err error) bool {
	_, ok := errors.AsType[*Exceeded](err)
	return ok
}
