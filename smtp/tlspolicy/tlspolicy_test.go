package tlspolicy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// issue makes a certificate for a name; without a parent it signs itself.
func issue(t *testing.T, name string, parent *x509.Certificate, key *ecdsa.PrivateKey, until time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.Unix()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: until, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if parent == nil {
		parent, key = c, own
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &own.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return made, own
}

func shows(certs ...*x509.Certificate) tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: certs}
}

func tlsa(usage, selector, matching int, data []byte) string {
	return fmt.Sprintf("_25._tcp.mx.example.org. IN TLSA %d %d %d %x", usage, selector, matching, data)
}

func hash(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func zone(t *testing.T, secure bool, lines ...string) *dns.Zone {
	t.Helper()
	z, err := dns.NewZone(append([]string{"example.org. IN MX 10 mx.example.org.", "mx.example.org. IN A 192.0.2.1"}, lines...)...)
	if err != nil {
		t.Fatal(err)
	}
	z.Secure(secure)
	return z
}

func engine(t *testing.T, z *dns.Zone, o Options) *Engine {
	t.Helper()
	c := z.Client(dns.Options{Now: o.Now})
	t.Cleanup(func() { c.Close() })
	o.Resolver = c
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	if o.HTTP == nil {
		o.HTTP = &http.Client{Transport: refuser{}}
	}
	return New(o)
}

type refuser struct{}

func (refuser) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody listens")
}

func TestDANE(t *testing.T) {
	ca, caKey := issue(t, "ca.example.org", nil, nil, now.Add(time.Hour))
	leaf, _ := issue(t, "mx.example.org", ca, caKey, now.Add(time.Hour))
	old, _ := issue(t, "elsewhere.example", nil, nil, now.Add(-time.Minute))
	other, _ := issue(t, "other.example.org", ca, caKey, now.Add(time.Hour))
	for _, c := range []struct {
		name    string
		records []string
		shown   []*x509.Certificate
		ok      bool
	}{
		{"key of the leaf", []string{tlsa(3, 1, 1, hash(leaf.RawSubjectPublicKeyInfo))}, []*x509.Certificate{leaf}, true},
		{"certificate of the leaf, whole", []string{tlsa(3, 0, 0, leaf.Raw)}, []*x509.Certificate{leaf}, true},
		{"an end entity has neither dates nor names", []string{tlsa(3, 1, 1, hash(old.RawSubjectPublicKeyInfo))}, []*x509.Certificate{old}, true},
		{"another key", []string{tlsa(3, 1, 1, hash(other.RawSubjectPublicKeyInfo))}, []*x509.Certificate{leaf}, false},
		{"one of several", []string{tlsa(3, 1, 1, hash([]byte("next"))), tlsa(3, 1, 1, hash(leaf.RawSubjectPublicKeyInfo))}, []*x509.Certificate{leaf}, true},
		{"anchor, shown", []string{tlsa(2, 0, 1, hash(ca.Raw))}, []*x509.Certificate{leaf, ca}, true},
		{"anchor, not shown", []string{tlsa(2, 0, 1, hash(ca.Raw))}, []*x509.Certificate{leaf}, false},
		{"anchor, published whole", []string{tlsa(2, 0, 0, ca.Raw)}, []*x509.Certificate{leaf}, true},
		{"anchor, but another name", []string{tlsa(2, 0, 1, hash(ca.Raw))}, []*x509.Certificate{other, ca}, false},
		{"anchor, but of somebody else", []string{tlsa(2, 0, 1, hash(old.Raw))}, []*x509.Certificate{leaf, ca, old}, false},
		{"nothing shown", []string{tlsa(3, 1, 1, hash(leaf.RawSubjectPublicKeyInfo))}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := engine(t, zone(t, true, c.records...), Options{}).For(t.Context(), "example.org", "mx.example.org")
			if err != nil || v.Kind != DANE || !v.Required || v.Verify == nil || len(v.Policy) != len(c.records) {
				t.Fatalf("%+v %v", v, err)
			}
			if err := v.Verify(shows(c.shown...)); (err == nil) != c.ok {
				t.Errorf("%v", err)
			} else if err != nil && FailureType(err) != "validation-failure" {
				t.Errorf("%s", FailureType(err))
			}
		})
	}
}

