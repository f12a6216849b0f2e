package api

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// Path is where the web house has the API; the table stands behind it: /api/v1/accounts.
const Path = "/api/v1/"

// DoorOptions of a Room.
type DoorOptions struct {
	Directory *auth.Directory
	// AdminFrom are the networks from where tokens of operators are taken; empty: loopback.
	AdminFrom []netip.Prefix
	Now       func() time.Time
}

// door is the API on the web house: everything of the table, by token. It sees no cookie: what a browser does by itself in somebody's
// name does nothing here, and that is why no other site has to be kept off. Pages of others read no answer none the less, but for one
// route that password managers call from theirs.
type door struct {
	s     *Server
	o     DoorOptions
	rates *rates
}

// Room is the API for the web house.
func (s *Server) Room(o DoorOptions) page.Room {
	if len(o.AdminFrom) == 0 {
		o.AdminFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &door{s: s, o: o, rates: newRates(o.Now)}
	return page.Room{Path: Path, For: page.Anyone, Handler: http.StripPrefix("/api", d)}
}

// slowBody is how long the octets of a message may take.
const slowBody = 10 * time.Minute

// ServeHTTP answers one request of a program.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch r.URL.Path {
	case "/v1/openapi.json", "/v1/":
		d.s.document(w, r)
		return
	}
	if d.fromAnySite(w, r) {
		return
	}
	_, pattern := d.s.mux.Handler(r)
	x := d.s.routes[pattern]
	b, err := d.arrived(r)
	if err == nil {
		var done func()
		if done, err = d.rates.begin(b.Token.ID); err == nil {
			defer done()
		}
	}
	if err == nil {
		err = d.may(r, x, b)
	}
	if err != nil {
		d.s.answer(w, r.WithContext(withRoute(r.Context(), x)), nil, err)
		return
	}
	if x.slow { // a page's form has half a minute
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(slowBody)) // a test's writer has none
	}
	v := page.VisitOf(r.Context())
	ctx := admin.As(r.Context(), admin.Actor{Name: actorName(b), Door: admin.DoorToken, Remote: v.Remote.String()})
	if x.Out.Media != "" { // it may last for hours
		var stop func()
		ctx, stop = d.while(ctx, b)
		defer stop()
	}
	d.s.mux.ServeHTTP(w, r.WithContext(withRoute(context.WithValue(ctx, bearerKey{}, b), x)))
}

func (d *door) stands(ctx context.Context, b auth.Bearer) bool {
	return d.o.Directory.TokenStanding(ctx, b.Token.ID, auth.DoorWeb) == nil
}

// while gives a context that ends with the token: when it is revoked, or expires, and when its account is suspended or no operator any more.
func (d *door) while(ctx context.Context, b auth.Bearer) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	rung := make(chan struct{}, 1)
	unwatch := d.o.Directory.Watch(func(id mail.AccountID) {
		if id == b.Token.Account {
			select {
			case rung <- struct{}{}:
			default: // it will look
			}
		}
	})
	var ends <-chan time.Time
	timer := time.NewTimer(b.Token.Expires.Sub(d.o.Now()) + time.Second)
	if !b.Token.Expires.IsZero() {
		ends = timer.C
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d.stands(ctx, b) {
			select {
			case <-ctx.Done():
				return
			case <-ends:
			case <-rung:
			}
		}
		cancel()
	}()
	return ctx, func() { cancel(); <-done; timer.Stop(); unwatch() }
}

// fromAnySite says of a route that pages of other sites may call that they may (the CORS protocol of the Fetch standard), and answers the browser
// that asks beforehand. To all sites alike: a browser that hears * adds nothing that it knows of us, so that a page shows the token that
// its user has given it, or none.
func (d *door) fromAnySite(w http.ResponseWriter, r *http.Request) (answered bool) {
	if r.Header.Get("Origin") == "" {
		return false
	}
	probe := *r
	asks := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	if asks {
		probe.Method = r.Header.Get("Access-Control-Request-Method")
	}
	_, pattern := d.s.mux.Handler(&probe)
	x := d.s.routes[pattern]
	if x == nil || !x.anySite {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if asks {
		w.Header().Set("Access-Control-Allow-Methods", x.Method)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Requested-With") // * does not stand for the first
		w.Header().Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
	}
	return asks
}

func actorName(b auth.Bearer) string {
	if b.Identity.Account != 0 {
		return b.Identity.Main.String()
	}
	return fmt.Sprintf("token %d (%s)", b.Token.ID, b.Token.Name)
}

// arrived finds out whose token a request shows.
func (d *door) arrived(r *http.Request) (auth.Bearer, error) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return auth.Bearer{}, &denied{status: http.StatusUnauthorized, challenge: `Bearer realm="posthouse"`, text: "show a token: Authorization: Bearer " + auth.TokenPrefix + "..."}
	}
	v := page.VisitOf(r.Context())
	c := auth.Client{Door: auth.DoorWeb, Remote: v.Remote}
	switch {
	case r.TLS != nil:
		c.TLS = r.TLS
	case v.Secure:
		c.TLS = &tls.ConnectionState{}
	case v.Behind: // in clear, and not known from where
		c.Remote = netip.Addr{}
	}
	b, err := d.o.Directory.LoginToken(r.Context(), c, "", secret, "token")
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, auth.ErrCredentials):
		return b, &denied{status: http.StatusUnauthorized, challenge: `Bearer realm="posthouse", error="invalid_token"`, text: "this token is none of this house, has expired, or was revoked"}
	case errors.Is(err, auth.ErrNeedTLS):
		return b, &denied{status: http.StatusForbidden, text: "not in clear: use https. The token was on its way for everybody to read: revoke it and make another one"}
	case errors.Is(err, auth.ErrDoorClosed):
		_, why, _ := strings.Cut(err.Error(), auth.ErrDoorClosed.Error()+": ")
		return b, &denied{status: http.StatusForbidden, text: "this token opens nothing now: " + cmp.Or(why, "its account may not use the web")}
	case errors.Is(err, auth.ErrSlowDown):
		return b, &denied{status: http.StatusTooManyRequests, after: time.Minute, text: "too many wrong tokens from there: wait a minute"}
	}
	return b, err
}

