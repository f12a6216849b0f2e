package daemon

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
)

// openAsking makes what the services get that ask programs for a certificate. As all of tls.clients it is that of the start: sockets
// outlive a restart, so that one costs nobody his connection.
func (d *Daemon) openAsking(c *config.Config) {
	if len(c.TLS.Clients.Services) == 0 {
		return
	}
	var names []string
	for _, n := range c.TLS.Clients.Names {
		names = append(names, n.String())
	}
	d.asking = d.certs.Asking(names)
}

// clientTLS is what mail programs get at a service; nil without certificates.
func (d *Daemon) clientTLS(service string) *tls.Config {
	switch {
	case d.certs == nil:
		return nil
	case d.asking != nil && slices.Contains(d.o.Config.TLS.Clients.Services, service):
		return d.asking
	}
	return d.certs.ForClients()
}

// external is where programs may log in with a certificate, and with whose.
func clientCertificates(c *config.Config) (auth.ClientCertificates, error) {
	var e auth.ClientCertificates
	for _, s := range c.TLS.Clients.Services {
		switch s {
		case serviceSubmission, serviceSubmissions:
			e.Doors |= auth.DoorSubmission
		case serviceIMAP, serviceIMAPS:
			e.Doors |= auth.DoorIMAP
		case servicePOP3, servicePOP3S:
			e.Doors |= auth.DoorPOP3
		}
	}
	refused, err := c.TLS.Clients.Keys()
	if err != nil {
		return e, fmt.Errorf("tls.clients.refused: %w", err)
	}
	e.Refused = func(key [sha256.Size]byte) bool { return refused[key] }
	if c.TLS.Clients.Authority != "" {
		if e.Authority, err = cert.Roots(c.TLS.Clients.Authority); err != nil {
			return e, fmt.Errorf("tls.clients.authority: %w", err)
		}
	}
	return e, nil
}
