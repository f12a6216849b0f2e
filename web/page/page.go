// Package page is what every room of the web house needs: who is signed in, the layout, forms, and errors in a reader's words.
//
// Templates renders a page inside the layout (layout.go), Handle makes a handler of a function that may fail (problem.go), Fields
// reads a form with bounds (form.go). Files that all pages share stand in assets (assets.go).
package page

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/passkey"
)

// SignIn is who a request comes from.
type SignIn struct {
	Identity auth.Identity
	Name     string // for people; the address where there is none
	Admin    bool   // may run the house
	Strong   bool   // proved with a second factor
	Session  string // names the session in lists; no secret
	Passkey  uint32 // the passkey that opened the session alone; 0: none
	Provider string // settings of the provider that opened it (oidc.Provider.Stamp); empty: none did
	Vouched  bool   // the provider has asked for the second factor
}

// Visit is what the web house knows of a request before a room sees it.
type Visit struct {
	Site   string // the house's host name
	Remote netip.Addr
	Secure bool          // TLS, here or at a proxy that is trusted
	Behind bool          // a proxy that is not trusted stands between: Remote is not the visitor's
	SignIn *SignIn       // nil: nobody
	Rooms  []Link        // that this visitor may enter, for the navigation
	At     passkey.Where // where his browser is, for passkeys; the zero value: they cannot be used there
	// Still tells whether he may be in the room now: for answers that take long. nil: nobody can tell.
	Still func(context.Context) bool
}

// Stays is Still for who may be nil.
func (v *Visit) Stays(ctx context.Context) bool { return v.Still == nil || v.Still(ctx) }

// From is the visitor's address for logs; where a proxy hides it, that it does.
func (v *Visit) From() string {
	switch {
	case v.Behind:
		return "behind a proxy"
	case v.Remote.IsValid():
		return v.Remote.String()
	}
	return ""
}

// Link is one entry of the navigation.
type Link struct{ Path, Label string }

// Who says for whom a room is.
type Who byte

const (
	Anyone Who = iota
	Users      // signed in
	Admins     // signed in with a second factor, an operator, from where operators may come
)

// Room is one room of the web house: all paths below Path, which ends in a slash.
type Room struct {
	Path    string
	Label   string // in the navigation; empty: not there
	For     Who
	Handler http.Handler
}

type visitKey struct{}

// WithVisit hands v to the handlers of a request.
func WithVisit(ctx context.Context, v *Visit) context.Context {
	return context.WithValue(ctx, visitKey{}, v)
}

// VisitOf is what is known of a request; never nil.
func VisitOf(ctx context.Context) *Visit {
	if v, ok := ctx.Value(visitKey{}).(*Visit); ok {
		return v
	}
	return &Visit{}
}