// may tells whether a token opens a route, from there.
func (d *door) may(r *http.Request, x *route, b auth.Bearer) error {
	switch {
	case x == nil:
		return d.unknown(r)
	case x.Scope == nobody:
		return &denied{status: http.StatusForbidden, text: "this is for programs of the machine itself, over the socket"}
	case !b.Token.Scopes.Any(x.Scope):
		return &denied{
			status: http.StatusForbidden, challenge: fmt.Sprintf(`Bearer realm="posthouse", error="insufficient_scope", scope=%q`, x.Scope), // RFC 6750 section 3.1
			text: fmt.Sprintf("the token %q may %s; this needs %s", b.Token.Name, b.Token.Scopes, strings.Join(x.Scope.Names(), " or ")),
		}
	case x.Scope&auth.ScopesOwn != 0 && b.Token.Scopes.Any(x.Scope&auth.ScopesOwn):
		return nil
	}
	v := page.VisitOf(r.Context())
	if v.Behind || !slices.ContainsFunc(d.o.AdminFrom, func(p netip.Prefix) bool { return p.Contains(v.Remote) }) {
		return &denied{status: http.StatusForbidden, text: "what operators may do is not open from where you are: the settings web.api_from and web.admin_from say from where"}
	}
	return nil
}

// unknown is the answer to what no route is for.
func (d *door) unknown(r *http.Request) error {
	var others []string
	for pattern, x := range d.s.routes {
		probe := r.Clone(r.Context())
		if probe.Method = x.Method; x.Method == r.Method {
			continue
		}
		if _, found := d.s.mux.Handler(probe); found == pattern {
			others = append(others, x.Method)
		}
	}
	if len(others) == 0 {
		return &admin.Error{Class: admin.Missing, Message: "there is no such thing in the API: " + Path + "openapi.json has what is there"}
	}
	slices.Sort(others)
	return &denied{status: http.StatusMethodNotAllowed, allow: strings.Join(slices.Compact(others), ", "), text: r.Method + " does not go with it"}
}

// spares keeps what may change accounts, but not everything, off the accounts of operators: with the password of one it would be
// everything after all. What only who changes them may see of accounts (their Outbox, their devices) it does not see of operators either.
// It asks for the name that the verb will read, and not for what stands in the path: a name may have a slash.
func (x *route) spares(r *http.Request) error {
	b, ok := bearerOf(r.Context())
	if !ok || !strings.HasPrefix(x.Path, "/v1/accounts/{name}") || x.Scope&seen != 0 || b.Token.Scopes&everything != 0 {
		return nil
	}
	a, err := x.s.o.House.Account(r.Context(), r.PathValue("name"))
	if err != nil || !a.Operator {
		return nil // who is not there is told by the verb
	}
	return &denied{status: http.StatusForbidden, text: a.Addresses[0] + " is an operator: that needs a token for everything"}
}

// denied is a refusal before any verb.
type denied struct {
	status    int
	text      string
	challenge string        // WWW-Authenticate
	allow     string        // Allow
	after     time.Duration // Retry-After
}

func (d *denied) Error() string { return d.text }

func (d *denied) header(h http.Header) {
	for name, value := range map[string]string{"WWW-Authenticate": d.challenge, "Allow": d.allow} {
		if value != "" {
			h.Set(name, value)
		}
	}
	if d.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(d.after/time.Second)))
	}
}

type bearerKey struct{}

// bearerOf is whose token was shown; none over the socket.
func bearerOf(ctx context.Context) (auth.Bearer, bool) {
	b, ok := ctx.Value(bearerKey{}).(auth.Bearer)
	return b, ok
}

// ownerOf is the account whose token was shown.
func ownerOf(ctx context.Context) (string, error) {
	b, _ := bearerOf(ctx)
	if b.Identity.Account == 0 {
		return "", &admin.Error{Class: admin.Invalid, Message: "this is about the account whose token is shown, and nobody's was"}
	}
	return b.Identity.Main.String(), nil
}

type routeKey struct{}

// withRoute says which route a request is answered by.
func withRoute(ctx context.Context, x *route) context.Context {
	return context.WithValue(ctx, routeKey{}, cmp.Or(x, &route{}))
}

func routeOf(ctx context.Context) *route {
	if x, ok := ctx.Value(routeKey{}).(*route); ok {
		return x
	}
	return &route{}
}
