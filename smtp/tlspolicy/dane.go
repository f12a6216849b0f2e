package tlspolicy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// Fields of a TLSA record that mail uses (RFC 7672 section 3.1).
const (
	usageTrustAnchor = 2 // DANE-TA
	usageEndEntity   = 3 // DANE-EE

	selectCertificate = 0
	selectKey         = 1

	matchExact  = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// dane looks for TLSA records of the host. They count only where the way to them is signed: the domain's MX, the host's addresses,
// the records themselves (RFC 7672 section 2.2).
func (e *Engine) dane(ctx context.Context, domain, host string) (Verdict, error) {
	none := Verdict{Kind: None}
	_, secure, err := e.o.Resolver.MX(ctx, domain)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		secure = true // the domain is its own host (RFC 5321 section 5.1): its addresses decide
	case err != nil:
		return none, fmt.Errorf("%w: mail exchangers of %s", ErrUnknown, domain)
	}
	if !secure {
		return none, nil
	}
	none.Signed = true
	_, secure, err = e.o.Resolver.IP(ctx, host)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return none, fmt.Errorf("%w: addresses of %s", ErrUnknown, host)
	}
	if err != nil || !secure {
		return none, nil
	}
	name := fmt.Sprintf("_%d._tcp.%s", e.o.Port, host)
	records, secure, err := e.o.Resolver.TLSA(ctx, name)
	switch {
	case errors.Is(err, dns.ErrNotFound), err == nil && !secure:
		return none, nil
	case err != nil: // somebody may be hiding them: never without (section 2.1.1)
		return none, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	v := Verdict{Kind: DANE, Required: true, Domain: host, Signed: true}
	var usable []dns.TLSA
	for _, r := range records {
		v.Policy = append(v.Policy, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data))
		if usableTLSA(r) {
			usable = append(usable, r)
		}
	}
	if len(usable) > 0 { // without a usable one TLS is required and nothing verified (section 2.2)
		names := []string{host, domain} // section 3.2.2
		v.Verify = func(s tls.ConnectionState) error { return e.verifyTLSA(usable, names, s) }
	}
	return v, nil
}

func usableTLSA(r dns.TLSA) bool {
	size := map[uint8]int{matchSHA256: sha256.Size, matchSHA512: sha512.Size}
	if r.Usage != usageTrustAnchor && r.Usage != usageEndEntity || r.Selector > selectKey || r.Matching > matchSHA512 {
		return false
	}
	return r.Matching == matchExact && len(r.Data) > 0 || size[r.Matching] == len(r.Data) && r.Matching != matchExact
}

// matches tells whether the record names the certificate.
func matches(r dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectKey {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}

// verifyTLSA: one record must fit. An end entity is trusted for its key alone, whatever its names and dates; a trust anchor must lead
// to a certificate for one of the names (RFC 7672 section 3.1.1, 3.1.2, 3.2.2).
func (e *Engine) verifyTLSA(records []dns.TLSA, names []string, s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return &Error{"validation-failure", "the host shows no certificate"}
	}
	leaf := s.PeerCertificates[0]
	for _, r := range records {
		if r.Usage == usageEndEntity && matches(r, leaf) {
			return nil
		}
	}
	var problem error
	for _, r := range records {
		if r.Usage != usageTrustAnchor {
			continue
		}
		for _, anchor := range anchors(r, s.PeerCertificates) {
			if problem = e.leadsTo(anchor, names, s.PeerCertificates); problem == nil {
				return nil
			}
		}
	}
	if problem != nil {
		return &Error{"validation-failure", "the certificate does not lead to the published anchor (TLSA): " + certificateReason(problem, names[0], e.o.Now())}
	}
	return &Error{"validation-failure", "the certificate is none of the published ones (TLSA)"}
}

// anchors are the certificates that a record names: of those that were shown, or its own.
func anchors(r dns.TLSA, shown []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range shown {
		if matches(r, c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 && r.Matching == matchExact && r.Selector == selectCertificate {
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			out = append(out, c)
		}
	}
	return out
}

func (e *Engine) leadsTo(anchor *x509.Certificate, names []string, shown []*x509.Certificate) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(anchor)
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	var err error
	for _, name := range slices.Compact(names) {
		_, err = shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name, CurrentTime: e.o.Now()})
		if err == nil {
			return nil
		}
	}
	return err
}
