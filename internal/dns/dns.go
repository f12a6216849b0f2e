// Package dns is the house's resolver: a server's address is configurable, an
// absent name (ErrNotFound) is never mixed up with a failure (any other error, temporary).
//
// Client asks real servers. Zone is a small authoritative server for the demo
// house and for tests, over the network (Serve) or without it (Zone.Client).
package dns

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// ErrNotFound: the name or the type does not exist (NXDOMAIN, NODATA). Every other error is temporary.
var ErrNotFound = errors.New("dns: no such record")

// MX is one mail exchanger (RFC 5321 section 5.1); Host "." or "" is a null MX (RFC 7505).
type MX struct {
	Preference uint16
	Host       string // lower case, no final dot
}

// TLSA is one record of DANE (RFC 6698 section 2.1).
type TLSA struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

// Resolver answers the questions of the house. Secure tells that the answer was
// validated by a trusted resolver (AD bit, RFC 4035 section 3.2.3).
type Resolver interface {
	MX(ctx context.Context, domain string) (records []MX, secure bool, err error)       // lowest preference first
	IP(ctx context.Context, host string) (addrs []netip.Addr, secure bool, err error)   // A, then AAAA
	A(ctx context.Context, host string) (addrs []netip.Addr, secure bool, err error)    // one family only
	AAAA(ctx context.Context, host string) (addrs []netip.Addr, secure bool, err error) // one family only
	TXT(ctx context.Context, name string) (texts []string, secure bool, err error)      // strings of a record joined
	TLSA(ctx context.Context, name string) (records []TLSA, secure bool, err error)     // "_25._tcp.host"
	PTR(ctx context.Context, addr netip.Addr) (names []string, secure bool, err error)  // lower case, no final dot
}

// Options of a Client. The zero value of a duration or count means its default.
type Options struct {
	Servers   []netip.AddrPort // empty: those of /etc/resolv.conf
	Timeout   time.Duration    // one question to one server; 3 s
	Rounds    int              // how often the list of servers is gone through; 2
	TrustAD   bool             // the way to the servers is safe (loopback), so that their AD bit counts
	CacheSize int              // answers kept; 2048
	Now       func() time.Time
	Metrics   *metrics.Set
}
