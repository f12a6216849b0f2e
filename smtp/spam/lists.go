package spam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

const (
	keepAnswer  = 5 * time.Minute  // lists change within minutes
	keepFailure = 30 * time.Second // so that a dead list costs one wait, not one for each message
	keptAnswers = 16384            // kept
	maxFlying   = 512              // questions at the same time; what comes on top is not known
	checkAgain  = time.Hour
	checkSoon   = time.Minute // after a check that could not be done
)

// List is a block list or allow list of the DNS (RFC 5782).
type List struct {
	Name  string // for people and signals: "spamhaus_zen"
	Zone  string // "zen.spamhaus.org"
	Kind  ListKind
	Codes []Code // documented answers; every other answer is an error of the list and never a listing
	Test  string // a domain that the list must have; "test" (RFC 5782 section 5)
}

// ListKind is what a list is asked about.
type ListKind uint8

// Kinds of lists.
const (
	OfAddresses ListKind = iota // the client's address
	OfDomains                   // domains in EHLO, MAIL FROM, From, signatures and links
)

// Code is the meaning of an answer.
type Code struct {
	Answer   netip.Prefix // answers that mean it; with Mask it is matched by bits instead
	Mask     byte         // when not 0: bits of the last octet of an answer in 127.0.0.0/24
	Score    float64
	Text     string // what is listed: "hosts that send junk"
	Phishing bool
}

func (c *Code) means(a netip.Addr) bool {
	if c.Mask == 0 {
		return c.Answer.Contains(a)
	}
	b := a.As4()
	return b[0] == 127 && b[1] == 0 && b[2] == 0 && b[3]&c.Mask != 0
}

// ListState is how a list does.
type ListState struct {
	Name, Zone string
	On         bool
	Reason     string // why it is off
	Checked    time.Time
}

// lists asks. Its methods may be called concurrently.
type lists struct {
	all      []List
	resolver dns.Resolver
	wait     time.Duration
	now      func() time.Time
	log      *slog.Logger
	asked    *prometheus.CounterVec
	flying   chan struct{}

	mu     sync.Mutex
	cache  map[question]answer
	health []health // of all, by index
}

// question is a name that a list was asked for: two lists may stand over one zone, with other codes.
type question struct {
	list int
	name string
}

// answer is what a list said of one name.
type answer struct {
	codes []int // indexes of the list's Codes
	known bool
	until time.Time
}

// health is what the last check of a list found.
type health struct {
	on      bool
	reason  string
	checked time.Time
	next    time.Time
	running chan struct{} // closed when the check that is under way is over
}

func newLists(o Options) *lists {
	l := &lists{all: o.Lists, resolver: o.Resolver, wait: o.ListWait, now: o.Now, log: o.Logger, flying: make(chan struct{}, maxFlying)}
	l.cache = map[question]answer{}
	l.health = make([]health, len(l.all))
	for i := range l.health {
		l.health[i].reason = "not checked yet"
	}
	l.asked = o.Metrics.Counters("spam_lists_total", "Answers of block and allow lists, by list and result: listed, absent, failed (no answer in time), wrong (an undocumented answer).", "list", "result")
	return l
}

// asks tells whether lists are asked about a client.
func (j *Judge) asks(a netip.Addr) bool {
	return len(j.lists.all) > 0 && j.o.Resolver != nil && (j.o.AskOfPrivate || !private(a))
}

// named tells whether a signal is the word of a list.
func (l *lists) named(signal string) bool {
	for i := range l.all {
		if l.all[i].Name == signal {
			return true
		}
	}
	return false
}

// inquiry is all questions about one message.
type inquiry struct {
	l      *lists
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	names  map[string]bool

	mu    sync.Mutex
	found map[int]map[int]string // list, code: what is listed
}

func (l *lists) begin(ctx context.Context, remote netip.Addr) *inquiry {
	q := &inquiry{l: l, names: map[string]bool{}, found: map[int]map[int]string{}}
	q.ctx, q.cancel = context.WithCancel(ctx)
	for i := range l.all {
		if l.all[i].Kind == OfAddresses && remote.IsValid() {
			q.ask(i, reversed(remote), remote.String())
		}
	}
	return q
}

// domain asks about the organization of a host, once.
func (q *inquiry) domain(host string) {
	if q == nil || host == "" || host[0] == '[' || isAddress(host) {
		return
	}
	d := organization(host)
	if !strings.Contains(d, ".") || q.names[d] {
		return
	}
	q.names[d] = true
	for i := range q.l.all {
		if q.l.all[i].Kind == OfDomains {
			q.ask(i, d, d)
		}
	}
}

