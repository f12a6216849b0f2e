package report

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

const (
	dueEvery     = 10 * time.Minute // for periods that are over
	jitter       = 8                // reports go out over this part of their period, not all at midnight
	verifyWithin = 24 * time.Hour   // so long the DNS of a foreign address may fail before the others get theirs
)

// DMARCOptions of a DMARCSender.
type DMARCOptions struct {
	Book     *dmarcbook.Book
	Resolver dns.Resolver
	Submit   func(ctx context.Context, from mail.Address, to []mail.Address, text []byte) error
	// Ours tells whether a domain is of this house: its report is kept here, nobody sends it.
	Ours         func(ctx context.Context, d mail.Domain) (bool, error)
	Hostname     string
	Organization string // for people; Hostname when empty
	From         Sender // of the mail, and whom to ask
	Program      string // that makes the report
	Logger       *slog.Logger
	Metrics      *metrics.Set
	Now          func() time.Time
	Every        time.Duration // how often it looks for periods that are over; 10 min
}

// DMARCSender sends the reports that are owed.
type DMARCSender struct {
	o    DMARCOptions
	who  reporter
	sent *prometheus.CounterVec
}

// NewDMARCSender returns a DMARCSender.
func NewDMARCSender(o DMARCOptions) *DMARCSender {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Every == 0 {
		o.Every = dueEvery
	}
	if o.Organization == "" {
		o.Organization = o.Hostname
	}
	return &DMARCSender{o: o, who: reporter{host: o.Hostname, name: oneWord(o.Organization), generator: o.Program},
		sent: o.Metrics.Counters("dmarc_reports_total", "DMARC reports that were due, by what became of them: sent, unwanted (nobody asks any more, or not there), kept (about our own domains), failed (tried again).", "result")}
}

