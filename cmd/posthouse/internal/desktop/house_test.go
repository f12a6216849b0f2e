//go:build desktop

package desktop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

const (
	binary   = "../../../../bin/posthouse"
	password = "correct horse battery"
	domain   = "example.org"
	anna     = "anna@example.org"
	ben      = "ben@example.org"
	operator = "olga@example.org"
	remote   = "example.net" // the domain of the other house
	carl     = "carl@example.net"
)

// town is what stands in the name spaces: a DNS, an authority, our house and another one.
type town struct {
	authority *cert.Authority
	zone      *dns.Zone
	roots     string // file of the authority
	ours      *house
	theirs    *house
}

// house is a running `posthouse serve`.
type house struct {
	town     *town
	host     string
	address  string
	data     string
	settings string
	log      *buffer
	cmd      *exec.Cmd
}

// buffer collects what a process prints while it runs.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// await waits until a condition holds: other programs are what the tests wait for, and they do not tell.
func await(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", limit, what)
		}
	}
}

// newTown makes both houses. The DNS has what `posthouse domain records` prints, and the addresses.
func newTown(t *testing.T) *town {
	t.Helper()
	authority, err := cert.NewAuthority("an authority of the test", nil)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := dns.NewZone(". SOA ns.example.org. olga.example.org. 1 3600 600 86400 60")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"127.0.0.1:53", oursAt + ":53"} {
		names, err := dns.Serve(netip.MustParseAddrPort(at), zone)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { names.Close() })
	}
	w := &town{authority: authority, zone: zone, roots: filepath.Join(t.TempDir(), "roots.pem")}
	if err := os.WriteFile(w.roots, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	w.ours = w.open(t, domain, oursAt, anna, ben, operator)
	w.theirs = w.open(t, remote, theirsAt, carl)
	return w
}

// open makes a house for a domain, with accounts, and publishes its records.
func (w *town) open(t *testing.T, domain, address string, accounts ...string) *house {
	t.Helper()
	folder := filepath.Join(homes, domain)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	h := &house{town: w, host: "post." + domain, address: address, data: filepath.Join(folder, "data"), settings: filepath.Join(folder, "posthouse.toml"), log: &buffer{}}
	pair, err := w.authority.WritePair(folder, "mail", h.host, "autoconfig."+domain, "autodiscover."+domain, "mta-sts."+domain)
	if err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf("hostname = %q\ndata = %q\n[listen]\n", h.host, h.data)
	for _, door := range [][2]string{{"smtp", "25"}, {"submissions", "465"}, {"submission", "587"}, {"pop3", "110"}, {"pop3s", "995"}, {"imap", "143"}, {"imaps", "993"}, {"http", "80"}, {"https", "443"}} {
		settings += fmt.Sprintf("%s = [%q", door[0], address+":"+door[1])
		if strings.HasPrefix(door[0], "http") && address == oursAt {
			settings += fmt.Sprintf(", %q", "127.0.0.1:"+door[1]) // for the operator
		}
		settings += "]\n"
	}
	settings += fmt.Sprintf("[[tls.certificates]]\ncert = %q\nkey = %q\n[dns]\nservers = [\""+oursAt+":53\"]\n[metrics]\nlisten = []\n[backup]\nto = %q\n[check]\nlists = []\nprobes = []\n",
		pair.Certificate, pair.Key, filepath.Join(folder, "backup"))
	if err := os.WriteFile(h.settings, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	h.posthouse(t, "", "domain", "add", domain)
	for _, a := range accounts {
		name, _, _ := strings.Cut(a, "@")
		h.posthouse(t, password+"\n", "account", "add", a, "--name", strings.ToUpper(name[:1])+name[1:]+" Example", "--password-stdin")
	}
	h.begin(t)
	h.publish(t, domain)
	return h
}

// publish puts the records of a domain into the DNS as an operator would paste them; addresses are this machine's.
func (h *house) publish(t *testing.T, domain string) {
	t.Helper()
	zone := h.town.zone
	for line := range strings.Lines(h.posthouse(t, "", "domain", "records", domain)) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.HasPrefix(line, ";") || fields[2] == "A" || fields[2] == "AAAA" {
			continue
		}
		if err := zone.Add(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	for _, name := range []string{h.host, "autoconfig." + domain, "autodiscover." + domain, "mta-sts." + domain} {
		if err := zone.Add(name + ". A " + h.address); err != nil {
			t.Fatal(err)
		}
	}
	if err := zone.AddReverse(netip.MustParseAddr(h.address), h.host); err != nil {
		t.Fatal(err)
	}
}

// posthouse runs a command of the house, with stdin, and returns what it printed.
func (h *house) posthouse(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append(args, "--config", h.settings)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("posthouse %s: %v (make build first)\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// begin starts the house and waits until its doors are open.
func (h *house) begin(t *testing.T) {
	t.Helper()
	h.cmd = exec.Command(binary, "serve", "--config", h.settings)
	if h.address == theirsAt {
		h.cmd = exec.Command("ip", "netns", "exec", "theirs", binary, "serve", "--config", h.settings)
	}
	h.cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+h.town.roots)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(t) })
	await(t, 30*time.Second, h.host+" is not ready", func() bool {
		return exec.Command(binary, "status", "--ready", "--config", h.settings).Run() == nil
	})
}

func (h *house) end(t *testing.T) {
	h.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(45*time.Second, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("%s ended with %v", h.host, err)
	}
	if t.Failed() {
		text := h.log.String()
		t.Logf("%s printed:\n%s", h.host, text[max(0, len(text)-1500):])
	}
}

// trusts is the settings of who believes the authority.
func (w *town) trusts(name string) *tls.Config {
	return &tls.Config{RootCAs: w.authority.Pool(), ServerName: name}
}
