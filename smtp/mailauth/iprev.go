package mailauth

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// maxNames bounds how many names of an address are asked about.
const maxNames = 5

// IPRev is whether the client's address has a name that leads back to it (RFC 8601 section 3).
type IPRev struct {
	Result Result // Pass, Fail, TempError, PermError (the address has no name)
	Name   string // that leads back, else the first one
}

func checkIPRev(ctx context.Context, r dns.Resolver, addr netip.Addr) IPRev {
	addr = addr.Unmap()
	names, _, err := r.PTR(ctx, addr)
	switch {
	case errors.Is(err, dns.ErrNotFound) || err == nil && len(names) == 0:
		return IPRev{Result: PermError}
	case err != nil:
		return IPRev{Result: TempError}
	}
	out := IPRev{Result: Fail, Name: names[0]}
	for _, name := range names[:min(len(names), maxNames)] {
		addrs, _, err := r.IP(ctx, name)
		switch {
		case err == nil && slices.Contains(addrs, addr):
			return IPRev{Result: Pass, Name: name}
		case err != nil && !errors.Is(err, dns.ErrNotFound):
			out.Result = TempError
		}
	}
	return out
}
