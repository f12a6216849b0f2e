package autoconfig_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smallstep/pkcs7"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/autoconfig"
	"github.com/posthouse-mail/posthouse/web/page"
)

var update = flag.Bool("update", false, "write the answers into testdata")

// programs is a house with all doors.
var programs = page.Programs{Host: "mail.example.test", IMAPS: 993, IMAP: 143, POP3S: 995, POP3: 110, Submissions: 465, Submission: 587}

func house(t *testing.T, change func(*autoconfig.Options)) http.Handler {
	t.Helper()
	o := autoconfig.Options{Programs: programs, Local: func(_ context.Context, d mail.Domain) (bool, error) {
		if d == "broken.test" {
			return false, errors.New("the disk is gone")
		}
		return d == "example.test" || d == "xn--bcher-kva.test", nil
	}}
	if change != nil {
		change(&o)
	}
	mux := http.NewServeMux()
	for _, r := range autoconfig.Rooms(o) {
		mux.Handle(r.Path, r.Handler)
	}
	return mux
}

const pox = `<?xml version="1.0" encoding="utf-8"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>%</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request></Autodiscover>`

// TestAnswers: what each kind of program is told, held against files.
func TestAnswers(t *testing.T) {
	post := func(address string) string { return strings.ReplaceAll(pox, "%", address) }
	for _, c := range []struct {
		file, method, url, body string
		status                  int
	}{
		{"thunderbird.xml", "GET", "http://autoconfig.example.test/mail/config-v1.1.xml?emailaddress=alice%40example.test", "", 200},
		{"thunderbird.xml", "GET", "http://example.test/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=alice@example.test", "", 200},
		{"thunderbird.xml", "GET", "http://127.0.0.1:1080/mail/config-v1.1.xml?emailaddress=alice@example.test", "", 200},
		{"thunderbird-host.xml", "GET", "http://autoconfig.example.test/mail/config-v1.1.xml", "", 200},
		{"thunderbird-host.xml", "GET", "http://autoconfig.example.test:8080/mail/config-v1.1.xml?emailaddress=%25EMAILADDRESS%25", "", 200},
		{"outlook.xml", "POST", "http://autodiscover.example.test/autodiscover/autodiscover.xml", post("alice@example.test"), 200},
		{"outlook.xml", "POST", "http://autodiscover.example.test/Autodiscover/Autodiscover.xml", post(" alice@example.test "), 200},
		{"outlook-foreign.xml", "POST", "http://autodiscover.example.test/autodiscover/autodiscover.xml", post("alice@elsewhere.test"), 200},
		{"outlook-rubbish.xml", "POST", "http://autodiscover.example.test/autodiscover/autodiscover.xml", "<Autodiscover", 200},
		{"outlook.json", "GET", "http://autodiscover.example.test/autodiscover/autodiscover.json?Email=alice@example.test&Protocol=AutodiscoverV1&RedirectCount=1", "", 200},
		{"outlook.json", "GET", "http://autodiscover.example.test/autodiscover/autodiscover.json/v1.0/alice@example.test?Protocol=autodiscoverv1", "", 200},
		{"outlook-ews.json", "GET", "http://autodiscover.example.test/autodiscover/autodiscover.json?Email=alice@example.test&Protocol=EWS", "", 400},
		{"outlook-foreign.json", "GET", "http://autodiscover.example.test/autodiscover/autodiscover.json?email=alice@elsewhere.test", "", 404},
		{"apple.mobileconfig", "GET", "http://example.test/email.mobileconfig?email=alice@example.test", "", 200},
	} {
		w := httptest.NewRecorder()
		house(t, nil).ServeHTTP(w, httptest.NewRequest(c.method, c.url, strings.NewReader(c.body)))
		if w.Code != c.status {
			t.Errorf("%s: %d, want %d", c.url, w.Code, c.status)
		}
		path := filepath.Join("testdata", c.file)
		if *update {
			if err := os.WriteFile(path, w.Body.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Body.String(); got != string(want) {
			t.Errorf("%s %s: not %s but\n%s", c.method, c.url, c.file, got)
		}
	}
}

// TestRefused: nonsense gets an answer, and no address of ours is told apart from another.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		method, url, body string
		status            int
	}{
		{"GET", "/mail/config-v1.1.xml?emailaddress=nonsense", "", 400},
		{"GET", "/mail/config-v1.1.xml?emailaddress=a@elsewhere.test", "", 404},
		{"POST", "/mail/config-v1.1.xml?emailaddress=a@example.test", "", 404},
		{"GET", "/mail/config-v1.1.xml?emailaddress=a@broken.test", "", 500},
		{"POST", "/autodiscover/autodiscover.xml", strings.Repeat("x", 100<<10), 413},
		{"GET", "/autodiscover/other", "", 404},
		{"GET", "/email.mobileconfig", "", 400},
		{"GET", "/mail/config-v1.1.xml?emailaddress=no-such-person@example.test", "", 200},
	} {
		w := httptest.NewRecorder()
		house(t, nil).ServeHTTP(w, httptest.NewRequest(c.method, c.url, strings.NewReader(c.body)))
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.url, w.Code, c.status)
		}
	}
}

// TestOddAddresses: what is written in XML stays what it is.
func TestOddAddresses(t *testing.T) {
	for _, address := range []string{`%22%3Ca%26b%3E%22@example.test`, "b%C3%BCcher@example.test", "a@b%C3%BCcher.test", "o%27neil@example.test"} {
		for _, path := range []string{"/mail/config-v1.1.xml?emailaddress=", "/email.mobileconfig?email="} {
			w := httptest.NewRecorder()
			house(t, nil).ServeHTTP(w, httptest.NewRequest("GET", path+address, nil))
			if w.Code != 200 || strings.Contains(w.Body.String(), "<a&b>") {
				t.Errorf("%s%s: %d\n%s", path, address, w.Code, w.Body)
			}
		}
	}
}

// TestSigned: the profile is signed with the chain that the host shows, and is the same inside.
func TestSigned(t *testing.T) {
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Leaf("mail.example.test")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(h http.Handler) []byte {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/email.mobileconfig?email=alice@example.test", nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-apple-aspen-config" {
			t.Fatalf("%d %s", w.Code, w.Header())
		}
		return w.Body.Bytes()
	}
	m, err := pkcs7.Parse(ask(house(t, func(o *autoconfig.Options) { o.Signer = func() *tls.Certificate { return &pair } })))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.VerifyWithChain(ca.Pool()); err != nil {
		t.Error(err)
	}
	if string(m.Content) != string(ask(house(t, nil))) {
		t.Errorf("signed is\n%s", m.Content)
	}
}
