package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// way is what Route resolved: the hosts of a domain in groups of equal preference, or a smart host.
type way struct {
	domain mail.Domain
	groups [][]string
	smart  *SmartHost
}

const maxMX = 30 // exchangers of one domain that are looked at

// Route finds the hosts of a stream's domain (RFC 5321 section 5.1).
func (c *Carrier) Route(ctx context.Context, s queue.Stream) (queue.Route, error) {
	if smart := c.smartFor(s); smart != nil {
		w := &way{domain: s.To, groups: [][]string{{smart.Host}}, smart: smart}
		return queue.Route{Host: "smart " + smart.Host, Limit: c.o.PerHost, Way: w}, nil
	}
	groups, err := c.exchangers(ctx, s.To)
	if err != nil {
		return queue.Route{}, err
	}
	w := &way{domain: s.To, groups: groups}
	// Domains share the limits of the hosts that stand first, as a whole: a stranger's domain that names a big host beside
	// one of its own must not bring the big one into disrepute.
	return queue.Route{Host: together(groups[0]), Limit: c.o.PerHost, Way: w}, nil
}

// together is one name for a group of hosts; of many only a short one is kept, for there may be thousands of such domains.
func together(group []string) string {
	name := strings.Join(slices.Sorted(slices.Values(group)), " ")
	if len(name) <= 255 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%.200s ... %x", name, sum[:16])
}

func (c *Carrier) smartFor(s queue.Stream) *SmartHost {
	for i := range c.o.SmartHosts {
		h := &c.o.SmartHosts[i]
		if s.Tries >= h.After && (len(h.Senders) == 0 || slices.Contains(h.Senders, s.From)) {
			return h
		}
	}
	return nil
}

// exchangers returns the hosts that take mail for the domain, most preferred group first. Errors are queue.Results.
func (c *Carrier) exchangers(ctx context.Context, d mail.Domain) ([][]string, error) {
	if _, ok := d.Literal(); ok {
		return [][]string{{string(d)}}, nil
	}
	records, _, err := c.o.Resolver.MX(ctx, string(d))
	if errors.Is(err, dns.ErrNotFound) {
		return c.implicit(ctx, d)
	}
	if err != nil {
		return nil, failure(queue.Later, "4.4.3", "the MX records of %s cannot be looked up: %v", d, err)
	}
	if len(records) == 1 && null(records[0].Host) {
		r := failure(queue.Never, "5.1.10", "the domain %s takes no mail: it has a null MX (RFC 7505)", d)
		r.Code = 556
		return nil, r
	}
	records = slices.DeleteFunc(records, func(mx dns.MX) bool { return null(mx.Host) })
	if len(records) == 0 {
		return nil, failure(queue.Never, "5.4.4", "the MX records of %s name no host", d)
	}
	slices.SortStableFunc(records, func(a, b dns.MX) int { return int(a.Preference) - int(b.Preference) })
	groups := c.cut(records[:min(len(records), maxMX)])
	if len(groups) == 0 {
		return nil, c.loop(string(d))
	}
	return groups, nil
}

func null(host string) bool { return host == "" || host == "." }

// implicit treats the domain as its own exchanger when it has no MX (RFC 5321 section 5.1).
func (c *Carrier) implicit(ctx context.Context, d mail.Domain) ([][]string, error) {
	_, _, err := c.o.Resolver.IP(ctx, string(d))
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return nil, failure(queue.Never, "5.1.2", "the domain %s has neither MX nor address records", d)
	case err != nil:
		return nil, failure(queue.Later, "4.4.3", "the address of %s cannot be looked up: %v", d, err)
	case c.isUs(string(d)):
		return nil, c.loop(string(d))
	}
	return [][]string{{string(d)}}, nil
}

// cut groups the hosts by preference and leaves out ourselves and every host that is no better than us: mail must come
// nearer to its goal with each hop (RFC 5321 section 5.1).
func (c *Carrier) cut(sorted []dns.MX) (groups [][]string) {
	end := len(sorted)
	for i, mx := range sorted {
		if c.isUs(mx.Host) {
			end = i
			for end > 0 && sorted[end-1].Preference == mx.Preference {
				end--
			}
			break
		}
	}
	for i, mx := range sorted[:end] {
		if i == 0 || mx.Preference != sorted[i-1].Preference {
			groups = append(groups, nil)
		}
		last := &groups[len(groups)-1]
		if !slices.Contains(*last, mx.Host) {
			*last = append(*last, mx.Host)
		}
	}
	return groups
}

// isUs tells our own name. The demo house delivers to itself.
func (c *Carrier) isUs(host string) bool {
	return !c.o.AllowLoopback && strings.EqualFold(host, c.o.Hostname)
}

func (c *Carrier) loop(name string) queue.Result {
	return failure(queue.Never, "5.4.6", "mail for %s would come back to us: its MX is this host, %s, which does not know the domain as its own", name, c.o.Hostname)
}

// mix puts equals into a random order, so that they share the load (RFC 5321 section 5.1).
func (c *Carrier) mix(group []string) []string {
	g := slices.Clone(group)
	for i := len(g) - 1; i > 0; i-- {
		j := c.o.Choose(i + 1)
		g[i], g[j] = g[j], g[i]
	}
	return g
}

// errSelf: one of the addresses is ours, so that this host and all behind it are out.
var errSelf = errors.New("remote: the host is this one")

// addresses returns where the host can be reached, best family first. Without any, the Result says why.
func (c *Carrier) addresses(ctx context.Context, w *way, host string) ([]netip.Addr, error) {
	all, err := c.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if w.smart == nil && !c.o.AllowLoopback && slices.ContainsFunc(all, func(a netip.Addr) bool { return slices.Contains(c.o.Own, a.Unmap()) }) {
		return nil, errSelf
	}
	var good []netip.Addr
	var refused queue.Result
	for _, a := range all {
		a = a.Unmap()
		why, lasting := c.forbidden(a)
		if why == "" || w.smart != nil {
			good = append(good, a)
			continue
		}
		if r := failure(queue.Later, "4.4.4", "the address %s of %s is %s: mail is not sent there", a, host, why); refused.Status != "4.4.4" {
			refused = r
			if lasting { // whoever publishes it takes no mail; a private address may be one that should not have got out
				refused.Status = "5.4.4"
			}
		}
	}
	if len(good) == 0 {
		return nil, refused
	}
	if w.smart == nil {
		if good = c.families(ctx, good); len(good) == 0 {
			return nil, failure(queue.Later, "4.4.4", "the mail server %s has IPv6 addresses only, and the settings say that none is used (remote.ipv6)", host)
		}
	}
	slices.SortStableFunc(good, func(a, b netip.Addr) int {
		if a.Is4() == b.Is4() {
			return 0
		}
		if a.Is4() != c.o.IPv6First {
			return -1
		}
		return 1
	})
	return good, nil
}

func (c *Carrier) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, ok := mail.Domain(host).Literal(); ok {
		return []netip.Addr{a}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil { // a smart host by its address
		return []netip.Addr{a}, nil
	}
	all, _, err := c.o.Resolver.IP(ctx, host)
	switch {
	case errors.Is(err, dns.ErrNotFound) || err == nil && len(all) == 0:
		return nil, failure(queue.Later, "4.4.4", "the mail server %s has no address", host)
	case err != nil:
		return nil, failure(queue.Later, "4.4.3", "the address of the mail server %s cannot be looked up: %v", host, err)
	}
	return all, nil
}
