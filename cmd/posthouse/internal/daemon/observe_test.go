package daemon

import (
	"context"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write docs/metrics.md")
	flag.Parse()
	os.Exit(m.Run())
}

// settings of a house on loopback, every door open.
func settings(t *testing.T) *config.Config {
	t.Helper()
	c := config.Default()
	c.Hostname, c.Data = "mx.one.test", filepath.Join(t.TempDir(), "data")
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.WritePair(t.TempDir(), "tls", "localhost", "mx.one.test")
	if err != nil {
		t.Fatal(err)
	}
	c.TLS.Certificates = []config.Certificate{{Cert: pair.Certificate, Key: pair.Key}}
	any := []config.Address{{HostPort: "127.0.0.1:0"}}
	c.Listen = config.Listen{SMTP: any, Submission: any, Submissions: any, POP3: any, POP3S: any, IMAP: any, IMAPS: any, LMTP: filepath.Join(t.TempDir(), "lmtp")}
	c.Metrics.Listen = any
	return c
}

// made is a house that is not running.
func made(t *testing.T, c *config.Config) *Daemon {
	t.Helper()
	d, err := New(t.Context(), Options{Config: c, Version: "v0"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMetricsAreGoodAndDescribed(t *testing.T) {
	d := made(t, settings(t))
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	problems, err := testutil.GatherAndLint(d.metrics.Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	got, err := metricsPage(d.metrics)
	if err != nil {
		t.Fatal(err)
	}
	const path = "../../../../docs/metrics.md"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("docs/metrics.md is stale: go test ./cmd/posthouse/internal/daemon -update (%v)", err)
	}
	if strings.Count(got, "\n| `posthouse_") < 20 {
		t.Errorf("only few metrics:\n%s", got)
	}
}

// get asks the observed listener.
func get(t *testing.T, h http.Handler, path, token string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestHealth(t *testing.T) {
	d := made(t, settings(t))
	h := d.observed("token")
	if code, text := get(t, h, "/healthz", ""); code != 200 || text != "alive\n" {
		t.Errorf("healthz: %d %q", code, text)
	}
	if code, text := get(t, h, "/readyz", ""); code != 503 || !strings.Contains(text, "not open") {
		t.Errorf("readyz before Run: %d %q", code, text)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	status := func() int {
		code, _ := get(t, h, "/readyz", "")
		return code
	}
	for status() != 200 { // Run has begun in the other goroutine: its first act is to open the doors
		if len(done) > 0 {
			t.Fatal(<-done)
		}
	}
	for token, want := range map[string]int{"": 401, "wrong": 401, "token": 200, "tokentoken": 401} {
		if code, text := get(t, h, "/metrics", token); code != want || want == 200 && !strings.Contains(text, "posthouse_build_info{version=\"v0\"} 1") {
			t.Errorf("metrics with %q: %d", token, code)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if status() != 503 {
		t.Error("ready after the end")
	}
}

// TestNothingIsBoundTwice: when the last port is taken, New fails, says which setting it was, and gives everything back.
func TestNothingIsLeftOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := settings(t)
	c.Metrics.Listen = []config.Address{{HostPort: taken.Addr().String()}}
	if _, err := New(t.Context(), Options{Config: c}); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Fatalf("%v", err)
	}
	c.Metrics.Listen = nil
	d, err := New(t.Context(), Options{Config: c})
	if err != nil {
		t.Fatalf("after the failure: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestForeignAddress: an address that this machine does not have is told as that.
func TestForeignAddress(t *testing.T) {
	c := settings(t)
	c.Listen.SMTP = []config.Address{{HostPort: "192.0.2.1:0"}}
	if _, err := New(t.Context(), Options{Config: c}); err == nil || !strings.Contains(err.Error(), "does not have the address") {
		t.Errorf("%v", err)
	}
}

// TestOneHousePerFolder: the second is refused at once, with words.
func TestOneHousePerFolder(t *testing.T) {
	c := settings(t)
	d := made(t, c)
	c2 := *c
	c2.Listen.LMTP = ""
	if _, err := New(t.Context(), Options{Config: &c2}); err == nil || !strings.Contains(err.Error(), "in use: another posthouse") {
		t.Errorf("%v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestCheckFiles(t *testing.T) {
	c := settings(t)
	if err := CheckFiles("posthouse.toml", c); err != nil {
		t.Error(err)
	}
	c.TLS.Certificates = nil
	if err := CheckFiles("posthouse.toml", c); err == nil || !strings.Contains(err.Error(), "posthouse.toml: tls.certificates: listen.submissions, listen.pop3s, listen.imaps") {
		t.Errorf("%v", err)
	}
	if _, err := New(t.Context(), Options{Config: c}); err == nil || !strings.Contains(err.Error(), "cannot open without a certificate") {
		t.Errorf("%v", err)
	}
	c.Listen.Submissions, c.Listen.POP3S, c.Listen.IMAPS = nil, nil, nil
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Metrics.TokenFile = empty
	c.Remote.SmartHosts = []config.SmartHost{{Host: "x", User: "u", PasswordFile: empty + "x"}, {Host: "y", CAFile: empty}}
	if err := CheckFiles("posthouse.toml", c); err == nil || !strings.Contains(err.Error(), "first line is empty") || !strings.Contains(err.Error(), "no such file") ||
		!strings.Contains(err.Error(), "remote.smart_hosts.ca_file: certificate file "+empty+": no certificate in it") {
		t.Errorf("%v", err)
	}
}

// TestNotify speaks to a service manager of the test.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for state, want := range map[string]string{"READY=1": "READY=1", "RELOADING=1": "RELOADING=1\nMONOTONIC_USEC="} {
		if err := notify(path, state); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Errorf("%q %v", b[:n], err)
		}
	}
	if err := notify("", "READY=1"); err != nil {
		t.Error(err)
	}
	if err := notify(path+"x", "READY=1"); err == nil {
		t.Error("nobody there, and no error")
	}
}
