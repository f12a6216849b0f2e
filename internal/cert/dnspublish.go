package cert

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// ErrTaken: the name has records of that kind already, and they were left as they are.
var ErrTaken = errors.New("there is something else at this name already")

// Standing is what the server has at the name of a record, and whether this very record is among it. Resolvers may have older answers.
func (u *DNSUpdate) Standing(ctx context.Context, line string) (same bool, values []string, err error) {
	rr, err := dns.NewRR(line)
	if err != nil || rr == nil {
		return false, nil, fmt.Errorf("DNS update: %q is no record", line)
	}
	m := new(dns.Msg)
	m.SetQuestion(rr.Header().Name, rr.Header().Rrtype)
	m.RecursionDesired = false
	answer, err := u.ask(ctx, m)
	if err != nil {
		return false, nil, err
	}
	for _, x := range answer.Answer {
		if x.Header().Rrtype == rr.Header().Rrtype && strings.EqualFold(x.Header().Name, rr.Header().Name) {
			values = append(values, valueOf(x))
			same = same || strings.EqualFold(valueOf(x), valueOf(rr)) && (valueOf(x) == valueOf(rr) || rr.Header().Rrtype != dns.TypeTXT)
		}
	}
	return same, values, nil
}

// valueOf is a record without its name; of a text its words, however it was cut.
func valueOf(rr dns.RR) string {
	if text, ok := rr.(*dns.TXT); ok {
		return strings.Join(text.Txt, "")
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// Publish adds one record in zone file form to a zone, where nothing of its kind stands at its name (RFC 2136 section 2.4): what a person
// wrote is never overwritten. Beside adds it next to others of its kind, as text records of a domain are.
func (u *DNSUpdate) Publish(ctx context.Context, zone, line string, beside bool) error {
	rr, err := dns.NewRR(line)
	if err != nil || rr == nil {
		return fmt.Errorf("DNS update: %q is no record", line)
	}
	if !dns.IsSubDomain(dns.Fqdn(zone), rr.Header().Name) {
		return fmt.Errorf("%s is not in the zone %s: publish it where its zone is", strings.TrimSuffix(rr.Header().Name, "."), zone)
	}
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zone))
	switch {
	case beside:
	case rr.Header().Rrtype == dns.TypeCNAME:
		m.NameNotUsed([]dns.RR{rr})
	default:
		m.RRsetNotUsed([]dns.RR{rr})
	}
	m.Insert([]dns.RR{rr})
	return u.send(ctx, m)
}
