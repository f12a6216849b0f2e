package setup_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	for program, want := range map[string]string{"nginx": "proxy_pass http://127.0.0.1:8080;\n        proxy_set_header Host $http_host;", "caddy": "reverse_proxy 127.0.0.1:8080", "odd\x1b[31m": "server_name mail.example.org autoconfig.example.org"} {
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

// Behind a web server whose group is known, the pages are at a socket that no other account can open; proofs may go into its folder, and
// what its account put there leads nowhere else.
func TestBehind(t *testing.T) {
	for program, want := range map[string]struct{ pages, proofs string }{
		"nginx": {"proxy_pass http://unix:/run/posthouse/web.sock:;", "    location /.well-known/acme-challenge/ {\n        root \"/srv/a b\";"},
		"caddy": {"reverse_proxy unix//run/posthouse/web.sock\n", "handle /.well-known/acme-challenge/* {\n\t\troot * \"/srv/a b\"\n"},
	} {
		m := setup.Machine{Systemd: true, Ports: []setup.Port{{Number: 80, Holder: program}, {Number: 443, Holder: program, Group: "www-data"}}}
		w := setup.Wish{Address: "you@example.org", Config: "/c", Data: "/d", Webroot: "/srv/a b"}
		p, err := setup.NewPlan(w, m)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse("test", []byte(p.Settings))
		if err != nil || c.Listen.HTTP[0].Socket() != "/run/posthouse/web.sock" || c.Listen.HTTPGroup != "www-data" || len(c.Web.Proxies) != 0 || c.ACME.Webroot != "/srv/a b" || c.ACME.Forwarded || !c.BehindWeb() {
			t.Errorf("%s: %v\n%s", program, err, p.Settings)
		}
		if !strings.Contains(p.BehindWeb, want.pages) || !strings.Contains(p.BehindWeb, want.proofs) || !strings.Contains(p.DropIn, "\nReadWritePaths=\"-/srv/a b/.well-known/acme-challenge\"\n") {
			t.Errorf("%s: %s\n%s", program, p.BehindWeb, p.DropIn)
		}
		if p.PagesAt("127.0.0.1:8080"); !strings.Contains(p.BehindWeb, "127.0.0.1:8080") || strings.Contains(p.BehindWeb, "unix") {
			t.Errorf("%s: settings of another hand: %s", program, p.BehindWeb)
		}
		w.NoSystem = true
		if p, err = setup.NewPlan(w, m); err != nil || strings.Contains(p.Settings, "unix:") {
			t.Errorf("%s: without a unit nobody makes /run/posthouse: %v\n%s", program, err, p.Settings)
		}
	}
	for _, path := range []string{"/a\"b", "/a\nb", "/a\x7fb", `/a\b`} {
		if _, err := setup.NewPlan(setup.Wish{Address: "you@example.org", Webroot: path}, setup.Machine{}); err == nil {
			t.Errorf("%q is a webroot", path)
		}
	}
}

func TestOpenWebroot(t *testing.T) {
	root := t.TempDir()
	me, group := os.Getuid(), os.Getgid()
	for _, made := range []bool{true, false} {
		if got, err := setup.OpenWebroot(root, me, group); got != made || err != nil {
			t.Fatalf("%v %v, want %v", got, err, made)
		}
	}
	if info, err := os.Stat(filepath.Join(root, setup.ChallengeFolder)); err != nil || info.Mode().Perm() != 0o755 {
		t.Error(info, err)
	}
	evil, secret := t.TempDir(), t.TempDir()
	if err := os.Symlink(secret, filepath.Join(evil, ".well-known")); err != nil {
		t.Fatal(err)
	}
	if _, err := setup.OpenWebroot(evil, me, group); err == nil {
		t.Error("a link leads out of the webroot")
	}
	if left, err := os.ReadDir(secret); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	if _, err := setup.OpenWebroot(filepath.Join(root, "none"), me, group); err == nil {
		t.Error("a webroot that is not there")
	}
}

// A folder is given away with all that is in it, and with nothing that a link in it names.
func TestGiveFolder(t *testing.T) {
	me := uint32(os.Getuid())
	heir := me // only root gives to others
	if me == 0 {
		heir = 4711
	}
	folder, other := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "shadow"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(folder, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(folder, "a", "link")); err != nil {
		t.Fatal(err)
	}
	if err := setup.GiveFolder(folder, int(heir), os.Getgid()); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) uint32 {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	for path, want := range map[string]uint32{folder: heir, filepath.Join(folder, "a"): heir, filepath.Join(folder, "a", "link"): heir, other: me, filepath.Join(other, "shadow"): me} {
		if got := owner(path); got != want {
			t.Errorf("%s is %d's, want %d", path, got, want)
		}
	}
}

// What the service reads it can read, whatever umask root has.
func TestFilesOpen(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	f := setup.File{Path: filepath.Join(t.TempDir(), "etc", "posthouse", "p.toml"), Text: "x", Mode: 0o644}
	if err := f.Write(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{f.Path: 0o644, filepath.Dir(f.Path): 0o755, filepath.Dir(filepath.Dir(f.Path)): 0o755} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want %v", path, info.Mode(), err, want)
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
