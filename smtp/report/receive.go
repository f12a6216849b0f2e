package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/store/blob"
)

const (
	maxDaily     = 200    // messages of one sender that are looked at on a day
	maxSenders   = 10_000 // that are counted; of more, nobody's is looked at until the day ends
	maxWaiting   = 100    // that are read in one go
	maxPending   = 1000   // that wait; more are mail and nothing else
	restParts    = 9      // reading works a tenth of the time: hostile reports cost their senders little
	longestRest  = 30 * time.Second
	maxTries     = 24 // while DNS does not say whether the report is wanted
	retryEvery   = 10 * time.Minute
	maxAge       = 90 * 24 * time.Hour // of a report's time
	maxTLSKept   = 100                 // failures of one policy that are kept
	maxTLSText   = 256 << 10
	maxTLSPolicy = 20
	maxLabels    = 10 // of a domain that is asked for in DNS
)

// ReaderOptions of a Reader.
type ReaderOptions struct {
	DMARC    *dmarcbook.Book
	TLS      *tlsbook.Book
	Resolver dns.Resolver
	Ours     func(ctx context.Context, d mail.Domain) (bool, error)
	Open     func(ctx context.Context, at blob.LSN) (io.ReadCloser, error) // of a message's text
	Logger   *slog.Logger
	Now      func() time.Time
	// Complained hears of complaints of proven senders about our domains; nil: nobody does. What else they say is theirs: an error
	// refuses one that is about no message of ours.
	Complained func(ctx context.Context, c Complaint, sender string) error
}

// Reader reads the reports that came in as mail, one behind the other, after the mail is safe. What it keeps is from proven senders, about our
// domains, and came to an address that the domain's records name.
type Reader struct {
	o    ReaderOptions
	log  *slog.Logger
	wake chan struct{} // cap 1

	mu    sync.Mutex
	day   string
	taken map[string]int // messages of a sender on the day
	waits int            // messages that were noted and not read yet, about
}

// NewReader returns a Reader.
func NewReader(o ReaderOptions) *Reader {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Reader{o: o, log: o.Logger, wake: make(chan struct{}, 1), taken: map[string]int{}}
}

// Carried tells by its header whether a message may carry a report.
func Carried(header []byte) bool {
	for f := range message.Fields(header) {
		switch {
		case f.Is("TLS-Report-Domain"):
			return true
		case f.Is("Subject"):
			if strings.Contains(strings.ToLower(f.Unfolded()), "report domain:") {
				return true
			}
		case f.Is("Content-Type"):
			kind := strings.ToLower(f.Unfolded())
			media, _, _ := strings.Cut(kind, ";")
			if mayCarry(strings.TrimSpace(media), "") || strings.Contains(kind, "tlsrpt") || strings.Contains(kind, "feedback-report") {
				return true
			}
		}
	}
	return false
}

// Take notes a message that is in the log. It returns at once; nothing is lost over a restart but the last second.
func (r *Reader) Take(w dmarcbook.Waiting) {
	w.Taken = r.o.Now()
	if !r.allow(w.Sender) {
		r.log.Info(logx.ReportRefused, "id", w.ID, "sender", w.Sender, "reason", "too many came today")
		return
	}
	r.o.DMARC.Wait(w)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reader) allow(sender string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if day := r.o.Now().UTC().Format(time.DateOnly); day != r.day {
		r.day, r.taken = day, map[string]int{}
	}
	sender = dmarcbook.Organization(sender)
	if r.taken[sender] >= maxDaily || len(r.taken) >= maxSenders || r.waits >= maxPending {
		return false
	}
	r.taken[sender]++
	r.waits++
	return true
}

