package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/posthouse-mail/posthouse/imap"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/pop3"
)

// Names of the services, in logs, metrics and Received lines.
const (
	serviceSMTP        = "smtp"
	serviceSubmission  = "submission"
	serviceSubmissions = "submissions"
	servicePOP3        = "pop3"
	servicePOP3S       = "pop3s"
	serviceIMAP        = "imap"
	serviceIMAPS       = "imaps"
	serviceLMTP        = "lmtp"
	serviceHTTP        = "http"
	serviceHTTPS       = "https"
)

// door is a bound listener with what serves it.
type door struct{ service serve.Service }

// handlers is the servers behind the doors, made of one settings value; a reload makes others for new connections.
type handlers map[string]serve.Handler

// openCertificates loads the pairs; implicit TLS without one is a mistake that is told before anything is bound.
func (d *Daemon) openCertificates(context.Context) error {
	c := d.o.Config
	if len(c.TLS.Certificates) == 0 && !c.ACME.Enabled {
		return inFile(d.o.File, needCertificates(c))
	}
	if err := d.openACME(c); err != nil {
		return inFile(d.o.File, fmt.Errorf("acme: %w", err))
	}
	k, err := cert.Open(cert.Options{Pairs: pairs(c), ACME: d.acme, Hostname: c.Hostname, Logger: d.part(logx.PartCert), Metrics: d.metrics})
	if err != nil {
		return inFile(d.o.File, fmt.Errorf("tls.certificates: %w", err))
	}
	d.certs = k
	d.openAsking(c)
	return nil
}

func pairs(c *config.Config) []cert.Pair {
	var all []cert.Pair
	for _, p := range c.TLS.Certificates {
		all = append(all, cert.Pair{Certificate: p.Cert, Key: p.Key})
	}
	return all
}

