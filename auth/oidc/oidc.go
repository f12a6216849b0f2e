// Package oidc asks an OpenID Connect provider who somebody is (OpenID Connect Core 1.0, authorization code flow with PKCE, RFC 7636).
//
// Begin makes the address that a browser is sent to, and a secret for the browser to keep. State, nonce and PKCE verifier are made from
// that secret and a key of the process, so that nothing is stored for who only begins, and nobody else's answer fits. Finish takes what the
// browser brings back. The package knows no accounts: a Person has an address that the provider vouches for.
package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// What can go wrong; each is wrapped with the reason, which is for the log.
var (
	ErrDown    = errors.New("oidc: the provider cannot be asked now")
	ErrLate    = errors.New("oidc: not begun in this browser, begun too long ago, or used already")
	ErrDenied  = errors.New("oidc: the provider let nobody in")
	ErrRefused = errors.New("oidc: the provider's answer proves nothing")
	ErrAddress = errors.New("oidc: the provider vouches for no mail address")
)

// Bounds.
const (
	lifetime = 10 * time.Minute // from Begin to Finish
	maxUsed  = 4096             // secrets that are remembered as used; a code is good once anyway
	maxBack  = 1000             // octets of where it leads back to
	maxText  = 300              // octets of what the provider says, in the log
)

// Options of a Provider.
type Options struct {
	Issuer   string
	ClientID string
	Secret   func() (string, error) // the client's; nil: it has none
	Redirect string                 // where the provider leads back to
	Scopes   []string
	Claim    string   // has the address; email is taken with email_verified only
	ACR, AMR []string // values that stand for a second factor
	Now      func() time.Time
	HTTP     http.RoundTripper // nil: http.DefaultTransport
}

// Person is who the provider says it is.
type Person struct {
	Subject string // the provider's name for him, for ever
	Address string // as the provider wrote it
	Strong  bool   // he gave a second factor there
}

// Provider is one. It is asked for its metadata when it is needed first: it may be down when the house starts.
type Provider struct {
	o      Options
	key    [32]byte
	client *http.Client
	found  discovery

	mu   sync.Mutex
	used map[[sha256.Size]byte]time.Time // guarded by mu: secrets with which somebody came back, until when
}

// New makes a Provider; nobody is asked yet.
func New(o Options) *Provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Provider{o: o, client: newClient(o.HTTP), used: make(map[[sha256.Size]byte]time.Time)}
	p.found.turn = make(chan struct{}, 1)
	_, _ = rand.Read(p.key[:]) // never fails (crypto/rand)
	return p
}

// Issuer is the provider's name.
func (p *Provider) Issuer() string { return p.o.Issuer }

// Redirect is where the provider leads back to.
func (p *Provider) Redirect() string { return p.o.Redirect }

// Stamp stands for the settings: what a session was begun with holds as long as they do.
func (p *Provider) Stamp() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", p.o.Issuer, p.o.ClientID, p.o.Claim, p.o.ACR, p.o.AMR))
	return hex.EncodeToString(sum[:8])
}

// sealed is a value that only this process can make of a browser's secret.
func (p *Provider) sealed(what, secret string) string {
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write([]byte(what + "\x00" + secret))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Begin is where the browser goes, and what it has to keep and show to Finish. back is for the caller.
func (p *Provider) Begin(ctx context.Context, back string) (to, secret string, err error) {
	m, err := p.metadata(ctx)
	if err != nil {
		return "", "", err
	}
	if len(back) > maxBack {
		back = ""
	}
	var chance [32]byte
	_, _ = rand.Read(chance[:]) // never fails (crypto/rand)
	raw := binary.BigEndian.AppendUint64(chance[:], uint64(p.o.Now().Unix()))
	secret = base64.RawURLEncoding.EncodeToString(append(raw, back...))
	options := []oauth2.AuthCodeOption{gooidc.Nonce(p.sealed("nonce", secret)), oauth2.S256ChallengeOption(p.sealed("verifier", secret))}
	if len(p.o.ACR) > 0 {
		options = append(options, oauth2.SetAuthURLParam("acr_values", strings.Join(p.o.ACR, " ")))
	}
	return m.oauth(p.o, "").AuthCodeURL(p.sealed("state", secret), options...), secret, nil
}

// Finish is who came back, with the secret that his browser kept and the query that the provider sent him with.
func (p *Provider) Finish(ctx context.Context, secret string, q url.Values) (who Person, back string, err error) {
	if back, err = p.begun(secret, q.Get("state")); err != nil {
		return who, "", err
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return who, back, err
	}
	// RFC 9207: an answer of another provider that the browser was led to.
	if iss := q.Get("iss"); iss != p.o.Issuer && (iss != "" || m.saysIssuer) {
		return who, back, fmt.Errorf("%w: it comes from %q", ErrRefused, clip(iss))
	}
	if said := q.Get("error"); said != "" {
		return who, back, denied(said, q.Get("error_description"))
	}
	token, err := p.exchange(ctx, m, q.Get("code"), p.sealed("verifier", secret))
	if err != nil {
		return who, back, err
	}
	who, err = p.person(ctx, m, token, p.sealed("nonce", secret))
	return who, back, err
}

// begun judges the browser's secret and the state that came with it, and uses both up.
func (p *Provider) begun(secret, state string) (back string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) < 40 {
		return "", fmt.Errorf("%w: the browser has kept nothing of it", ErrLate)
	}
	if subtle.ConstantTimeCompare([]byte(state), []byte(p.sealed("state", secret))) != 1 {
		return "", fmt.Errorf("%w: the state is not this browser's", ErrLate)
	}
	now := p.o.Now()
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(raw[32:40])), 0))
	if age > lifetime || age < -time.Minute {
		return "", fmt.Errorf("%w: it was begun %v ago", ErrLate, age.Round(time.Second))
	}
	name := sha256.Sum256([]byte(secret))
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, again := p.used[name]; again {
		return "", fmt.Errorf("%w: it was used before", ErrLate)
	}
	if len(p.used) >= maxUsed {
		p.forget(now)
	}
	p.used[name] = now.Add(lifetime + time.Minute)
	return string(raw[40:]), nil
}