// Run reads what waits, until ctx ends.
func (r *Reader) Run(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		if err := r.all(ctx, r.rest); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, logx.DMARCBookFailed, "what", "waiting", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// rest waits so long that reading takes a tenth of the time.
func (r *Reader) rest(ctx context.Context, worked time.Duration) {
	t := time.NewTimer(min(restParts*worked, longestRest))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// All reads what waits now.
func (r *Reader) All(ctx context.Context) error {
	return r.all(ctx, func(context.Context, time.Duration) {})
}

func (r *Reader) all(ctx context.Context, rest func(context.Context, time.Duration)) error {
	if err := r.o.DMARC.Settle(ctx); err != nil {
		return err
	}
	list, err := r.o.DMARC.Waiting(ctx, maxWaiting)
	if err != nil {
		return err
	}
	r.mu.Lock()
	if len(list) < maxWaiting {
		r.waits = len(list)
	}
	r.mu.Unlock()
	over := 0
	for _, w := range list {
		began := time.Now()
		kind, result, err := r.one(ctx, w)
		rest(ctx, time.Since(began))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errLater) && w.Tries < maxTries {
			w.Tries++
			r.o.DMARC.Wait(w)
			continue
		}
		if err != nil && !errors.Is(err, ErrNone) {
			result = "refused"
			r.log.InfoContext(ctx, logx.ReportRefused, "id", w.ID, "sender", w.Sender, "reason", err)
		}
		if result != "" {
			r.o.DMARC.Received(kind, result)
		}
		if err := r.o.DMARC.Over(ctx, w); err != nil {
			return err
		}
		over++
		r.mu.Lock()
		r.waits = max(r.waits-1, 0)
		r.mu.Unlock()
	}
	if len(list) == maxWaiting && over > 0 { // where all wait for DNS, they wait for the next turn of the clock
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// errLater: DNS does not answer now, or the tables take nothing.
var errLater = errors.New("report: it cannot be said now whether it is wanted, or it cannot be kept")

const (
	kindDMARC = "dmarc"
	kindTLS   = "tls"

	kindComplaint = "complaint"
)

// one reads one message. An error that is not errLater is the sender's.
func (r *Reader) one(ctx context.Context, w dmarcbook.Waiting) (kind, result string, err error) {
	kind = kindDMARC
	text, err := r.o.Open(ctx, w.At)
	if err != nil {
		return kind, "", fmt.Errorf("the message cannot be read: %w", err)
	}
	f, err := Read(text)
	if err = errors.Join(err, text.Close()); err != nil {
		return kind, "", err
	}
	again := false
	var about []string
	if f.Complaint != nil {
		if err := r.keepComplaint(ctx, w, f.Complaint); err != nil {
			return kindComplaint, "", err
		}
		r.log.InfoContext(ctx, logx.ReportKept, "id", w.ID, "kind", kindComplaint, "from", w.Sender, "type", f.Complaint.Type, "message", f.Complaint.MessageID)
		return kindComplaint, "kept", nil
	}
	if f.DMARC != nil {
		about = []string{string(f.DMARC.Domain)}
		again, err = r.keepDMARC(ctx, w, f.DMARC)
	} else {
		kind = kindTLS
		about, again, err = r.keepTLS(ctx, w, f.TLS)
	}
	if err != nil {
		return kind, "", err
	}
	r.log.InfoContext(ctx, logx.ReportKept, "id", w.ID, "kind", kind, "domain", strings.Join(about[:min(len(about), 10)], " "), "from", w.Sender, "again", again)
	if again {
		return kind, "again", nil
	}
	return kind, "kept", nil
}

func (r *Reader) keepDMARC(ctx context.Context, w dmarcbook.Waiting, d *DMARC) (again bool, err error) {
	if err := r.timely(d.Begin, d.End); err != nil {
		return false, err
	}
	if err := r.about(ctx, d.Domain); err != nil {
		return false, err
	}
	record, err := r.record(ctx, d.Domain)
	if err != nil {
		return false, errLater
	}
	var named []string
	if record != nil {
		for _, a := range record.Aggregate {
			named = append(named, a.Address)
		}
	}
	if err := wanted(d.Domain, w.To, named); err != nil {
		return false, err
	}
	again, err = r.o.DMARC.KeepReport(ctx, d.Received(w.Sender, w.Taken))
	if err != nil { // ours: there is no room, perhaps
		return false, fmt.Errorf("%w: %w", errLater, err)
	}
	if !again {
		good, bad := d.Totals()
		r.o.DMARC.Told(kindDMARC, good, bad)
	}
	return again, nil
}

// record is the policy of a domain, or of one above it: some reports name the author's domain, not the policy's.
func (r *Reader) record(ctx context.Context, d mail.Domain) (record *mailauth.PolicyRecord, err error) {
	for name := string(d); record == nil && err == nil && strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		record, err = mailauth.PolicyAt(ctx, r.o.Resolver, name)
	}
	return record, err
}

func (r *Reader) keepTLS(ctx context.Context, w dmarcbook.Waiting, t *TLS) (about []string, again bool, err error) {
	if err := r.timely(t.Range.Begin, t.Range.End); err != nil {
		return nil, false, err
	}
	asked := map[string]error{}
	kept := *t
	kept.Policies = nil
	for _, p := range t.Policies[:min(len(t.Policies), maxTLSPolicy)] {
		name := strings.ToLower(strings.TrimSuffix(p.Policy.Domain, "."))
		why, known := asked[name]
		if !known {
			why = r.wantedTLS(ctx, name, w.To)
			asked[name] = why
		}
		if why != nil {
			err = why
			continue
		}
		p.Policy.Domain = name
		p.Failures = p.Failures[:min(len(p.Failures), maxTLSKept)]
		kept.Policies = append(kept.Policies, p)
	}
	if len(kept.Policies) == 0 {
		return nil, false, err
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return nil, false, err
	}
	if len(text) > maxTLSText {
		return nil, false, fmt.Errorf("report: it has %d octets without what is not needed", len(text))
	}
	good, bad := kept.Totals()
	again, err = r.o.TLS.KeepReport(ctx, tlsbook.Received{ID: short(kept.ID), Sender: w.Sender, From: short(kept.Organization), Begin: kept.Range.Begin, End: kept.Range.End,
		Good: good, Bad: bad, Domains: kept.Domains(), Text: text})
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", errLater, err)
	}
	if !again {
		r.o.DMARC.Told(kindTLS, good, bad)
	}
	return kept.Domains(), again, nil
}

func (r *Reader) wantedTLS(ctx context.Context, name string, to []string) error {
	d, err := mail.ParseDomain(name)
	if err != nil {
		return fmt.Errorf("report: it is about %.80q", name)
	}
	if err := r.about(ctx, d); err != nil {
		return err
	}
	texts, _, err := r.o.Resolver.TXT(ctx, "_smtp._tls."+name)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return errLater
	}
	var named []string
	for _, t := range ParseTLSRecord(texts) {
		if a, ok := strings.CutPrefix(t, "mailto:"); ok {
			named = append(named, a)
		}
	}
	return wanted(d, to, named)
}

