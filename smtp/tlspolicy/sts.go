package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

const (
	maxPolicy  = 64 << 10        // octets of a policy file
	maxAge     = 365 * 24 * 3600 // seconds (RFC 8461 section 3.2)
	fetchTime  = time.Minute     // RFC 8461 section 3.3
	retryAfter = 5 * time.Minute // between two tries to get a policy
	refreshAge = 24 * time.Hour  // a policy is asked for again after a day even under the same id
	maxHosts   = 100             // mx lines of a policy
)

// Modes of a policy (RFC 8461 section 5).
const (
	Enforce  = "enforce"
	Testing  = "testing"
	ModeNone = "none"
)

// Policy is an STS policy file (RFC 8461 section 3.2).
type Policy struct {
	Mode   string
	MaxAge int // seconds
	MX     []string
}

// ParsePolicy reads a policy file. Lines may end in LF; unknown keys are passed over.
func ParsePolicy(text string) (*Policy, error) {
	p := &Policy{MaxAge: -1}
	version := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok {
			return nil, fmt.Errorf("the line %.60q is none of a policy", line)
		}
		switch key {
		case "version":
			if version == "" {
				version = value
			}
		case "mode":
			if p.Mode == "" {
				p.Mode = value
			}
		case "max_age":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("max_age is %.20q", value)
			}
			if p.MaxAge < 0 {
				p.MaxAge = min(n, maxAge)
			}
		case "mx":
			if len(p.MX) == maxHosts {
				return nil, fmt.Errorf("more than %d hosts", maxHosts)
			}
			p.MX = append(p.MX, strings.ToLower(strings.TrimSuffix(value, ".")))
		}
	}
	switch {
	case version != "STSv1":
		return nil, fmt.Errorf("its version is %.20q", version)
	case p.Mode != Enforce && p.Mode != Testing && p.Mode != ModeNone:
		return nil, fmt.Errorf("its mode is %.20q", p.Mode)
	case p.MaxAge < 0:
		return nil, errors.New("it has no max_age")
	case len(p.MX) == 0 && p.Mode != ModeNone:
		return nil, errors.New("it names no host")
	}
	return p, nil
}

// String is the file.
func (p *Policy) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", p.Mode)
	for _, m := range p.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", m)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", p.MaxAge)
	return b.String()
}

// Lists tells whether a host is one of the policy's; a pattern's "*" stands for one label (RFC 8461 section 4.1).
func (p *Policy) Lists(host string) bool {
	for _, m := range p.MX {
		if m == host {
			return true
		}
		if rest, ok := strings.CutPrefix(m, "*."); ok {
			if _, parent, found := strings.Cut(host, "."); found && parent == rest {
				return true
			}
		}
	}
	return false
}

// Entry is what a Cache keeps of a domain.
type Entry struct {
	ID      string    `json:"id"`     // of the TXT record when the policy was fetched
	Policy  string    `json:"policy"` // the file; empty: there was none
	Fetched time.Time `json:"fetched"`
	Failed  time.Time `json:"failed"` // last try that failed; zero: none since Fetched
	Reason  string    `json:"reason"` // of it
	Type    string    `json:"type"`   // in TLS reports
	Used    time.Time `json:"used"`   // by mail, to the day
}

// Over: the policy holds no more, or there never was one.
func (e Entry) Over(now time.Time) bool {
	p, err := ParsePolicy(e.Policy)
	return err != nil || now.After(e.Fetched.Add(time.Duration(p.MaxAge)*time.Second))
}

// Cache keeps policies over restarts: a policy that was seen once protects until its max_age, whatever happens to DNS
// (RFC 8461 section 2). Both methods may be called concurrently.
type Cache interface {
	Find(domain string) (Entry, bool)
	Keep(domain string, e Entry)
}

type noCache struct{}

func (noCache) Find(string) (Entry, bool) { return Entry{}, false }
func (noCache) Keep(string, Entry)        {}

// flights makes those who want the same policy wait for one question.
type flights struct {
	mu      sync.Mutex
	running map[string]chan struct{}
}

