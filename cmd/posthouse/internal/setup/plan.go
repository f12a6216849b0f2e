package setup

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/check"
)

// Wish is what the person says.
type Wish struct {
	Address   string // you@yourdomain
	Hostname  string // empty: a name of the domain
	Addresses []string
	Email     string // for the authority; empty: Address
	Config    string // settings file
	Data      string
	NoACME    bool
	Cert, Key string // files of a certificate; then no authority is asked for this host's name
	Directory string // of the authority; empty: Let's Encrypt
	Webroot   string // folder that another web server shows on port 80; proofs are written there
	NoSystem  bool   // no user and no unit are made
}

// Plan is what setup would do.
type Plan struct {
	Wish
	User      mail.Address
	Host      mail.Domain
	Public    []netip.Addr
	Behind    string // the program that has the ports of the web; empty: the house has them
	Settings  string // the file's text
	BehindWeb string // lines for that program
	Pages     string // where it finds the pages: host:port, or unix:/path
	Group     string // of that program, which may connect to the socket of the pages; empty: they have a port
	DropIn    string // what the service's unit needs besides; empty: nothing
}

// Where the pages are behind another web server: at a port, or, where its group is known, at a socket that other accounts of the machine
// cannot open. The unit makes the folder.
const (
	behindPort   = "8080"
	behindSocket = "/run/posthouse/web.sock"
)

// ChallengeFolder is where proofs lie below a webroot (RFC 8555 section 8.3).
const ChallengeFolder = ".well-known/acme-challenge"

// NewPlan decides; nothing is touched. Its errors are a person's mistakes.
func NewPlan(w Wish, m Machine) (p Plan, err error) {
	p.Wish = w
	if p.User, err = mail.ParseAddress(strings.TrimSpace(w.Address)); err != nil {
		return p, fmt.Errorf("%w; write the address that you want to have, you@yourdomain", err)
	}
	domain := string(p.User.Domain)
	if !strings.Contains(domain, ".") || strings.HasPrefix(domain, "[") {
		return p, fmt.Errorf("%s is no domain that others can write to: it needs a name like example.org", domain)
	}
	host := w.Hostname
	if host == "" {
		host = defaultHost(domain, m)
	}
	if p.Host, err = mail.ParseDomain(strings.TrimSpace(host)); err != nil {
		return p, fmt.Errorf("--hostname: %w", err)
	}
	if !strings.Contains(string(p.Host), ".") || strings.HasPrefix(string(p.Host), "[") {
		return p, fmt.Errorf("--hostname: %s is no whole name: write mail.%s", p.Host, domain)
	}
	for _, s := range w.Addresses {
		a, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			return p, fmt.Errorf("--address: %q is no IP address", s)
		}
		p.Public = append(p.Public, a.Unmap())
	}
	if len(p.Public) == 0 {
		p.Public = m.Addresses
	}
	if (w.Cert == "") != (w.Key == "") {
		return p, errors.New("--cert and --key go together: the chain, and its key")
	}
	if w.Webroot != "" && w.NoACME {
		return p, errors.New("--webroot is for an authority's proofs, and --no-acme wants none")
	}
	for _, path := range []*string{&p.Config, &p.Data, &p.Cert, &p.Key, &p.Webroot} {
		if *path == "" {
			continue
		}
		if strings.ContainsFunc(*path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' }) {
			return p, fmt.Errorf("%q cannot be the name of a file here", *path)
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return p, err
		}
	}
	if p.Email == "" {
		p.Email = w.Address
	}
	email, err := mail.ParseAddress(p.Email)
	if err != nil {
		return p, fmt.Errorf("--email: %w", err)
	}
	p.Email = email.String()
	if p.Behind = cmp.Or(m.Holder(443), m.Holder(80)); p.Behind == "" && p.Webroot != "" {
		p.Behind = "another web server"
	}
	if (p.Behind == "nginx" || p.Behind == "caddy") && m.Systemd && !w.NoSystem {
		p.Group = m.group(p.Behind)
	}
	if p.Webroot != "" {
		p.DropIn = "# Written by posthouse setup: proofs for certificates go into the folder of " + printable(p.Behind) + ".\n[Service]\nReadWritePaths=\"-" +
			strings.ReplaceAll(filepath.Join(p.Webroot, ChallengeFolder), "%", "%%") + "\"\n"
	}
	if p.Pages = "127.0.0.1:" + behindPort; p.Group != "" {
		p.Pages = "unix:" + behindSocket
	}
	p.Settings = p.settings()
	p.PagesAt(p.Pages)
	return p, nil
}

// PagesAt makes the lines for the other web server: the settings that are there may have the pages elsewhere.
func (p *Plan) PagesAt(address string) {
	if p.Pages = address; p.Behind != "" {
		p.BehindWeb = p.behindLines()
	}
}

// defaultHost is the reverse name of an address where it is in the domain, else mail.DOMAIN.
func defaultHost(domain string, m Machine) string {
	for _, a := range m.Addresses {
		if name := m.Names[a]; strings.HasSuffix(name, "."+domain) {
			return name
		}
	}
	return "mail." + domain
}