// Records that nobody can use still mean that TLS is there; unsigned ones mean nothing; DNS that fails means later.
func TestDANEWhereItCounts(t *testing.T) {
	record := tlsa(3, 1, 1, hash([]byte("key")))
	if v, err := engine(t, zone(t, true, tlsa(1, 1, 1, hash([]byte("pkix")))), Options{}).For(t.Context(), "example.org", "mx.example.org"); err != nil || !v.Required || v.Verify != nil {
		t.Errorf("PKIX usages: %+v %v", v, err)
	}
	if v, err := engine(t, zone(t, false, record), Options{}).For(t.Context(), "example.org", "mx.example.org"); err != nil || v.Kind != None || v.Required {
		t.Errorf("unsigned: %+v %v", v, err)
	}
	if v, err := engine(t, zone(t, true), Options{}).For(t.Context(), "example.org", "mx.example.org"); err != nil || v.Kind != None {
		t.Errorf("no record: %+v %v", v, err)
	}
	for _, name := range []string{"_25._tcp.mx.example.org", "example.org", "mx.example.org"} {
		z := zone(t, true, record)
		z.Fail(name)
		if v, err := engine(t, z, Options{}).For(t.Context(), "example.org", "mx.example.org"); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s fails: %+v %v", name, v, err)
		}
	}
	z, err := dns.NewZone("alone.example. IN A 192.0.2.1", "_25._tcp.alone.example. IN TLSA 3 1 1 "+fmt.Sprintf("%x", hash([]byte("key"))))
	if err != nil {
		t.Fatal(err)
	}
	z.Secure(true)
	if v, err := engine(t, z, Options{}).For(t.Context(), "alone.example", "alone.example"); err != nil || v.Kind != DANE {
		t.Errorf("a domain without MX: %+v %v", v, err)
	}
}

// memory is a Cache.
type memory struct{ m sync.Map }

func (c *memory) Find(domain string) (Entry, bool) {
	e, ok := c.m.Load(domain)
	if !ok {
		return Entry{}, false
	}
	return e.(Entry), true
}
func (c *memory) Keep(domain string, e Entry) { c.m.Store(domain, e) }

// site is the web server of mta-sts.example.org.
type site struct {
	asked  atomic.Int32
	answer atomic.Pointer[http.HandlerFunc]
	client *http.Client
}

func newSite(t *testing.T, text string) *site {
	t.Helper()
	s := &site{}
	s.says(text)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if r.Host != "mta-sts.example.org" || r.URL.Path != "/.well-known/mta-sts.txt" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	client := NewHTTP(nil, nil)
	tr := client.Transport.(*http.Transport)
	tr.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "example.com"}
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	s.client = client
	return s
}

func (s *site) says(text string) {
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, text)
	})
}

func (s *site) does(h http.HandlerFunc) { s.answer.Store(&h) }

const policyText = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.org\r\nmx: *.mail.example.org\r\nmax_age: 604800\r\n"

