package daemon

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/remote"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// openResolver makes the resolver of the whole house.
func (d *Daemon) openResolver(context.Context) error {
	c := d.o.Config.DNS
	r, err := dns.New(dns.Options{Servers: c.Servers, Timeout: c.Timeout.Duration, Metrics: d.metrics})
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	d.opened(r.Close)
	d.resolver = r
	return nil
}

// openCarriers makes those who take mail out of the queue.
func (d *Daemon) openCarriers(context.Context) error {
	c := d.o.Config
	d.local = local.New(local.Options{
		Logger: d.log, Metrics: d.metrics, Store: d.keepers.store, Directory: d.keepers.directory, Queue: d.keepers.queue,
		Across: c.Route.Across == config.AcrossMX,
	})
	smart, err := smartHosts(d.o.Config.Remote.SmartHosts)
	if err != nil {
		return err
	}
	d.remote, err = remote.New(remote.Options{
		Logger: d.log, Metrics: d.metrics, Resolver: d.resolver, Hostname: c.Hostname, Port: c.Remote.Port, IPv6First: c.Remote.IPv6First,
		AllowLoopback: c.Remote.AllowLoopback, AllowPrivate: c.Remote.AllowPrivate, SmartHosts: smart, PerHost: c.Queue.PerHost,
	})
	if err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	d.opened(func() error { d.remote.Close(); return nil })
	return nil
}

// smartHosts reads the passwords; the files are read at the start only.
func smartHosts(list []config.SmartHost) ([]remote.SmartHost, error) {
	var all []remote.SmartHost
	for _, h := range list {
		password, err := secretOf(h.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("remote.smart_hosts.password_file: %w", err)
		}
		s := remote.SmartHost{Host: h.Host, Port: h.Port, TLS: h.TLS, User: h.User, Password: password, After: h.After}
		for _, d := range h.Senders {
			s.Senders = append(s.Senders, d.Domain)
		}
		all = append(all, s)
	}
	return all, nil
}

// clientTLS is what mail programs get; nil without certificates.
func (d *Daemon) clientTLS() *tls.Config {
	if d.certs == nil {
		return nil
	}
	return d.certs.ForClients()
}

func (d *Daemon) mailHandlers(c *config.Config, h handlers) error { return nil }

func (d *Daemon) submit(ctx context.Context, m api.Message, body io.Reader) (string, error) {
	return "", &admin.Error{Class: admin.Unavailable, Message: "not yet"}
}
