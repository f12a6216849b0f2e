package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// Values of a DMARC policy.
const (
	PolicyNone       = "none"
	PolicyQuarantine = "quarantine"
	PolicyReject     = "reject"
)

// PolicyRecord is a DMARC record (RFC 7489 section 6.3 and its successor).
type PolicyRecord struct {
	Domain         string          // where it stands
	Policy         string          // p
	Subdomains     string          // sp; empty: p
	NonExistent    string          // np; empty: sp
	StrictDKIM     bool            // adkim=s
	StrictSPF      bool            // aspf=s
	Testing        bool            // t=y, and what it replaces, pct=0
	Percent        int             // pct; 100
	PublicSuffix   string          // psd: "y", "n" or "u"
	Aggregate      []ReportAddress // where aggregate reports go
	Failure        []ReportAddress
	FailureOptions string
	ReportInterval int // ri in seconds; 86400
}

// ParsePolicy reads a record; ErrNoPolicy when the text is none.
func ParsePolicy(text string) (*PolicyRecord, error) {
	first, _, _ := strings.Cut(text, ";")
	name, value, _ := strings.Cut(first, "=")
	if strings.TrimSpace(name) != "v" || strings.TrimSpace(value) != "DMARC1" {
		return nil, ErrNoPolicy
	}
	t, err := parseLooseTags(text)
	if err != nil {
		return nil, fmt.Errorf("the DMARC record is written wrong: %w", err)
	}
	r := &PolicyRecord{Percent: 100, ReportInterval: 86400, PublicSuffix: "u", FailureOptions: "0"}
	r.Aggregate, r.Failure = addresses(t["rua"]), addresses(t["ruf"])
	p, given := t["p"]
	r.Policy = strings.ToLower(p)
	if !knownPolicy(r.Policy) {
		if given && len(r.Aggregate) == 0 { // RFC 7489 section 6.6.3: with a place for reports it counts as none
			return nil, fmt.Errorf("the DMARC record has the policy %.20q", p)
		}
		r.Policy = PolicyNone
	}
	for tag, to := range map[string]*string{"sp": &r.Subdomains, "np": &r.NonExistent} {
		if v := strings.ToLower(t[tag]); knownPolicy(v) {
			*to = v
		}
	}
	r.StrictDKIM = strings.EqualFold(t["adkim"], "s")
	r.StrictSPF = strings.EqualFold(t["aspf"], "s")
	if n, err := strconv.Atoi(t["pct"]); err == nil && n >= 0 && n <= 100 {
		r.Percent = n
	}
	r.Testing = strings.EqualFold(t["t"], "y") || r.Percent == 0
	if v := strings.ToLower(t["psd"]); v == "y" || v == "n" {
		r.PublicSuffix = v
	}
	if n, err := strconv.Atoi(t["ri"]); err == nil && n > 0 {
		r.ReportInterval = n
	}
	if v := t["fo"]; v != "" {
		r.FailureOptions = v
	}
	return r, nil
}

// ErrNoPolicy: the text is no DMARC record.
var ErrNoPolicy = errors.New("mailauth: no DMARC record")

func knownPolicy(p string) bool {
	return p == PolicyNone || p == PolicyQuarantine || p == PolicyReject
}

// ReportAddress is where reports go.
type ReportAddress struct {
	Address string
	Most    uint64 // octets that a report may have there; 0: any number
}

// addresses reads the mail addresses out of a list of URIs, each with its size limit behind "!" (RFC 7489 section 6.2).
func addresses(list string) []ReportAddress {
	var out []ReportAddress
	for uri := range strings.SplitSeq(list, ",") {
		scheme, addr, _ := strings.Cut(strings.TrimSpace(uri), ":")
		addr, limit, limited := strings.Cut(addr, "!")
		addr, _, _ = strings.Cut(addr, "?")
		addr, err := url.PathUnescape(strings.TrimSpace(addr))
		if err != nil || !strings.EqualFold(scheme, "mailto") || !strings.Contains(addr, "@") || len(out) == maxReportAddresses {
			continue
		}
		a := ReportAddress{Address: addr}
		if limited {
			var ok bool
			if a.Most, ok = octets(strings.TrimSpace(limit)); !ok {
				continue // sending more than it takes would be worse than sending nothing
			}
		}
		out = append(out, a)
	}
	return out
}

const maxReportAddresses = 10