// sts is the verdict of the domain's STS policy.
func (e *Engine) sts(ctx context.Context, domain, host string) Verdict {
	entry, p := e.policy(ctx, domain)
	if now := e.o.Now(); p != nil && now.Sub(entry.Used) > 24*time.Hour {
		entry.Used = now
		e.o.Cache.Keep(domain, entry)
	}
	if p == nil || p.Mode == ModeNone {
		v := Verdict{Kind: None, Domain: domain}
		if entry.Type != "" { // a policy was announced and could not be had: its owner wants to know
			v = Verdict{Kind: STS, Testing: true, Domain: domain, Refused: &Error{entry.Type, entry.Reason}}
		}
		return v
	}
	v := Verdict{Kind: STS, Testing: p.Mode == Testing, Required: p.Mode == Enforce, Domain: domain, Hosts: p.MX}
	for line := range strings.Lines(entry.Policy) {
		v.Policy = append(v.Policy, strings.TrimRight(line, "\r\n"))
	}
	if !p.Lists(host) {
		v.Refused = &Error{"validation-failure", host + " is no host of the STS policy of " + domain}
	}
	v.Verify = func(s tls.ConnectionState) error { return e.verifyName(host, s) }
	return v
}

// verifyName: the certificate is valid for the host, as on the web (RFC 8461 section 4.2).
func (e *Engine) verifyName(host string, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return &Error{"validation-failure", "the host shows no certificate"}
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: e.o.Roots, Intermediates: between, DNSName: host, CurrentTime: e.o.Now()})
	if err == nil {
		return nil
	}
	return &Error{certificateFailure(err), certificateReason(err, host, e.o.Now())}
}

// policy is the policy that holds for a domain now: the kept one, renewed when the domain announces another.
func (e *Engine) policy(ctx context.Context, domain string) (Entry, *Policy) {
	kept, have := e.o.Cache.Find(domain)
	var p *Policy
	if have && kept.Policy != "" {
		if p, _ = ParsePolicy(kept.Policy); p != nil && kept.Over(e.o.Now()) {
			p, kept, have = nil, Entry{}, false
		}
	}
	id, announced := e.announced(ctx, domain)
	recent := e.o.Now().Sub(kept.Failed) < retryAfter
	fresh := p != nil && kept.ID == id && e.o.Now().Sub(kept.Fetched) < refreshAge
	if !announced || fresh || recent {
		if p == nil && !announced {
			kept.Type = ""
		}
		return kept, p
	}
	if !e.turn(ctx, domain) { // somebody else has just asked
		if again, ok := e.o.Cache.Find(domain); ok {
			kept = again
			if q, err := ParsePolicy(again.Policy); err == nil {
				p = q
			}
		}
		return kept, p
	}
	defer e.done(domain)
	// Somebody may have asked between our look into the cache and our turn: what he got is ours too.
	if again, ok := e.o.Cache.Find(domain); ok && again.ID == id && again.Fetched.After(kept.Fetched) {
		if q, err := ParsePolicy(again.Policy); err == nil {
			return again, q
		}
	}
	kept, q := e.take(ctx, domain, id, kept)
	if q == nil {
		q = p // what was kept goes on to hold (RFC 8461 section 5.1)
	}
	return kept, q
}

// take fetches the policy and keeps what came of it; nil: what was kept, with the failure noted.
func (e *Engine) take(ctx context.Context, domain, id string, kept Entry) (Entry, *Policy) {
	text, err := e.get(ctx, domain)
	var p *Policy
	if err == nil {
		if p, err = ParsePolicy(text); err != nil {
			err = &Error{"sts-policy-invalid", "the STS policy of " + domain + ": " + err.Error()}
		}
	}
	if err != nil {
		kept.Failed, kept.Reason, kept.Type = e.o.Now(), err.Error(), "sts-policy-fetch-error"
		if f, ok := errors.AsType[*Error](err); ok {
			kept.Type = f.Type
		}
		e.o.Cache.Keep(domain, kept)
		return kept, nil
	}
	kept = Entry{ID: id, Policy: text, Fetched: e.o.Now(), Used: kept.Used}
	e.o.Cache.Keep(domain, kept)
	return kept, p
}

