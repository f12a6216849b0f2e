package daemon

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// How often it is looked which names lead here: after a start, a change of the domains and a checkup soon and then less and less
// often, because whoever did one of these is likely to write DNS records now.
const (
	namesSoon  = time.Minute
	namesEvery = time.Hour
)

// manageNames gets certificates for hostname and for what of our domains leads to the same addresses.
func (d *Daemon) manageNames(ctx context.Context) {
	if d.acme == nil {
		return
	}
	tick := time.NewTicker(namesSoon)
	defer tick.Stop()
	var plan looks
	var kept lingering
	for {
		domains, err := d.keepers.directory.Domains(ctx)
		if err != nil {
			d.log.ErrorContext(ctx, logx.CertRefused, "name", d.o.Config.Hostname, "error", err)
		} else if now := d.o.Now(); plan.due(now, domains) {
			d.acme.Manage(ctx, kept.with(now, append(d.namesHere(ctx, domains), d.o.Config.Hostname)))
		}
		select {
		case <-ctx.Done():
			return
		case <-d.checked:
			plan.soon()
		case <-tick.C:
		}
	}
}

// checkedUp says that somebody looks at what DNS has.
func (d *Daemon) checkedUp() {
	select {
	case d.checked <- struct{}{}:
	default:
	}
}

// looks is when names are looked at.
type looks struct {
	domains []string
	next    time.Time
	wait    time.Duration
}

// due tells whether to look now, and if so plans the next time.
func (l *looks) due(now time.Time, domains []auth.Domain) bool {
	names := make([]string, 0, len(domains))
	for _, d := range domains {
		names = append(names, string(d.Name))
	}
	if !slices.Equal(names, l.domains) {
		l.domains = names
		l.soon()
	}
	// A clock that was set back must not put looks off for longer than they ever wait.
	if now.Before(l.next) && l.next.Sub(now) <= namesEvery {
		return false
	}
	l.wait = min(max(2*l.wait, namesSoon), namesEvery)
	l.next = now.Add(l.wait)
	return true
}

// soon begins again with short waits.
func (l *looks) soon() { l.next, l.wait = time.Time{}, 0 }

// letGoAfter is how long a name leads elsewhere before it is let go. DNS that somebody is changing is wrong for a while.
const letGoAfter = 24 * time.Hour

// lingering is the names that were here, and when they were last.
type lingering map[string]time.Time

// with is the names that are here now, and those that were until lately.
func (l *lingering) with(now time.Time, names []string) []string {
	if *l == nil {
		*l = lingering{}
	}
	for _, n := range names {
		(*l)[n] = now
	}
	all := slices.Clone(names)
	for _, n := range slices.Sorted(maps.Keys(*l)) {
		switch {
		case slices.Contains(names, n):
		case now.Sub((*l)[n]) >= letGoAfter:
			delete(*l, n)
		default:
			all = append(all, n)
		}
	}
	return all
}

// serviceNames are the names below a domain that programs and other hosts ask for.
var serviceNames = []string{"mail", "imap", "pop", "smtp", "autoconfig", "autodiscover", "mta-sts"}

// namesHere are the service names of our domains whose addresses are those of this host: an authority would find us there. What
// cannot be looked up now counts as here when it has a certificate already.
func (d *Daemon) namesHere(ctx context.Context, domains []auth.Domain) (here []string) {
	own, ownKnown := d.addressesOf(ctx, d.o.Config.Hostname)
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
	return here
}

// addressesOf is all addresses of a name; known is false when nobody could say.
func (d *Daemon) addressesOf(ctx context.Context, name string) (all []netip.Addr, known bool) {
	all, _, err := d.resolver.IP(ctx, name)
	return all, err == nil || errors.Is(err, dns.ErrNotFound)
}
