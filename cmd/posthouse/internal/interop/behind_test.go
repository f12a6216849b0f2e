//go:build interop

package interop

import (
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/setup"
)

// TestBehindAnother: the lines that setup prints for Debian's nginx and Caddy lead visitors and the authority's proofs to the house.
func TestBehindAnother(t *testing.T) {
	for _, c := range []struct {
		program string
		args    func(t *testing.T, h *authority, lines string) []string
	}{
		{"nginx", func(t *testing.T, h *authority, lines string) []string {
			dir := t.TempDir()
			lines = strings.ReplaceAll(lines, "    listen [::]:80;\n", "")
			lines = strings.ReplaceAll(lines, "listen 80;", "listen 127.0.0.1:"+h.http+";")
			return []string{"-e", "stderr", "-p", dir, "-c", write(t, dir, "nginx.conf", "daemon off;\nmaster_process off;\npid "+dir+"/pid;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path "+dir+"/a;\nproxy_temp_path "+dir+"/b;\nfastcgi_temp_path "+dir+"/c;\nuwsgi_temp_path "+dir+"/d;\nscgi_temp_path "+dir+"/e;\n"+lines+"}\n")}
		}},
		{"caddy", func(t *testing.T, h *authority, lines string) []string {
			dir := t.TempDir()
			t.Setenv("HOME", dir) // its own authority and state
			t.Setenv("XDG_DATA_HOME", dir)
			t.Setenv("XDG_CONFIG_HOME", dir)
			global := "{\n\tadmin off\n\thttp_port " + h.http + "\n\thttps_port " + h.https + "\n\tlocal_certs\n\tskip_install_trust\n\tdefault_bind 127.0.0.1\n}\n"
			return []string{"run", "--adapter", "caddyfile", "--config", write(t, dir, "Caddyfile", global+lines)}
		}},
	} {
		t.Run(c.program, func(t *testing.T) {
			h := acmeHouse(t)
			plan, err := setup.NewPlan(setup.Wish{Address: "you@alpha.test", Hostname: "mx.alpha.test"}, setup.Machine{Ports: []setup.Port{{Number: 80, Holder: c.program}}})
			if err != nil || plan.BehindWeb == "" || !strings.Contains(plan.Settings, "forwarded = true") || !strings.Contains(plan.Settings, "proxies = ") {
				t.Fatalf("%v: %q\n%s", err, plan.BehindWeb, plan.Settings)
			}
			pages := h.addr(1080)
			start(t, t.TempDir(), c.program, c.args(t, h, strings.ReplaceAll(plan.BehindWeb, "127.0.0.1:8080", pages))...)
			h.serve(t, "http = [\""+pages+"\"]\n", "forwarded = true\n[web]\nproxies = [\"127.0.0.1/32\", \"::1/128\"]\n")
			h.has(t, "mx.alpha.test", "autoconfig.alpha.test")
			front := "http://127.0.0.1:" + h.http
			if page := run(t, t.TempDir(), "", "curl", "-sS", "-H", "Host: mx.alpha.test", front+"/"); !strings.Contains(page, "<form") {
				t.Errorf("no sign-in form: %q", page)
			}
			if found := run(t, t.TempDir(), "", "curl", "-sS", "-H", "Host: autoconfig.alpha.test", front+"/mail/config-v1.1.xml?emailaddress=you@alpha.test"); !strings.Contains(found, "<hostname>mx.alpha.test</hostname>") {
				t.Errorf("autoconfig: %q", found)
			}
		})
	}
}