// ask asks one list, out of memory or beside all else.
func (q *inquiry) ask(list int, name, about string) {
	l := q.l
	key := name + "." + l.all[list].Zone
	on, due := l.state(list)
	if !on && !due {
		return
	}
	if a, ok := l.remembered(list, key); ok && on {
		q.note(list, a, about)
		return
	}
	select {
	case l.flying <- struct{}{}:
	default:
		return
	}
	q.wg.Go(func() {
		defer func() { <-l.flying }()
		ctx, cancel := context.WithTimeout(q.ctx, l.wait)
		defer cancel()
		if !on { // the house has just begun, or the list was off; else Run checks
			l.check(ctx, list)
			if on, _ = l.state(list); !on {
				return
			}
		}
		if a := l.lookup(ctx, list, key); a.known {
			q.note(list, a, about)
		}
	})
}

func (q *inquiry) note(list int, a answer, about string) {
	if len(a.codes) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.found[list] == nil {
		q.found[list] = map[int]string{}
	}
	for _, c := range a.codes {
		if old, ok := q.found[list][c]; !ok || about < old {
			q.found[list][c] = about
		}
	}
}

func (q *inquiry) discard() {
	if q != nil {
		q.cancel()
		q.wg.Wait()
	}
}

// finish waits for what was asked, no longer than a question may take, and makes one signal of each list's worst word.
func (q *inquiry) finish() []Signal {
	q.wg.Wait()
	q.cancel()
	var signals []Signal
	for i := range q.l.all {
		worst := -1
		for c := range q.found[i] {
			if worst < 0 || weight(q.l.all[i].Codes[c]) > weight(q.l.all[i].Codes[worst]) {
				worst = c
			}
		}
		if worst < 0 {
			continue
		}
		list, code := &q.l.all[i], q.l.all[i].Codes[worst]
		signals = append(signals, Signal{Name: list.Name, Score: code.Score, Phishing: code.Phishing,
			Text: fmt.Sprintf("%s is listed by %s: %s", plain(q.found[i][worst], 100), list.Zone, code.Text)})
	}
	return signals
}

func weight(c Code) float64 {
	if c.Score < 0 {
		return -c.Score
	}
	return c.Score
}

// reversed is an address as lists are asked for it (RFC 5782 sections 2.1 and 2.4).
func reversed(a netip.Addr) string {
	var b []byte
	if a.Is4() {
		p := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d", p[3], p[2], p[1], p[0])
	}
	const hex = "0123456789abcdef"
	p := a.As16()
	for i := 15; i >= 0; i-- {
		b = append(b, hex[p[i]&15], '.', hex[p[i]>>4], '.')
	}
	return string(b[:len(b)-1])
}

func (l *lists) remembered(list int, key string) (answer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.cache[question{list, key}]
	return a, ok && l.now().Before(a.until)
}

// lookup asks and remembers. A failure is no listing, and no absence either.
func (l *lists) lookup(ctx context.Context, list int, key string) answer {
	codes, _, err := l.query(ctx, list, key)
	a := answer{codes: codes, known: err == nil, until: l.now().Add(keepAnswer)}
	result := "absent"
	switch {
	case errors.Is(err, errUndocumented):
		result = "wrong"
		a.until = l.now().Add(keepFailure)
		l.turnOff(list, err.Error())
	case err != nil:
		result = "failed"
		a.until = l.now().Add(keepFailure)
	case len(codes) > 0:
		result = "listed"
	}
	l.asked.WithLabelValues(l.all[list].Name, result).Inc()
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) { // the message was given up: that says nothing of the list
		return a
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.cache { // any: most are old
		if len(l.cache) < keptAnswers {
			break
		}
		delete(l.cache, k)
	}
	l.cache[question{list, key}] = a
	return a
}

// errUndocumented: the list answers with a code that says that it does not want to answer us, or is gone.
var errUndocumented = errors.New("it gives answers that are no listings")

