package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
)

const (
	maxTargets = 4 // addresses of one domain
	postTime   = time.Minute
	pageSize   = 100
	lookBack   = 3         // days whose reports may still be owed
	lookEvery  = time.Hour // for days that are over
)

// TLSOptions of a TLSSender.
type TLSOptions struct {
	Book         *tlsbook.Book
	Resolver     dns.Resolver
	HTTP         *http.Client // for https: addresses; bounded by the caller's dialer
	Submit       func(ctx context.Context, from mail.Address, to []mail.Address, text []byte) error
	Organization string // our host name
	From         Sender
	Logger       *slog.Logger
	Now          func() time.Time
	Every        time.Duration // how often it looks for days that are over; 1 h
}

// Sender says whose address reports come from, at the moment; its domain signs them.
type Sender func(ctx context.Context) (mail.Address, error)

// TLSSender sends the reports that are owed.
type TLSSender struct {
	o   TLSOptions
	log *slog.Logger
}

// NewTLSSender returns a TLSSender.
func NewTLSSender(o TLSOptions) *TLSSender {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Every == 0 {
		o.Every = lookEvery
	}
	s := &TLSSender{o: o, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Run sends the reports of days that are over, until ctx ends.
func (s *TLSSender) Run(ctx context.Context) {
	tick := time.NewTicker(s.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for back := lookBack; back > 0; back-- {
			if _, err := s.Day(ctx, s.o.Now().Add(-time.Duration(back)*24*time.Hour)); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, logx.TLSReportFailed, "error", err)
			}
		}
	}
}

// Day sends the reports of a day. What fails stays owed and is tried again; a domain that wants none is done.
func (s *TLSSender) Day(ctx context.Context, day time.Time) (sent int, err error) {
	after := ""
	for {
		page, err := s.o.Book.Day(ctx, day, after, pageSize)
		if err != nil || len(page) == 0 {
			return sent, err
		}
		for _, d := range page {
			after = d.Name
			n, err := s.one(ctx, day, d)
			if ctx.Err() != nil {
				return sent, ctx.Err()
			}
			if err != nil {
				s.log.InfoContext(ctx, logx.TLSReportFailed, "domain", d.Name, "error", err)
				continue
			}
			sent += n
			if err := s.o.Book.Reported(ctx, day, d.Name); err != nil {
				return sent, err
			}
		}
	}
}

// one sends the report of one domain to the addresses that it names (RFC 8460 section 3).
func (s *TLSSender) one(ctx context.Context, day time.Time, d tlsbook.Domain) (sent int, err error) {
	texts, _, err := s.o.Resolver.TXT(ctx, "_smtp._tls."+d.Name)
	if errors.Is(err, dns.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	targets := ParseTLSRecord(texts)
	if len(targets) == 0 {
		return 0, nil
	}
	from, err := s.o.From(ctx)
	if err != nil {
		return 0, err
	}
	r := newTLS(s.o.Organization, from.String(), day, d)
	packed, err := r.packed()
	if err != nil {
		return 0, err
	}
	var to []mail.Address
	for _, t := range targets {
		if address, ok := strings.CutPrefix(t, "mailto:"); ok {
			if a, err := mail.ParseAddress(address); err == nil {
				to = append(to, a)
			}
			continue
		}
		if e := s.post(ctx, t, packed); e != nil {
			err = errors.Join(err, e)
			continue
		}
		sent = 1
	}
	if len(to) > 0 {
		if e := s.o.Submit(ctx, from, to, s.letter(r, from, to, packed)); e != nil {
			err = errors.Join(err, e)
		} else {
			sent = 1
		}
	}
	if sent == 0 {
		return 0, err
	}
	s.log.InfoContext(ctx, logx.TLSReportSent, "domain", d.Name, "to", strings.Join(targets, " "))
	return sent, nil
}

// ParseTLSRecord reads where the reports of a domain go (RFC 8460 section 3); two records are none.
func ParseTLSRecord(texts []string) (targets []string) {
	found := 0
	for _, text := range texts {
		version, rest, _ := strings.Cut(text, ";")
		if strings.TrimSpace(version) != "v=TLSRPTv1" {
			continue
		}
		if found++; found > 1 {
			return nil
		}
		for field := range strings.SplitSeq(rest, ";") {
			key, value, _ := strings.Cut(field, "=")
			if strings.TrimSpace(key) != "rua" {
				continue
			}
			for t := range strings.SplitSeq(value, ",") {
				if t = target(strings.TrimSpace(t)); t != "" && len(targets) < maxTargets {
					targets = append(targets, t)
				}
			}
		}
	}
	return targets
}

// target is an address that a report can go to, "" for others.
func target(t string) string {
	u, err := url.Parse(t)
	if err != nil || len(t) > 1000 {
		return ""
	}
	switch {
	case strings.EqualFold(u.Scheme, "mailto"):
		address, err := url.PathUnescape(u.Opaque)
		if err != nil {
			return ""
		}
		if _, err := mail.ParseAddress(address); err != nil {
			return ""
		}
		return "mailto:" + address
	case strings.EqualFold(u.Scheme, "https") && u.Host != "" && u.User == nil:
		return t
	}
	return ""
}

// post brings the report to a web server (RFC 8460 section 5.4).
func (s *TLSSender) post(ctx context.Context, to string, packed []byte) error {
	if s.o.HTTP == nil {
		return errors.New("reports go by mail only")
	}
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(packed))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	resp, err := s.o.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // nobody cares for its words
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s says %s", req.URL.Host, resp.Status)
	}
	return nil
}

// letter is the mail (RFC 8460 section 5.3). It goes out whatever TLS can be had: its subject may be that there is none (RFC 8689 section 3).
func (s *TLSSender) letter(r *TLS, from mail.Address, to []mail.Address, packed []byte) []byte {
	good, bad := r.Totals()
	domain := r.about
	l := letter{
		from: from, to: to, date: s.o.Now(), report: "tlsrpt",
		subject: "Report Domain: " + domain + " Submitter: " + s.o.Organization + " Report-ID: <" + r.ID + ">",
		extra:   [][2]string{{"TLS-Report-Domain", domain}, {"TLS-Report-Submitter", s.o.Organization}, {"TLS-Required", "No"}},
		text: fmt.Sprintf("What %s saw of TLS when it sent mail to %s\non %s (UTC): %d sessions went well, %d failed.\nThe attached report has the details (RFC 8460).\n",
			s.o.Organization, domain, r.Range.Begin.Format("2 January 2006"), good, bad),
		kind: "application/tlsrpt+gzip", packed: packed,
		file: fmt.Sprintf("%s!%s!%d!%d.json.gz", s.o.Organization, domain, r.Range.Begin.Unix(), r.Range.End.Unix()),
	}
	return l.bytes()
}
