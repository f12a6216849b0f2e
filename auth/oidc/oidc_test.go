package oidc_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/oidc"
	"github.com/posthouse-mail/posthouse/auth/oidc/oidctest"
)

const redirect = "https://mail.alpha.test/sign-in/provider/back"

// world is a provider, a house that asks it, and a clock.
type world struct {
	*oidctest.Provider
	t   *testing.T
	o   oidc.Options
	p   *oidc.Provider
	now time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Provider: oidctest.New(t), t: t, now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	w.Now = func() time.Time { return w.now }
	w.o = oidc.Options{
		Issuer: w.URL, ClientID: oidctest.ClientID, Secret: func() (string, error) { return oidctest.Secret, nil }, Redirect: redirect,
		Scopes: []string{"openid", "email"}, Claim: "email", ACR: []string{"gold"}, AMR: []string{"mfa", "hwk"}, Now: w.Now,
	}
	return w
}

// begin is the first half: what the provider was asked with, and what the browser keeps.
func (w *world) begin() (q url.Values, secret string) {
	w.t.Helper()
	if w.p == nil {
		w.p = oidc.New(w.o)
	}
	to, secret, err := w.p.Begin(w.t.Context(), "/account/")
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || !strings.HasPrefix(to, w.URL+"/authorize?") {
		w.t.Fatalf("leads to %q: %v", to, err)
	}
	return u.Query(), secret
}

// back is the query that the browser comes back with.
func (w *world) back(q url.Values) url.Values {
	w.t.Helper()
	u, err := url.Parse(w.Back(q))
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Query()
}

func (w *world) through() (oidc.Person, error) {
	w.t.Helper()
	q, secret := w.begin()
	who, _, err := w.p.Finish(w.t.Context(), secret, w.back(q))
	return who, err
}

func TestSignIn(t *testing.T) {
	w := newWorld(t)
	q, secret := w.begin()
	for name, want := range map[string]string{"response_type": "code", "client_id": oidctest.ClientID, "redirect_uri": redirect, "scope": "openid email", "code_challenge_method": "S256", "acr_values": "gold"} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) != 43 || strings.Contains(secret, q.Get(name)) {
			t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	who, to, err := w.p.Finish(t.Context(), secret, w.back(q))
	if want := (oidc.Person{Subject: "248289761001", Address: "alice@alpha.test"}); err != nil || who != want || to != "/account/" {
		t.Errorf("%+v, %q, %v", who, to, err)
	}
	if _, err := w.through(); err != nil {
		t.Error(err)
	}
	if n := w.Asked("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("its metadata was asked for %d times", n)
	}
}

// TestTokensRefused is every lie about the ID token.
func TestTokensRefused(t *testing.T) {
	set := func(name string, v any) func(c, h map[string]any) {
		return func(c, _ map[string]any) { c[name] = v }
	}
	head := func(name string, v any) func(c, h map[string]any) {
		return func(_, h map[string]any) { h[name] = v }
	}
	long := time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
	for name, x := range map[string]struct {
		change func(c, h map[string]any)
		want   error
	}{
		"wrong nonce":           {set("nonce", "another"), oidc.ErrRefused},
		"no nonce":              {set("nonce", nil), oidc.ErrRefused},
		"wrong audience":        {set("aud", "somebody else"), oidc.ErrRefused},
		"two audiences, no azp": {set("aud", []string{oidctest.ClientID, "other"}), oidc.ErrRefused},
		"azp is another":        {set("azp", "other"), oidc.ErrRefused},
		"wrong issuer":          {set("iss", "https://evil.test"), oidc.ErrRefused},
		"expired":               {set("exp", long), oidc.ErrRefused},
		"not yet":               {set("nbf", time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Unix()), oidc.ErrRefused},
		"nobody":                {set("sub", ""), oidc.ErrRefused},
		"alg none":              {head("alg", "none"), oidc.ErrRefused},
		"alg HS256":             {head("alg", "HS256"), oidc.ErrRefused},
		"unknown key":           {head("kid", "two"), oidc.ErrRefused},
		"no token":              {head("alg", ""), oidc.ErrRefused},
		"unverified address":    {set("email_verified", false), oidc.ErrAddress},
		"unverified, as text":   {set("email_verified", "false"), oidc.ErrAddress},
		"never verified":        {set("email_verified", nil), oidc.ErrAddress},
		"verified, a number":    {set("email_verified", 1), oidc.ErrAddress},
		"no address":            {set("email", nil), oidc.ErrAddress},
		"address is a list":     {set("email", []string{"alice@alpha.test"}), oidc.ErrAddress},
		"verified, as text":     {set("email_verified", "true"), nil},
		"azp is ours":           {set("azp", oidctest.ClientID), nil},
	} {
		w := newWorld(t)
		w.Change = x.change
		if who, err := w.through(); !errors.Is(err, x.want) || err != nil && who.Address != "" {
			t.Errorf("%s: %+v, %v; want %v", name, who, err, x.want)
		}
	}
	w := newWorld(t)
	w.Forged = true
	if _, err := w.through(); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("a forged signature: %v", err)
	}
}