// octets reads a size with its unit.
func octets(s string) (uint64, bool) {
	unit := uint64(1)
	if n := len(s); n > 0 {
		if shift := strings.IndexByte("kmgt", s[n-1]|0x20); shift >= 0 {
			unit, s = 1<<(10*(shift+1)), s[:n-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 || n > 1<<62/unit {
		return 0, false
	}
	return n * unit, true
}

// For is the policy for mail of a domain below the one where the record stands, or of that one.
func (r *PolicyRecord) For(domain string, exists bool) string {
	if domain == r.Domain {
		return r.Policy
	}
	sub := r.Subdomains
	if sub == "" {
		sub = r.Policy
	}
	if !exists && r.NonExistent != "" {
		return r.NonExistent
	}
	return sub
}

// treeWalk finds records and organizational domains, and asks each name once. Not for concurrent use.
type treeWalk struct {
	resolver dns.Resolver
	asked    map[string]walked
}

type walked struct {
	record *PolicyRecord // nil: there is none
	err    error         // DNS did not answer
}

const maxLabels = 8 // of a name that are gone up one by one; so a walk asks eight questions at most

func newTreeWalk(r dns.Resolver) *treeWalk {
	return &treeWalk{resolver: r, asked: map[string]walked{}}
}

// at reads the record of one name. Several records are none (RFC 7489 section 6.6.3), and so is one that is written wrong.
func (w *treeWalk) at(ctx context.Context, domain string) (*PolicyRecord, error) {
	if a, ok := w.asked[domain]; ok {
		return a.record, a.err
	}
	var a walked
	texts, _, err := w.resolver.TXT(ctx, "_dmarc."+domain)
	switch {
	case errors.Is(err, dns.ErrNotFound):
	case err != nil:
		a.err = because(TempError, "DMARC record of %s: DNS does not answer", domain)
	default:
		found := 0
		for _, text := range texts {
			r, err := ParsePolicy(text)
			if errors.Is(err, ErrNoPolicy) {
				continue
			}
			found++
			a.record = r
		}
		if found > 1 {
			a.record = nil
		}
		if a.record != nil {
			a.record.Domain = domain
		}
	}
	w.asked[domain] = a
	return a.record, a.err
}

// names are those that a walk from domain up asks about, domain first.
func names(domain string) []string {
	labels := strings.Split(domain, ".")
	out := []string{domain}
	if len(labels) > maxLabels {
		labels = labels[len(labels)-maxLabels:]
	}
	for i := 1; i < len(labels); i++ {
		out = append(out, strings.Join(labels[i:], "."))
	}
	return out
}

// organizational walks up from domain and returns its organizational domain, and the record that stands there or at the public
// suffix above it (nil: none).
func (w *treeWalk) organizational(ctx context.Context, domain string) (org string, r *PolicyRecord, err error) {
	list := names(domain)
	var found []*PolicyRecord
	for i, name := range list {
		r, err := w.at(ctx, name)
		if err != nil {
			return "", nil, err
		}
		if r == nil {
			continue
		}
		switch {
		case r.PublicSuffix == "n":
			return name, r, nil
		case r.PublicSuffix == "y" && i > 0:
			below := list[i-1]
			own, err := w.at(ctx, below)
			if err == nil && own != nil {
				return below, own, nil
			}
			return below, r, err
		}
		found = append(found, r)
	}
	if len(found) == 0 {
		return domain, nil, nil
	}
	last := found[len(found)-1]
	return last.Domain, last, nil
}

// policy finds the record that holds for mail of domain.
func (w *treeWalk) policy(ctx context.Context, domain string) (*PolicyRecord, error) {
	r, err := w.at(ctx, domain)
	if r != nil || err != nil {
		return r, err
	}
	_, r, err = w.organizational(ctx, domain)
	return r, err
}

// exists tells whether a name has addresses or mail exchangers; a failure counts as yes.
func (w *treeWalk) exists(ctx context.Context, domain string) bool {
	_, _, err := w.resolver.MX(ctx, domain)
	if !errors.Is(err, dns.ErrNotFound) {
		return true
	}
	_, _, err = w.resolver.IP(ctx, domain)
	return !errors.Is(err, dns.ErrNotFound)
}

// aligned tells whether two domains belong together: are the same, or, relaxed, have one organizational domain.
func (w *treeWalk) aligned(ctx context.Context, author, other string, strict bool) (bool, error) {
	if author == other || strict || other == "" {
		return author == other, nil
	}
	if author[strings.LastIndexByte(author, '.')+1:] != other[strings.LastIndexByte(other, '.')+1:] {
		return false, nil
	}
	a, _, err := w.organizational(ctx, author)
	if err != nil {
		return false, err
	}
	if !within(other, a) { // its organizational domain cannot be a
		return false, nil
	}
	b, _, err := w.organizational(ctx, other)
	return a == b && err == nil, err
}

// lower is the next milder policy, for a domain that only tries or for mail outside of its percentage.
func lower(policy string) string {
	list := []string{PolicyNone, PolicyNone, PolicyQuarantine, PolicyReject}
	return list[max(slices.Index(list[1:], policy), 0)]
}