// forget drops what is too old to be taken anyway, or any when nothing is.
func (p *Provider) forget(now time.Time) {
	var any [sha256.Size]byte
	for name, until := range p.used {
		if any = name; now.After(until) {
			delete(p.used, name)
		}
	}
	if len(p.used) >= maxUsed {
		delete(p.used, any)
	}
}

// denied is what the provider says instead of a code (RFC 6749 section 4.1.2.1).
func denied(said, more string) error {
	kind := ErrRefused
	switch said {
	case "access_denied", "login_required", "consent_required", "interaction_required", "account_selection_required":
		kind = ErrDenied
	case "server_error", "temporarily_unavailable":
		kind = ErrDown
	}
	return fmt.Errorf("%w: it says %q: %q", kind, clip(said), clip(more))
}

// exchange gives the code for tokens.
func (p *Provider) exchange(ctx context.Context, m *metadata, code, verifier string) (*oauth2.Token, error) {
	if code == "" {
		return nil, fmt.Errorf("%w: it has no code", ErrRefused)
	}
	secret := ""
	if p.o.Secret != nil {
		var err error
		if secret, err = p.o.Secret(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDown, err)
		}
	}
	token, err := m.oauth(p.o, secret).Exchange(gooidc.ClientContext(ctx, p.client), code, oauth2.VerifierOption(verifier))
	var told *oauth2.RetrieveError
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &told) && told.Response.StatusCode < 500:
		return nil, fmt.Errorf("%w: it took the code not: %s %q", ErrRefused, told.Response.Status, clip(told.ErrorCode))
	}
	return nil, fmt.Errorf("%w: %w", ErrDown, err)
}

// person verifies the ID token (OpenID Connect Core 1.0 section 3.1.3.7) and reads who it is about.
func (p *Provider) person(ctx context.Context, m *metadata, token *oauth2.Token, nonce string) (who Person, err error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return who, fmt.Errorf("%w: it has no ID token", ErrRefused)
	}
	id, err := m.provider.Verifier(&gooidc.Config{ClientID: p.o.ClientID, SupportedSigningAlgs: algorithms(), Now: p.o.Now}).Verify(ctx, raw)
	if err != nil {
		if strings.Contains(err.Error(), "fetching keys") {
			return who, fmt.Errorf("%w: %w", ErrDown, err)
		}
		return who, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return who, fmt.Errorf("%w: its nonce is that of another sign-in", ErrRefused)
	}
	var all claims
	if err := id.Claims(&all); err != nil {
		return who, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if azp := all.text("azp"); id.Subject == "" || len(id.Audience) > 1 && azp == "" || azp != "" && azp != p.o.ClientID {
		return who, fmt.Errorf("%w: it was made for %q", ErrRefused, clip(azp))
	}
	who = Person{Subject: id.Subject, Strong: slices.Contains(p.o.ACR, all.text("acr")) || slices.ContainsFunc(all.list("amr"), func(v string) bool { return slices.Contains(p.o.AMR, v) })}
	if all.text(p.o.Claim) == "" && m.provider.UserInfoEndpoint() != "" {
		if all, err = p.userInfo(ctx, m, token, id.Subject); err != nil {
			return who, err
		}
	}
	who.Address, err = all.address(p.o.Claim)
	return who, err
}

// userInfo asks for claims that the ID token does not have (OpenID Connect Core 1.0 section 5.4: those of a scope stand here).
func (p *Provider) userInfo(ctx context.Context, m *metadata, token *oauth2.Token, subject string) (all claims, err error) {
	info, err := m.provider.UserInfo(gooidc.ClientContext(ctx, p.client), oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	if info.Subject != subject { // section 5.3.2
		return nil, fmt.Errorf("%w: what it knows is of somebody else", ErrRefused)
	}
	if err := info.Claims(&all); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return all, nil
}

// algorithms are those with a public key: "none" proves nothing, and a client's secret is no key.
func algorithms() []string {
	return []string{
		gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.PS256, gooidc.PS384, gooidc.PS512, gooidc.EdDSA,
	}
}

// clip makes what somebody else says fit for a log.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}