// Renew asks for the policies of domains again that were kept for more than half of the time after which mail would ask, so that none
// ends while its domain's DNS or site is held back from us (RFC 8461 section 10.2). The owner of the Cache calls it now and then.
func (e *Engine) Renew(ctx context.Context, domains []string) {
	for _, d := range domains {
		if ctx.Err() != nil {
			return
		}
		kept, ok := e.o.Cache.Find(d)
		if ok && kept.Policy != "" && !kept.Over(e.o.Now()) && e.o.Now().Sub(kept.Fetched) >= refreshAge/2 {
			e.renew(ctx, d, kept)
		}
	}
}

// renew asks for the policy whatever its age.
func (e *Engine) renew(ctx context.Context, domain string, kept Entry) {
	id, announced := e.announced(ctx, domain)
	if announced && e.turn(ctx, domain) {
		defer e.done(domain)
		e.take(ctx, domain, id, kept)
	}
}

// turn waits for others who ask for the same domain; true: nobody did, and the caller asks now, then calls done.
func (e *Engine) turn(ctx context.Context, domain string) bool {
	e.fetch.mu.Lock()
	wait := e.fetch.running[domain]
	if wait == nil {
		e.fetch.running[domain] = make(chan struct{})
	}
	e.fetch.mu.Unlock()
	if wait == nil {
		return true
	}
	select {
	case <-wait:
	case <-ctx.Done():
	}
	return false
}

func (e *Engine) done(domain string) {
	e.fetch.mu.Lock()
	defer e.fetch.mu.Unlock()
	close(e.fetch.running[domain])
	delete(e.fetch.running, domain)
}

// announced reads the id in _mta-sts (RFC 8461 section 3.1). Without a record, or when DNS does not answer, what was kept holds.
func (e *Engine) announced(ctx context.Context, domain string) (id string, ok bool) {
	texts, _, err := e.o.Resolver.TXT(ctx, "_mta-sts."+domain)
	if err != nil {
		return "", false
	}
	for _, text := range texts {
		v, rest, _ := strings.Cut(text, ";")
		if strings.TrimSpace(v) != "v=STSv1" {
			continue
		}
		if ok {
			return "", false // two records are none
		}
		for field := range strings.SplitSeq(rest, ";") {
			if k, value, _ := strings.Cut(field, "="); strings.TrimSpace(k) == "id" {
				id = strings.TrimSpace(value)
			}
		}
		ok = id != "" && len(id) <= 32
	}
	return id, ok
}

// get fetches the file; redirects are not followed (RFC 8461 section 3.3).
func (e *Engine) get(ctx context.Context, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return "", fmt.Errorf("the STS policy of %s: %w", domain, err)
	}
	resp, err := e.o.HTTP.Do(req)
	if err != nil {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return "", &Error{"sts-webpki-invalid", "the STS policy of " + domain + ": " + err.Error()}
		}
		return "", fmt.Errorf("the STS policy of %s: %w", domain, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the STS policy of %s: the server says %s", domain, resp.Status)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return "", &Error{"sts-policy-invalid", "the STS policy of " + domain + " is no text/plain"}
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err != nil {
		return "", fmt.Errorf("the STS policy of %s: %w", domain, err)
	}
	if len(text) > maxPolicy {
		return "", &Error{"sts-policy-invalid", "the STS policy of " + domain + " is too long"}
	}
	return string(text), nil
}

// NewHTTP is a client for policies: our resolver, no redirects, no proxies, nothing kept open. An address goes when allowed says so;
// nil: public ones only.
func NewHTTP(r dns.Resolver, allowed func(netip.Addr) bool) *http.Client {
	if allowed == nil {
		allowed = Public
	}
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		addrs, _, err := r.IP(ctx, host)
		if err != nil {
			return nil, err
		}
		err = fmt.Errorf("%s has no public address", host)
		for _, a := range addrs {
			if !allowed(a) {
				continue
			}
			var c net.Conn
			if c, err = dialer.DialContext(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
				return c, nil
			}
		}
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, TLSHandshakeTimeout: 20 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Public tells addresses of the world: a name in a stranger's DNS must not make us speak to machines behind our own wall.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}
