package auth

import (
	"context"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// LoginProvider is the sign-in of who has proved to a provider that an address is his. It must be an account's own, in any spelling: no
// alias, no mask, no subaddress and no login name, which others may have too. ErrNoAccount when it is none; accounts are never made. strong: the provider has
// asked for a second factor, so that nobody here does.
func (d *Directory) LoginProvider(ctx context.Context, c Client, address string, strong bool) (Identity, error) {
	m := claim{user: address, mechanism: "oidc", strong: strong}
	id, err := d.proveProvider(ctx, c, m)
	d.report(ctx, c, m, id, err)
	return id, err
}

func (d *Directory) proveProvider(ctx context.Context, c Client, m claim) (Identity, error) {
	if d.clear(c) {
		return Identity{}, ErrNeedTLS
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return Identity{}, err
	}
	a, err := mail.ParseAddress(m.user)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: the provider's %q is no address", ErrNoAccount, shorten(m.user))
	}
	a.Domain, _ = s.home(a.Domain)
	who := s.accounts[s.owners[a.Key()]]
	if who == nil {
		return Identity{}, fmt.Errorf("%w with the address %s", ErrNoAccount, a)
	}
	return d.admit(s, c, who, m)
}
