// Package oidctest is an OpenID Connect provider for tests: it lets everybody in, and lies as it is told.
package oidctest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// The client that it knows.
const (
	ClientID = "posthouse at test"
	Secret   = "se:cret +/%"
)

// Provider is one. Set its fields before it is asked.
type Provider struct {
	*httptest.Server
	Now func() time.Time

	// Change lies: it gets the claims of each ID token, and the header's fields.
	Change func(claims, header map[string]any)
	Info   map[string]any // what userinfo says; nil: there is none
	Meta   map[string]any // of its metadata, over what is true
	Down   string         // path of what fails with 503
	Forged bool           // tokens are signed with a key that is not published

	t   *testing.T
	key *ecdsa.PrivateKey

	mu    sync.Mutex
	codes map[string]url.Values // guarded by mu: what a code was asked for with
	asked map[string]int        // guarded by mu: by path
}

// New starts one.
func New(t *testing.T) *Provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &Provider{t: t, key: key, Now: time.Now, codes: make(map[string]url.Values), asked: make(map[string]int)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.metadata)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer of the code" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		p.say(w, p.Info)
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked[r.URL.Path]++
		p.mu.Unlock()
		if r.URL.Path == p.Down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// Asked is how often a path was asked for.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *Provider) say(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

func (p *Provider) metadata(w http.ResponseWriter, _ *http.Request) {
	m := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported": []string{"ES256", "none"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	}
	if p.Info != nil {
		m["userinfo_endpoint"] = p.URL + "/userinfo"
	}
	maps.Copy(m, p.Meta)
	p.say(w, m)
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	point, err := p.key.PublicKey.Bytes() // 4 | x 32 | y 32
	if err != nil {
		p.t.Error(err)
	}
	p.say(w, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "one", "x": based(point[1:33]), "y": based(point[33:]),
	}}})
}

// authorize is the page where people would sign in: everybody is let in at once.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, p.Back(r.URL.Query()), http.StatusFound)
}

// Back is where the query of an authorization leads.
func (p *Provider) Back(q url.Values) string {
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = q
	p.mu.Unlock()
	return q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
}

// token gives an ID token for a code, once, and to who began only (RFC 7636 section 4.6).
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, basic := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	code := r.PostFormValue("code")
	p.mu.Lock()
	q, known := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	switch {
	case !basic || id != ClientID || secret != Secret:
		w.WriteHeader(http.StatusUnauthorized)
		p.say(w, map[string]string{"error": "invalid_client"})
		return
	case !known || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") != based(sum[:]) || q.Get("redirect_uri") != r.PostFormValue("redirect_uri"):
		w.WriteHeader(http.StatusBadRequest)
		p.say(w, map[string]string{"error": "invalid_grant"})
		return
	}
	answer := map[string]any{"access_token": "of the code", "token_type": "Bearer", "expires_in": 60}
	if token := p.idToken(q.Get("nonce")); token != "" {
		answer["id_token"] = token
	}
	p.say(w, answer)
}

// idToken is signed as its header says, where that is possible.
func (p *Provider) idToken(nonce string) string {
	now := p.Now()
	claims := map[string]any{
		"iss": p.URL, "sub": "248289761001", "aud": ClientID, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "nonce": nonce,
		"email": "alice@alpha.test", "email_verified": true,
	}
	header := map[string]any{"alg": "ES256", "kid": "one", "typ": "JWT"}
	if p.Change != nil {
		p.Change(claims, header)
	}
	if header["alg"] == "" {
		return ""
	}
	body := based(p.coded(header)) + "." + based(p.coded(claims))
	key := p.key
	if p.Forged {
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if header["alg"] == "none" {
		return body + "."
	}
	sum := sha256.Sum256([]byte(body))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		p.t.Error(err)
	}
	return body + "." + based(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func (p *Provider) coded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		p.t.Error(err)
	}
	return text
}

func based(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
