package cert

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
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

	work sync.WaitGroup // first certificates on their way

	mu     sync.Mutex
	names  map[string]*managed // guarded by mu, as what they hold
	closed bool                // guarded by mu
}

// managed is a name that is looked after.
type managed struct {
	Attempt
	from context.Context // of Manage
	ctx  context.Context // ends when the name is let go
	stop context.CancelFunc
	busy bool // its first certificate is on its way

	renews bool // somebody has asked for a new one
}

// Attempt is how it stands with the certificate of a name.
type Attempt struct {
	Name  string
	Tried time.Time // last attempt; zero: none
	Got   time.Time // last certificate of this process's life; zero: none
	Error string    // why the last attempt failed; empty: it did not
}

// awayPort is one that nobody is told of.
const awayPort = 49180

// NewACME makes one; nothing is asked for before Manage.
func NewACME(o ACMEOptions) (*ACME, error) {
	if !o.HTTP && !o.ALPN && o.Webroot == "" && o.DNS == nil {
		return nil, errors.New("cert: no way to prove a name: open port 80 or 443 for the web pages, or name a webroot or a DNS server that takes updates")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &ACME{o: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), news: make(chan struct{}, 1), names: make(map[string]*managed)}
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
	if o.HTTPPort == 0 && !template.DisableHTTPChallenge { // another program answers: certmagic, which wants a port of its own all the same, is not to take it while that one is down
		template.ListenHost, template.AltHTTPPort = "127.0.0.1", awayPort
	}
	if o.DNS != nil {
		template.DNS01Solver = o.DNS.solver(quiet)
	}
	a.issuer = certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	return a, nil
}

// Manage gets what is missing and keeps all of it renewed until ctx ends, or a later list leaves a name out. It is called again and
// again: certmagic gives a first certificate up for good after 30 days, at once when only its authority for rehearsals answered, or when
// the disk was full at that moment.
func (a *ACME) Manage(ctx context.Context, names []string) {
	wanted := make(map[string]bool)
	for _, n := range names {
		wanted[normal(n)] = true
	}
	var gone []certmagic.SubjectIssuer
	var idle []*managed
	a.mu.Lock()
	for n, x := range a.names {
		if !wanted[n] {
			x.stop()
			delete(a.names, n)
			gone = append(gone, certmagic.SubjectIssuer{Subject: n})
		}
	}
	for n := range wanted {
		x := a.names[n]
		if x == nil {
			x = &managed{Attempt: Attempt{Name: n}, from: ctx}
			x.ctx, x.stop = context.WithCancel(ctx)
			a.names[n] = x
		}
		if !x.busy {
			idle = append(idle, x)
		}
	}
	a.mu.Unlock()
	a.cache.RemoveManaged(gone)
	for _, x := range idle {
		if len(a.cache.AllMatchingCertificates(x.Name)) > 0 {
			continue // it is renewed in time
		}
		a.mu.Lock()
		x.busy = true
		a.mu.Unlock()
		a.work.Go(func() { a.get(x) })
	}
}

// get waits for the first certificate of a name, if there is none yet, and hands it to those who renew it.
func (a *ACME) get(x *managed) {
	err := a.magic.ObtainCertAsync(x.ctx, x.Name)
	if err == nil {
		err = a.magic.ManageAsync(x.ctx, []string{x.Name})
	}
	a.mu.Lock()
	x.busy = false
	if err != nil && x.ctx.Err() == nil {
		x.Error = Plain(err)
	}
	a.mu.Unlock()
	if err != nil && x.ctx.Err() == nil {
		a.log.Error(logx.CertRefused, "name", x.Name, "error", Plain(err))
	}
}

// Attempts tells how it stands, by name.
func (a *ACME) Attempts() []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []Attempt
	for _, x := range a.names {
		all = append(all, x.Attempt)
	}
	slices.SortFunc(all, func(x, y Attempt) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// News gives a value when a certificate has come since the last one was taken.
func (a *ACME) News() <-chan struct{} { return a.news }

// Close ends the renewals.
func (a *ACME) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.closed = true
	for _, x := range a.names {
		x.stop()
	}
	a.mu.Unlock()
	a.work.Wait()
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

var errLetGo = errors.New("cert: nobody wants a certificate of this name any more")

// event is what certmagic tells; an error ends what it was about to do.
func (a *ACME) event(_ context.Context, name string, data map[string]any) error {
	of, _ := data["identifier"].(string)
	a.mu.Lock()
	x := a.names[normal(of)]
	if x == nil { // it was let go meanwhile, or the event is of no name
		a.mu.Unlock()
		if name == "cert_obtaining" {
			return certmagic.ErrNoRetry{Err: errLetGo}
		}
		return nil
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
// given. An error: it cannot be seen now which there are.
func (a *ACME) Pairs() ([]Pair, error) {
	key := a.issuer.IssuerKey()
	folder := filepath.Join(a.o.Folder, filepath.FromSlash(certmagic.StorageKeys.CertsPrefix(key)))
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // none has come yet
	}
	if err != nil {
		return nil, fmt.Errorf("cert: %w", err)
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
		if _, err := os.Stat(p.Certificate); !errors.Is(err, fs.ErrNotExist) {
			all = append(all, p)
		}
	}
	return all, nil
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
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}
