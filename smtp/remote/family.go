package remote

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// Values of Options.IPv6.
const (
	IPv6Checked = "checked" // where the name of our own address is right
	IPv6Always  = "always"
	IPv6Never   = "never"
)

const (
	nameKept    = time.Hour       // what is known of our own address
	nameUnknown = 5 * time.Minute // DNS did not tell
	maxNames    = 64              // source addresses that are remembered; privacy addresses change daily
)

// names knows which of our own IPv6 addresses have a reverse name that leads back to them (RFC 1912 section 2.1). Large receivers
// refuse mail from others.
type names struct {
	mu    sync.Mutex
	known map[netip.Addr]named6
}

type named6 struct {
	good  bool
	until time.Time
}

func (n *names) find(a netip.Addr) (good, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k, ok := n.known[a]
	return k.good, ok && time.Now().Before(k.until)
}

func (n *names) keep(a netip.Addr, good bool, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= maxNames {
		n.known = map[netip.Addr]named6{}
	}
	n.known[a] = named6{good, time.Now().Add(d)}
}

// sourceOf asks the machine from which address it would speak to another; nothing is sent.
func sourceOf(ctx context.Context, to netip.AddrPort) (netip.Addr, error) {
	c, err := new(net.Dialer).DialContext(ctx, "udp", to.String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	return a.Addr().WithZone("").Unmap(), err
}

// families leaves out IPv6 addresses where mail from ours is likely to be refused, as long as there is another way.
func (c *Carrier) families(ctx context.Context, all []netip.Addr) []netip.Addr {
	if c.o.IPv6 == IPv6Always {
		return all
	}
	without := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return a.Is6() && !own6(a) })
	if len(without) == len(all) || c.o.IPv6 == IPv6Never {
		return without
	}
	if len(without) > 0 && !c.named6(ctx, all[slices.IndexFunc(all, func(a netip.Addr) bool { return a.Is6() && !own6(a) })]) {
		return without
	}
	return all
}

// own6: in our own networks nobody asks for names.
func own6(a netip.Addr) bool { return a.IsLoopback() || a.IsPrivate() }

// named6 tells whether the address from which we would speak has a name that leads back to it.
func (c *Carrier) named6(ctx context.Context, to netip.Addr) bool {
	a, err := c.o.Source(ctx, netip.AddrPortFrom(to, uint16(c.o.Port)))
	if err != nil || !a.Is6() {
		return false // no way there
	}
	good, ok := c.names.find(a)
	if ok {
		return good
	}
	good, err = c.leadsBack(ctx, a)
	if err != nil {
		c.names.keep(a, false, nameUnknown)
		return false
	}
	c.names.keep(a, good, nameKept)
	return good
}

// absent: that there is no record is an answer.
func absent(err error) error {
	if errors.Is(err, dns.ErrNotFound) {
		return nil
	}
	return err
}

// leadsBack: one of the address's names has the address. An error: DNS does not tell now.
func (c *Carrier) leadsBack(ctx context.Context, a netip.Addr) (bool, error) {
	found, _, err := c.o.Resolver.PTR(ctx, a)
	if err != nil {
		return false, absent(err)
	}
	for _, name := range found[:min(len(found), 10)] {
		addrs, _, e := c.o.Resolver.AAAA(ctx, name)
		if slices.Contains(addrs, a) {
			return true, nil
		}
		if e = absent(e); e != nil {
			err = e
		}
	}
	return false, err
}

// reverse finds in an answer that the sender's address has no proper name.
func reverse() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(ptr|rdns|fcrdns|reverse[ -](dns|name|lookup|host ?name|mapping|resolution|record)|cannot find your host ?name|pointer record)\b`)
}

// nameless: the host refuses the address we speak from, and the same mail may pass over IPv4 (RFC 7372 section 3.3: X.7.25).
func (c *Carrier) nameless(r queue.Result) bool {
	if r.Verdict == queue.Done || r.Code == 0 {
		return false
	}
	if len(r.Status) > 2 && strings.HasPrefix(r.Status[1:], ".7.25") {
		return true
	}
	policy := len(r.Status) > 2 && (strings.HasPrefix(r.Status[1:], ".7.") || strings.HasPrefix(r.Status[1:], ".0.0"))
	return policy && c.reverse.MatchString(r.Text)
}

// distrust remembers what a host said of our address.
func (c *Carrier) distrust(ctx context.Context, to netip.AddrPort) {
	if a, err := c.o.Source(ctx, to); err == nil {
		c.names.keep(a, false, nameKept)
	}
}
