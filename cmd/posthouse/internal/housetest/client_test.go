package housetest

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
	checkup "github.com/posthouse-mail/posthouse/web/check"
)

// free is an address of ip that nobody listens at.
func free(t *testing.T, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestClient: a house that is as it should be works with each program, by the verb and at the page; what is taken away is missed.
func TestClient(t *testing.T) {
	s := newStreet(t)
	ip := fmt.Sprint("127.0.0.", s.next)
	s.fixed = map[string]string{"imaps": free(t, ip), "submissions": free(t, ip)}
	https := free(t, ip)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	check(t, os.WriteFile(roots, s.ca.PEM(), 0o600))
	h := s.build(fmt.Sprintf("https = [%q]\n[acme]\nroots = %q\n", https, roots), "anna@one.test")
	if _, err := s.ca.WritePair(h.dir, "tls", "localhost", h.ip, h.name, "autoconfig.one.test", "autodiscover.one.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Daemon.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := h.Daemon.House().DomainRecords(t.Context(), "one.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Records {
		if x.Type == "CNAME" || x.Type == "SRV" {
			check(t, s.zone.Add(x.Line()))
		}
	}
	for _, program := range checkup.ProgramNames() {
		r, err := h.Daemon.House().CheckClient(t.Context(), admin.ClientCheck{Address: "anna@one.test", Program: program})
		if err != nil || !r.Works {
			t.Errorf("%s: %v", program, err)
		}
		for _, x := range r.Steps {
			if x.State != checkup.OK {
				t.Errorf("%s: %+v", program, x)
			}
		}
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool(), ServerName: h.name},
	}}
	post := func(password string) string {
		t.Helper()
		res, err := client.PostForm("https://"+https+"/clients/thunderbird", url.Values{"address": {"anna@one.test"}, "password": {password}})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err, string(text))
		}
		return string(text)
	}
	for password, says := range map[string]string{password: "the password is right for sending", "wrong": "address and password do not fit together"} {
		if body := post(password); !strings.Contains(body, says) || !strings.Contains(body, "https://autoconfig.one.test/mail/config-v1.1.xml") {
			t.Errorf("%q: %s", says, body)
		}
	}
	s.zone.Remove("autoconfig.one.test")
	check(t, s.zone.Add("autoconfig.one.test. A 192.0.2.1"))
	report, err := h.Daemon.House().CheckClient(t.Context(), admin.ClientCheck{Address: "anna@one.test", Program: checkup.Thunderbird})
	if err != nil || report.Steps[0].State != checkup.Warning || !strings.Contains(report.Steps[0].Found, "192.0.2.1, which is not this server") {
		t.Errorf("%+v, %v", report, err)
	}
}
