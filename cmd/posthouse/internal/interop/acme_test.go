//go:build interop

package interop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

// TestACME: Debian's pebble gives certificates for the host's name and for what of the domain leads here, in each of the ways to prove
// a name; a name that leads elsewhere is not asked for. A second start asks for nothing.
func TestACME(t *testing.T) {
	t.Run("port 80", func(t *testing.T) {
		h := acmeHouse(t)
		h.serve(t, h.listens(true, false), "")
		h.has(t, "mx.alpha.test", "autoconfig.alpha.test")
		h.stop(t)
		before := strings.Count(h.log.String(), "certificate obtained")
		h.begin(t)
		h.has(t, "mx.alpha.test")
		if n := strings.Count(h.log.String(), "certificate obtained"); n != before || strings.Contains(h.log.String(), "mta-sts.alpha.test") {
			t.Errorf("%d certificates were got, %d before the second start:\n%s", n, before, h.log)
		}
	})
	t.Run("port 443", func(t *testing.T) {
		h := acmeHouse(t)
		h.serve(t, h.listens(false, true), "")
		h.has(t, "mx.alpha.test", "autoconfig.alpha.test")
	})
	t.Run("webroot", func(t *testing.T) {
		h := acmeHouse(t)
		root := t.TempDir()
		l, err := net.Listen("tcp", "127.0.0.1:"+h.http)
		if err != nil {
			t.Fatal(err)
		}
		other := &http.Server{Handler: http.FileServer(http.Dir(root))}
		go other.Serve(l)
		t.Cleanup(func() { other.Close() })
		h.serve(t, h.listens(false, false), fmt.Sprintf("webroot = %q\n", root))
		h.has(t, "mx.alpha.test")
		if left, err := os.ReadDir(filepath.Join(root, ".well-known", "acme-challenge")); err != nil || len(left) > 0 {
			t.Errorf("left in the webroot: %v, %v", left, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		h := acmeHouse(t)
		h.http = "1" // the authority finds nobody at its port
		h.serve(t, h.listens(true, false), "")
		h.awaitLog(t, "certificate refused")
		c, err := tls.Dial("tcp", h.addr(1993), &tls.Config{ServerName: "mx.alpha.test", InsecureSkipVerify: true})
		if err != nil {
			t.Fatalf("the doors are not open meanwhile: %v", err)
		}
		c.Close()
	})
}

// authority is a running pebble with a DNS of the test, and the house that asks it.
type authority struct {
	*house
	settings    string
	http, https string // ports that it proves names at
	names       string
	directory   string
	management  string
	trust       string // file of what vouches for its directory
	store       string
}

func acmeHouse(t *testing.T) *authority {
	t.Helper()
	zone, err := dns.NewZone("mx.alpha.test. A 127.0.0.1", "autoconfig.alpha.test. A 127.0.0.1", "mta-sts.alpha.test. A 127.0.0.9", "alpha.test. MX 10 mx.alpha.test.")
	if err != nil {
		t.Fatal(err)
	}
	names, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	h := &house{data: t.TempDir(), offset: freeOffset(t), log: &buffer{}}
	a := &authority{
		house: h, http: fmt.Sprint(freePort(t)), https: fmt.Sprint(freePort(t)), names: names.Addr().String(), store: filepath.Join(t.TempDir(), "house"),
		directory: fmt.Sprint("127.0.0.1:", freePort(t)), management: fmt.Sprint("127.0.0.1:", freePort(t)),
	}
	own, err := cert.NewAuthority("pebble's own", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := own.WritePair(h.data, "pebble", "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	a.trust = write(t, h.data, "pebble-ca.pem", string(own.PEM()))
	return a.pebble(t, pair)
}

func (a *authority) pebble(t *testing.T, pair cert.Pair) *authority {
	t.Helper()
	a.ca = a.trust
	config := fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q, "httpPort": %s, "tlsPort": %s}}`,
		a.directory, a.management, pair.Certificate, pair.Key, a.http, a.https)
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	start(t, a.data, "pebble", "-config", write(t, a.data, "pebble.json", config), "-dnsserver", a.names)
	for _, at := range []string{a.directory, a.management} {
		port, err := strconv.Atoi(at[strings.LastIndex(at, ":")+1:])
		if err != nil {
			t.Fatal(err)
		}
		awaitPort(t, port)
	}
	return a
}

// listens opens what proves names.
func (a *authority) listens(http, https bool) string {
	s := ""
	if http {
		s += fmt.Sprintf("http = [%q]\n", "127.0.0.1:"+a.http)
	}
	if https {
		s += fmt.Sprintf("https = [%q]\n", "127.0.0.1:"+a.https)
	}
	return s
}

// serve runs the house without a certificate of its own.
func (a *authority) serve(t *testing.T, listen, how string) {
	t.Helper()
	a.settings = write(t, a.data, "posthouse.toml", fmt.Sprintf("hostname = \"mx.alpha.test\"\ndata = %q\n[listen]\nsmtp = [%q]\nsubmission = []\nsubmissions = []\npop3 = []\npop3s = []\nimap = []\nimaps = [%q]\n%s"+
		"[acme]\nenabled = true\nemail = \"postmaster@alpha.test\"\ndirectory = \"https://%s/dir\"\nroots = %q\n%s[dns]\nservers = [%q]\n[metrics]\nlisten = [%q]\n",
		a.store, a.addr(1025), a.addr(1993), listen, a.directory, a.trust, how, a.names, a.addr(1090)))
	run(t, a.data, "", binary, "domain", "add", "alpha.test", "--config", a.settings)
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			a.stop(t)
		}
	})
	a.begin(t)
}

func (a *authority) begin(t *testing.T) {
	t.Helper()
	a.cmd = exec.Command(binary, "serve", "--config", a.settings)
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.await(t)
}

// has waits until the IMAP door shows a certificate of pebble for each name.
func (a *authority) has(t *testing.T, names ...string) {
	t.Helper()
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(a.trust)
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	res, err := client.Get("https://" + a.management + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	roots := x509.NewCertPool()
	if text, err := io.ReadAll(res.Body); err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatalf("pebble's root: %v", err)
	}
	for _, name := range names {
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) { // two other programs: there is nothing else to wait on
			c, err := tls.Dial("tcp", a.addr(1993), &tls.Config{ServerName: name, RootCAs: roots})
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v\n%s", name, err, a.log)
			}
		}
	}
}
