// Package tlspolicy tells what a connection to another mail host must fulfil:
// DANE (RFC 7672) where the domain's DNS is signed, else MTA-STS (RFC 8461), else
// nothing but what is offered (RFC 7435).
//
// Start at Engine: For is the verdict for one host of a domain. sts.go keeps the
// policies of domains in the owner's Cache, dane.go reads TLSA records, and
// failure.go names what went wrong in the words of TLS reports (RFC 8460).
package tlspolicy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// Kind is what a verdict comes from, as TLS reports call it (RFC 8460 section 4.2).
type Kind string

const (
	None Kind = "no-policy-found"
	STS  Kind = "sts"
	DANE Kind = "tlsa"
)

// Verdict is what a connection to one host must fulfil.
type Verdict struct {
	Kind     Kind
	Required bool // TLS or nothing
	// Verify says whether the handshake's certificate fulfils the policy; nil: any does. Its error is an *Error.
	Verify func(tls.ConnectionState) error
	// Trusted says whether the certificate leads to a root and bears the host's name, as on the web; it binds nobody.
	Trusted func(tls.ConnectionState) error
	// Signed: DNS signs that the host is the domain's (DNSSEC), so that nobody can have put it in between.
	Signed bool
	// Refused: the host must not be used at all; why.
	Refused *Error
	// Testing: a failure of Verify, or Refused, is told to the domain's owner and changes nothing (RFC 8461 section 5.1).
	Testing bool
	// Policy is the text of the policy or the records, and Domain where it stands, for reports.
	Policy []string
	Domain string
	Hosts  []string // mx patterns of an STS policy
}

// Error is a failure with its name in TLS reports.
type Error struct {
	Type   string // RFC 8460 section 4.3: "certificate-expired", ...
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Options of an Engine. The zero value of a time or function means its default.
type Options struct {
	Resolver dns.Resolver
	Cache    Cache            // of STS policies; nil: none are kept, so that every message asks anew
	HTTP     *http.Client     // asks for policies; its certificate checks are those of the web; nil: NewHTTP
	Roots    *x509.CertPool   // that an STS host's certificate must lead to; nil: the system's
	Now      func() time.Time // time.Now
	Port     int              // of TLSA records: 25
}

// Engine tells verdicts.
type Engine struct {
	o     Options
	fetch flights
}

// New returns an Engine.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.HTTP == nil {
		o.HTTP = NewHTTP(o.Resolver, nil)
	}
	if o.Cache == nil {
		o.Cache = noCache{}
	}
	if o.Port == 0 {
		o.Port = 25
	}
	return &Engine{o: o, fetch: flights{running: map[string]chan struct{}{}}}
}

// For is the verdict for a host of a domain. DANE goes before STS: where its records are published, only they count. An error is
// temporary: nobody knows now, and mail must wait rather than go out unprotected (RFC 7672 section 2.1.1).
func (e *Engine) For(ctx context.Context, domain, host string) (Verdict, error) {
	v, err := e.dane(ctx, domain, host)
	if err == nil && v.Kind != DANE {
		signed := v.Signed
		v = e.sts(ctx, domain, host)
		v.Signed = signed
	}
	v.Trusted = func(s tls.ConnectionState) error { return e.verifyName(host, s) }
	return v, err
}

// ErrUnknown: DNS does not tell now whether there is a policy.
var ErrUnknown = errors.New("tlspolicy: DNS does not answer")
