package admin

import (
	"context"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/report"
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

// ReportDays adds up what other hosts reported, by the day that their reports are about, the oldest first: each day of the request has its
// place. It asks nobody for names.
func (h *House) ReportDays(ctx context.Context, r ReportsRequest) ([]ReportDay, error) {
	names, since, err := h.reported(ctx, r)
	if err != nil {
		return nil, err
	}
	if h.o.Reports.DMARC == nil || h.o.Reports.TLS == nil {
		return nil, &Error{Class: Unavailable, Message: "no reports are kept here"}
	}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, translate("domains", err)
	}
	days := newReportDays(since, h.now())
	list, err := h.o.Reports.DMARC.Reports(ctx, "", since)
	if err != nil {
		return nil, translate("reports", err)
	}
	about := byDomain(list, domains)
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
		for _, x := range about[name] {
			d := days.of(x.Begin, x.End)
			for _, s := range x.Sources {
				switch {
				case s.Pass():
					d.Passed += s.Count
				case s.Refused():
					d.Refused += s.Count
				default:
					d.Failed += s.Count
				}
			}
		}
	}
	received, err := h.o.Reports.TLS.Reports(ctx, reportsMost)
	if err != nil {
		return nil, translate("reports", err)
	}
	for _, x := range received {
		var t report.TLS
		if x.End.Before(since) || json.Unmarshal(x.Text, &t) != nil {
			continue
		}
		d := days.of(x.Begin, x.End)
		for _, p := range t.Policies {
			if wanted[p.Policy.Domain] {
				d.Good, d.Bad = d.Good+p.Summary.Good, d.Bad+p.Summary.Bad
			}
		}
	}
	return days.all, nil
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
