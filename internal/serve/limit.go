package serve

import (
	"net/netip"
	"sync"
)

// counts is how many connections are open, for the limits.
type counts struct {
	lock      sync.Mutex // guards what follows
	all       int
	services  map[string]int
	addresses map[netip.Prefix]int
}

// enter counts a connection, or says which limit forbids it.
func (n *counts) enter(s Service, a netip.Addr, o Options) (release func(), reason string) {
	p, counted := group(a), a.IsValid() && !a.IsLoopback()
	n.lock.Lock()
	defer n.lock.Unlock()
	switch {
	case n.all >= o.MaxConns:
		return nil, "all"
	case s.Max > 0 && n.services[s.Name] >= s.Max:
		return nil, "service"
	case counted && n.addresses[p] >= o.MaxPerAddress:
		return nil, "address"
	}
	n.all++
	n.services[s.Name]++
	if counted {
		n.addresses[p]++
	}
	return func() {
		n.lock.Lock()
		defer n.lock.Unlock()
		n.all--
		n.services[s.Name]--
		if counted {
			if n.addresses[p]--; n.addresses[p] == 0 {
				delete(n.addresses, p)
			}
		}
	}, ""
}

// group is what counts as one address: all of an IPv4 address, the /64 of an IPv6 one, which is what one customer gets.
func group(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits) // fails for the zero Addr only, whose Prefix is the zero one
	return p
}
