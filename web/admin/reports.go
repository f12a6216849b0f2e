package admin

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
)

// Reports is where received reports are kept; nil books: nowhere.
type Reports struct {
	DMARC *dmarcbook.Book
	TLS   *tlsbook.Book
}

// ReportsRequest asks what other hosts report.
type ReportsRequest struct {
	Domain string `json:"domain,omitempty"` // empty: all
	Days   int    `json:"days,omitempty"`   // 30
	Quick  bool   `json:"quick,omitempty"`  // ask the DNS for nothing: senders have no names then
}

const (
	reportDays     = 30
	reportDaysMost = 90
	reportsMost    = 10_000
	namedSources   = 25              // of a domain whose addresses are looked up
	namePatience   = 4 * time.Second // for all names of one answer
)

// Letter is the weekly letter as it would be now, or as it was sent.
type Letter struct {
	Subject string   `json:"subject"`
	Text    string   `json:"text"`
	To      []string `json:"to,omitempty"` // to whom it was sent
}

// reported are the domains that a request means, and since when.
func (h *House) reported(ctx context.Context, r ReportsRequest) (names []string, since time.Time, err error) {
	if r.Days == 0 {
		r.Days = reportDays
	}
	if r.Days < 1 || r.Days > reportDaysMost {
		return nil, since, invalid("reports are kept for 90 days: ask for 1 to 90")
	}
	since = time.Now().Add(-time.Duration(r.Days) * 24 * time.Hour)
	if r.Domain != "" {
		d, err := domain(r.Domain)
		if err != nil {
			return nil, since, err
		}
		ours, err := h.o.Directory.IsLocal(ctx, d)
		if err != nil {
			return nil, since, translate(r.Domain, err)
		}
		if !ours {
			return nil, since, missing(r.Domain + " is no domain of this house")
		}
		return []string{string(d)}, since, nil
	}
	all, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, since, translate("domains", err)
	}
	for _, d := range all {
		names = append(names, string(d.Name))
	}
	slices.Sort(names)
	return names, since, nil
}

// DMARCReports tells for each domain who sends mail in its name, as other hosts report.
func (h *House) DMARCReports(ctx context.Context, r ReportsRequest) ([]report.DMARCDigest, error) {
	names, since, err := h.reported(ctx, r)
	if err != nil {
		return nil, err
	}
	if h.o.Reports.DMARC == nil {
		return nil, &Error{Class: Unavailable, Message: "no reports are kept here"}
	}
	ctx, cancel := context.WithTimeout(ctx, namePatience+10*time.Second)
	defer cancel()
	var ours func(string) bool
	if !r.Quick {
		ours = h.ownAddresses(ctx)
	}
	list, err := h.o.Reports.DMARC.Reports(ctx, "", since)
	if err != nil {
		return nil, translate("reports", err)
	}
	domains, err := h.o.Directory.Domains(ctx)
	if err != nil {
		return nil, translate("domains", err)
	}
	about := byDomain(list, domains)
	out := []report.DMARCDigest{}
	for _, name := range names {
		out = append(out, report.DigestDMARC(name, since, about[name], ours))
	}
	if !r.Quick {
		h.nameSources(ctx, out)
	}
	return out, nil
}

// byDomain sorts reports by the domain here that they are about. Some are about a name below it, which nobody has set up here: their
// writers name the author's domain, not the policy's.
func byDomain(list []dmarcbook.Received, domains []auth.Domain) map[string][]dmarcbook.Received {
	about := make(map[string][]dmarcbook.Received, len(domains))
	for _, d := range domains {
		about[string(d.Name)] = nil
	}
	for _, r := range list {
		for name, ok := r.Domain, true; ok; _, name, ok = strings.Cut(name, ".") {
			if of, here := about[name]; here {
				about[name] = append(of, r)
				break
			}
		}
	}
	return about
}

// TLSReports tells for each domain how TLS went when others sent mail to it.
func (h *House) TLSReports(ctx context.Context, r ReportsRequest) ([]report.TLSDigest, error) {
	names, since, err := h.reported(ctx, r)
	if err != nil {
		return nil, err
	}
	if h.o.Reports.TLS == nil {
		return nil, &Error{Class: Unavailable, Message: "no reports are kept here"}
	}
	list, err := h.o.Reports.TLS.Reports(ctx, reportsMost)
	if err != nil {
		return nil, translate("reports", err)
	}
	out := []report.TLSDigest{}
	for _, name := range names {
		out = append(out, report.DigestTLS(name, since, list))
	}
	return out, nil
}

// ownAddresses knows the addresses that our host name leads to.
func (h *House) ownAddresses(ctx context.Context) func(string) bool {
	own := map[string]bool{}
	if h.o.Resolver != nil && h.o.Site.Hostname != "" {
		addrs, _, err := h.o.Resolver.IP(ctx, h.o.Site.Hostname)
		if err != nil {
			return nil
		}
		for _, a := range addrs {
			own[a.Unmap().String()] = true
		}
	}
	return func(a string) bool { return own[a] }
}

// nameSources looks up the names of those who send most; an address whose name does not come in time has none.
func (h *House) nameSources(ctx context.Context, digests []report.DMARCDigest) {
	if h.o.Resolver == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, namePatience)
	defer cancel()
	var asking sync.WaitGroup
	turns := make(chan struct{}, 10)
	for i := range digests {
		sources := digests[i].Sources
		for j := range sources[:min(len(sources), namedSources)] {
			s := &sources[j]
			a, err := netip.ParseAddr(s.Address)
			if err != nil {
				continue
			}
			asking.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if names, _, err := h.o.Resolver.PTR(ctx, a); err == nil && len(names) > 0 {
					if d, err := mail.ParseDomain(names[0]); err == nil { // whoever has the address writes what he likes there
						s.Name = string(d)
					}
				}
			})
		}
	}
	asking.Wait()
}
