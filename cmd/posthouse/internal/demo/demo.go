// Package demo is a mail server to look at: one house with two domains, on
// loopback, with a certificate authority and a DNS of its own. Its mail between
// the two domains goes through queue and MX lookup, as a stranger's would.
//
// New makes a House, Run opens its doors, Try sends a message through it and waits until it lies in the reader's INBOX.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// What is in the demo.
const (
	Alice    = "alice@alpha.test"
	Bob      = "bob@alpha.test"
	Carol    = "carol@beta.test"
	Password = "posthouse"
	CAFile   = "demo-ca.pem"

	alpha = "alpha.test"
	beta  = "beta.test"
)

// The ports, before the offset.
const (
	PortSMTP        = 1025
	PortSubmissions = 1465
	PortSubmission  = 1587
	PortExtra       = 2525
	PortPOP3        = 1110
	PortPOP3S       = 1995
	PortIMAP        = 1143
	PortIMAPS       = 1993
	PortMetrics     = 1090
	PortHTTP        = 1080
	PortHTTPS       = 1443
)

// Options of a House.
type Options struct {
	Data    string // folder; made if it is not there
	Offset  int    // moves every port
	Logger  *slog.Logger
	Version string
}

// House is the demo's house with what stands around it.
type House struct {
	Daemon *daemon.Daemon
	Config *config.Config
	CA     *cert.Authority

	o     Options
	zone  *dns.Zone
	names *dns.Server
	codes []string // that let the operator in, once each
}

// New makes everything, binds every port and writes the authority's file; nothing is accepted before Run.
func New(ctx context.Context, o Options) (_ *House, err error) {
	if o.Offset < 0 || o.Offset > 65535-PortExtra {
		return nil, fmt.Errorf("a port offset is 0 to %d", 65535-PortExtra)
	}
	if o.Data, err = filepath.Abs(o.Data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return nil, err
	}
	// Before the files of a running demo are overwritten.
	if _, err := api.Dial(ctx, o.Data); !errors.Is(err, api.ErrNotRunning) {
		return nil, errors.Join(fmt.Errorf("a house runs on %s already: name another folder with --data", o.Data), err)
	}
	if err := mayUse(o.Data); err != nil {
		return nil, err
	}
	h := &House{o: o}
	if err := h.serveNames(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.names.Close())
		}
	}()
	pair, err := h.certify()
	if err != nil {
		return nil, err
	}
	h.Config = h.settings(pair)
	if err := h.Config.Check(); err != nil {
		return nil, err
	}
	h.Daemon, err = daemon.New(ctx, daemon.Options{Config: h.Config, Logger: o.Logger, Version: o.Version})
	if err != nil {
		return nil, err
	}
	if err := people(ctx, h.Daemon.House()); err != nil {
		return nil, errors.Join(err, h.Daemon.Close())
	}
	if h.codes, err = operator(ctx, h.Daemon.House()); err != nil {
		return nil, errors.Join(err, h.Daemon.Close())
	}
	if err := h.publishKeys(ctx); err != nil {
		return nil, errors.Join(err, h.Daemon.Close())
	}
	return h, nil
}

// mayUse refuses the folder of a house that is not the demo's: its accounts would get a known password beside them, and
// its queue would go to a DNS that knows nobody.
func mayUse(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	house := false
	for _, e := range entries {
		if e.Name() == CAFile {
			return nil
		}
		house = house || e.Name() == "meta.db" || e.Name() == "seg"
	}
	if house {
		return fmt.Errorf("%s holds a house that is not the demo's: name another folder with --data", folder)
	}
	return nil
}

// Run is the house's life until ctx ends.
func (h *House) Run(ctx context.Context) error {
	return errors.Join(h.Daemon.Run(ctx), h.names.Close())
}

// serveNames is the demo's DNS: each domain has its own MX name, both lead here, and says who sends as it.
func (h *House) serveNames() (err error) {
	h.zone, err = dns.NewZone(
		alpha+". MX 10 mail."+alpha+".", "mail."+alpha+". A 127.0.0.1",
		beta+". MX 10 mail."+beta+".", "mail."+beta+". A 127.0.0.1",
		alpha+`. TXT "v=spf1 mx -all"`, "_dmarc."+alpha+`. TXT "v=DMARC1; p=reject"`,
		beta+`. TXT "v=spf1 mx -all"`, "_dmarc."+beta+`. TXT "v=DMARC1; p=reject"`,
	)
	if err == nil {
		err = h.zone.AddReverse(netip.MustParseAddr("127.0.0.1"), "mail."+alpha)
	}
	if err == nil {
		h.names, err = dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), h.zone)
	}
	return err
}

