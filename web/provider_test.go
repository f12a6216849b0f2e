package web_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/auth/oidc"
	"github.com/posthouse-mail/posthouse/auth/oidc/oidctest"
	"github.com/posthouse-mail/posthouse/web"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// organisation is a house beside a provider, and what was noted of it.
type organisation struct {
	*house
	provider *oidctest.Provider
	o        oidc.Options
	noted    []string
}

func newOrganisation(t *testing.T, password bool) *organisation {
	t.Helper()
	g := &organisation{provider: oidctest.New(t)}
	g.house = newHouse(t, nil)
	g.provider.Now = func() time.Time { return g.now }
	g.provider.Change = func(c, _ map[string]any) { c["email"] = "Alice@MAIL.test" }
	g.o = oidc.Options{
		Issuer: g.provider.URL, ClientID: oidctest.ClientID, Secret: func() (string, error) { return oidctest.Secret, nil },
		Redirect: "https://mail.test/sign-in/provider/back", Scopes: []string{"openid", "email"}, Claim: "email", AMR: []string{"mfa"}, Now: g.provider.Now,
	}
	g.restart(password)
	return g
}

// restart opens the house with the settings as they are now.
func (g *organisation) restart(password bool) {
	g.open(func(o *web.Options) {
		o.Provider = &web.Provider{
			OIDC: oidc.New(g.o), Button: "Sign in with Alpha", Password: password,
			Noted: func(ctx context.Context, id auth.Identity, who oidc.Person) error {
				by := admin.ActorOf(ctx)
				g.noted = append(g.noted, by.Name+" "+by.Remote+" "+who.Subject)
				return nil
			},
		}
	})
}

// browser keeps cookies as browsers do.
type browser struct {
	*organisation
	cookies map[string]*http.Cookie
	from    string
	clear   bool
}

func (g *organisation) browser() *browser {
	return &browser{organisation: g, cookies: map[string]*http.Cookie{}, from: "192.0.2.7:5000"}
}

