//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/setup"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// front is another web server, with ports of the test in the lines that setup prints.
type front struct {
	program, group string
	run            func(t *testing.T, h *authority, lines string)
}

func nginx(t *testing.T, h *authority, lines string) {
	dir := openFolder(t, "nginx")
	own, err := cert.NewAuthority("nginx's own", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := own.WritePair(dir, "own", "mx.alpha.test", "autoconfig.alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.ReplaceAll(lines, "    listen [::]:80;\n", "")
	secure := strings.ReplaceAll(lines, "listen 80;", fmt.Sprintf("listen 127.0.0.1:%s ssl; ssl_certificate %s; ssl_certificate_key %s;", h.https, pair.Certificate, pair.Key))
	lines = strings.ReplaceAll(lines, "listen 80;", "listen 127.0.0.1:"+h.http+";")
	temp := ""
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("%s_temp_path %s/%s;\n", what, dir, what)
	}
	start(t, dir, "nginx", "-e", "stderr", "-p", dir, "-c", write(t, dir, "nginx.conf", "user www-data;\ndaemon off;\npid "+dir+"/pid;\nworker_processes 1;\nevents {}\nhttp {\naccess_log off;\n"+temp+lines+secure+"}\n"))
}

func caddy(t *testing.T, h *authority, lines string) {
	dir := t.TempDir()
	t.Setenv("HOME", dir) // its own authority and state
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	global := "{\n\tadmin off\n\thttp_port " + h.http + "\n\thttps_port " + h.https + "\n\tlocal_certs\n\tskip_install_trust\n\tdefault_bind 127.0.0.1\n}\n"
	start(t, dir, "caddy", "run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", global+lines))
}

// TestBehindAnother: the lines that setup prints for Debian's nginx and Caddy lead visitors and the authority's proofs to the house: at a
// port, at a socket that their group may open, and with the proofs in a folder that they show themselves. Their https is the house's.
func TestBehindAnother(t *testing.T) {
	for _, f := range []front{{"nginx", "www-data", nginx}, {"caddy", "root", caddy}} { // Debian's services run as www-data and caddy
		for _, at := range []string{"port", "socket", "webroot"} {
			t.Run(f.program+" "+at, func(t *testing.T) { f.try(t, at) })
		}
	}
}

func (f front) try(t *testing.T, at string) {
	h := acmeHouse(t)
	m := setup.Machine{Systemd: true, Ports: []setup.Port{{Number: 80, Holder: f.program}}}
	w := setup.Wish{Address: "you@alpha.test", Hostname: "mx.alpha.test"}
	listen, more := "http = [\""+h.addr(1080)+"\"]\n", "forwarded = true\n"
	pages, place := "127.0.0.1:8080", h.addr(1080)
	if at != "port" {
		m.Ports[0].Group = f.group
		pages, place = "/run/posthouse/web.sock", filepath.Join(openFolder(t, "web"), "web.sock")
		listen = fmt.Sprintf("http = [\"unix:%s\"]\nhttp_group = %q\n", place, f.group)
	}
	if at == "webroot" {
		w.Webroot = openFolder(t, "webroot")
		more = fmt.Sprintf("webroot = %q\n", w.Webroot)
		if made, err := setup.OpenWebroot(w.Webroot, os.Getuid(), os.Getgid()); err != nil || !made {
			t.Fatal(made, err)
		}
	}
	plan, err := setup.NewPlan(w, m)
	if err != nil || !strings.Contains(plan.Settings, more) || !strings.Contains(plan.Settings, strings.ReplaceAll(strings.TrimSuffix(strings.Split(listen, "]")[0], "\""), place, pages)) || !strings.Contains(plan.BehindWeb, pages) {
		t.Fatalf("%v: %q\n%s", err, plan.BehindWeb, plan.Settings)
	}
	if at == "port" {
		more += "[web]\nproxies = [\"127.0.0.1/32\", \"::1/128\"]\n"
	}
	f.run(t, h, strings.ReplaceAll(plan.BehindWeb, pages, place))
	h.serve(t, listen, more)
	h.has(t, "mx.alpha.test", "autoconfig.alpha.test")
	ask := func(url, name string, more ...string) string {
		return run(t, t.TempDir(), "", "curl", append([]string{"-sSik", "--resolve", name + ":" + h.http + ":127.0.0.1", "--resolve", name + ":" + h.https + ":127.0.0.1", url}, more...)...)
	}
	if page := ask("http://mx.alpha.test:"+h.http+"/", "mx.alpha.test"); !strings.Contains(page, "<form") || strings.Contains(strings.ToLower(page), "strict-transport-security") {
		t.Errorf("no sign-in form, or one that takes itself for secure: %q", page)
	}
	if page := ask("https://mx.alpha.test:"+h.https+"/", "mx.alpha.test"); !strings.Contains(page, "<form") || !strings.Contains(strings.ToLower(page), "strict-transport-security") {
		t.Errorf("https in front: %q", page)
	}
	// The house hears who asks: what a visitor claims of himself is not handed on as the only word.
	if answer := ask("https://mx.alpha.test:"+h.https+"/sign-in", "mx.alpha.test", "-H", "X-Forwarded-For: 192.0.2.1", "-d", "name=nobody@alpha.test&password=wrong"); !strings.Contains(answer, " 401 ") {
		t.Errorf("a wrong password over https in front: %q", answer)
	}
	if found := ask("http://autoconfig.alpha.test:"+h.http+"/mail/config-v1.1.xml?emailaddress=you@alpha.test", "autoconfig.alpha.test"); !strings.Contains(found, "<hostname>mx.alpha.test</hostname>") {
		t.Errorf("autoconfig: %q", found)
	}
}
