//go:build interop

package interop

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

// serveHouse runs `posthouse serve` with a settings file, a DNS and accounts of the test; gamma.test is a host at remotePort.
func serveHouse(t *testing.T, data, remotePort string) *house {
	t.Helper()
	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := dns.NewZone("gamma.test. MX 10 mx.gamma.test.", "mx.gamma.test. A 127.0.0.1", "alpha.test. MX 10 mx.alpha.test.", "mx.alpha.test. A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	names, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	return serveWith(t, data, remotePort, names.Addr().String(), authority)
}

// serveWith is serveHouse with a DNS and an authority of the caller, whom the house trusts.
func serveWith(t *testing.T, data, remotePort, names string, authority *cert.Authority) *house {
	t.Helper()
	return plan{data: data, domain: "alpha.test", accounts: []string{alice, bob}, remotePort: remotePort, names: names, authority: authority}.serve(t)
}

// plan is a house that is to be made.
type plan struct {
	data       string
	domain     string
	accounts   []string
	remotePort string
	names      string // its resolver
	authority  *cert.Authority
	smtp       string // another address for mail from others
	settings   string // more of them
}

func (p plan) serve(t *testing.T) *house {
	t.Helper()
	h := &house{data: t.TempDir(), offset: freeOffset(t), log: &buffer{}}
	pair, err := p.authority.WritePair(h.data, "mx", "localhost", "mx."+p.domain)
	if err != nil {
		t.Fatal(err)
	}
	h.ca = filepath.Join(h.data, "demo-ca.pem")
	if err := os.WriteFile(h.ca, p.authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	smtp := fmt.Sprintf("%q", h.addr(1025))
	if p.smtp != "" {
		smtp += fmt.Sprintf(", %q", p.smtp)
	}
	settings := write(t, h.data, "posthouse.toml", fmt.Sprintf("hostname = %q\ndata = %q\n[listen]\nsmtp = [%s]\nsubmission = [%q]\nsubmissions = [%q]\npop3 = []\npop3s = []\nimap = []\nimaps = [%q]\n"+
		"[[tls.certificates]]\ncert = %q\nkey = %q\n[dns]\nservers = [%q]\n[remote]\nport = %s\nallow_loopback = true\n[metrics]\nlisten = [%q]\n",
		"mx."+p.domain, p.data, smtp, h.addr(1587), h.addr(1465), h.addr(1993), pair.Certificate, pair.Key, p.names, p.remotePort, h.addr(1090))+p.settings)
	run(t, h.data, "", binary, "domain", "add", p.domain, "--config", settings)
	for _, a := range p.accounts {
		run(t, h.data, password+"\n", binary, "account", "add", a, "--password-stdin", "--config", settings)
	}
	h.cmd = exec.Command(binary, "serve", "--config", settings)
	h.cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+h.ca)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.stop(t) })
	h.await(t)
	return h
}

// metric is a line of /metrics, without its value; the answer is the value, empty when there is no such line.
func (h *house) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(run(t, h.data, "", "curl", "-sS", "http://"+h.addr(1090)+"/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