// ask sends a request; fromOutside: another site led here, so that strict cookies stay away.
func (b *browser) ask(to string, form url.Values, fromOutside bool) (status int, body, location string) {
	b.t.Helper()
	r := httptest.NewRequest("GET", to, nil)
	if form != nil {
		r = httptest.NewRequest("POST", to, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if strings.HasPrefix(to, "/") {
		r.Host = "mail.test"
	}
	r.RemoteAddr, r.TLS = b.from, &tls.ConnectionState{}
	if b.clear {
		r.TLS = nil
	}
	for _, c := range b.cookies {
		if c.SameSite != http.SameSiteStrictMode || !fromOutside {
			r.AddCookie(c)
		}
	}
	w := httptest.NewRecorder()
	b.web.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if b.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w.Code, w.Body.String(), w.Header().Get("Location")
}

// out goes to the provider, and is where that leads back to.
func (b *browser) out() (back string) {
	b.t.Helper()
	status, body, to := b.ask("/sign-in/provider?back=%2Fmine%2F", nil, false)
	u, err := url.Parse(to)
	if status != http.StatusSeeOther || err != nil || !strings.HasPrefix(to, b.provider.URL) {
		b.t.Fatalf("%d to %q: %s", status, to, body)
	}
	return b.provider.Back(u.Query())
}

// through is the whole way.
func (b *browser) through() (status int, body, location string) {
	b.t.Helper()
	return b.ask(b.out(), nil, true)
}

func (b *browser) sees(path string, want int) {
	b.t.Helper()
	if status, _, _ := b.ask(path, nil, false); status != want {
		b.t.Errorf("%s: %d, want %d", path, status, want)
	}
}

func TestProvider(t *testing.T) {
	g := newOrganisation(t, true)
	b := g.browser()
	if _, body, _ := b.ask("/mine/", nil, false); !strings.Contains(body, `href="/sign-in/provider?back=%2fmine%2f"`) || !strings.Contains(body, "Sign in with Alpha") || !strings.Contains(body, `name="password"`) {
		t.Errorf("the form: %s", body)
	}
	if status, body, to := b.through(); status != http.StatusSeeOther || to != "/mine/" {
		t.Fatalf("%d to %q: %s", status, to, body)
	}
	b.sees("/mine/", http.StatusOK)
	if len(g.noted) != 1 || g.noted[0] != "alice@mail.test 192.0.2.7 248289761001" {
		t.Errorf("noted: %q", g.noted)
	}
	if _, here := b.cookies["__Host-posthouse-provider"]; here {
		t.Error("the browser goes on to keep what it was asked with")
	}
	g.restart(true)
	b.sees("/mine/", http.StatusOK)
	g.o.ClientID = "another"
	g.restart(true)
	b.sees("/mine/", http.StatusUnauthorized)
}

// TestProviderRefusals: each is said in words, with the form still there, and opens nothing.
func TestProviderRefusals(t *testing.T) {
	claim := func(name string, v any) func(*organisation, *browser, *string) {
		return func(g *organisation, _ *browser, _ *string) {
			g.provider.Change = func(c, _ map[string]any) { c["email"] = "alice@mail.test"; c[name] = v }
		}
	}
	disable := func(g *organisation, _ *browser, _ *string) { authtest.Change(g.t, g.store, g.directory, 1, "disable") }
	for name, x := range map[string]struct {
		change func(*organisation, *browser, *string)
		status int
		words  string
	}{
		"unverified":       {claim("email_verified", false), http.StatusForbidden, "has not verified it"},
		"no account":       {claim("email", "stranger@mail.test"), http.StatusForbidden, "There is no account here"},
		"a login name":     {claim("email", "alice"), http.StatusForbidden, "There is no account here"},
		"a subaddress":     {claim("email", "alice+x@mail.test"), http.StatusForbidden, "There is no account here"},
		"another domain":   {claim("email", "alice@mail.test.evil.test"), http.StatusForbidden, "There is no account here"},
		"no address":       {claim("email", `<script>"@`), http.StatusForbidden, "There is no account here"},
		"wrong nonce":      {claim("nonce", "x"), http.StatusForbidden, "proves nothing"},
		"disabled":         {disable, http.StatusForbidden, "may not use the web pages"},
		"no cookie":        {func(_ *organisation, b *browser, _ *string) { clear(b.cookies) }, http.StatusBadRequest, "in another browser"},
		"another's answer": {func(g *organisation, _ *browser, to *string) { *to = g.browser().out() }, http.StatusBadRequest, "in another browser"},
		"too late":         {func(g *organisation, _ *browser, _ *string) { g.now = g.now.Add(time.Hour) }, http.StatusBadRequest, "took too long"},
		"denied": {func(_ *organisation, _ *browser, to *string) {
			*to = strings.Replace(*to, "code=", "error=access_denied&x=", 1)
		}, http.StatusForbidden, "let nobody in"},
		"down": {func(g *organisation, _ *browser, _ *string) { g.provider.Down = "/token" }, http.StatusServiceUnavailable, "cannot be reached now"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newOrganisation(t, true)
			b := g.browser()
			to := b.out()
			x.change(g, b, &to)
			status, body, _ := b.ask(to, nil, true)
			if status != x.status || !strings.Contains(body, x.words) || !strings.Contains(body, `name="password"`) || strings.Contains(body, "<script>") {
				t.Errorf("%d: %s", status, body)
			}
			b.sees("/mine/", http.StatusUnauthorized)
		})
	}
}

// TestProviderReplay: the address that a browser came back with opens nothing once more, in this browser or another.
func TestProviderReplay(t *testing.T) {
	g := newOrganisation(t, true)
	b, thief := g.browser(), g.browser()
	to := b.out()
	kept := b.cookies["__Host-posthouse-provider"]
	if status, body, _ := b.ask(to, nil, true); status != http.StatusSeeOther {
		t.Fatalf("%d: %s", status, body)
	}
	thief.cookies[kept.Name] = kept
	if status, _, _ := thief.ask(to, nil, true); status != http.StatusBadRequest {
		t.Errorf("once more: %d", status)
	}
	thief.sees("/mine/", http.StatusUnauthorized)
}

// TestProviderDown: from the first click on; passwords work meanwhile.
func TestProviderDown(t *testing.T) {
	g := newOrganisation(t, true)
	g.provider.Close()
	b := g.browser()
	if status, body, _ := b.ask("/sign-in/provider?back=//evil.test/", nil, false); status != http.StatusServiceUnavailable || !strings.Contains(body, "cannot be reached now") || !strings.Contains(body, `name="password"`) || strings.Contains(body, "evil.test") {
		t.Errorf("%d: %s", status, body)
	}
	if status, body, _ := b.ask("/sign-in", url.Values{"user": {"alice"}, "password": {authtest.Password}}, false); status != http.StatusSeeOther {
		t.Errorf("%d: %s", status, body)
	}
}

// TestProviderAndOperators: their rooms ask for a second factor, ours or one that the provider vouches for.
func TestProviderAndOperators(t *testing.T) {
	g := newOrganisation(t, true)
	amr := []string{"pwd"}
	g.provider.Change = func(c, _ map[string]any) { c["email"], c["amr"] = "op@mail.test", amr }
	weak := g.browser()
	weak.from = "127.0.0.1:5000"
	weak.through()
	weak.sees("/mine/", http.StatusOK)
	weak.sees("/run/", http.StatusNotFound)

	amr = []string{"pwd", "mfa"}
	strong := g.browser()
	strong.from = weak.from
	strong.through()
	strong.sees("/run/", http.StatusOK)

	secret, _ := g.secondFactor()
	weak.sees("/mine/", http.StatusUnauthorized) // begun before there was one
	strong.sees("/run/", http.StatusOK)

	amr = nil
	if status, body, _ := weak.through(); status != http.StatusOK || !strings.Contains(body, `action="/sign-in/code"`) {
		t.Fatalf("%d: %s", status, body)
	}
	weak.sees("/mine/", http.StatusUnauthorized)
	if status, body, _ := weak.ask("/sign-in/code", url.Values{"code": {code(t, secret, g.now)}}, false); status != http.StatusSeeOther {
		t.Fatalf("%d: %s", status, body)
	}
	weak.sees("/run/", http.StatusOK)

	g.o.AMR = nil // the provider's word is none any more
	g.restart(true)
	strong.sees("/mine/", http.StatusUnauthorized)
}

// TestWithoutPasswords: the form is for operators at their place only, in case the provider is down.
func TestWithoutPasswords(t *testing.T) {
	g := newOrganisation(t, false)
	form := url.Values{"user": {"alice"}, "password": {authtest.Password}}
	b := g.browser()
	if _, body, _ := b.ask("/", nil, false); strings.Contains(body, `name="password"`) {
		t.Errorf("the form is there: %s", body)
	}
	if status, body, _ := b.ask("/sign-in", form, false); status != http.StatusForbidden || !strings.Contains(body, "Passwords are not taken here") {
		t.Errorf("%d: %s", status, body)
	}
	b.sees("/mine/", http.StatusUnauthorized)
	b.from = "127.0.0.1:5000"
	if status, _, _ := b.ask("/sign-in", form, false); status != http.StatusSeeOther {
		t.Errorf("from this machine: %d", status)
	}
}

// TestProviderElsewhere: there is one way back, and who asks at another of our names is led to it once.
func TestProviderElsewhere(t *testing.T) {
	g := newOrganisation(t, true)
	b := g.browser()
	const there = "https://mail.test/sign-in/provider?back=%2Fmine%2F&led=1"
	if status, _, to := b.ask("https://other.test/sign-in/provider?back=/mine/", nil, false); status != http.StatusSeeOther || to != there {
		t.Errorf("%d to %q", status, to)
	}
	b.clear = true
	if status, body, _ := b.ask("/sign-in/provider?led=1", nil, false); status != http.StatusServiceUnavailable || !strings.Contains(body, "works at https://mail.test only") {
		t.Errorf("%d: %s", status, body)
	}
	plain := newHouse(t, nil).visitor()
	plain.from = netip.MustParseAddrPort("192.0.2.7:1").String()
	if status, body, _ := plain.ask("/sign-in/provider", nil); status != http.StatusNotFound {
		t.Errorf("without one: %d: %s", status, body)
	}
}