// Run sends the reports of periods that are over, until ctx ends.
func (s *DMARCSender) Run(ctx context.Context) {
	tick := time.NewTicker(s.o.Every)
	defer tick.Stop()
	for {
		if _, err := s.Due(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, logx.DMARCReportFailed, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Due sends what is due now. What fails stays owed and is tried again.
func (s *DMARCSender) Due(ctx context.Context) (sent int, err error) {
	s.o.Book.Flush(ctx) // the last messages of a period belong into its report
	after := ""
	for {
		page, next, err := s.o.Book.Owed(ctx, after, pageSize)
		if err != nil {
			return sent, err
		}
		for _, d := range page {
			if s.o.Now().Before(d.Period.End().Add(delay(d))) {
				continue
			}
			result, err := s.one(ctx, d)
			if ctx.Err() != nil {
				return sent, ctx.Err()
			}
			s.sent.WithLabelValues(result).Inc()
			if err != nil {
				s.o.Logger.InfoContext(ctx, logx.DMARCReportFailed, "domain", d.Name, "error", err)
				continue
			}
			if result == "sent" {
				sent++
			}
			if err := s.o.Book.Reported(ctx, d); err != nil {
				return sent, err
			}
		}
		if after = next; next == "" {
			return sent, nil
		}
	}
}

// delay spreads the reports over the time behind their period; the same report has the same delay, so that it survives restarts.
func delay(d dmarcbook.Domain) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(d.Name))
	return time.Duration(h.Sum32()) * time.Second % (d.Period.Length / jitter)
}

// one makes and sends the report of one domain.
func (s *DMARCSender) one(ctx context.Context, d dmarcbook.Domain) (result string, err error) {
	if err := s.o.Book.Read(ctx, &d); err != nil {
		return "failed", err
	}
	if len(d.Rows) == 0 {
		return "unwanted", nil
	}
	from, err := s.o.From(ctx)
	if err != nil {
		return "failed", err
	}
	who := s.who
	who.contact = from.String()
	text, err := who.write(d)
	if err != nil {
		return "failed", err
	}
	ours, err := s.o.Ours(ctx, mail.Domain(d.Name))
	if err != nil {
		return "failed", err
	}
	if ours {
		return "kept", s.keep(ctx, text)
	}
	packed, err := gzipped(text)
	if err != nil {
		return "failed", err
	}
	to, err := s.targets(ctx, d, codedSize(packed))
	if err != nil {
		return "failed", err
	}
	if len(to) == 0 {
		return "unwanted", nil
	}
	l := s.letter(d, from, to, packed)
	if err := s.o.Submit(ctx, from, to, l.bytes()); err != nil {
		return "failed", err
	}
	var names []string
	for _, a := range to {
		names = append(names, a.String())
	}
	s.o.Logger.InfoContext(ctx, logx.DMARCReportSent, "domain", d.Name, "to", strings.Join(names, " "), "rows", len(d.Rows))
	return "sent", nil
}

// keep is for our own domains: what others tell us of them we know ourselves, too.
func (s *DMARCSender) keep(ctx context.Context, text []byte) error {
	r, err := ParseDMARC(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	_, err = s.o.Book.KeepReport(ctx, r.Received(s.o.Hostname, s.o.Now()))
	return err
}

// targets are the addresses that want the report now and have room for it (RFC 7489 section 7.2.1).
func (s *DMARCSender) targets(ctx context.Context, d dmarcbook.Domain, size uint64) (to []mail.Address, err error) {
	record, err := mailauth.PolicyAt(ctx, s.o.Resolver, d.Name)
	if err != nil || record == nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, target := range record.Aggregate {
		verified, err := s.verified(ctx, d, target)
		if err != nil {
			if s.o.Now().Sub(d.Period.End()) < verifyWithin {
				return nil, err
			}
			s.left(ctx, d, target, err.Error())
			continue
		}
		for _, t := range verified {
			a, err := mail.ParseAddress(t.Address)
			switch {
			case err != nil:
				s.left(ctx, d, t, err.Error())
			case t.Most > 0 && size > t.Most:
				s.left(ctx, d, t, fmt.Sprintf("the report has %d octets, it takes %d", size, t.Most))
			case !seen[a.Key()] && len(to) < maxTargets:
				seen[a.Key()] = true
				to = append(to, a)
			}
		}
	}
	return to, nil
}

func (s *DMARCSender) left(ctx context.Context, d dmarcbook.Domain, t mailauth.ReportAddress, reason string) {
	s.o.Logger.InfoContext(ctx, logx.DMARCReportLeft, "domain", d.Name, "address", oneWord(t.Address), "reason", reason)
}

// verified asks the owner of an address outside of the domain whether he wants its reports (RFC 7489 section 7.1): else a record would be
// a way to have reports sent to anybody. He may name another address of his.
func (s *DMARCSender) verified(ctx context.Context, d dmarcbook.Domain, t mailauth.ReportAddress) ([]mailauth.ReportAddress, error) {
	a, err := mail.ParseAddress(t.Address)
	if err != nil || a.Domain.IsLiteral() {
		s.left(ctx, d, t, "it is no address")
		return nil, nil
	}
	host := string(a.Domain)
	if within(host, d.Name) {
		return []mailauth.ReportAddress{t}, nil
	}
	mine, err := mailauth.Organizational(ctx, s.o.Resolver, d.Name)
	if err != nil {
		return nil, err
	}
	its, err := mailauth.Organizational(ctx, s.o.Resolver, host)
	if err != nil {
		return nil, err
	}
	if mine == its {
		return []mailauth.ReportAddress{t}, nil
	}
	name := d.Name + "._report._dmarc." + host
	if len(name) > 253 {
		s.left(ctx, d, t, "its verification has no name in DNS")
		return nil, nil
	}
	texts, _, err := s.o.Resolver.TXT(ctx, name)
	if errors.Is(err, dns.ErrNotFound) {
		texts, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.said(ctx, d, t, texts), nil
}

// said reads the owner's answer.
func (s *DMARCSender) said(ctx context.Context, d dmarcbook.Domain, t mailauth.ReportAddress, texts []string) []mailauth.ReportAddress {
	for _, text := range texts {
		r, err := mailauth.ParsePolicy(text)
		if err != nil {
			continue
		}
		_, host, _ := strings.Cut(t.Address, "@")
		other := slices.DeleteFunc(r.Aggregate, func(o mailauth.ReportAddress) bool {
			_, at, _ := strings.Cut(o.Address, "@")
			return !strings.EqualFold(at, host)
		})
		if len(other) > 0 {
			return other
		}
		return []mailauth.ReportAddress{t}
	}
	s.left(ctx, d, t, "its domain does not ask for reports about this one")
	return nil
}

// within tells whether name is domain or below it.
func within(name, domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }

// letter is the mail (RFC 7489 section 7.2.1.1).
func (s *DMARCSender) letter(d dmarcbook.Domain, from mail.Address, to []mail.Address, packed []byte) *letter {
	var messages, proven int64
	for _, r := range d.Rows {
		messages += r.Count
		if r.DKIM || r.SPF {
			proven += r.Count
		}
	}
	id := s.who.id(d)
	const form = "2 January 2006 15:04"
	return &letter{
		from: from, to: to, date: s.o.Now(), id: id,
		subject: "Report Domain: " + d.Name + " Submitter: " + s.o.Hostname + " Report-ID: <" + id + ">",
		text: fmt.Sprintf("Mail of %s that came to %s\nfrom %s to %s (UTC): %s,\n%d of them proven to be its own (DMARC).\n\n"+
			"The attached report has the details (RFC 7489). To end these reports, take rua\nout of the TXT record _dmarc.%s.\n",
			d.Name, s.o.Hostname, d.Period.Begin.Format(form), d.Period.End().Format(form), number(messages, "message"), proven, d.Name),
		kind: "application/gzip", file: s.who.file(d), packed: packed,
	}
}
