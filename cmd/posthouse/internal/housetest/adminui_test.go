package housetest

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/demo"
)

// visitor is a browser at the demo's web house.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
}

func newVisitor(t *testing.T, base string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, base, &http.Client{Jar: jar, Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// page is what a path shows; form nil: it is asked for, else the form is sent to it.
func (v *visitor) page(path string, form url.Values, status int) string {
	v.t.Helper()
	var a *http.Response
	var err error
	if form == nil {
		a, err = v.http.Get(v.base + path)
	} else {
		a, err = v.http.PostForm(v.base+path, form)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != status {
		v.t.Fatalf("%s: %s (want %d) %v\n%s", path, a.Status, status, err, text)
	}
	return string(text)
}

// link leads to a page of the room.
var link = regexp.MustCompile(`<a [^>]*href="(/admin/(?:(?:account|domain|alias|list|mask|audit|queue|stories|junk|reports|suppression|system|backups|certificates|log|connections|traces|settings)[^"]*)?)"`)

// follow asks for all pages of the room that links lead to; each must be there.
func (v *visitor) follow(first string) (seen map[string]string) {
	v.t.Helper()
	seen = make(map[string]string)
	next := []string{first}
	for len(next) > 0 && len(seen) < 300 {
		path := next[0]
		next = next[1:]
		if _, done := seen[path]; done {
			continue
		}
		seen[path] = v.page(path, nil, http.StatusOK)
		for _, m := range link.FindAllStringSubmatch(seen[path], -1) {
			next = append(next, html.UnescapeString(m[1]))
		}
	}
	return seen
}

// runTheHouse signs the demo's operator in and walks through all that he is shown.
func runTheHouse(t *testing.T, h *demo.House, base string) {
	t.Helper()
	v := newVisitor(t, base)
	v.page("/admin/", nil, http.StatusUnauthorized)
	if asked := v.page("/sign-in", url.Values{"user": {demo.Operator}, "password": {demo.Password}}, http.StatusOK); !strings.Contains(asked, `name="code"`) {
		t.Fatalf("no code is asked for:\n%s", asked)
	}
	if !strings.Contains(h.Describe(), demo.Secret) {
		t.Error("the demo does not tell the operator's secret")
	}
	code, err := demo.Code(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	v.page("/sign-in/code", url.Values{"code": {code}}, http.StatusOK)
	pages := v.follow("/admin/")
	for _, want := range []string{"/admin/accounts", "/admin/domains", "/admin/aliases", "/admin/lists", "/admin/masks", "/admin/audit", "/admin/domain?name=alpha.test"} {
		if pages[want] == "" {
			t.Errorf("no link leads to %s", want)
		}
	}
	for path, text := range pages {
		if len(text) > 100<<10 {
			t.Errorf("%s has %d octets", path, len(text))
		}
	}
	foreign(t, v)
	other := newVisitor(t, base)
	other.page("/sign-in", url.Values{"user": {demo.Carol}, "password": {demo.Password}}, http.StatusOK)
	other.page("/admin/", nil, http.StatusNotFound)
}

// foreign sends a form from a page of another site, and one in a session that has ended: neither does anything.
func foreign(t *testing.T, v *visitor) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", v.base+"/admin/domains/add", strings.NewReader("name=stolen.test"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://elsewhere.test")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	a, err := v.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusForbidden {
		t.Errorf("a form of another site: %s", a.Status)
	}
	if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Errorf("a page may be put into a frame: %q", policy)
	}
	v.page("/sign-out", url.Values{}, http.StatusOK)
	if text := v.page("/admin/domains/add", url.Values{"name": {"late.test"}}, http.StatusUnauthorized); !strings.Contains(text, `action="/sign-in"`) {
		t.Errorf("a form after the end of a session:\n%s", text)
	}
}