// publishKeys puts the keys that sign into the demo's DNS, and what mail programs look for.
func (h *House) publishKeys(ctx context.Context) error {
	for _, d := range []string{alpha, beta} {
		keys, err := h.Daemon.House().DKIMKeys(ctx, d)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := h.zone.AddText(k.Name, k.Record); err != nil {
				return err
			}
		}
		records, err := h.Daemon.House().DomainRecords(ctx, d)
		if err != nil {
			return err
		}
		for _, x := range records.Records {
			if x.Type == "CNAME" || x.Type == "SRV" {
				if err := h.zone.Add(x.Line()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// certify makes the authority and the certificate; the file that clients trust is in place before anything listens.
func (h *House) certify() (cert.Pair, error) {
	ca, err := cert.NewAuthority("posthouse demo", nil)
	if err != nil {
		return cert.Pair{}, err
	}
	h.CA = ca
	folder := filepath.Join(h.o.Data, "tls")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return cert.Pair{}, err
	}
	pair, err := ca.WritePair(folder, "demo", "localhost", "127.0.0.1", "::1", "mail."+alpha, "mail."+beta,
		"autoconfig."+alpha, "autodiscover."+alpha, "autoconfig."+beta, "autodiscover."+beta)
	if err != nil {
		return cert.Pair{}, err
	}
	return pair, os.WriteFile(filepath.Join(h.o.Data, CAFile), ca.PEM(), 0o644)
}

// settings is the value that a file of this house would give.
func (h *House) settings(pair cert.Pair) *config.Config {
	c := config.Default()
	c.Hostname = "mail." + alpha
	c.Data = h.o.Data
	hosts := loopback(h.o.Offset)
	at := func(ports ...int) []config.Address {
		var all []config.Address
		for _, p := range ports {
			for _, host := range hosts {
				all = append(all, config.Address{HostPort: net.JoinHostPort(host, strconv.Itoa(p+h.o.Offset))})
			}
		}
		return all
	}
	c.Listen = config.Listen{
		SMTP:        at(PortSMTP),
		Submission:  at(PortSubmission, PortExtra),
		Submissions: at(PortSubmissions),
		POP3:        at(PortPOP3),
		POP3S:       at(PortPOP3S),
		IMAP:        at(PortIMAP),
		IMAPS:       at(PortIMAPS),
		HTTP:        at(PortHTTP),
		HTTPS:       at(PortHTTPS),
	}
	c.Metrics.Listen = at(PortMetrics)
	c.Web.Redirect = false // browsers do not know the demo's authority
	c.TLS.Certificates = []config.Certificate{{Cert: pair.Certificate, Key: pair.Key}}
	c.ACME.Roots = filepath.Join(h.o.Data, CAFile) // who looks at the house from here knows it too
	c.DNS.Servers = []netip.AddrPort{h.names.Addr()}
	c.Remote.Port = PortSMTP + h.o.Offset
	c.Remote.AllowLoopback = true
	c.Route.Across = config.AcrossMX
	c.Quota = config.Quota{}
	return c
}

// loopback is the addresses to listen on: ::1 too where the machine has it, since clients try it first for localhost.
func loopback(offset int) []string {
	l, err := net.Listen("tcp", net.JoinHostPort("::1", strconv.Itoa(PortSMTP+offset)))
	if err != nil {
		return []string{"127.0.0.1"}
	}
	if err := l.Close(); err != nil {
		return []string{"127.0.0.1"}
	}
	return []string{"127.0.0.1", "::1"}
}

// people makes the domains and accounts; those of an earlier run are there already.
func people(ctx context.Context, h *admin.House) error {
	for _, d := range []string{alpha, beta} {
		if _, err := h.AddDomain(ctx, admin.Domain{Name: d}); err != nil {
			return err
		}
	}
	for _, person := range [][2]string{{Alice, "Alice"}, {Bob, "Bob"}, {Carol, "Carol"}} {
		_, err := h.AddAccount(ctx, admin.NewAccount{Addresses: person[:1], Name: person[1], Password: Password})
		var known *admin.Error
		if errors.As(err, &known) && known.Class == admin.Conflict {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Port is a port of the house, moved by its offset.
func (h *House) Port(base int) string { return strconv.Itoa(base + h.o.Offset) }

// Describe is what a person needs to try the house with a client of his own.
func (h *House) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, `A mail server for alpha.test and beta.test runs on this machine, for this machine alone.

  accounts     alice@alpha.test, bob@alpha.test, carol@beta.test; password: %s
  operator     %s; password: %s; then one of these codes, each good once:
               %s
               or those of an authenticator with the secret %s
  certificate  %s (trust it in the client)
  data         %s

`, Password, Operator, Password, strings.Join(h.codes[:min(2, len(h.codes))], ", "), Secret, filepath.Join(h.o.Data, CAFile), h.o.Data)
	for _, row := range [][3]string{
		{"IMAP", h.Port(PortIMAPS) + " TLS", h.Port(PortIMAP) + " STARTTLS"},
		{"POP3", h.Port(PortPOP3S) + " TLS", h.Port(PortPOP3) + " STARTTLS"},
		{"submission", h.Port(PortSubmissions) + " TLS", h.Port(PortSubmission) + " or " + h.Port(PortExtra) + " STARTTLS"},
		{"SMTP", h.Port(PortSMTP), "as other hosts see it"},
		{"web", "http://localhost:" + h.Port(PortHTTP) + "/", "the same accounts, the operator's pages under /admin/; https on " + h.Port(PortHTTPS)},
		{"metrics", "http://localhost:" + h.Port(PortMetrics) + "/metrics", "/healthz /readyz"},
	} {
		fmt.Fprintf(&b, "  %-12s localhost:%s, %s\n", row[0], row[1], row[2])
	}
	return strings.ReplaceAll(b.String(), "localhost:http://", "http://")
}