// about refuses a report about somebody else's domain, before DNS is asked for the names that strangers choose.
func (r *Reader) about(ctx context.Context, d mail.Domain) error {
	if strings.Count(string(d), ".") > maxLabels {
		return fmt.Errorf("report: it is about %s", d)
	}
	ours, err := r.oursAbove(ctx, d)
	if err != nil {
		return errLater
	}
	if !ours {
		return fmt.Errorf("report: it is about %s, no domain of this house", d)
	}
	return nil
}

// wanted refuses a report that came to an address which does not ask for any.
func wanted(d mail.Domain, to, named []string) error {
	for _, n := range named {
		a, err := mail.ParseAddress(n)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(to, func(t string) bool { b, err := mail.ParseAddress(t); return err == nil && b.Key() == a.Key() }) {
			return nil
		}
	}
	return fmt.Errorf("report: the records of %s do not name the address that it came to", d)
}

// oursAbove tells whether the domain, or one above it, is of this house.
func (r *Reader) oursAbove(ctx context.Context, d mail.Domain) (bool, error) {
	for name := string(d); strings.Contains(name, "."); {
		ours, err := r.o.Ours(ctx, mail.Domain(name))
		if ours || err != nil {
			return ours, err
		}
		_, name, _ = strings.Cut(name, ".")
	}
	return false, nil
}

func (r *Reader) timely(begin, end time.Time) error {
	now := r.o.Now()
	if now.Sub(begin) > maxAge || end.Sub(now) > 48*time.Hour {
		return fmt.Errorf("report: its time is %s to %s", begin.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	return nil
}