func TestSTS(t *testing.T) {
	ca, caKey := issue(t, "ca.example", nil, nil, now.Add(time.Hour))
	leaf, _ := issue(t, "mx.example.org", ca, caKey, now.Add(time.Hour))
	other, _ := issue(t, "other.example.org", ca, caKey, now.Add(time.Hour))
	old, _ := issue(t, "mx.example.org", ca, caKey, now.Add(-time.Minute))
	self, _ := issue(t, "mx.example.org", nil, nil, now.Add(time.Hour))
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	s := newSite(t, policyText)
	e := engine(t, zone(t, false, `_mta-sts.example.org. IN TXT "v=STSv1; id=1;"`), Options{HTTP: s.client, Cache: &memory{}, Roots: roots})
	v, err := e.For(t.Context(), "example.org", "mx.example.org")
	if err != nil || v.Kind != STS || !v.Required || v.Testing || v.Refused != nil || len(v.Policy) != 5 || len(v.Hosts) != 2 {
		t.Fatalf("%+v %v", v, err)
	}
	for _, c := range []struct {
		shown *x509.Certificate
		want  string
	}{{leaf, ""}, {other, "certificate-host-mismatch"}, {old, "certificate-expired"}, {self, "certificate-not-trusted"}} {
		err := v.Verify(shows(c.shown))
		if c.want == "" && err != nil || c.want != "" && FailureType(err) != c.want {
			t.Errorf("%s: %v, want %s", c.shown.Subject, err, c.want)
		}
	}
	for host, ok := range map[string]bool{"a.mail.example.org": true, "a.b.mail.example.org": false, "mail.example.org": false, "evil.example": false} {
		if v := e.sts(t.Context(), "example.org", host); (v.Refused == nil) != ok {
			t.Errorf("%s: %+v", host, v.Refused)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the policy was asked for %d times", n)
	}
}

// A policy that was seen goes on to hold when the site, or the record, disappears, until its time is over.
func TestSTSIsKept(t *testing.T) {
	clock := now
	s := newSite(t, policyText)
	z := zone(t, false, `_mta-sts.example.org. IN TXT "v=STSv1; id=1"`)
	e := engine(t, z, Options{HTTP: s.client, Cache: &memory{}, Now: func() time.Time { return clock }})
	kind := func() Kind { return e.sts(t.Context(), "example.org", "mx.example.org").Kind }
	if kind() != STS {
		t.Fatal("no policy")
	}
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	clock = clock.Add(25 * time.Hour)
	if v := e.sts(t.Context(), "example.org", "mx.example.org"); v.Kind != STS || !v.Required {
		t.Errorf("the site fails: %+v", v)
	}
	asked := s.asked.Load()
	if kind(); s.asked.Load() != asked {
		t.Error("asked again at once after a failure")
	}
	z.Remove("_mta-sts.example.org")
	clock = clock.Add(48 * time.Hour)
	if kind() != STS {
		t.Error("without the record it does not hold")
	}
	clock = clock.Add(7 * 24 * time.Hour)
	if kind() != None {
		t.Error("it holds for ever")
	}
}

// A new id brings a new policy; a policy of mode none ends the old one.
func TestSTSIsRenewed(t *testing.T) {
	clock := now
	s := newSite(t, policyText)
	z := zone(t, false, `_mta-sts.example.org. 60 IN TXT "v=STSv1; id=1"`)
	e := engine(t, z, Options{HTTP: s.client, Cache: &memory{}, Now: func() time.Time { return clock }})
	if v := e.sts(t.Context(), "example.org", "mx.example.org"); !v.Required {
		t.Fatalf("%+v", v)
	}
	for id, mode := range map[string]string{"2": "testing", "3": "none"} {
		s.says(strings.Replace(policyText, "enforce", mode, 1))
		z.Remove("_mta-sts.example.org")
		if err := z.Add(`_mta-sts.example.org. 60 IN TXT "v=STSv1; id=` + id + `"`); err != nil {
			t.Fatal(err)
		}
		clock = clock.Add(time.Hour)
		v := e.sts(t.Context(), "example.org", "mx.example.org")
		if v.Required || mode == "testing" && (!v.Testing || v.Kind != STS) || mode == "none" && v.Kind != None {
			t.Errorf("%s: %+v", mode, v)
		}
	}
}

func TestSTSBadSites(t *testing.T) {
	for name, c := range map[string]struct {
		does http.HandlerFunc
		want string
	}{
		"gone": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "sts-policy-fetch-error"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/.well-known/mta-sts.txt", http.StatusFound)
		}, "sts-policy-fetch-error"},
		"html": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, policyText)
		}, "sts-policy-invalid"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for range 1000 {
				fmt.Fprint(w, strings.Repeat("x: y\r\n", 1000))
			}
		}, "sts-policy-invalid"},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "\x00\xff")
		}, "sts-policy-invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "")
			s.does(c.does)
			e := engine(t, zone(t, false, `_mta-sts.example.org. IN TXT "v=STSv1; id=1"`), Options{HTTP: s.client, Cache: &memory{}})
			v := e.sts(t.Context(), "example.org", "mx.example.org")
			if v.Required || v.Refused == nil || !v.Testing || v.Refused.Type != c.want {
				t.Errorf("%+v %v, want %s", v, v.Refused, c.want)
			}
			if s.asked.Load() != 1 {
				t.Errorf("asked %d times", s.asked.Load())
			}
		})
	}
}

