package mailauth

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// Organizational is the organizational domain that a name belongs to, found by the tree walk. Without any record on the way up it is
// the name itself.
func Organizational(ctx context.Context, r dns.Resolver, domain string) (string, error) {
	org, _, err := newTreeWalk(r).organizational(ctx, domain)
	return org, err
}

// PolicyAt reads the DMARC record that stands at a domain itself; nil: there is none, or several.
func PolicyAt(ctx context.Context, r dns.Resolver, domain string) (*PolicyRecord, error) {
	return newTreeWalk(r).at(ctx, domain)
}
