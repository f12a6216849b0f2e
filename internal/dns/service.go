package dns

import (
	"context"
	"errors"
	"strings"

	miekg "github.com/miekg/dns"
)

// SRV is where a service is (RFC 2782). Target "" says that the domain does not have it.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string // lower case, no final dot
}

// CAA is who may issue certificates (RFC 8659).
type CAA struct {
	Critical   bool
	Tag, Value string
}

// SRV lists the hosts of a service, such as "_imaps._tcp.example.org".
func (c *Client) SRV(ctx context.Context, name string) ([]SRV, bool, error) {
	a := c.lookup(ctx, name, miekg.TypeSRV)
	if a.err != nil {
		return nil, a.secure, a.err
	}
	var out []SRV
	for _, rr := range a.records {
		if s, ok := rr.(*miekg.SRV); ok && len(out) < maxRecords {
			out = append(out, SRV{s.Priority, s.Weight, s.Port, plainName(s.Target)})
		}
	}
	return out, a.secure, nil
}

// CAA is the record set that holds for a name: its own, or the nearest one above (RFC 8659 section 3). ErrNotFound: there is none.
func (c *Client) CAA(ctx context.Context, name string) ([]CAA, bool, error) {
	for rest := plainName(name); ; {
		a := c.lookup(ctx, rest, miekg.TypeCAA)
		if a.err == nil {
			var out []CAA
			for _, rr := range a.records {
				if x, ok := rr.(*miekg.CAA); ok && len(out) < maxRecords {
					out = append(out, CAA{x.Flag&128 != 0, strings.ToLower(x.Tag), x.Value})
				}
			}
			return out, a.secure, nil
		}
		if !errors.Is(a.err, ErrNotFound) {
			return nil, false, a.err
		}
		_, above, more := strings.Cut(rest, ".")
		if !more {
			return nil, a.secure, a.err
		}
		rest = above
	}
}
