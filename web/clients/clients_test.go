package clients_test

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
	"github.com/posthouse-mail/posthouse/web/clients"
	"github.com/posthouse-mail/posthouse/web/page"
)

var update = flag.Bool("update", false, "write the pages into testdata")

// visitor is a browser at a house of example.test with all doors.
type visitor struct {
	t     *testing.T
	room  page.Room
	visit page.Visit
	now   time.Time
	asked admin.ClientCheck // what was tested last
	fails error
}

func newVisitor(t *testing.T) *visitor {
	v := &visitor{t: t, now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), visit: page.Visit{Site: "mail.example.test", Remote: netip.MustParseAddr("192.0.2.7"), Secure: true}}
	v.room = clients.New(clients.Options{
		Now:      func() time.Time { return v.now },
		Programs: page.Programs{Host: "mail.example.test", IMAPS: 993, IMAP: 143, POP3S: 995, POP3: 110, Submissions: 465, Submission: 587},
		Local: func(_ context.Context, d mail.Domain) (bool, error) {
			if d == "broken.test" {
				return false, errors.New("the disk is gone")
			}
			return d == "example.test", nil
		},
		Check: func(_ context.Context, in admin.ClientCheck) (admin.ClientReport, error) {
			v.asked = in
			return admin.ClientReport{Address: in.Address, Program: in.Program, Hostname: "mail.example.test", Steps: []check.Step{
				{Step: "send", State: check.Wrong, Found: "SMTP at mail.example.test, port 465: connection refused", Advice: "does the house run (posthouse status)?", Mends: check.Operator},
				{Step: "receive", State: check.OK, Found: "IMAP at mail.example.test, port 993: works"},
				{Step: "password", State: check.Wrong, Found: "address and password do not fit together", Advice: "type it once more", Mends: check.You},
				{Step: "settings", State: check.Warning, Found: "the program does not find the settings by itself <b>", Advice: "publish: autoconfig", Mends: check.Operator},
			}}, v.fails
		},
	})
	return v
}

// want asks for a page, or sends a form to it.
func (v *visitor) want(path string, f url.Values, status int, says ...string) string {
	v.t.Helper()
	at := map[bool]string{true: "https", false: "http"}[v.visit.Secure] + "://mail.example.test" + path
	r := httptest.NewRequest("GET", at, nil)
	if f != nil {
		r = httptest.NewRequest("POST", at, strings.NewReader(f.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	v.room.Handler.ServeHTTP(w, r.WithContext(page.WithVisit(r.Context(), &v.visit)))
	body := w.Body.String()
	if w.Code != status {
		v.t.Fatalf("%s answers %d (want %d):\n%s", path, w.Code, status, body)
	}
	for _, s := range says {
		if !strings.Contains(body, s) {
			v.t.Errorf("%s does not say %q:\n%s", path, s, body)
		}
	}
	return body
}

func (v *visitor) signedIn() {
	a := mail.Address{Local: "alice", Domain: "example.test"}
	v.visit.SignIn = &page.SignIn{Identity: auth.Identity{Account: 1, Main: a}, Name: "Alice"}
}

// TestPages holds each page against a file: for an address, for nobody, and after a test.
func TestPages(t *testing.T) {
	main := regexp.MustCompile(`(?s)<main.*</main>`)
	for _, key := range append(check.ProgramNames(), "") {
		for _, c := range []struct {
			file, query string
			form        url.Values
		}{
			{"nobody", "", nil}, {"address", "?address=alice%40example.test", nil}, {"test", "", url.Values{"address": {"alice@example.test"}}},
		} {
			if key == "" && c.form != nil {
				continue
			}
			got := main.FindString(newVisitor(t).want("/clients/"+key+c.query, c.form, http.StatusOK))
			path := filepath.Join("testdata", strings.TrimPrefix(key+"-"+c.file+".html", "-"))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is\n%s", path, got)
			}
		}
	}
}

// TestAddresses: who is signed in has his filled in; what is wrong is said, and stays.
func TestAddresses(t *testing.T) {
	v := newVisitor(t)
	if body := v.want("/clients/thunderbird", nil, 200, "your mail address"); strings.Contains(body, "alice") {
		t.Error("a stranger has an address")
	}
	for text, says := range map[string]string{"nonsense": "This is no mail address", "a@elsewhere.test": "This server has no mail of elsewhere.test", `"><script>`: "&#34;&gt;&lt;script&gt;"} {
		body := v.want("/clients/iphone?address="+url.QueryEscape(text), nil, 422, says)
		if strings.Contains(body, "mobileconfig") || strings.Contains(body, "<script>\"") {
			t.Errorf("%q has a profile", text)
		}
	}
	v.want("/clients/iphone?address=a@broken.test", nil, 500)
	v.want("/clients/pine", nil, 404)
	v.want("/clients/mac/x", nil, 404)
	v.want("/clients/mac?address=o%27neil%2Bx@example.test", nil, 200, "email.mobileconfig?email=o%27neil%2Bx%40example.test")
	v.signedIn()
	v.want("/clients/", nil, 200, "/clients/mac?address=alice%40example.test")
	v.want("/clients/iphone", nil, 200, "alice@example.test", `<svg class="qr"`, "email.mobileconfig?email=alice%40example.test")
}

// TestTest: what is told of an account is told to its owner; a password is taken over TLS only; a network that tests too much waits.
func TestTest(t *testing.T) {
	v := newVisitor(t)
	f := url.Values{"address": {"alice@example.test"}, "password": {" pass word"}}
	body := v.want("/clients/outlook", f, 200, "It does not work yet", "For the operator of this server: publish", "You can mend it: type it once more", "&lt;b&gt;")
	if !v.asked.Stranger || v.asked.Password != " pass word" || v.asked.From.TLS == nil || v.asked.From.Remote != v.visit.Remote || v.asked.Program != check.Outlook {
		t.Errorf("asked %+v", v.asked)
	}
	if strings.Contains(body, "pass word") {
		t.Error("the password comes back")
	}
	if i, j := strings.Index(body, "does not find the settings"), strings.Index(body, "connection refused"); i > j {
		t.Error("steps stand in another order than a program takes them")
	}
	v.signedIn()
	v.want("/clients/outlook", f, 200)
	if v.asked.Stranger {
		t.Error("the owner is a stranger")
	}
	v.want("/clients/outlook", url.Values{"address": {"bob@example.test"}}, 200)
	if !v.asked.Stranger {
		t.Error("another's account is told of")
	}
	v.visit.Secure = false
	if strings.Contains(v.want("/clients/outlook", f, 200), "test-password") || v.asked.From.TLS != nil {
		t.Error("a password may be typed in clear")
	}
	v.want("/clients/outlook", url.Values{"address": {"nonsense"}}, 422, "This is no mail address")
	v.want("/clients/pine", f, 404)
	v.fails = &admin.Error{Class: admin.Unavailable, Message: "busy"}
	v.want("/clients/outlook", f, 503, "cannot be done now")
	v.visit.SignIn = nil
	v.want("/clients/outlook", url.Values{}, 422, "Which address is it about?")
	v.fails = nil
	for range 7 {
		v.want("/clients/outlook", f, 200)
	}
	v.want("/clients/outlook", f, 429, "Too many tests")
	v.visit.Remote = netip.MustParseAddr("2001:db8::1")
	v.want("/clients/outlook", f, 200)
	v.visit.Remote = netip.MustParseAddr("192.0.2.7")
	v.now = v.now.Add(11 * time.Minute)
	v.want("/clients/outlook", f, 200)
}
