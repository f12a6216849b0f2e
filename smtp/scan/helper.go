package scan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// A helper that could not be reached so often, one message after the other, is left in peace for so long; then one message tries it.
// A message that it did not answer for does not count: whoever writes such messages must not be able to put it out of use.
const (
	patience = 3
	rest     = 20 * time.Second
)

// helper is a program that is asked, and how it has done so far.
type helper struct {
	o       Helper
	panel   *Options
	scanner scanner
	turns   chan struct{}
	up      prometheus.Gauge
	answers *prometheus.CounterVec
	took    prometheus.Histogram

	mu     sync.Mutex
	failed int       // to be reached, times in a row
	until  time.Time // it is left in peace
	trying bool      // a message finds out whether it is back
	last   error
}

func (p *Panel) helper(o Helper) (*helper, error) {
	if o.Name == "" {
		o.Name = string(o.Kind)
	}
	if len(o.On) == 0 {
		o.On = []Way{Inbound}
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Weight == 0 {
		o.Weight = 1
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 8 << 20
	}
	if o.Connections <= 0 {
		o.Connections = 16
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	h := &helper{o: o, panel: &p.o, up: p.count.up.WithLabelValues(o.Name), answers: p.count.answers, took: p.count.took, turns: make(chan struct{}, o.Connections)}
	network, address, err := place(o.Address)
	if err != nil {
		return nil, fmt.Errorf("helper %s: %w", o.Name, err)
	}
	switch o.Kind {
	case Rspamd:
		h.scanner = newRspamd(&h.o, p.o.Hostname, network, address)
	case Milter:
		h.scanner = &milter{o: &h.o, hostname: p.o.Hostname, network: network, address: address}
	default:
		return nil, fmt.Errorf("helper %s: there is no kind %q", o.Name, o.Kind)
	}
	h.up.Set(1)
	return h, nil
}

// counters are the metrics of all helpers.
type counters struct {
	up      *prometheus.GaugeVec
	answers *prometheus.CounterVec
	took    prometheus.Histogram
}

func newCounters(m *metrics.Set) counters {
	return counters{
		up:      m.Gauges("scan_up", "Whether a helper (rspamd, milter) answered when it was asked last.", "helper"),
		answers: m.Counters("scan_answers_total", "Messages for helpers, by what they said (pass, junk, later, refuse), failed, or not shown: large, down.", "helper", "answer"),
		took:    m.Seconds("scan_seconds", "How long helpers took to answer."),
	}
}

// place splits an address of the settings.
func place(text string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" {
		return "unix", path, nil
	}
	if host, port, err := net.SplitHostPort(text); err != nil || host == "" || port == "" {
		return "", "", fmt.Errorf("%q is neither unix:/path nor host:port", text)
	}
	return "tcp", text, nil
}

func (h *helper) looksAt(w Way) bool { return slices.Contains(h.o.On, w) }

// unreachable is a failure before the message was shown.
type unreachable struct{ error }

func (e *unreachable) Unwrap() error { return e.error }

var (
	errBusy = errors.New("all its connections are in use")
	errDown = errors.New("it has not answered lately")
)

// ask shows the message to the helper and bears with whatever it does.
func (h *helper) ask(ctx context.Context, m *Message) answer {
	if int64(len(m.Header))+2+m.Size > h.o.MaxSize {
		h.count("large")
		return answer{told: "not shown, the message is too large for it"}
	}
	if last := h.resting(); last != nil {
		h.count("down")
		return h.without(fmt.Errorf("%w (%v)", errDown, last))
	}
	start := h.panel.Now()
	a, err := h.within(ctx, m)
	if ctx.Err() != nil { // it is the client who has gone, or the house that closes
		h.done(nil, true)
		return answer{action: Later, code: 451, enhanced: [3]int{4, 3, 0}, text: "Try again later"}
	}
	h.done(err, false)
	if err != nil {
		h.count("failed")
		h.panel.Logger.WarnContext(ctx, logx.ScanFailed, "helper", h.o.Name, "id", m.ID, "error", err, "on_failure", h.o.Failure)
		return h.without(err)
	}
	h.took.Observe(h.panel.Now().Sub(start).Seconds())
	h.count(a.action.String())
	return a
}

func (h *helper) count(what string) { h.answers.WithLabelValues(h.o.Name, what).Inc() }

// within waits for a turn and asks, all in the helper's time.
func (h *helper) within(ctx context.Context, m *Message) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, h.o.Timeout)
	defer cancel()
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	case <-ctx.Done():
		return answer{}, errBusy
	}
	a, err := h.scanner.scan(ctx, m)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v: %w", h.o.Timeout, err)
	}
	return a, err
}

// without is what becomes of a message that the helper has not judged.
func (h *helper) without(err error) answer {
	a := answer{told: "no answer: " + clean(err.Error(), 200)}
	switch h.o.Failure {
	case FailLater:
		a.action, a.code, a.enhanced, a.text = Later, 451, [3]int{4, 7, 1}, "A check of the message cannot be made now, try again later"
		a.told += "; the sender is asked to come again"
	case FailJunk:
		a.action = Junk
		a.told += "; taken into Junk"
	default:
		a.told += "; taken without it"
	}
	return a
}

// resting is the reason why the helper is not asked now; nil: it is.
func (h *helper) resting() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failed < patience {
		return nil
	}
	if h.trying || h.panel.Now().Before(h.until) {
		return h.last
	}
	h.trying = true
	return nil
}

// done notes how it went; given up: nobody knows.
func (h *helper) done(err error, givenUp bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trying = false
	switch {
	case givenUp:
	case err == nil:
		if h.failed >= patience {
			h.panel.Logger.Info(logx.ScanBack, "helper", h.o.Name)
		}
		h.failed, h.last = 0, nil
		h.up.Set(1)
	default:
		h.up.Set(0)
		if _, ok := errors.AsType[*unreachable](err); !ok {
			return
		}
		h.failed++
		h.last, h.until = err, h.panel.Now().Add(rest)
		if h.failed == patience {
			h.panel.Logger.Error(logx.ScanDown, "helper", h.o.Name, "address", h.o.Address, "error", err, "on_failure", h.o.Failure)
		}
	}
}

// clean makes a stranger's words fit for logs, stories and replies: one line, printable, at most n octets.
func clean(s string, n int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "..."
	}
	return strings.TrimSpace(s)
}
