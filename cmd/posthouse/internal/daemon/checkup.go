package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

const (
	letsEncrypt   = "letsencrypt.org" // in CAA records
	letsDirectory = "https://acme-v02.api.letsencrypt.org/directory"
	checkupFirst  = 10 * time.Minute // after the start: certificates and DNS may be on their way
	checkupLook   = 10 * time.Minute // for changed settings
)

// site is where the house stands in the world's DNS.
func site(c *config.Config) admin.Site {
	s := admin.Site{Hostname: c.Hostname, Addresses: PublicAddresses, Services: Services(c), Web: len(c.Listen.HTTPS) > 0 || c.BehindWeb()}
	for _, w := range programs(c).Ways() {
		s.Doors = append(s.Doors, check.Door{Protocol: w.Protocol, Port: w.Port, TLS: w.TLS})
	}
	if !c.BehindWeb() {
		s.PlainPort = firstPort(c.Listen.HTTP)
	}
	for _, p := range c.TLS.Certificates {
		s.Certificates = append(s.Certificates, p.Cert)
	}
	if c.ACME.Enabled {
		s.Issuer = issuer(c.ACME.Directory)
		s.Obtained = func() (files []string) {
			for _, p := range obtained(c) {
				files = append(files, p.Certificate)
			}
			return files
		}
	}
	return s
}

// issuer is an authority's name in CAA records; empty: nobody knows.
func issuer(directory string) string {
	if directory == "" || strings.HasPrefix(directory, "https://acme-v02.api.letsencrypt.org/") {
		return letsEncrypt
	}
	return ""
}

// obtained is the certificate files that an authority gave.
func obtained(c *config.Config) []cert.Pair {
	if !c.ACME.Enabled {
		return nil
	}
	o, err := acmeOptions(c)
	if err != nil {
		return nil
	}
	a, err := cert.NewACME(o)
	if err != nil {
		return nil
	}
	defer a.Close()
	all, err := a.Pairs()
	if err != nil {
		return nil // what cannot be read is no certificate; the house says so when it serves
	}
	return all
}

// PublicAddresses are those that this machine speaks from to the world, where an interface has them; nothing is sent.
func PublicAddresses() (all []netip.Addr) {
	for _, far := range []string{"1.1.1.1:25", "[2606:4700:4700::1111]:25"} {
		c, err := net.Dial("udp", far)
		if err != nil {
			continue // no way there in this family
		}
		if a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone(""); tlspolicy.Public(a) {
			all = append(all, a)
		}
		_ = c.Close()
	}
	return all
}

// localAddresses are those of all interfaces.
func localAddresses() (all []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, x := range list {
		if p, err := netip.ParsePrefix(x.String()); err == nil {
			all = append(all, p.Addr().Unmap())
		}
	}
	return all
}

// Services are the doors that mail programs find by SRV records; TLS from the first octet goes first (RFC 8314 section 5.1), IMAP before
// POP3 (RFC 6186 section 3.3).
func Services(c *config.Config) (all []check.Service) {
	p := programs(c)
	for _, x := range []check.Service{
		{Label: "imaps", Port: p.IMAPS}, {Label: "pop3s", Port: p.POP3S, Priority: 10}, {Label: "submissions", Port: p.Submissions}, {Label: "submission", Port: p.Submission, Priority: 10},
	} {
		if x.Port > 0 {
			all = append(all, x)
		}
	}
	if p.IMAPS == 0 && p.IMAP > 0 {
		all = append(all, check.Service{Label: "imap", Port: p.IMAP, Priority: 20})
	}
	return all
}

// world is how a check of this house looks at the world.
func (d *Daemon) world(context.Context) (admin.World, error) {
	d.checkedUp()
	var chain func(string) *tls.Certificate
	if d.certs != nil {
		chain = d.certs.Chain
	}
	w, err := world(d.settings.Load(), d.keepers, chain)
	w.Now = d.o.Now
	if disk, e := d.disk(); e == nil {
		s := d.settings.Load().Store
		low, stop := lines(disk, int64(s.DiskLow), int64(s.DiskStop))
		w.Facts.Disk = &check.Disk{Free: disk.Free, Low: low, Stop: stop}
	}
	return w, err
}

