// Package remote carries mail to other hosts: MX order, one attempt at a time,
// opportunistic TLS, smart hosts, and a pool of connections.
//
// Start at Carrier: Route finds the hosts of a domain, Deliver tries them in
// order. route.go resolves, attempt.go decides whose turn it is, connect.go
// opens a connection, tls.go secures it as policies demand, send.go runs the
// transactions.
package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// Values of SmartHost.TLS.
const (
	Implicit = "implicit"
	StartTLS = "starttls"
	Clear    = "none"
)

// SmartHost takes our mail and carries it on. Its certificate is verified against its name.
type SmartHost struct {
	Host     string
	Port     int    // 465 with implicit TLS, else 587
	TLS      string // StartTLS when empty
	User     string // empty: no AUTH
	Password string
	Roots    *x509.CertPool // who may have signed its certificate; nil: as Options.TLS says
	Senders  []mail.Domain  // only mail from these; empty: all mail
	After    int            // only after so many direct tries (queue.Options.DirectTries must reach it)
}

// Options of a Carrier. The zero value of a limit or time means its default.
type Options struct {
	Logger        *slog.Logger
	Metrics       *metrics.Set
	Resolver      dns.Resolver
	Hostname      string        // our name in EHLO
	TLS           *tls.Config   // roots for smart hosts; may be nil
	Port          int           // of MX hosts: 25
	IPv6First     bool          // else IPv4 first
	IPv6          string        // IPv6Checked: to IPv6 addresses only when our own has a reverse name that leads back; the default
	AllowLoopback bool          // deliver to loopback addresses, and to ourselves (the demo house)
	AllowPrivate  bool          // deliver to private addresses (RFC 1918, RFC 4193)
	Own           []netip.Addr  // our addresses; nil: those of the machine
	SmartHosts    []SmartHost   // the first that fits is taken
	PerHost       int           // connections at once to one host; 0: the queue's
	Connect       time.Duration // 30 s for one address
	Attempt       time.Duration // one attempt in all may take 1 h, and a second more for each slowest octets of the message
	Timeouts      smtp.Timeouts
	Idle          time.Duration // a connection waits this long for the next message: 15 s
	MaxUses       int           // transactions over one connection: 100
	MaxAddresses  int           // addresses tried in one attempt: 8
	// Policy asks what a connection to a host of the domain must fulfil (tlspolicy.Engine.For); nil: opportunistic TLS.
	Policy func(ctx context.Context, domain, host string) (tlspolicy.Verdict, error)
	Seen   func(ctx context.Context, s Sighting) Opinion // hears of TLS with every host; nil: nobody
	// Dial opens a connection; nil: TCP. Choose picks a number below n, to order equals; nil: at random.
	Dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	Choose func(n int) int
	// Source is the address from which we would speak to another; nil: as the machine says.
	Source func(ctx context.Context, to netip.AddrPort) (netip.Addr, error)
}

// Carrier is the queue.Transport to other hosts.
type Carrier struct {
	o       Options
	log     *slog.Logger
	pool    *pool
	count   counters
	names   names
	reverse *regexp.Regexp
}

// New checks the options.
func New(o Options) (*Carrier, error) {
	if o.Resolver == nil || o.Hostname == "" {
		return nil, errors.New("remote: a resolver and a host name are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Port = cmp.Or(o.Port, 25)
	o.IPv6 = cmp.Or(o.IPv6, IPv6Checked)
	if o.Source == nil {
		o.Source = sourceOf
	}
	o.Connect = cmp.Or(o.Connect, 30*time.Second)
	o.Attempt = cmp.Or(o.Attempt, time.Hour)
	o.Idle = cmp.Or(o.Idle, 15*time.Second)
	o.MaxUses = cmp.Or(o.MaxUses, 100)
	o.MaxAddresses = cmp.Or(o.MaxAddresses, 8)
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", to.String())
		}
	}
	if o.Own == nil {
		o.Own = machine()
	}
	if o.Choose == nil {
		o.Choose = rand.IntN
	}
	o.SmartHosts = slices.Clone(o.SmartHosts)
	for i := range o.SmartHosts {
		s := &o.SmartHosts[i]
		s.TLS = cmp.Or(s.TLS, StartTLS)
		if s.Host == "" || s.TLS != Implicit && s.TLS != StartTLS && s.TLS != Clear {
			return nil, fmt.Errorf("remote: smart host %q needs a name, and TLS of %q, %q or %q", s.Host, Implicit, StartTLS, Clear)
		}
		if s.Port == 0 {
			s.Port = map[bool]int{true: 465, false: 587}[s.TLS == Implicit]
		}
	}
	return &Carrier{o: o, log: o.Logger, pool: newPool(o), count: newCounters(o.Metrics), reverse: reverse()}, nil
}

// machine lists the addresses of this machine, but for loopback; without them, loops are found by name only.
func machine() (own []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok && !addr.IsLoopback() {
				own = append(own, addr.Unmap())
			}
		}
	}
	return own
}

// Close ends the connections that wait for work.
func (c *Carrier) Close() { c.pool.close() }

// failure is a Result of our own.
func failure(v queue.Verdict, status, format string, args ...any) queue.Result {
	return queue.Result{Verdict: v, Status: status, Text: fmt.Sprintf(format, args...)}
}
