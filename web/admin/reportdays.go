package admin

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
)

// ReportDay is what other hosts reported about one day (UTC).
type ReportDay struct {
	Day     string `json:"day"`      // 2026-11-22
	Passed  int64  `json:"passed"`   // DMARC: mail in our domains' names that is proven to be theirs
	Failed  int64  `json:"failed"`   // that is not, and was let through all the same
	Refused int64  `json:"refused"`  // that is not, and was refused or set aside for it
	Good    int64  `json:"tls_good"` // connections to our hosts
	Bad     int64  `json:"tls_bad"`
}

// ReportsSeen is all that other hosts reported, of one reading.
type ReportsSeen struct {
	Days  []ReportDay // the oldest first: each day of the request has its place
	DMARC []report.DMARCDigest
	TLS   []report.TLSDigest
}

// reportsFresh is how long what was made of the reports is shown: they are about whole days.
const reportsFresh = 15 * time.Minute

// seenReports is what was made of reports last: thousands of them take a second to read.
type seenReports struct {
	mu  sync.Mutex // held while they are read: who asks for the same waits for it
	of  reportsRead
	all map[ReportsRequest]ReportsSeen
}

// reportsRead says of what it was made.
type reportsRead struct {
	dmarc, tls uint64
	domains    string
	at         time.Time
}

// ReportsSeen reads reports once for all that a page shows of them, and not again until one has come. It asks nobody for names.
func (h *House) ReportsSeen(ctx context.Context, r ReportsRequest) (ReportsSeen, error) {
	r.Quick = true
	names, since, err := h.reported(ctx, r)
	if err != nil {
		return ReportsSeen{}, err
	}
	books := h.o.Reports
	if books.DMARC == nil || books.TLS == nil {
		return ReportsSeen{}, &Error{Class: Unavailable, Message: "no reports are kept here"}
	}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return ReportsSeen{}, translate("domains", err)
	}
	c := &h.reports
	c.mu.Lock()
	defer c.mu.Unlock()
	now := reportsRead{books.DMARC.Changes(), books.TLS.Changes(), version(domains), h.now()}
	if age := now.at.Sub(c.of.at); age < 0 || age > reportsFresh || now.dmarc != c.of.dmarc || now.tls != c.of.tls || now.domains != c.of.domains {
		c.of, c.all = now, make(map[ReportsRequest]ReportsSeen)
	}
	if len(c.all) >= 50 { // one for each domain that somebody looks at
		clear(c.all)
	}
	if seen, ok := c.all[r]; ok {
		return seen, nil
	}
	seen, err := h.readReports(ctx, names, domains, since)
	if err == nil {
		c.all[r] = seen
	}
	return seen, err
}

func (h *House) readReports(ctx context.Context, names []string, domains []auth.Domain, since time.Time) (out ReportsSeen, err error) {
	days := newReportDays(since, h.now())
	list, err := h.o.Reports.DMARC.Reports(ctx, "", since)
	if err != nil {
		return out, translate("reports", err)
	}
	about, wanted := byDomain(list, domains), map[string]bool{}
	for _, name := range names {
		wanted[name] = true
		days.addDMARC(about[name])
		out.DMARC = append(out.DMARC, report.DigestDMARC(name, since, about[name], nil))
	}
	received, err := h.o.Reports.TLS.Reports(ctx, reportsMost)
	if err != nil {
		return out, translate("reports", err)
	}
	of := make(map[string][]tlsbook.Received)
	for _, x := range received {
		days.addTLS(x, since, wanted)
		for i, name := range x.Domains {
			if !slices.Contains(x.Domains[:i], name) {
				of[name] = append(of[name], x)
			}
		}
	}
	for _, name := range names {
		out.TLS = append(out.TLS, report.DigestTLS(name, since, of[name]))
	}
	out.Days = days.all
	return out, nil
}

func (d *daysOfReports) addDMARC(list []dmarcbook.Received) {
	for _, x := range list {
		day := d.of(x.Begin, x.End)
		for _, s := range x.Sources {
			switch {
			case s.Pass():
				day.Passed += s.Count
			case s.Refused():
				day.Refused += s.Count
			default:
				day.Failed += s.Count
			}
		}
	}
}

func (d *daysOfReports) addTLS(x tlsbook.Received, since time.Time, wanted map[string]bool) {
	var t report.TLS
	if x.End.Before(since) || !slices.ContainsFunc(x.Domains, func(name string) bool { return wanted[name] }) || json.Unmarshal(x.Text, &t) != nil {
		return
	}
	day := d.of(x.Begin, x.End)
	for _, p := range t.Policies {
		if wanted[p.Policy.Domain] {
			day.Good, day.Bad = day.Good+p.Summary.Good, day.Bad+p.Summary.Bad
		}
	}
}

// daysOfReports are days beside each other.
type daysOfReports struct {
	all  []ReportDay
	at   map[string]int
	lost ReportDay // of reports about other times
}

func newReportDays(since, now time.Time) *daysOfReports {
	d := &daysOfReports{at: map[string]int{}}
	for t := since.UTC().Truncate(24 * time.Hour); !t.After(now); t = t.Add(24 * time.Hour) {
		d.at[day(t)] = len(d.all)
		d.all = append(d.all, ReportDay{Day: day(t)})
	}
	return d
}

// of is the day in which the middle of a report's time is: most begin at midnight somewhere.
func (d *daysOfReports) of(begin, end time.Time) *ReportDay {
	if i, ok := d.at[day(begin.Add(end.Sub(begin)/2))]; ok {
		return &d.all[i]
	}
	return &d.lost
}