// needCertificates names the doors that cannot be without one.
func needCertificates(c *config.Config) error {
	var open []string
	for _, x := range []struct {
		name string
		list []config.Address
	}{{"submissions", c.Listen.Submissions}, {"pop3s", c.Listen.POP3S}, {"imaps", c.Listen.IMAPS}, {"https", c.Listen.HTTPS}} {
		if len(x.list) > 0 {
			open = append(open, "listen."+x.name)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return fmt.Errorf("tls.certificates: %s cannot open without a certificate; name one, or set acme.enabled, or write an empty list for those doors", strings.Join(open, ", "))
}

// inFile says which settings file err is about.
func inFile(file string, err error) error {
	if err == nil || file == "" {
		return err
	}
	return fmt.Errorf("%s: %w", file, err)
}

// CheckFiles reads the files that the settings in file name, as a start would.
func CheckFiles(file string, c *config.Config) error {
	var errs []error
	if len(c.TLS.Certificates) == 0 {
		if !c.ACME.Enabled {
			errs = append(errs, inFile(file, needCertificates(c)))
		}
	} else if _, err := cert.Open(cert.Options{Pairs: pairs(c), Hostname: c.Hostname}); err != nil {
		errs = append(errs, inFile(file, fmt.Errorf("tls.certificates: %w", err)))
	}
	for i := range c.Remote.SmartHosts {
		if _, err := smartHosts(c.Remote.SmartHosts[i : i+1]); err != nil {
			errs = append(errs, inFile(file, err))
		}
	}
	if _, err := junkLists(c); err != nil {
		errs = append(errs, inFile(file, err))
	}
	if _, err := scanners(c.Scanners); err != nil {
		errs = append(errs, inFile(file, err))
	}
	if err := validCheckup(c); err != nil {
		errs = append(errs, inFile(file, err))
	}
	if _, err := clientCertificates(c); err != nil {
		errs = append(errs, inFile(file, err))
	}
	if _, err := acmeOptions(c); err != nil {
		errs = append(errs, inFile(file, fmt.Errorf("acme: %w", err)))
	}
	if _, err := secretOf(c.Metrics.TokenFile); err != nil {
		errs = append(errs, inFile(file, fmt.Errorf("metrics.token_file: %w", err)))
	}
	return errors.Join(errs...)
}

// openDoors makes the servers and binds every port, before any of them accepts.
func (d *Daemon) openDoors(ctx context.Context) error {
	c := d.o.Config
	d.visitors = newVisitors(d.log, d.proofs(d.pages(c)))
	h, err := d.handlers(c)
	if err != nil {
		return err
	}
	d.current.Store(&h)
	d.group = serve.New(serve.Options{
		Logger: d.part(logx.PartDoors), Metrics: d.metrics, MaxConns: c.Limits.Connections, MaxPerAddress: c.Limits.PerAddress, ProxyFrom: c.Listen.ProxyFrom, Listen: d.listenTo,
	})
	for _, x := range []struct {
		name string
		list []config.Address
		tls  bool
		max  int
	}{
		{serviceSMTP, c.Listen.SMTP, false, c.Limits.SMTP},
		{serviceSubmission, c.Listen.Submission, false, 0},
		{serviceSubmissions, c.Listen.Submissions, true, 0},
		{servicePOP3, c.Listen.POP3, false, 0},
		{servicePOP3S, c.Listen.POP3S, true, 0},
		{serviceIMAP, c.Listen.IMAP, false, 0},
		{serviceIMAPS, c.Listen.IMAPS, true, 0},
		{serviceHTTP, c.Listen.HTTP, false, max(1, c.Limits.Connections/4)}, // pages must not take the places of mail
		{serviceHTTPS, c.Listen.HTTPS, true, max(1, c.Limits.Connections/4)},
	} {
		for _, a := range x.list {
			listeners, err := d.listenAt(ctx, a)
			if err != nil {
				return fmt.Errorf("listen.%s: %w", x.name, err)
			}
			for _, l := range listeners {
				d.addDoor(serve.Service{Name: x.name, Listener: l, Max: x.max, Busy: busy(x.name, c.Hostname)}, x.tls)
			}
		}
		for _, l := range d.sockets.Named(x.name) {
			if x.tls && d.certs == nil {
				return fmt.Errorf("a socket named %s was handed over, and there is no certificate for it: name one under tls.certificates, or set acme.enabled", x.name)
			}
			d.addDoor(serve.Service{Name: x.name, Listener: serve.Adopt(l), Max: x.max, Busy: busy(x.name, c.Hostname)}, x.tls)
		}
	}
	return d.openLMTP()
}

// addDoor notes a bound listener; it accepts when Run starts.
func (d *Daemon) addDoor(s serve.Service, implicitTLS bool) {
	d.opened(quiet(s.Listener))
	if implicitTLS {
		s.TLS = d.clientTLS(s.Name)
		if s.Name == serviceHTTPS {
			s.TLS = s.TLS.Clone()
			s.TLS.NextProtos = []string{"h2", "http/1.1", cert.ProofProtocol}
		}
	}
	name := s.Name
	s.Handler = func(ctx context.Context, c *serve.Conn) { (*d.current.Load())[name](ctx, c) }
	d.doors = append(d.doors, door{s})
}

// openLMTP binds the unix socket, over one that a dead house left.
func (d *Daemon) openLMTP() error {
	path := d.o.Config.Listen.LMTP
	if path == "" {
		return nil
	}
	l, err := d.sockets.ListenUnix(path, 0o660) // owner and group: the mail server in front of us
	if err != nil {
		return fmt.Errorf("listen.lmtp: %w", err)
	}
	d.addDoor(serve.Service{Name: serviceLMTP, Listener: l, Busy: busy(serviceLMTP, d.o.Config.Hostname)}, false)
	return nil
}

// busy is what a client over the limits is told.
func busy(service, hostname string) string {
	const text = "too many connections, try again later"
	switch service {
	case serviceHTTP, serviceHTTPS:
		return "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\nContent-Length: 0\r\n"
	case servicePOP3, servicePOP3S:
		return "-ERR [SYS/TEMP] " + text // RFC 3206 section 4
	case serviceIMAP, serviceIMAPS:
		return "* BYE [UNAVAILABLE] " + text // RFC 5530 section 3
	}
	return "421 4.3.2 " + hostname + " " + text // RFC 5321 section 3.8
}

// current is the handlers in use.
type current = atomic.Pointer[handlers]

// handlers makes the servers of c.
func (d *Daemon) handlers(c *config.Config) (handlers, error) {
	h := handlers{}
	readers := imap.NewServer(imap.Options{
		Store: d.keepers.store, Auth: d.keepers.directory, Logger: d.part(logx.PartIMAP), Metrics: d.metrics, TLS: d.clientTLS(serviceIMAP), Version: d.o.Version,
		MaxMessage: int64(c.Limits.MessageSize), IdleTimeout: c.Limits.IMAPIdle.Duration, RecentlyDeleted: c.IMAP.RecentlyDeleted, Sessions: d.reading,
		Story: d.keepers.story,
	})
	h[serviceIMAP], h[serviceIMAPS] = readers.Handle, readers.Handle
	fetchers := pop3.NewServer(pop3.Options{
		Store: d.keepers.store, Auth: d.keepers.directory, Logger: d.part(logx.PartPOP3), Metrics: d.metrics, TLS: d.clientTLS(servicePOP3), Hostname: c.Hostname,
		Idle: c.Limits.POP3Idle.Duration, Exclusive: c.POP3.Exclusive, LoginDelay: c.POP3.LoginDelay.Duration, Sessions: d.fetching,
		Story: d.keepers.story,
	})
	h[servicePOP3], h[servicePOP3S] = fetchers.Handle, fetchers.Handle
	h[serviceHTTP], h[serviceHTTPS] = d.visitors.handle, d.visitors.handle
	return h, d.mailHandlers(c, h)
}