// TestStateIsOfTheBrowser: what comes back fits the browser that began, once, and for minutes.
func TestStateIsOfTheBrowser(t *testing.T) {
	w := newWorld(t)
	finish := func(secret string, q url.Values) error {
		_, _, err := w.p.Finish(t.Context(), secret, q)
		return err
	}
	mine, secret := w.begin()
	theirs, other := w.begin()
	for name, err := range map[string]error{
		"no cookie":             finish("", w.back(mine)),
		"rubbish":               finish("%%%", w.back(mine)),
		"another's cookie":      finish(other, w.back(mine)),
		"another's answer":      finish(secret, w.back(theirs)),
		"no state":              finish(secret, url.Values{"code": {"x"}}),
		"a cookie that is made": finish(strings.Repeat("A", 60), url.Values{"code": {"x"}, "state": {mine.Get("state")}}),
	} {
		if !errors.Is(err, oidc.ErrLate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q := w.back(mine)
	if err := finish(secret, q); err != nil {
		t.Error(err)
	}
	if err := finish(secret, q); !errors.Is(err, oidc.ErrLate) {
		t.Errorf("once more: %v", err)
	}
	if err := finish(secret, w.back(mine)); !errors.Is(err, oidc.ErrLate) {
		t.Errorf("once more with a new code: %v", err)
	}
	q = w.back(theirs)
	w.now = w.now.Add(11 * time.Minute)
	if err := finish(other, q); !errors.Is(err, oidc.ErrLate) {
		t.Errorf("too late: %v", err)
	}
	// A code that was stolen from another browser does not fit our verifier.
	mine, secret = w.begin()
	stolen, _ := w.begin()
	if err := finish(secret, url.Values{"code": {w.back(stolen).Get("code")}, "state": {mine.Get("state")}}); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("a stolen code: %v", err)
	}
}

// TestProviderSays: what comes instead of a code.
func TestProviderSays(t *testing.T) {
	for said, want := range map[string]error{
		"error=access_denied&error_description=no": oidc.ErrDenied, "error=temporarily_unavailable": oidc.ErrDown, "error=server_error": oidc.ErrDown,
		"error=invalid_scope": oidc.ErrRefused, "": oidc.ErrRefused, "code=nothing": oidc.ErrRefused, "code=x&iss=https://evil.test": oidc.ErrRefused,
	} {
		w := newWorld(t)
		q, secret := w.begin()
		back, err := url.ParseQuery(said)
		if err != nil {
			t.Fatal(err)
		}
		back.Set("state", q.Get("state"))
		if _, to, err := w.p.Finish(t.Context(), secret, back); !errors.Is(err, want) || to != "/account/" {
			t.Errorf("%s: %q, %v; want %v", said, to, err, want)
		}
	}
	w := newWorld(t)
	w.Meta = map[string]any{"authorization_response_iss_parameter_supported": true}
	if _, err := w.through(); !errors.Is(err, oidc.ErrRefused) {
		t.Errorf("an issuer that is missing: %v", err)
	}
}

// TestSecondFactor: what stands for one is what the settings name.
func TestSecondFactor(t *testing.T) {
	for want, all := range map[bool][]map[string]any{
		true:  {{"acr": "gold"}, {"amr": []string{"pwd", "mfa"}}, {"amr": []string{"hwk"}, "acr": "0"}},
		false: {{}, {"acr": "silver"}, {"amr": []string{"pwd"}}, {"amr": "mfa"}, {"acr": []string{"gold"}}, {"acr": ""}, {"mfa": true}},
	} {
		for _, more := range all {
			w := newWorld(t)
			w.Change = func(c, _ map[string]any) {
				for name, v := range more {
					c[name] = v
				}
			}
			if who, err := w.through(); err != nil || who.Strong != want {
				t.Errorf("%v: %+v, %v", more, who, err)
			}
		}
	}
}

// TestUserInfo: an address that the token does not have.
func TestUserInfo(t *testing.T) {
	without := func(c, _ map[string]any) { delete(c, "email"); delete(c, "email_verified") }
	for name, x := range map[string]struct {
		info map[string]any
		want error
	}{
		"its":             {map[string]any{"sub": "248289761001", "email": "bob@alpha.test", "email_verified": true}, nil},
		"not verified":    {map[string]any{"sub": "248289761001", "email": "bob@alpha.test"}, oidc.ErrAddress},
		"somebody else's": {map[string]any{"sub": "2", "email": "bob@alpha.test", "email_verified": true}, oidc.ErrRefused},
	} {
		w := newWorld(t)
		w.Change, w.Info = without, x.info
		who, err := w.through()
		if !errors.Is(err, x.want) || err == nil && who.Address != "bob@alpha.test" {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}
	w := newWorld(t)
	w.o.Claim = "upn"
	w.Change = func(c, _ map[string]any) { delete(c, "email_verified"); c["upn"] = "carol@alpha.test" }
	if who, err := w.through(); err != nil || who.Address != "carol@alpha.test" {
		t.Errorf("another claim: %+v, %v", who, err)
	}
}

// TestDown: the provider is away when the house starts, comes, and goes again.
func TestDown(t *testing.T) {
	w := newWorld(t)
	w.Down = "/.well-known/openid-configuration"
	w.p = oidc.New(w.o)
	for range 3 {
		if _, _, err := w.p.Begin(t.Context(), ""); !errors.Is(err, oidc.ErrDown) {
			t.Error(err)
		}
	}
	if n := w.Asked(w.Down); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
	w.Down = ""
	w.now = w.now.Add(6 * time.Second)
	if _, err := w.through(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/token", "/keys"} {
		w := newWorld(t)
		w.Down = path
		if _, err := w.through(); !errors.Is(err, oidc.ErrDown) {
			t.Errorf("%s: %v", path, err)
		}
	}
	w.Down = "/.well-known/openid-configuration"
	w.now = w.now.Add(25 * time.Hour)
	if _, err := w.through(); err != nil {
		t.Errorf("what it said yesterday is as good: %v", err)
	}
}

// TestMetadataRefused: a provider that calls itself otherwise, or wants to be asked in clear.
func TestMetadataRefused(t *testing.T) {
	for name, meta := range map[string]map[string]any{
		"issuer":   {"issuer": "https://evil.test"},
		"tokens":   {"token_endpoint": "http://login.alpha.test/token"},
		"keys":     {"jwks_uri": "http://login.alpha.test/keys"},
		"pages":    {"authorization_endpoint": "javascript:alert(1)"},
		"userinfo": {"userinfo_endpoint": "http://login.alpha.test/"},
		"long":     {"x": strings.Repeat("x", 2<<20)},
	} {
		w := newWorld(t)
		w.Meta = meta
		if _, _, err := oidc.New(w.o).Begin(t.Context(), ""); !errors.Is(err, oidc.ErrDown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorld(t)
	w.o.Secret = func() (string, error) { return "", errors.New("no such file") }
	if _, err := w.through(); !errors.Is(err, oidc.ErrDown) {
		t.Error(err)
	}
	w = newWorld(t)
	w.o.Secret = func() (string, error) { return "old", nil }
	if _, err := w.through(); !errors.Is(err, oidc.ErrRefused) {
		t.Error(err)
	}
}
