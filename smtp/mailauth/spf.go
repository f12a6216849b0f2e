package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// What one evaluation may ask (RFC 7208 section 4.6.4).
const (
	maxSPFTerms = 10 // terms that ask DNS
	maxSPFVoid  = 2  // questions without an answer
	maxSPFNames = 10 // of one mx or ptr
)

// SPF is the outcome for one identity.
type SPF struct {
	Result      Result
	Reason      string // what matched, or what is wrong
	Domain      string // that was asked: of MAIL FROM, or of EHLO
	Hello       bool   // the identity is the name in EHLO
	Explanation string // what the domain's owner says to those who fail (exp); from a stranger
}

// checkSPF asks whether the client may use the envelope sender, or for <> the name in EHLO (RFC 7208 section 2.4).
func checkSPF(ctx context.Context, r dns.Resolver, s Session, hostname string) SPF {
	out := SPF{Result: None, Domain: s.From.Domain.String()}
	local := s.From.Local
	if s.From.IsNull() || s.From.Domain == "" {
		out.Hello, local = true, ""
		out.Domain = ""
		if hello, err := mail.ParseDomain(s.Hello); err == nil {
			out.Domain = hello.String()
		}
	}
	if local == "" {
		local = "postmaster" // section 4.3
	}
	if !askable(out.Domain) {
		out.Domain, out.Reason = "", "neither the sender nor the client has a name to ask about"
		return out
	}
	e := &spfEvaluation{
		resolver: r, hostname: hostname,
		macros: spfMacros{session: s, sender: local + "@" + out.Domain, local: local, hostname: hostname},
	}
	e.macros.ptr = func() string { return e.validated(ctx, e.macros.domain) }
	result, err := e.domain(ctx, out.Domain)
	if err != nil {
		out.Result, out.Reason = resultOf(err)
		return out
	}
	out.Result, out.Reason = result, e.matched
	if result == Fail {
		out.Explanation = e.explanation(ctx)
	}
	return out
}

// askable tells whether a name is one that DNS could have (section 4.3).
func askable(name string) bool {
	if len(name) > mail.MaxDomain || !strings.Contains(name, ".") || strings.HasPrefix(name, "[") {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// spfEvaluation is check_host() with what is counted across its recursion.
type spfEvaluation struct {
	resolver dns.Resolver
	hostname string
	macros   spfMacros
	terms    int
	void     int
	matched  string // the term that decided
	exp      string // of the record that decided, and its domain
	expAt    string
}

// domain evaluates the record of one domain.
func (e *spfEvaluation) domain(ctx context.Context, domain string) (Result, error) {
	texts, _, err := e.resolver.TXT(ctx, domain)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return "", because(TempError, "the record of %s: DNS does not answer", domain)
	}
	var found []string
	for _, text := range texts {
		if isSPF(text) {
			found = append(found, text)
		}
	}
	switch {
	case len(found) == 0:
		e.matched = domain + " has no record"
		return None, nil
	case len(found) > 1:
		return "", because(PermError, "%s has %d records", domain, len(found))
	}
	r, err := parseSPF(found[0])
	if err != nil {
		return "", because(PermError, "the record of %s: %v", domain, err)
	}
	for _, t := range r.terms {
		e.macros.domain = domain
		ok, err := e.match(ctx, t, domain)
		if err != nil {
			return "", err
		}
		if ok {
			e.matched, e.exp, e.expAt = t.text+" of "+domain, r.exp, domain
			return t.result, nil
		}
	}
	if r.redirect == "" {
		e.matched = "no term of " + domain + " fits"
		return Neutral, nil
	}
	if err := e.count(); err != nil {
		return "", err
	}
	e.macros.domain = domain
	target, err := e.expand(r.redirect)
	if err != nil {
		return "", err
	}
	result, err := Result(None), error(nil)
	if askable(target) {
		result, err = e.domain(ctx, target)
	}
	if err == nil && result == None { // section 6.1
		return "", because(PermError, "redirect to %.80s, which has no record", target)
	}
	return result, err
}

// count counts a term that asks DNS.
func (e *spfEvaluation) count() error {
	if e.terms++; e.terms > maxSPFTerms {
		return because(PermError, "more than %d terms ask DNS", maxSPFTerms)
	}
	return nil
}

// answered reads the error of a question: absence is no error but is counted.
func (e *spfEvaluation) answered(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, dns.ErrNotFound):
		return because(TempError, "%.80s: DNS does not answer", name)
	}
	if e.void++; e.void > maxSPFVoid {
		return because(PermError, "more than %d questions have no answer", maxSPFVoid)
	}
	return nil
}

// expand makes a name of a domain-spec (section 7.3): what is too long loses labels on its left.
func (e *spfEvaluation) expand(spec string) (string, error) {
	name, err := expandMacros(spec, &e.macros)
	if err != nil {
		return "", because(PermError, "%.80q: %v", spec, err)
	}
	name = strings.TrimSuffix(name, ".")
	for len(name) > mail.MaxDomain {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		name = rest
	}
	return name, nil
}