func TestSTSOneQuestionForMany(t *testing.T) {
	s := newSite(t, policyText)
	e := engine(t, zone(t, false, `_mta-sts.example.org. IN TXT "v=STSv1; id=1"`), Options{HTTP: s.client, Cache: &memory{}})
	var wait sync.WaitGroup
	var held atomic.Int32
	for range 50 {
		wait.Go(func() {
			if e.sts(t.Context(), "example.org", "mx.example.org").Required {
				held.Add(1)
			}
		})
	}
	wait.Wait()
	if s.asked.Load() != 1 || held.Load() != 50 {
		t.Errorf("%d questions, %d of 50 have the policy", s.asked.Load(), held.Load())
	}
}

func TestAnnouncement(t *testing.T) {
	for text, want := range map[string]string{
		`"v=STSv1; id=20160831085700Z;"`:                "20160831085700Z",
		`"v=STSv1;id=1"`:                                "1",
		`"v=STSv1; id="`:                                "",
		`"v=STSv2; id=1"`:                               "",
		`"id=1; v=STSv1"`:                               "",
		`"v=STSv1; id=` + strings.Repeat("9", 33) + `"`: "",
	} {
		e := engine(t, zone(t, false, "_mta-sts.example.org. IN TXT "+text), Options{})
		if id, ok := e.announced(t.Context(), "example.org"); ok != (want != "") || ok && id != want {
			t.Errorf("%s: %q %v", text, id, ok)
		}
	}
	e := engine(t, zone(t, false, `_mta-sts.example.org. IN TXT "v=STSv1; id=1"`, `_mta-sts.example.org. IN TXT "v=STSv1; id=2"`), Options{})
	if _, ok := e.announced(t.Context(), "example.org"); ok {
		t.Error("two records count")
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add(policyText)
	f.Add("version: STSv1\nmode: none\nmax_age: 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := ParsePolicy(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q %v", p.String(), err)
		}
	})
}

// Policies are asked for again in the background, long before they end; one that cannot be had stays.
func TestRenew(t *testing.T) {
	clock := now
	s := newSite(t, policyText)
	cache := &memory{}
	e := engine(t, zone(t, false, `_mta-sts.example.org. IN TXT "v=STSv1; id=1"`), Options{HTTP: s.client, Cache: cache, Now: func() time.Time { return clock }})
	asked := func(want int32) {
		t.Helper()
		e.Renew(t.Context(), []string{"example.org", "never.example"})
		if got := s.asked.Load(); got != want {
			t.Errorf("asked %d times, want %d", got, want)
		}
	}
	e.sts(t.Context(), "example.org", "mx.example.org")
	asked(1)
	clock = clock.Add(13 * time.Hour)
	asked(2)
	asked(2)
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	clock = clock.Add(6 * 24 * time.Hour)
	asked(3)
	if v := e.sts(t.Context(), "example.org", "mx.example.org"); !v.Required {
		t.Errorf("%+v", v)
	}
	clock = clock.Add(25 * time.Hour)
	asked(3) // it is over
}

func TestSignedHosts(t *testing.T) {
	for _, secure := range []bool{true, false} {
		v, err := engine(t, zone(t, secure), Options{}).For(t.Context(), "example.org", "mx.example.org")
		if err != nil || v.Signed != secure || v.Trusted == nil {
			t.Errorf("%t: %+v %v", secure, v, err)
		}
	}
}
