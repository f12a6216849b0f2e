// Package cert holds the server's certificates: loaded from files, chosen by
// the name the client asks for (SNI), and loaded again when the files change.
//
// Keeper serves them; ACME gets and renews them; Authority makes a CA with its certificates for the demo and tests.
package cert

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

const (
	defaultPoll = 30 * time.Second
	// expiring is when the log begins to speak of it: Let's Encrypt renews at 30 days, so that below this a renewal has failed.
	expiring = 14 * 24 * time.Hour
)

// Pair names the two PEM files of a certificate; Certificate holds the chain, leaf first.
type Pair struct{ Certificate, Key string }

// Options of a Keeper.
type Options struct {
	Pairs    []Pair
	ACME     *ACME         // whose certificates are served besides; nil: nobody's
	Hostname string        // whose certificate a client without SNI gets; else the first pair's
	Poll     time.Duration // how often Run looks at the files; 30 s
	Logger   *slog.Logger
	Metrics  *metrics.Set
	Now      func() time.Time
}

// Keeper holds the certificates and gives out TLS configurations that follow their changes.
type Keeper struct {
	options Options
	log     *slog.Logger
	current atomic.Pointer[shelf]

	mu    sync.Mutex // one load at a time; guards files
	files []file

	meanwhile *tls.Certificate // of our own make, until an authority gave one; nil where the settings name one

	clients, hosts *tls.Config
}

// Status is what is known of one loaded certificate.
type Status struct {
	Pair  Pair
	Names []string
	From  time.Time
	Until time.Time
	Error error // why the file as it stands now was not taken; nil when it was
}

// Open loads every pair; one that cannot be loaded is an error that says what to do.
func Open(o Options) (_ *Keeper, err error) {
	if len(o.Pairs) == 0 && o.ACME == nil {
		return nil, errors.New("cert: no certificate: name a certificate and its key file in the settings")
	}
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	if o.Now == nil {
		o.Now = time.Now
	}
	k := &Keeper{options: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler))}
	for _, pair := range o.Pairs {
		k.files = append(k.files, file{pair: pair})
	}
	var broken []error
	for i := range k.files {
		if _, err := k.files[i].load(false); err != nil {
			broken = append(broken, err)
		}
	}
	if err := errors.Join(broken...); err != nil {
		return nil, err
	}
	if _, err := k.gather(); err != nil {
		return nil, err
	}
	for i := range k.files {
		if k.files[i].loaded == nil {
			_, _ = k.files[i].load(false) // of an authority: it comes again
		}
	}
	if len(o.Pairs) == 0 {
		if k.meanwhile, err = placeholder(o.Hostname, o.Now); err != nil {
			return nil, err
		}
	}
	k.publish()
	k.clients = k.config()
	k.hosts = k.config()
	// Microsoft's senders break off STARTTLS when a ticket follows the handshake.
	k.hosts.SessionTicketsDisabled = true
	o.Metrics.GaugeFunc("certificate_left_seconds", "Time until the first of the certificates expires.", func() float64 {
		return k.firstEnd().Sub(k.options.Now()).Seconds()
	})
	return k, nil
}

// ForClients is the configuration of the doors where mail programs come in.
func (k *Keeper) ForClients() *tls.Config { return k.clients }

// ForHosts is that of port 25: no session tickets.
func (k *Keeper) ForHosts() *tls.Config { return k.hosts }

// Asking is that of doors where programs are asked for a certificate of theirs: those that speak TLS 1.3, in which it is encrypted, and
// came for one of names; empty: for any. Nobody has to show one, and whose it is the directory knows: here it is only proved that its
// key is there. A session that is resumed brings along what was shown when it began (RFC 8446 section 4.6.1).
func (k *Keeper) Asking(names []string) *tls.Config {
	c, asks := k.config(), k.config()
	asks.ClientAuth = tls.RequestClientCert
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		wanted := len(names) == 0 || slices.Contains(names, normal(hello.ServerName))
		if !wanted || !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
			return nil, nil // c itself, which does not ask
		}
		return asks, nil
	}
	return c
}

// config: TLS 1.2 and 1.3 only (RFC 8996), no client certificate asked for. Some hosts
// and mail programs come with a name that is not ours or with none: they get the host's own
// certificate and decide themselves.
func (k *Keeper) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		MaxVersion: tls.VersionTLS13,
		ClientAuth: tls.NoClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if a := k.options.ACME; a != nil {
				if c, err := a.challenge(hello); c != nil || err != nil {
					return c, err
				}
			}
			return k.current.Load().choose(hello.ServerName, hello.SupportsCertificate), nil
		},
	}
}

// Leaf is the certificate that a client which asked for serverName sees (tls-server-end-point, RFC 5929 section 4).
func (k *Keeper) Leaf(serverName string) *x509.Certificate {
	return k.current.Load().choose(serverName, func(*tls.Certificate) error { return nil }).Leaf
}

// Chain is what a client that asks for serverName is shown, with its key.
func (k *Keeper) Chain(serverName string) *tls.Certificate {
	return k.current.Load().choose(serverName, func(*tls.Certificate) error { return nil })
}

// Stands tells whether a client that asks for name and looks at names and dates is content: what is shown is for it, valid now, and not
// of our own make.
func (k *Keeper) Stands(name string) bool {
	c, now := k.Chain(name), k.options.Now()
	return c != k.meanwhile && c.Leaf.VerifyHostname(name) == nil && !now.Before(c.Leaf.NotBefore) && now.Before(c.Leaf.NotAfter)
}