// match evaluates one term (section 5).
func (e *spfEvaluation) match(ctx context.Context, t spfTerm, domain string) (bool, error) {
	addr := e.macros.session.Remote.Unmap()
	switch t.mechanism {
	case "all":
		return true, nil
	case "ip4", "ip6":
		return t.network.Contains(addr), nil
	}
	if err := e.count(); err != nil {
		return false, err
	}
	target := domain
	if t.domain != "" {
		var err error
		if target, err = e.expand(t.domain); err != nil {
			return false, err
		}
	}
	switch t.mechanism {
	case "include":
		return e.include(ctx, target)
	case "a":
		return e.hasAddress(ctx, target, t)
	case "mx":
		return e.mx(ctx, target, t)
	case "ptr":
		return e.ptr(ctx, target), nil
	}
	// exists asks for an A record, whatever the client's family is (section 5.7).
	if !resolvable(target) {
		return false, nil
	}
	addrs, _, err := e.resolver.A(ctx, target)
	return len(addrs) > 0, e.answered(target, err)
}

// resolvable tells whether a name may be asked at all; a macro may have made anything of it.
func resolvable(name string) bool {
	if name == "" || len(name) > mail.MaxDomain {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// include: section 5.2.
func (e *spfEvaluation) include(ctx context.Context, target string) (bool, error) {
	result := None
	if resolvable(target) {
		var err error
		if result, err = e.domain(ctx, target); err != nil {
			return false, err
		}
	}
	if result == None {
		return false, because(PermError, "include of %.80s, which has no record", target)
	}
	return result == Pass, nil
}

// addresses lists the addresses of a host in the client's family.
func (e *spfEvaluation) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if !resolvable(host) {
		return nil, dns.ErrNotFound
	}
	lookup := e.resolver.AAAA
	if e.macros.session.Remote.Unmap().Is4() {
		lookup = e.resolver.A
	}
	addrs, _, err := lookup(ctx, host)
	return addrs, err
}

// hasAddress tells whether the client stands in a network of the host.
func (e *spfEvaluation) hasAddress(ctx context.Context, host string, t spfTerm) (bool, error) {
	addrs, err := e.addresses(ctx, host)
	if err := e.answered(host, err); err != nil {
		return false, err
	}
	return t.covers(addrs, e.macros.session.Remote.Unmap()), nil
}

// covers tells whether the client is one of the addresses, or in the network of the term's size around one.
func (t *spfTerm) covers(addrs []netip.Addr, client netip.Addr) bool {
	for _, a := range addrs {
		bits := t.bits6
		if a.Is4() {
			bits = t.bits4
		}
		if netip.PrefixFrom(a, bits).Masked().Contains(client) {
			return true
		}
	}
	return false
}

// mx: section 5.4.
func (e *spfEvaluation) mx(ctx context.Context, target string, t spfTerm) (bool, error) {
	if !resolvable(target) {
		return false, nil
	}
	list, _, err := e.resolver.MX(ctx, target)
	if err := e.answered(target, err); err != nil {
		return false, err
	}
	if len(list) > maxSPFNames {
		return false, because(PermError, "%s has more than %d mail exchangers", target, maxSPFNames)
	}
	for _, m := range list {
		if m.Host == "" || m.Host == "." {
			continue
		}
		addrs, err := e.addresses(ctx, m.Host)
		if err != nil && !errors.Is(err, dns.ErrNotFound) {
			return false, because(TempError, "%.80s: DNS does not answer", m.Host)
		}
		if t.covers(addrs, e.macros.session.Remote.Unmap()) {
			return true, nil
		}
	}
	return false, nil
}

// names are those of the client's address that lead back to it (section 5.5); failures count as none.
func (e *spfEvaluation) names(ctx context.Context) []string {
	addr := e.macros.session.Remote.Unmap()
	list, _, err := e.resolver.PTR(ctx, addr)
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range list[:min(len(list), maxSPFNames)] {
		addrs, err := e.addresses(ctx, name)
		if err == nil && (&spfTerm{bits4: 32, bits6: 128}).covers(addrs, addr) {
			out = append(out, strings.ToLower(name))
		}
	}
	return out
}

func (e *spfEvaluation) ptr(ctx context.Context, target string) bool {
	for _, name := range e.names(ctx) {
		if within(name, strings.ToLower(target)) {
			return true
		}
	}
	return false
}

// validated is macro p: a name of the client, best one below domain (section 7.3).
func (e *spfEvaluation) validated(ctx context.Context, domain string) string {
	names := e.names(ctx)
	for _, name := range names {
		if name == domain {
			return name
		}
	}
	for _, name := range names {
		if within(name, domain) {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return "unknown"
}

// explanation is what exp says (section 6.2); nothing when anything about it is wrong.
func (e *spfEvaluation) explanation(ctx context.Context) string {
	if e.exp == "" {
		return ""
	}
	e.macros.domain = e.expAt
	name, err := e.expand(e.exp)
	if err != nil || !resolvable(name) {
		return ""
	}
	texts, _, err := e.resolver.TXT(ctx, name)
	if err != nil || len(texts) != 1 {
		return ""
	}
	e.macros.explain = true
	text, err := expandMacros(texts[0], &e.macros)
	if err != nil || strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f }) >= 0 {
		return ""
	}
	return fmt.Sprintf("%.300s", text)
}
