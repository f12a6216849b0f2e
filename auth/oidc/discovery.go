package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Bounds of asking for metadata.
const (
	askWait  = 10 * time.Second // for one request
	askAgain = 5 * time.Second  // after one that failed: visitors do not wait in turn for a provider that is down
	freshFor = 24 * time.Hour
	maxReply = 1 << 20 // octets
)

// metadata is what the provider says of itself (OpenID Connect Discovery 1.0).
type metadata struct {
	provider   *gooidc.Provider
	style      oauth2.AuthStyle
	saysIssuer bool // its answers name it (RFC 9207)
}

// discovery keeps it; who has turn may ask.
type discovery struct {
	turn   chan struct{}
	m      *metadata
	asked  time.Time
	failed error
}

// metadata asks for it when there is none, or an old one; an old one is better than none.
func (p *Provider) metadata(ctx context.Context) (*metadata, error) {
	d := &p.found
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-d.turn }()
	since := p.o.Now().Sub(d.asked)
	switch {
	case d.failed == nil && d.m != nil && since < freshFor, d.failed != nil && d.m != nil && since < askAgain:
		return d.m, nil
	case d.failed != nil && since < askAgain:
		return nil, d.failed
	}
	// Not with the visitor's own context: he may leave, and those behind him take the answer too. The client has its time.
	m, err := p.discover(context.WithoutCancel(ctx))
	d.asked, d.failed = p.o.Now(), nil
	if err != nil {
		d.failed = fmt.Errorf("%w: %w", ErrDown, err)
		if d.m == nil {
			return nil, d.failed
		}
		return d.m, nil
	}
	d.m = m
	return m, nil
}

func (p *Provider) discover(ctx context.Context) (*metadata, error) {
	found, err := gooidc.NewProvider(gooidc.ClientContext(ctx, p.client), p.o.Issuer)
	if err != nil {
		return nil, errors.New(clip(err.Error()))
	}
	var more struct {
		Keys       string   `json:"jwks_uri"`
		Methods    []string `json:"token_endpoint_auth_methods_supported"`
		SaysIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, err
	}
	for _, to := range []string{found.Endpoint().AuthURL, found.Endpoint().TokenURL, more.Keys} {
		if !protected(to) {
			return nil, fmt.Errorf("it wants to be asked at %q, which is no address over https", clip(to))
		}
	}
	if to := found.UserInfoEndpoint(); to != "" && !protected(to) {
		return nil, fmt.Errorf("it wants to be asked at %q, which is no address over https", clip(to))
	}
	// Discovery section 3: what is not said is client_secret_basic. To try both would show the code twice.
	m := &metadata{provider: found, style: oauth2.AuthStyleInHeader, saysIssuer: more.SaysIssuer}
	if len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic") {
		m.style = oauth2.AuthStyleInParams
	}
	return m, nil
}

// oauth is how the provider is asked; a client without secret names itself in the body (RFC 6749 section 3.2.1).
func (m *metadata) oauth(o Options, secret string) *oauth2.Config {
	end := m.provider.Endpoint()
	end.AuthStyle = m.style
	if secret == "" {
		end.AuthStyle = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{ClientID: o.ClientID, ClientSecret: secret, Endpoint: end, RedirectURL: o.Redirect, Scopes: o.Scopes}
}

// protected tells whether nobody can listen on the way to an address.
func protected(to string) bool {
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && a.IsLoopback())
}

// newClient asks the provider: in bounded time, for bounded answers, and only where we meant to.
func newClient(through http.RoundTripper) *http.Client {
	if through == nil {
		through = http.DefaultTransport
	}
	return &http.Client{
		Transport: bounded{through}, Timeout: askWait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ http.RoundTripper }

// RoundTrip cuts an answer that is too long.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		a.Body = cut{io.LimitReader(a.Body, maxReply), a.Body}
	}
	return a, err
}

type cut struct {
	io.Reader
	io.Closer
}