// world asks with a resolver of its own: what was changed a minute ago is to be seen.
func world(c *config.Config, k *keepers, chain func(string) *tls.Certificate) (w admin.World, err error) {
	r, err := dns.New(dns.Options{Servers: c.DNS.Servers, Timeout: c.DNS.Timeout.Duration, Rounds: 1, TrustAD: trustAD(c.DNS)})
	if err != nil {
		return w, err
	}
	w.Close = r.Close
	w.Resolver, w.Local, w.Chain = r, localAddresses(), chain
	w.SMTPPort, w.Probes, w.ClockURL = c.Remote.Port, c.Checkup.Probes, ClockURL(c)
	if w.WebPort = firstPort(c.Listen.HTTPS); c.ACME.Forwarded || c.ACME.Webroot != "" || c.BehindWeb() {
		w.WebPort = 0 // another web server stands at 443
	}
	if c.ACME.Roots != "" {
		if w.Roots, err = rootsBeside(c.ACME.Roots); err != nil {
			return w, errors.Join(err, r.Close())
		}
	}
	if len(c.Remote.SmartHosts) > 0 && len(c.Remote.SmartHosts[0].Senders) == 0 && c.Remote.SmartHosts[0].After == 0 {
		w.Relay = c.Remote.SmartHosts[0].Host
	}
	if w.Lists, err = ownLists(c); err != nil {
		return w, errors.Join(err, r.Close())
	}
	w.Facts.Backup = backupFacts(c.Backup, backup.StoreName(k.db.UUID()))
	if free, e := k.db.DiskFree(); e == nil {
		size, _ := k.db.DiskSize()
		low, stop := lines(Disk{free, size}, int64(c.Store.DiskLow), int64(c.Store.DiskStop))
		w.Facts.Disk = &check.Disk{Free: free, Low: low, Stop: stop}
	}
	return w, nil
}

// ClockURL is whose answer tells the time: the authority's, which the house speaks to anyway.
func ClockURL(c *config.Config) string { return cmp.Or(c.ACME.Directory, letsDirectory) }

// rootsBeside is the system's authorities and those of a file.
func rootsBeside(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(text)
	return pool, nil
}

// ownLists are the lists that are asked about our own addresses.
func ownLists(c *config.Config) (all []spam.List, err error) {
	for _, name := range c.Checkup.Lists {
		l, ok := spam.Preset(name)
		if !ok || l.Kind != spam.OfAddresses {
			return nil, fmt.Errorf("check.lists: there is no list of addresses %q; we know %s", name, strings.Join(spam.PresetNames(), ", "))
		}
		all = append(all, l)
	}
	return all, nil
}

// backupFacts looks into the folder of the backups.
func backupFacts(b config.Backup, store string) *check.Backup {
	f := &check.Backup{To: b.To, Every: b.Every.Duration}
	if b.To == "" {
		return f
	}
	list, err := backup.Generations(nil, b.To)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Error = err.Error()
	}
	for _, g := range list {
		if g.Manifest.Store == store && g.Manifest.Verified != nil && g.Manifest.Taken.After(f.Last) {
			f.Last = g.Manifest.Taken
		}
	}
	return f
}

// checkups is what the daily check says in metrics.
type checkups struct {
	state *prometheus.GaugeVec
	last  prometheus.Gauge
}

func newCheckups(set *metrics.Set) checkups {
	return checkups{
		state: set.Gauges("check_findings", "Domains (or 1, for the machine) for which the last daily check found something, by check and state (wrong, warning, unseen).", "check", "state"),
		last:  set.Gauge("check_timestamp_seconds", "When the last daily check was done; 0: never."),
	}
}

// runCheckups looks at ourselves from outside each day, until ctx ends.
func (d *Daemon) runCheckups(ctx context.Context) {
	m := newCheckups(d.metrics)
	var last time.Time
	wait := checkupFirst
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = checkupLook
		every, now := d.settings.Load().Checkup.Every.Duration, d.o.Now()
		if every <= 0 || !last.IsZero() && now.Sub(last) < every && !last.After(now) {
			continue
		}
		last = now
		d.checkup(ctx, m)
	}
}

// checkup is one of them.
func (d *Daemon) checkup(ctx context.Context, m checkups) {
	r, err := d.house.CheckUp(ctx, admin.CheckupRequest{})
	if err != nil {
		if ctx.Err() == nil {
			d.log.WarnContext(ctx, logx.CheckFailed, "error", err)
		}
		return
	}
	m.state.Reset()
	for _, x := range r.Results {
		g := func(s check.State) prometheus.Gauge { return m.state.WithLabelValues(x.Check, string(s)) }
		for _, s := range []check.State{check.Wrong, check.Warning, check.Unseen} {
			if s == x.State {
				g(s).Inc()
			} else {
				g(s).Add(0)
			}
		}
		if x.State == check.Wrong {
			d.log.WarnContext(ctx, logx.CheckFound, "check", x.Check, "domain", x.Domain, "found", x.Found, "advice", x.Advice)
		}
	}
	m.last.Set(float64(r.Time.Unix()))
}

// validCheckup says what is wrong in the settings of the check.
func validCheckup(c *config.Config) error {
	_, err := ownLists(c)
	if err == nil && slices.Contains(c.Checkup.Probes, "") {
		err = errors.New("check.probes: a domain has no name")
	}
	return err
}
