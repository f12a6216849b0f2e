package setup_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/setup"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns/dnstest"
)

// machine is a /proc where a program listens on the port.
func machine(t *testing.T, program string, port int) string {
	t.Helper()
	proc := t.TempDir()
	row := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		fmt.Sprintf("   0: 00000000:%04X 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n", port) +
		"   1: 0100007F:0016 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n   2: broken\n"
	for path, text := range map[string]string{"net/tcp": row, "77/comm": program + "\n", "meminfo": "MemTotal:         300000 kB\n"} {
		full := filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(proc, "77/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[4711]", filepath.Join(proc, "77/fd/3")); err != nil {
		t.Fatal(err)
	}
	return proc
}

func TestLook(t *testing.T) {
	_, resolver, _ := dnstest.New(t, "1.2.0.192.in-addr.arpa. PTR host7.example.org.")
	eyes := setup.Eyes{Proc: machine(t, "exim4", 25), Resolver: resolver, Addresses: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} }}
	m := setup.Look(t.Context(), eyes)
	if m.Holder(25) != "exim4" || m.Holder(443) != "" || m.Memory != 300000<<10 {
		t.Errorf("%+v", m)
	}
	var notes strings.Builder
	for _, x := range m.Notes {
		fmt.Fprintln(&notes, x.State, x.Check, x.Found, x.Advice)
	}
	for _, want := range []string{"wrong port25 exim4 has port 25 end it", "ok ptr 192.0.2.1 has the name host7.example.org", "warning memory", "unseen port25-in"} {
		if !strings.Contains(notes.String(), want) {
			t.Errorf("%q is missing in\n%s", want, notes.String())
		}
	}
	p, err := setup.NewPlan(setup.Wish{Address: "you@example.org", Config: "/c", Data: "/d"}, m)
	if err != nil || p.Host != "host7.example.org" || p.Behind != "" {
		t.Errorf("%+v %v", p, err)
	}
}

// Without a network the rest is seen, and what is not is said.
func TestLookOffline(t *testing.T) {
	m := setup.Look(t.Context(), setup.Eyes{Proc: t.TempDir()})
	var names []string
	for _, x := range m.Notes {
		if x.State != "unseen" {
			t.Errorf("%+v", x)
		}
		names = append(names, x.Check)
	}
	if got := strings.Join(names, " "); got != "dns address port25-in" {
		t.Error(got)
	}
}

// Behind another web server the pages listen on loopback, and its lines are printed; every plan is a settings file that we take.
func TestPlans(t *testing.T) {
	for program, want := range map[string]string{"nginx": "proxy_pass http://127.0.0.1:8080;", "caddy": "reverse_proxy 127.0.0.1:8080", "odd\x1b[31m": "server_name mail.example.org autoconfig.example.org"} {
		m := setup.Look(t.Context(), setup.Eyes{Proc: machine(t, program, 443)})
		p, err := setup.NewPlan(setup.Wish{Address: "you@example.org", Config: "/c", Data: "/d"}, m)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse("test", []byte(p.Settings))
		if err != nil || len(c.Listen.HTTPS) != 0 || !c.ACME.Forwarded || len(c.Web.Proxies) != 2 || !strings.Contains(p.BehindWeb, want) {
			t.Errorf("%q: %v\n%s\n%s", program, err, p.Settings, p.BehindWeb)
		}
	}
	for what, w := range map[string]setup.Wish{
		"plain":       {Address: "you@example.org"},
		"no ACME":     {Address: "you@example.org", NoACME: true},
		"files":       {Address: "you@example.org", NoACME: true, Cert: "/a.pem", Key: "/a.key"},
		"own CA":      {Address: "you@example.org", Directory: "https://ca.example/dir"},
		"UTF-8":       {Address: "jörg@bücher.example"},
		"quoted user": {Address: `"a b"@example.org`},
		"other host":  {Address: "you@example.org", Hostname: "MX.Provider.example."},
	} {
		w.Config, w.Data = "/c", "/d"
		p, err := setup.NewPlan(w, setup.Machine{})
		if err == nil {
			_, err = config.Parse("test", []byte(p.Settings))
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", what, err, p.Settings)
		}
	}
}

func TestFilesStay(t *testing.T) {
	f := setup.File{Path: filepath.Join(t.TempDir(), "a", "b"), Text: "one\ntwo\n", Mode: 0o600}
	if state, _, err := f.Look(); state != setup.Missing || err != nil {
		t.Fatal(state, err)
	}
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	if state, _, err := f.Look(); state != setup.Same || err != nil {
		t.Fatal(state, err)
	}
	f.Text = "one\nthree\n"
	if state, differs, err := f.Look(); state != setup.Differs || differs != "- two\n+ three\n" || err != nil {
		t.Fatal(state, differs, err)
	}
	if err := f.Write(); !os.IsExist(err) {
		t.Errorf("a file that is there was replaced: %v", err)
	}
}