// settings is the file; every other setting has its default.
func (p *Plan) settings() string {
	var b strings.Builder
	say := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	say("# Settings of posthouse, written by posthouse setup. What is not here has its default: posthouse config example shows all.")
	say("hostname = %q\ndata = %q\n", p.Host, p.Data)
	tls := !p.NoACME || p.Cert != ""
	say("[listen]")
	switch {
	case p.Group != "":
		say("http = [%q]    # behind %s, which has the ports 80 and 443\nhttp_group = %q", p.Pages, printable(p.Behind), p.Group)
	case p.Behind != "":
		say("http = [%q]    # behind %s, which has the ports 80 and 443", p.Pages, printable(p.Behind))
	case tls:
		say("http = [\":80\"]\nhttps = [\":443\"]")
	}
	if !tls {
		say("# Without a certificate nobody can log in from another machine. With one: [[tls.certificates]], and remove these lines.")
		say("submissions = []\npop3s = []\nimaps = []")
	}
	if p.Cert != "" {
		say("\n[[tls.certificates]]\ncert = %q\nkey = %q", p.Cert, p.Key)
	}
	if !p.NoACME {
		say("\n[acme]\nenabled = true\nemail = %q", p.Email)
		if p.Directory != "" {
			say("directory = %q", p.Directory)
		}
		switch {
		case p.Webroot != "":
			say("webroot = %q", p.Webroot)
		case p.Behind != "":
			say("forwarded = true")
		}
	}
	say("\n[auth]\ndefault_domain = %q\npostmaster = %q", p.User.Domain, p.User.String())
	if p.Behind != "" && p.Group == "" {
		say("\n[web]\nproxies = [\"127.0.0.1/32\", \"::1/128\"]")
	}
	return b.String()
}

// printable keeps a program's name, which anybody may choose, from being more than a word in a comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// names that the pages are asked for under.
func (p *Plan) names() []string {
	d := string(p.User.Domain)
	return []string{string(p.Host), "autoconfig." + d, "autodiscover." + d, "mta-sts." + d}
}

// behindLines are for the web server that has the ports.
func (p *Plan) behindLines() string {
	names := p.names()
	if p.Behind == "caddy" {
		to, proofs := p.Pages, ""
		if path, ok := strings.CutPrefix(p.Pages, "unix:"); ok {
			to = "unix/" + path
		}
		if p.Webroot != "" {
			proofs = fmt.Sprintf("\thandle /%s/* {\n\t\troot * \"%s\"\n\t\tfile_server\n\t}\n", ChallengeFolder, p.Webroot)
		}
		return fmt.Sprintf("# Caddyfile: these names go to posthouse. Caddy gets certificates of its own for them, posthouse its own too.\n%s, http://%s {\n%s\thandle {\n\t\treverse_proxy %s\n\t}\n}\n",
			strings.Join(names, ", "), strings.Join(names, ", http://"), proofs, to)
	}
	to, proofs := "http://"+p.Pages, ""
	if strings.HasPrefix(p.Pages, "unix:") {
		to += ":"
	}
	if p.Webroot != "" {
		proofs = fmt.Sprintf("    location /%s/ {\n        root \"%s\";\n    }\n", ChallengeFolder, p.Webroot)
	}
	return "# nginx, /etc/nginx/conf.d/posthouse.conf: these names go to posthouse, and with them the proofs for its certificates.\n" +
		"server {\n    listen 80;\n    listen [::]:80;\n    server_name " + strings.Join(names, " ") + ";\n" + proofs +
		"    location / {\n        proxy_pass " + to + ";\n        proxy_set_header Host $http_host;\n        proxy_set_header X-Forwarded-For $remote_addr;\n        proxy_set_header X-Forwarded-Proto $scheme;\n    }\n}\n" +
		"# For https the same with listen 443 ssl, and a certificate of nginx's own for these names (ssl_certificate, ssl_certificate_key).\n"
}

// Site is the house in the world, as its records name it.
func (p *Plan) Site(services []check.Service) check.Site {
	s := check.Site{Hostname: string(p.Host), Addresses: p.Public, Services: services, Web: true}
	if !p.NoACME && p.Directory == "" {
		s.Issuer = "letsencrypt.org"
	}
	return s
}

// Occasion makes the records with keys that are made for the occasion and thrown away: to see what they will look like.
func (p *Plan) Occasion(services []check.Service, now time.Time) (check.Records, error) {
	k, err := auth.NewDKIMKey(p.User.Domain, auth.KeyRSA, now, nil)
	if err != nil {
		return check.Records{}, err
	}
	host, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return check.Records{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(host.Public())
	if err != nil {
		return check.Records{}, err
	}
	sum := sha256.Sum256(der)
	s := p.Site(services)
	s.TLSA = []string{"3 1 1 " + hex.EncodeToString(sum[:])}
	return check.RecordsOf(string(p.User.Domain), []check.Key{{Name: k.Name(), Record: k.Record(), Active: true}}, s), nil
}
