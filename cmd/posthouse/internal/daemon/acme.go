package daemon

import (
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
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
