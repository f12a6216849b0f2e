package remote

import "net/netip"

// forbidden says why mail of strangers' domains may not make us connect to an address; "" when it may. lasting: no network has a mail
// host there, so that waiting changes nothing.
func (c *Carrier) forbidden(a netip.Addr) (why string, lasting bool) {
	return Forbidden(a, c.o.AllowLoopback, c.o.AllowPrivate)
}

// Forbidden says why what others have written must not make this house connect to an address; "" when it may. lasting: no network has a
// host for us there.
func Forbidden(a netip.Addr, allowLoopback, allowPrivate bool) (why string, lasting bool) {
	a = a.Unmap().WithZone("")
	if in, ok := embedded(a); ok {
		return Forbidden(in, allowLoopback, allowPrivate)
	}
	switch {
	case a.IsLoopback():
		if allowLoopback {
			return "", false
		}
		return "a loopback address", true
	case a.IsUnspecified(), a.IsMulticast(), among(a, noHosts()):
		return "not a host's address", true
	case a.IsLinkLocalUnicast():
		return "a link-local address", true
	case (a.IsPrivate() || among(a, privates())) && !allowPrivate:
		return "a private address", false
	}
	return "", false
}

// noHosts are ranges without hosts: "this network", reserved, limited broadcast (RFC 6890), discard-only (RFC 6666).
func noHosts() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("100::/64")}
}

// privates are the ranges beside those of RFC 1918 and RFC 4193 that mean something else in each network: shared address space
// (RFC 6598), protocol assignments, benchmarks, relays, tunnels and segments (the registries of RFC 6890), site-local (RFC 3879), local
// translators (RFC 8215).
func privates() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("fec0::/10"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/23"),
		netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("5f00::/16")}
}

// embedded is the IPv4 address that an IPv6 address stands for, behind a translator (RFC 6052 section 2.1) or a tunnel (6to4, RFC 3056),
// or in the old form ::a.b.c.d: what is no way for mail as IPv4 is none in these clothes.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() || a.IsLoopback() || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case among(a, []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("::/96")}):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

func among(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