// query asks one question. Codes that nobody documented are passed over; those that tell of an error end the use of the list.
func (l *lists) query(ctx context.Context, list int, key string) (codes []int, there bool, err error) {
	addrs, _, err := l.resolver.A(ctx, key)
	if errors.Is(err, dns.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, a := range addrs {
		a = a.Unmap()
		if !a.Is4() {
			continue
		}
		b := a.As4()
		if b[0] != 127 || b[1] == 255 && b[2] == 255 {
			return nil, true, fmt.Errorf("%w: %s", errUndocumented, a)
		}
		there = true
		known := false
		for i := range l.all[list].Codes {
			if l.all[list].Codes[i].means(a) {
				known = true
				if !slices.Contains(codes, i) {
					codes = append(codes, i)
				}
			}
		}
		if !known {
			l.asked.WithLabelValues(l.all[list].Name, "wrong").Inc()
			l.log.Debug(logx.SpamListWrong, "list", l.all[list].Name, "asked", key, "answer", a.String())
		}
	}
	return codes, there, nil
}

// state tells whether a list is used, and whether it should be checked.
func (l *lists) state(list int) (on, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &l.health[list]
	return h.on, !l.now().Before(h.next)
}

// turnOff stops using a list until the next check.
func (l *lists) turnOff(list int, reason string) {
	l.mu.Lock()
	h := &l.health[list]
	was := h.on
	h.on, h.reason, h.next = false, reason, l.now().Add(checkAgain)
	l.mu.Unlock()
	if was {
		l.log.Warn(logx.SpamListOff, "list", l.all[list].Name, "zone", l.all[list].Zone, "reason", reason)
	}
}

// check looks whether a list works (RFC 5782 section 5): its test point is listed and what can never be listed is not. A list that has
// become a name that answers to everything would else take all mail for junk.
func (l *lists) check(ctx context.Context, list int) {
	l.mu.Lock()
	h := &l.health[list]
	if h.running != nil {
		running := h.running
		l.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
		}
		return
	}
	if l.now().Before(h.next) {
		l.mu.Unlock()
		return
	}
	running := make(chan struct{})
	h.running = running
	l.mu.Unlock()
	reason, err := l.probe(ctx, list)
	l.mu.Lock()
	was := h.on
	h.checked, h.running = l.now(), nil
	switch {
	case err != nil: // not known: as before
		h.next = h.checked.Add(checkSoon)
		if !h.on {
			h.reason = "its test entries cannot be asked for: " + err.Error()
		}
	default:
		h.next = h.checked.Add(checkAgain)
		h.on, h.reason = reason == "", reason
	}
	on := h.on
	reason = h.reason
	close(running)
	l.mu.Unlock()
	if was && !on || !on && err == nil {
		l.log.Warn(logx.SpamListOff, "list", l.all[list].Name, "zone", l.all[list].Zone, "reason", reason)
	}
}

// probe returns why a list cannot be used, or an error when that cannot be found out.
func (l *lists) probe(ctx context.Context, list int) (reason string, err error) {
	e := &l.all[list]
	must, never := "2.0.0.127", "1.0.0.127"
	mustShown, neverShown := "127.0.0.2", "127.0.0.1"
	if e.Kind == OfDomains {
		if must, never = e.Test, "invalid"; must == "" {
			must = "test"
		}
		mustShown, neverShown = must, never
	}
	_, there, err := l.query(ctx, list, never+"."+e.Zone)
	switch {
	case errors.Is(err, errUndocumented):
		return err.Error(), nil
	case err != nil:
		return "", err
	case there:
		return "it lists " + neverShown + ", so it lists everything", nil
	}
	_, there, err = l.query(ctx, list, must+"."+e.Zone)
	switch {
	case errors.Is(err, errUndocumented):
		return err.Error(), nil
	case err != nil:
		return "", err
	case !there:
		return "it does not list its test entry " + mustShown + ", so it is no list any more or does not answer this house", nil
	}
	return "", nil
}

// checkAll checks what is due.
func (l *lists) checkAll(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range l.all {
		if _, due := l.state(i); due {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, 4*l.wait)
				defer cancel()
				l.check(ctx, i)
			})
		}
	}
	wg.Wait()
}

// ListStates tells of each list whether it is used.
func (j *Judge) ListStates() []ListState {
	l := j.lists
	l.mu.Lock()
	defer l.mu.Unlock()
	states := make([]ListState, len(l.all))
	for i, h := range l.health {
		states[i] = ListState{Name: l.all[i].Name, Zone: l.all[i].Zone, On: h.on, Checked: h.checked}
		if !h.on {
			states[i].Reason = h.reason
		}
	}
	return states
}

// Meaning is what an answer of the list says; known is false for one that the list does not document.
func (l List) Meaning(answer netip.Addr) (text string, known bool) {
	for i := range l.Codes {
		if answer.Is4() && l.Codes[i].means(answer) {
			return l.Codes[i].Text, true
		}
	}
	return "", false
}
