package housetest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/demo"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	checkup "github.com/posthouse-mail/posthouse/web/check"
)

// freeOffset finds an offset where all ports of the demo are free.
func freeOffset(t *testing.T) int {
	t.Helper()
	for offset := 20_000 + os.Getpid()%1000*20; offset < 60_000; offset += 7 {
		free := true
		for _, p := range []int{demo.PortSMTP, demo.PortSubmissions, demo.PortSubmission, demo.PortExtra, demo.PortPOP3, demo.PortPOP3S, demo.PortIMAP, demo.PortIMAPS, demo.PortMetrics, demo.PortHTTP, demo.PortHTTPS} {
			l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", p+offset))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return offset
		}
	}
	t.Fatal("no free ports")
	return 0
}

// TestDemo is what `posthouse demo` does, twice on the same folder.
func TestDemo(t *testing.T) {
	data, offset := filepath.Join(t.TempDir(), "demo"), freeOffset(t)
	for run := range 2 {
		h, err := demo.New(t.Context(), demo.Options{Data: data, Offset: offset, Version: "test", Logger: logx.New(io.Discard, logx.Options{})})
		if err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		pem, err := os.ReadFile(filepath.Join(data, demo.CAFile))
		if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
			t.Errorf("run %d: the authority's file is not there before the doors open: %v", run, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		tryCtx, cancel := context.WithTimeout(ctx, patience)
		if r, err := h.Daemon.House().CheckClient(tryCtx, admin.ClientCheck{Address: demo.Alice, Program: checkup.Thunderbird}); err != nil || !r.Works || r.Steps[0].State != checkup.OK {
			t.Errorf("run %d: a mail program does not work: %+v, %v", run, r, err)
		}
		s, err := h.Try(tryCtx)
		cancel()
		if err != nil || s.UID != uint32(run+1) {
			t.Errorf("run %d: %+v %v", run, s, err)
		}
		for _, want := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "iprev=pass"} {
			if !slices.Contains(s.Checks, want) {
				t.Errorf("run %d: carol's side says %q, not %s", run, s.Checks, want)
			}
		}
		for _, want := range []string{h.Port(demo.PortIMAPS), h.Port(demo.PortExtra), demo.Carol, demo.Password, demo.CAFile} {
			if !strings.Contains(h.Describe(), want) {
				t.Errorf("%q is not told:\n%s", want, h.Describe())
			}
		}
		if curl := h.Curl(s); !strings.Contains(curl, "imaps://localhost:"+h.Port(demo.PortIMAPS)) {
			t.Error(curl)
		}
		a, err := http.Get("http://127.0.0.1:" + h.Port(demo.PortMetrics) + "/readyz")
		if err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("readyz: %v", err)
		} else {
			a.Body.Close()
		}
		browse(t, h, "http://127.0.0.1:"+h.Port(demo.PortHTTP))
		browse(t, h, "https://localhost:"+h.Port(demo.PortHTTPS))
		if run == 0 {
			runTheHouse(t, h, "http://127.0.0.1:"+h.Port(demo.PortHTTP))
		}
		if _, err := demo.New(t.Context(), demo.Options{Data: data, Offset: offset}); err == nil || !strings.Contains(err.Error(), "runs on") {
			t.Errorf("a second demo on the same folder: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("run %d ended with %v", run, err)
		}
	}
	if _, err := demo.New(t.Context(), demo.Options{Data: data, Offset: 70_000}); err == nil {
		t.Error("an offset beyond the ports")
	}
}

// browse signs carol in at the demo's web house and looks at her account.
func browse(t *testing.T, h *demo.House, base string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.CA.Pool()}, DisableKeepAlives: true}}
	page := func(a *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		text, err := io.ReadAll(a.Body)
		if err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", a.Request.URL, a.Status, err)
		}
		return string(text)
	}
	if first := page(c.Get(base + "/")); !strings.Contains(first, `action="/sign-in"`) {
		t.Errorf("the first page:\n%s", first)
	}
	if found := page(c.Get(base + "/mail/config-v1.1.xml?emailaddress=" + demo.Carol)); !strings.Contains(found, "<port>"+h.Port(demo.PortIMAPS)+"</port>") {
		t.Errorf("programs are told\n%s", found)
	}
	policy, err := http.NewRequestWithContext(t.Context(), "GET", base+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy.Host = "mta-sts.beta.test"
	if text := page(c.Do(policy)); !strings.Contains(text, "mode: enforce") || !strings.Contains(text, "mx: "+h.Config.Hostname) {
		t.Errorf("the policy:\n%s", text)
	}
	mine := page(c.PostForm(base+"/sign-in", url.Values{"user": {demo.Carol}, "password": {demo.Password}}))
	for _, want := range []string{"My account", demo.Carol, h.Port(demo.PortIMAPS)} {
		if !strings.Contains(mine, want) {
			t.Errorf("her account says nothing of %q:\n%s", want, mine)
		}
	}
}
