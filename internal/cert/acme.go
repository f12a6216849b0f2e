package cert

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// ProofProtocol is what an authority asks for over TLS (RFC 8737): a listener on port 443 names it among its protocols.
const ProofProtocol = acmez.ACMETLS1Protocol

// ACMEOptions say how certificates are got from an authority (RFC 8555).
type ACMEOptions struct {
	Folder    string         // for keys, certificates and the account with the authority
	Directory string         // the authority's directory; Let's Encrypt's when empty
	Email     string         // where the authority writes to; may be empty
	Roots     *x509.CertPool // that vouch for the directory's own certificate; nil: the system's
	// How names are proven. HTTP: this house answers on port 80, or another web server hands the path on. ALPN: it answers on port
	// 443 (RFC 8737). Webroot: tokens are written into a folder that another web server serves. DNS: records are written.
	HTTP, ALPN        bool
	HTTPPort, TLSPort int // where the house answers, when another program forwards 80 and 443 to it; 0: there
	Webroot           string
	DNS               *DNSUpdate
	Logger            *slog.Logger
	Now               func() time.Time
}

// ACME gets certificates and renews them in time, each for one name. Its files are Pairs, which a Keeper loads like all others; a
// name keeps its key for ever, so that TLSA records stay true (RFC 7671 section 5.1).
type ACME struct {
	o      ACMEOptions
	log    *slog.Logger
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer
	news   chan struct{} // cap 1: a certificate has come

	mu    sync.Mutex
	names map[string]*Attempt // guarded by mu
}

// Attempt is how it stands with the certificate of a name.
type Attempt struct {
	Name  string
	Tried time.Time // last attempt; zero: none
	Got   time.Time // last certificate of this process's life; zero: none
	Error string    // why the last attempt failed; empty: it did not
}

// NewACME makes one; nothing is asked for before Manage.
func NewACME(o ACMEOptions) (*ACME, error) {
	if !o.HTTP && !o.ALPN && o.Webroot == "" && o.DNS == nil {
		return nil, errors.New("cert: no way to prove a name: open port 80 or 443 for the web pages, or name a webroot or a DNS server that takes updates")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &ACME{o: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), news: make(chan struct{}, 1), names: make(map[string]*Attempt)}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("cert: %w", err)
	}
	var storage certmagic.Storage = &certmagic.FileStorage{Path: o.Folder}
	if o.Webroot != "" {
		storage = &webroot{Storage: storage, folder: filepath.Join(o.Webroot, ".well-known", "acme-challenge")}
	}
	quiet := zap.New(&bridge{log: a.log})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil }, Logger: quiet,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage: storage, Logger: quiet, ReusePrivateKeys: true, OCSP: certmagic.OCSPConfig{DisableStapling: true}, OnEvent: a.event,
		KeySource: certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
	})
	template := certmagic.ACMEIssuer{
		CA: o.Directory, Email: o.Email, Agreed: true, TrustedRoots: o.Roots, Logger: quiet,
		DisableHTTPChallenge: !o.HTTP && o.Webroot == "", DisableTLSALPNChallenge: !o.ALPN, AltHTTPPort: o.HTTPPort, AltTLSALPNPort: o.TLSPort,
	}
	if o.DNS != nil {
		template.DNS01Solver = o.DNS.solver(quiet)
	}
	a.issuer = certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// Manage gets what is missing and keeps all of it renewed until ctx ends. Names that were given before stay.
func (a *ACME) Manage(ctx context.Context, names []string) error {
	a.mu.Lock()
	var added []string
	for _, n := range names {
		if n = normal(n); a.names[n] == nil {
			a.names[n] = &Attempt{Name: n}
			added = append(added, n)
		}
	}
	a.mu.Unlock()
	if len(added) == 0 {
		return nil
	}
	return a.magic.ManageAsync(ctx, added)
}

// Attempts tells how it stands, by name.
func (a *ACME) Attempts() []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Attempt
	for _, x := range a.names {
		all = append(all, *x)
	}
	slices.SortFunc(all, func(x, y Attempt) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// News gives a value when a certificate has come since the last one was taken.
func (a *ACME) News() <-chan struct{} { return a.news }

// Close ends the renewals.
func (a *ACME) Close() error {
	a.cache.Stop()
	return nil
}

// HTTP answers what an authority asks on port 80 (RFC 8555 section 8.3), and hands everything else on.
func (a *ACME) HTTP(next http.Handler) http.Handler { return a.issuer.HTTPChallengeHandler(next) }

// challenge is the certificate of a proof over TLS (RFC 8737), for a client that is an authority; nil: it is none.
func (a *ACME) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != acmez.ACMETLS1Protocol {
		return nil, nil
	}
	return a.magic.GetCertificate(hello)
}

// event is what certmagic tells.
func (a *ACME) event(_ context.Context, name string, data map[string]any) error {
	of, _ := data["identifier"].(string)
	a.mu.Lock()
	x := a.names[normal(of)]
	if x == nil {
		x = &Attempt{} // of nobody
	}
	now := a.o.Now()
	switch name {
	case "cert_obtaining":
		x.Tried = now
	case "cert_failed":
		x.Tried = now
		if err, ok := data["error"].(error); ok {
			x.Error = Plain(err)
		}
	case "cert_obtained":
		x.Got, x.Error = now, ""
	}
	failed := x.Error
	a.mu.Unlock()
	switch name {
	case "cert_failed":
		a.log.Error(logx.CertRefused, "name", of, "error", failed)
	case "cert_obtained":
		a.log.Info(logx.CertObtained, "name", of, "renewed", data["renewal"])
		select {
		case a.news <- struct{}{}:
		default:
		}
	}
	return nil
}

// Pairs are the files of the certificates that are there: of all names at first, and from the first Manage on of those that it was
// given.
func (a *ACME) Pairs() []Pair {
	key := a.issuer.IssuerKey()
	folder := filepath.Join(a.o.Folder, filepath.FromSlash(certmagic.StorageKeys.CertsPrefix(key)))
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil // none has come yet
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Pair
	for _, e := range entries {
		name := e.Name()
		if len(a.names) > 0 && a.names[name] == nil {
			continue
		}
		p := Pair{Certificate: filepath.Join(folder, name, name+".crt"), Key: filepath.Join(folder, name, name+".key")}
		if _, err := os.Stat(p.Certificate); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// Has tells whether a certificate for a name is there, valid or not.
func (a *ACME) Has(name string) bool {
	_, err := os.Stat(filepath.Join(a.o.Folder, filepath.FromSlash(certmagic.StorageKeys.SiteCert(a.issuer.IssuerKey(), normal(name)))))
	return err == nil
}

// Plain is an authority's refusal in one line, without the wrapping of those who handed it on.
func Plain(err error) string {
	var problem interface{ Error() string } = err
	text := strings.Join(strings.Fields(problem.Error()), " ")
	if i := strings.Index(text, "HTTP "); i > 0 {
		text = text[i:]
	}
	const most = 400
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}
