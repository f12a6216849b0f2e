package mailauth

import (
	"context"
	"fmt"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// DMARC is whether the author's domain is proven, and what its owner asks to do when it is not.
type DMARC struct {
	Result      Result // None: the domain says nothing; Pass, Fail, TempError, PermError (From names no one domain)
	Reason      string
	Domain      string        // of From; empty with PermError
	Record      *PolicyRecord // nil: none
	Policy      string        // what the record asks for this domain: PolicyNone, PolicyQuarantine, PolicyReject; empty: nothing
	Disposition string        // Policy, milder where the owner only tries (t=y, pct)
	AlignedSPF  bool          // SPF passed for a domain that belongs to the author's
	AlignedDKIM bool
}

// author reads the domain of From. Fields or addresses with several domains have no author that could be proven.
func author(h *header) (mail.Domain, error) {
	fields := h.values("from")
	if len(fields) != 1 {
		return "", because(PermError, "the message has %d From fields", len(fields))
	}
	var found mail.Domain
	for _, a := range message.ParseAddresses(fields[0]) {
		if a.Host == "" || a.Host == message.MissingDomain {
			continue // begin or end of a group, or words only
		}
		d, err := mail.ParseDomain(a.Host)
		switch {
		case err != nil || d.IsLiteral():
			return "", because(PermError, "From has no domain: %.80q", a.Host)
		case found != "" && found != d:
			return "", because(PermError, "From names %s and %s", found, d)
		}
		found = d
	}
	if found == "" {
		return "", because(PermError, "From has no address")
	}
	return found, nil
}

// checkDMARC compares the author with what SPF and DKIM have proven. choose picks a number below n, for pct.
func (c *Checker) checkDMARC(ctx context.Context, from mail.Domain, s SPF, signatures []DKIM) DMARC {
	out := DMARC{Result: None, Domain: from.String()}
	w := newTreeWalk(c.o.Resolver)
	r, err := w.policy(ctx, out.Domain)
	if err != nil {
		out.Result, out.Reason = resultOf(err)
		return out
	}
	if r == nil {
		return out
	}
	out.Record = r
	temporary, cause := false, ""
	align := func(domain string, strict bool) bool {
		ok, err := w.aligned(ctx, out.Domain, domain, strict)
		if err != nil {
			temporary, cause = true, err.Error()
		}
		return ok
	}
	if s.Result == Pass {
		out.AlignedSPF = align(s.Domain, r.StrictSPF)
	}
	for _, d := range signatures {
		switch d.Result {
		case Pass:
			out.AlignedDKIM = out.AlignedDKIM || align(d.Domain, r.StrictDKIM)
		case TempError:
			temporary, cause = true, d.Reason
		}
	}
	if s.Result == TempError {
		temporary, cause = true, s.Reason
	}
	out.Policy = r.For(out.Domain, out.Domain == r.Domain || r.NonExistent == "" || w.exists(ctx, out.Domain))
	switch {
	case out.AlignedSPF || out.AlignedDKIM:
		out.Result = Pass
	case temporary:
		out.Result, out.Reason = TempError, cause
	default:
		out.Result, out.Reason = Fail, unproven(s, signatures)
		out.Disposition = out.Policy
		if r.Testing || r.Percent < 100 && c.o.Choose(100) >= r.Percent {
			out.Disposition = lower(out.Policy)
		}
	}
	return out
}

// unproven says why neither SPF nor DKIM speaks for the author.
func unproven(s SPF, signatures []DKIM) string {
	var parts []string
	if s.Result == Pass {
		parts = append(parts, "SPF proves "+s.Domain)
	} else {
		parts = append(parts, "SPF says "+string(s.Result))
	}
	for _, d := range signatures {
		if d.Result == Pass {
			parts = append(parts, "a signature proves "+d.Domain)
		}
	}
	if len(signatures) == 0 {
		parts = append(parts, "there is no signature")
	} else if len(parts) == 1 {
		parts = append(parts, fmt.Sprintf("no signature holds (%s)", signatures[0].Reason))
	}
	return strings.Join(parts, ", ")
}
