package daemon

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// acmeFolder of the data folder has keys, certificates and the account with the authority. A backup has it, because TLSA records name
// the keys.
const acmeFolder = "acme"

// acmeOptions is what the settings say of an authority.
func acmeOptions(c *config.Config) (o cert.ACMEOptions, err error) {
	a := c.ACME
	o = cert.ACMEOptions{
		Folder: filepath.Join(c.Data, acmeFolder), Directory: a.Directory, Email: a.Email, Webroot: a.Webroot,
		HTTP: len(c.Listen.HTTP) > 0, ALPN: len(c.Listen.HTTPS) > 0 && !a.Forwarded,
		HTTPPort: firstPort(c.Listen.HTTP), TLSPort: firstPort(c.Listen.HTTPS),
	}
	if a.Roots != "" {
		if o.Roots, err = cert.Roots(a.Roots); err != nil {
			return o, err
		}
	}
	if a.DNSServer != "" {
		secret, err := secretOf(a.DNSSecret)
		if err != nil {
			return o, err
		}
		o.DNS = &cert.DNSUpdate{Server: a.DNSServer, Key: a.DNSKey, Algorithm: a.DNSHash, Secret: secret, Wait: a.DNSWait.Duration}
	}
	return o, nil
}

// firstPort is the port of the first address; 0: there is none.
func firstPort(list []config.Address) int {
	for _, a := range list {
		if _, p, err := net.SplitHostPort(a.HostPort); err == nil {
			if n, err := strconv.Atoi(p); err == nil {
				return n
			}
		}
	}
	return 0
}

// openACME makes who gets certificates, when the settings want one.
func (d *Daemon) openACME(c *config.Config) error {
	if !c.ACME.Enabled {
		return nil
	}
	o, err := acmeOptions(c)
	if err != nil {
		return err
	}
	o.Logger, o.Now = d.part(logx.PartCert), d.o.Now
	if d.acme, err = cert.NewACME(o); err != nil {
		return err
	}
	d.opened(d.acme.Close)
	return nil
}

// proofs answers what an authority asks on port 80, before any page.
func (d *Daemon) proofs(next http.Handler) http.Handler {
	if d.acme == nil {
		return next
	}
	return d.acme.HTTP(next)
}

// namesEvery is how often it is looked whether more names lead here.
const namesEvery = time.Hour

// serviceNames are the names below a domain that programs and other hosts ask for.
var serviceNames = []string{"mail", "imap", "pop", "smtp", "autoconfig", "autodiscover", "mta-sts"}

// manageNames gets certificates for hostname and for what of our domains leads to the same addresses.
func (d *Daemon) manageNames(ctx context.Context) {
	if d.acme == nil {
		return
	}
	tick := time.NewTicker(namesEvery)
	defer tick.Stop()
	var kept lingering
	for {
		if here, err := d.namesHere(ctx); err != nil {
			d.log.ErrorContext(ctx, logx.CertRefused, "name", d.o.Config.Hostname, "error", err)
		} else {
			d.acme.Manage(ctx, kept.with(append(here, d.o.Config.Hostname)))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lingerLooks is how often a name must be found to lead elsewhere, one time after the other, before it is let go: a day of hours. DNS
// that somebody is changing is wrong for a while.
const lingerLooks = 24

// lingering is the names that were here, and how often they were not since.
type lingering map[string]int

// with is the names that are here now, and those that were until lately.
func (l *lingering) with(names []string) []string {
	if *l == nil {
		*l = lingering{}
	}
	for _, n := range names {
		(*l)[n] = 0
	}
	all := slices.Clone(names)
	for _, n := range slices.Sorted(maps.Keys(*l)) {
		if slices.Contains(names, n) {
			continue
		}
		if (*l)[n]++; (*l)[n] >= lingerLooks {
			delete(*l, n)
			continue
		}
		all = append(all, n)
	}
	return all
}

// namesHere are the service names of our domains whose addresses are those of this host: an authority would find us there. What
// cannot be looked up now counts as here when it has a certificate already.
func (d *Daemon) namesHere(ctx context.Context) ([]string, error) {
	domains, err := d.keepers.directory.Domains(ctx)
	if err != nil {
		return nil, err
	}
	own, ownKnown := d.addressesOf(ctx, d.o.Config.Hostname)
	var here []string
	for _, domain := range domains {
		for _, label := range serviceNames {
			name := label + "." + string(domain.Name)
			if name == d.o.Config.Hostname {
				continue
			}
			at, known := d.addressesOf(ctx, name)
			switch {
			case !known || !ownKnown:
				if d.acme.Has(name) {
					here = append(here, name)
				}
			case len(at) > 0 && !slices.ContainsFunc(at, func(a netip.Addr) bool { return !slices.Contains(own, a) }):
				here = append(here, name)
			}
		}
	}
	return here, nil
}

// addressesOf is all addresses of a name; known is false when nobody could say.
func (d *Daemon) addressesOf(ctx context.Context, name string) (all []netip.Addr, known bool) {
	all, _, err := d.resolver.IP(ctx, name)
	return all, err == nil || errors.Is(err, dns.ErrNotFound)
}
