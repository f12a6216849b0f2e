package daemon

import (
	"context"
	"errors"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// machine is what the verbs may ask this process.
func (d *Daemon) machine() admin.Machine {
	m := admin.Machine{
		Status: d.Status, Vitals: d.Vitals, Reload: d.Reload, History: d.keepers.history,
		Connections: d.connections, EndConnection: func(id string) bool { return d.group.End(id) },
		Certificates: d.certificates,
		Settings: admin.Settings{
			File: d.o.File, Data: d.o.Config.Data, Check: CheckFiles,
			Now:  func() *config.Config { return d.settings.Load() },
			Live: func(key string) bool { return liveSettings[key] != 0 },
		},
	}
	if d.acme != nil {
		m.Renew = d.renew
	}
	return m
}

// connections are those that the doors serve now.
func (d *Daemon) connections() []admin.Connection {
	open := d.group.Conns()
	all := make([]admin.Connection, 0, len(open))
	for _, c := range open {
		x := admin.Connection{ID: c.ID, Service: c.Service, Began: c.Began, Who: c.Who, Doing: c.Doing, Since: c.Since, TLS: c.TLS}
		if c.Remote.IsValid() {
			x.Remote = c.Remote.String()
		}
		all = append(all, x)
	}
	return all
}

// nameConnection tells those who look at connections whose one is.
func (d *Daemon) nameConnection(ctx context.Context, conn string, account mail.AccountID) {
	if d.group == nil {
		return
	}
	if a, err := d.keepers.directory.Account(ctx, account); err == nil {
		who := a.Login
		if len(a.Addresses) > 0 {
			who = a.Addresses[0].String()
		}
		d.group.Whose(conn, who)
	}
}

// certificates are those that the doors show, and the names that wait for one.
func (d *Daemon) certificates() (all []admin.Certificate) {
	if d.certs == nil {
		return nil
	}
	attempts := map[string]cert.Attempt{}
	if d.acme != nil {
		for _, a := range d.acme.Attempts() {
			attempts[a.Name] = a
		}
	}
	note := func(c *admin.Certificate, a cert.Attempt) {
		c.Auto, c.Tried, c.Got = true, a.Tried, a.Got
		if a.Error != "" {
			c.Error = a.Error
		}
	}
	for _, s := range d.certs.Status() {
		c := admin.Certificate{Names: s.Names, From: s.From, Until: s.Until, File: s.Pair.Certificate}
		if s.Error != nil {
			c.Error = s.Error.Error()
		}
		for _, n := range s.Names {
			if a, ok := attempts[n]; ok && d.acme.Has(n) {
				note(&c, a)
				delete(attempts, n)
			}
		}
		all = append(all, c)
	}
	if d.acme != nil {
		for _, a := range d.acme.Attempts() {
			if _, waits := attempts[a.Name]; waits {
				c := admin.Certificate{Names: []string{a.Name}}
				note(&c, a)
				all = append(all, c)
			}
		}
	}
	return all
}

// renew asks the authority for another certificate of a name.
func (d *Daemon) renew(name string) error {
	switch err := d.acme.Renew(name); {
	case errors.Is(err, cert.ErrUnknown):
		return admin.ErrNoName
	case errors.Is(err, cert.ErrUnderWay):
		return admin.ErrRenewing
	default:
		return err
	}
}