// Status tells what is loaded, in the order of the settings.
func (k *Keeper) Status() []Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []Status
	for _, f := range k.files {
		if f.loaded == nil {
			continue
		}
		leaf := f.loaded.Leaf
		out = append(out, Status{Pair: f.pair, Names: namesOf(leaf), From: leaf.NotBefore, Until: leaf.NotAfter, Error: f.broken})
	}
	return out
}

func (k *Keeper) firstEnd() time.Time {
	all := k.Status()
	if len(all) == 0 {
		return k.meanwhile.Leaf.NotAfter
	}
	return slices.MinFunc(all, func(a, b Status) int { return a.Until.Compare(b.Until) }).Until
}

// Run looks for changed files until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(k.options.Poll)
	defer tick.Stop()
	var news <-chan struct{}
	if k.options.ACME != nil {
		news = k.options.ACME.News()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
			k.refresh(true)
		case <-tick.C:
			k.refresh(true)
		}
	}
}

// Reload loads every file again. What cannot be loaded is an error and in the log, and the certificate that was there stays in use.
func (k *Keeper) Reload() error { return k.refresh(false) }

func (k *Keeper) refresh(changedOnly bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	replaced, err := k.gather()
	var broken []error
	if err != nil { // what is in use stays
		broken = append(broken, err)
		k.log.Error(logx.CertKept, "file", k.options.ACME.o.Folder, "error", err)
	}
	for i := range k.files {
		f := &k.files[i]
		before := f.broken
		took, err := f.load(changedOnly)
		switch {
		case err != nil:
			broken = append(broken, err)
			// While a renewal is half written the same error repeats at each poll.
			if before == nil || before.Error() != err.Error() || !changedOnly {
				k.log.Error(logx.CertKept, "file", f.pair.Certificate, "error", err)
			}
		case took:
			replaced = true
		}
	}
	if replaced {
		k.publish()
	}
	k.warn()
	return errors.Join(broken...)
}

// gather adds the files of certificates that have come, and forgets those that nobody renews any more; changed: the latter, which the
// shelf still has. Called with mu held, or before anybody else knows k.
func (k *Keeper) gather() (changed bool, err error) {
	if k.options.ACME == nil {
		return false, nil
	}
	there, err := k.options.ACME.Pairs()
	if err != nil {
		return false, err
	}
	before := len(k.files)
	k.files = slices.DeleteFunc(k.files, func(f file) bool {
		return !slices.Contains(k.options.Pairs, f.pair) && !slices.Contains(there, f.pair)
	})
	changed = len(k.files) != before
	for _, p := range there {
		if !slices.ContainsFunc(k.files, func(f file) bool { return f.pair == p }) {
			k.files = append(k.files, file{pair: p})
		}
	}
	return changed, nil
}

// publish puts what is loaded in use. Who is connected already keeps his.
func (k *Keeper) publish() {
	s := &shelf{byName: make(map[string][]*tls.Certificate)}
	for i := range k.files {
		f := &k.files[i]
		if f.loaded == nil {
			continue
		}
		if s.own == nil {
			s.own = f.loaded
		}
		leaf := f.loaded.Leaf
		for _, name := range namesOf(leaf) {
			s.byName[name] = append(s.byName[name], f.loaded)
		}
		if f.fresh {
			f.fresh, f.warned = false, time.Time{}
			k.log.Info(logx.CertLoaded, "file", f.pair.Certificate, "names", strings.Join(namesOf(leaf), " "), "until", leaf.NotAfter)
		}
	}
	if s.own == nil {
		s.own = k.meanwhile
	}
	s.hostname = normal(k.options.Hostname)
	k.current.Store(s)
}

// warn speaks once a day of a certificate that nobody has renewed. Called with mu held.
func (k *Keeper) warn() {
	now := k.options.Now()
	for i := range k.files {
		f := &k.files[i]
		if f.loaded == nil {
			continue
		}
		if until := f.loaded.Leaf.NotAfter; until.Sub(now) < expiring && now.Sub(f.warned) >= 24*time.Hour {
			f.warned = now
			k.log.Warn(logx.CertExpires, "file", f.pair.Certificate, "until", until)
		}
	}
}

// shelf is one immutable set of certificates.
type shelf struct {
	byName   map[string][]*tls.Certificate // "mail.example.org", "*.example.org", "192.0.2.1"
	own      *tls.Certificate
	hostname string
}

// choose takes the certificate of the name, then of the wildcard above it, then
// the host's own; among several for one name the first that the client can use.
func (s *shelf) choose(name string, usable func(*tls.Certificate) error) *tls.Certificate {
	for _, wanted := range []string{normal(name), s.hostname} {
		if wanted == "" {
			continue
		}
		_, parent, _ := strings.Cut(wanted, ".")
		for _, key := range []string{wanted, "*." + parent} {
			several := s.byName[key]
			for _, c := range several {
				if usable(c) == nil {
					return c
				}
			}
			if len(several) > 0 {
				return several[0]
			}
		}
	}
	return s.own
}

func normal(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func namesOf(leaf *x509.Certificate) []string {
	var names []string
	for _, name := range leaf.DNSNames {
		names = append(names, normal(name))
	}
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, normal(leaf.Subject.CommonName))
	}
	return names
}

// file is one pair with what was last made of it.
type file struct {
	pair   Pair
	stamp  stamp
	sum    [sha256.Size]byte
	loaded *tls.Certificate
	broken error
	fresh  bool
	warned time.Time
}

// describe is an error of one file that names the remedy.
func describe(path string, err error, remedy string) error {
	return fmt.Errorf("certificate file %s: %w: %s", path, err, remedy)
}
