package web_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web"
	"github.com/posthouse-mail/posthouse/web/page"
)

// house is a web house with alice (1) and an operator (2), and a room for each kind of visitor.
type house struct {
	t         *testing.T
	directory *auth.Directory
	store     *storetest.House
	side      *kv.Side
	now       time.Time
	web       *web.Server
}

func newHouse(t *testing.T, change func(*web.Options)) *house {
	h := &house{t: t, store: storetest.Start(t, storetest.Options{}), now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	h.directory = auth.New(h.store.DB, auth.Options{Now: func() time.Time { return h.now }})
	authtest.Make(t, h.store, h.directory, authtest.Account{Name: "alice"}, authtest.Account{Name: "op"})
	err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error {
		return h.directory.Configure(tx, 2, func(s *auth.AccountSettings) error { s.Operator = true; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	if h.side, err = kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.side.Close() })
	h.open(change)
	return h
}

// open makes the server anew, as a restart does.
func (h *house) open(change func(*web.Options)) {
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", text, r.URL.Path) })
	}
	o := web.Options{
		Hostname: "mail.test", Directory: h.directory, Side: h.side, Now: func() time.Time { return h.now },
		Rooms: []page.Room{
			{Path: "/open/", Handler: say("open")},
			{Path: "/mine/", Label: "Mine", For: page.Users, Handler: say("mine")},
			{Path: "/run/", Label: "Run", For: page.Admins, Handler: say("run")},
		},
	}
	if change != nil {
		change(&o)
	}
	h.web = web.New(o)
}

// visitor is a browser.
type visitor struct {
	*house
	cookie *http.Cookie
	from   string
	secure bool
	header http.Header
}

func (h *house) visitor() *visitor {
	return &visitor{house: h, from: "127.0.0.1:5000", header: http.Header{}}
}

// ask sends a request; a form makes it a POST.
func (v *visitor) ask(path string, form url.Values) (status int, body string, header http.Header) {
	v.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	if form != nil {
		r = httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, vs := range v.header {
		r.Header[k] = vs
	}
	r.RemoteAddr = v.from
	if v.secure {
		r.TLS = &tls.ConnectionState{}
	}
	if v.cookie != nil {
		r.AddCookie(v.cookie)
	}
	w := httptest.NewRecorder()
	v.web.ServeHTTP(w, r)
	res := w.Result()
	for _, c := range res.Cookies() {
		if v.cookie = c; c.MaxAge < 0 {
			v.cookie = nil
		}
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

// want asks and looks at the answer.
func (v *visitor) want(path string, form url.Values, status int, says string) http.Header {
	v.t.Helper()
	got, body, header := v.ask(path, form)
	if got != status || !strings.Contains(body, says) {
		v.t.Fatalf("%s answers %d (want %d) without %q:\n%s", path, got, status, says, body)
	}
	return header
}

func credentials(user, password string) url.Values {
	return url.Values{"user": {user}, "password": {password}}
}

func TestSignIn(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	v.want("/", nil, 200, `action="/sign-in"`)
	v.want("/open/x", nil, 200, "open /open/x")
	v.want("/mine/?a=1", nil, 401, `name="back" value="/mine/?a=1"`)
	v.want("/run/", nil, 401, `action="/sign-in"`)
	v.want("/nowhere", nil, 404, "There is no such page")
	v.want("/sign-in", credentials("alice@mail.test", "wrong"), 401, "do not fit together")
	v.want("/sign-in", credentials(`"><script>`, "wrong"), 401, "&#34;&gt;&lt;script&gt;")

	in := credentials("alice@mail.test", authtest.Password)
	in.Set("back", "/mine/?a=1")
	if to := v.want("/sign-in", in, 303, "").Get("Location"); to != "/mine/?a=1" {
		t.Errorf("led to %q", to)
	}
	if v.cookie == nil || !v.cookie.HttpOnly || v.cookie.SameSite != http.SameSiteLaxMode || v.cookie.Path != "/" {
		t.Fatalf("cookie %+v", v.cookie)
	}
	v.want("/mine/", nil, 200, "mine /mine/")
	v.want("/run/", nil, 404, "There is no such page")
	if to := v.want("/", nil, 303, "").Get("Location"); to != "/mine/" {
		t.Errorf("the first page leads to %q", to)
	}
	old := *v.cookie
	v.want("/sign-out", url.Values{}, 303, "")
	if v.cookie != nil {
		t.Error("the cookie stays")
	}
	v.cookie = &old
	v.want("/mine/", nil, 401, "")
}

// TestBack: a link to the form must not lead elsewhere after it.
func TestBack(t *testing.T) {
	h := newHouse(t, nil)
	for _, to := range []string{"https://evil.test/", "//evil.test/", `/\evil.test/`, "javascript:alert(1)", "evil", "", "/\t/evil.test"} {
		in := credentials("alice@mail.test", authtest.Password)
		in.Set("back", to)
		if got := h.visitor().want("/sign-in", in, 303, "").Get("Location"); got != "/" {
			t.Errorf("%q leads to %q", to, got)
		}
	}
}

func TestSessions(t *testing.T) {
	h := newHouse(t, nil)
	in := func() *visitor {
		v := h.visitor()
		v.header.Set("User-Agent", "Browser 1.0")
		v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
		return v
	}
	a, b := in(), in()
	h.open(nil) // the next process
	a.want("/mine/", nil, 200, "")
	all, err := h.web.Sessions(t.Context(), 1)
	if err != nil || len(all) != 2 || all[0].Agent != "Browser 1.0" || all[0].Remote != netip.MustParseAddr("127.0.0.1") {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := h.web.EndSessions(t.Context(), 1, all[0].Name); err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, v := range []*visitor{a, b} {
		if got, _, _ := v.ask("/mine/", nil); got == 200 {
			left++
		}
	}
	if left != 1 {
		t.Errorf("%d sessions are left", left)
	}
	c := in()
	h.now = h.now.Add(13 * 24 * time.Hour)
	c.want("/mine/", nil, 200, "")
	if err := h.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(13 * 24 * time.Hour)
	c.want("/mine/", nil, 200, "") // it was used meanwhile
	if err := h.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(15 * 24 * time.Hour)
	c.want("/mine/", nil, 401, "")

	d := in()
	if err := h.directory.SetPassword(context.Background(), 1, "another password"); err != nil {
		t.Fatal(err)
	}
	d.want("/mine/", nil, 401, "")
}

// TestManySessions: one account cannot fill the table.
func TestManySessions(t *testing.T) {
	h := newHouse(t, nil)
	first := h.visitor()
	first.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
	var last *visitor
	for range 60 {
		h.now = h.now.Add(time.Second)
		last = h.visitor()
		last.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
	}
	all, err := h.web.Sessions(t.Context(), 1)
	if err != nil || len(all) != 50 {
		t.Fatalf("%d sessions, %v", len(all), err)
	}
	first.want("/mine/", nil, 401, "")
	last.want("/mine/", nil, 200, "")
}

// TestCookies: what was made over TLS is not taken in clear, nor the other way round, and rubbish is nobody.
func TestCookies(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	v.secure = true
	v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
	if v.cookie.Name != "__Host-posthouse" || !v.cookie.Secure {
		t.Fatalf("cookie %+v", v.cookie)
	}
	if got := v.want("/mine/", nil, 200, "").Get("Strict-Transport-Security"); got == "" {
		t.Error("no Strict-Transport-Security")
	}
	clear := h.visitor()
	clear.cookie = &http.Cookie{Name: "posthouse", Value: v.cookie.Value}
	clear.want("/mine/", nil, 401, "")
	for _, value := range []string{"", "x", "!!!", strings.Repeat("A", 48), strings.Repeat("A", 5000)} {
		v.cookie = &http.Cookie{Name: "__Host-posthouse", Value: value}
		v.want("/mine/", nil, 401, "")
	}
}

func TestForeignSites(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
	v.header.Set("Sec-Fetch-Site", "cross-site")
	v.want("/mine/", url.Values{"a": {"b"}}, 403, "another site")
	v.want("/sign-out", url.Values{}, 403, "another site")
	v.header = http.Header{"Origin": {"https://evil.test"}}
	v.want("/sign-out", url.Values{}, 403, "another site")
	v.header = http.Header{}
	v.want("/mine/", nil, 200, "")
}

func TestHeaders(t *testing.T) {
	h := newHouse(t, nil)
	for _, path := range []string{"/", "/open/", "/mine/", "/nowhere", "/assets/none.css"} {
		_, _, header := h.visitor().ask(path, nil)
		csp := header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
	}
}

// TestProxies: only a proxy that is trusted is believed.
func TestProxies(t *testing.T) {
	seen := make(chan *page.Visit, 1)
	look := page.Room{Path: "/look/", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- page.VisitOf(r.Context()) })}
	h := newHouse(t, func(o *web.Options) {
		o.Rooms = []page.Room{look}
		o.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	for _, c := range []struct {
		from, forwarded, proto string
		remote                 string
		secure                 bool
	}{
		{"192.0.2.1:1", "198.51.100.1", "https", "192.0.2.1", false},
		{"10.0.0.1:1", "198.51.100.1", "https", "198.51.100.1", true},
		{"10.0.0.1:1", "198.51.100.1, 10.0.0.2", "http", "198.51.100.1", false},
		{"10.0.0.1:1", "127.0.0.1, 198.51.100.1", "https", "198.51.100.1", true}, // the first entry is the client's own
		{"10.0.0.1:1", "rubbish", "", "10.0.0.1", false},
		{"10.0.0.1:1", "", "", "10.0.0.1", false},
		{"[2001:db8::1]:1", "", "", "2001:db8::1", false},
		{"@", "198.51.100.1", "https", "198.51.100.1", true}, // a unix socket
	} {
		v := h.visitor()
		v.from = c.from
		if c.forwarded != "" {
			v.header.Set("X-Forwarded-For", c.forwarded)
		}
		v.header.Set("X-Forwarded-Proto", c.proto)
		v.want("/look/", nil, 200, "")
		if got := <-seen; got.Remote.String() != c.remote || got.Secure != c.secure {
			t.Errorf("%+v: %s, %v", c, got.Remote, got.Secure)
		}
	}
}

func TestRedirect(t *testing.T) {
	h := newHouse(t, func(o *web.Options) { o.Redirect = true })
	v := h.visitor()
	if to := v.want("http://mail.test:80/mine/?a=1", nil, 301, "").Get("Location"); to != "https://mail.test/mine/?a=1" {
		t.Errorf("led to %q", to)
	}
	h.open(func(o *web.Options) { o.Redirect, o.TLSPort = true, 8443 })
	for from, to := range map[string]string{"http://mail.test/a": "https://mail.test/a", "http://mail.test:80/a": "https://mail.test/a", "http://mail.test:8080/a": "https://mail.test:8443/a"} {
		if got := v.want(from, nil, 301, "").Get("Location"); got != to {
			t.Errorf("%s leads to %q, want %q", from, got, to)
		}
	}
	v.want("/.well-known/acme-challenge/x", nil, 404, "")
	v.secure = true
	v.want("/", nil, 200, "Sign in")
}

// TestAssets: every file that a page names is there, and may be kept for ever.
func TestAssets(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	_, body, _ := v.ask("/", nil)
	parts := strings.Split(body, `"/assets/`)
	if len(parts) < 4 {
		t.Fatalf("a page names %d files:\n%s", len(parts)-1, body)
	}
	for _, p := range parts[1:] {
		name, _, _ := strings.Cut(p, `"`)
		if got := v.want("/assets/"+name, nil, 200, "").Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
	}
}

// TestInClear: a password crosses no network in clear, and a proxy that the settings do not name does not make everybody local.
func TestInClear(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	v.from = "192.0.2.1:4000"
	v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 403, "begins with https")
	v.from = "127.0.0.1:4000"
	v.header.Set("X-Forwarded-For", "192.0.2.1")
	v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 403, "begins with https")
	v.header = http.Header{}
	v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
}

// TestSilentProxy: a proxy that is trusted, and does not say for whom it speaks, makes nobody a visitor from its own machine.
func TestSilentProxy(t *testing.T) {
	h := newHouse(t, func(o *web.Options) { o.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for forwarded, want := range map[string]int{"": 403, "unknown": 403, "rubbish, 127.0.0.1": 403, "192.0.2.1": 403, "127.0.0.1": 303} {
		v := h.visitor()
		if forwarded != "" {
			v.header.Set("X-Forwarded-For", forwarded)
		}
		if got, _, _ := v.ask("/sign-in", credentials("alice@mail.test", authtest.Password)); got != want {
			t.Errorf("X-Forwarded-For %q: a password in clear is answered %d, want %d", forwarded, got, want)
		}
	}
}

// TestSessionsOfAnOldPassword: what a new password has ended is not shown as open.
func TestSessionsOfAnOldPassword(t *testing.T) {
	h := newHouse(t, nil)
	h.visitor().want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
	if err := h.directory.SetPassword(t.Context(), 1, "another password"); err != nil {
		t.Fatal(err)
	}
	h.visitor().want("/sign-in", credentials("alice@mail.test", "another password"), 303, "")
	if all, err := h.web.Sessions(t.Context(), 1); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestFormAfterTheEnd: a form that is sent in a session that is over is not lost without a word, and the way leads back to its page.
func TestFormAfterTheEnd(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	v.header.Set("Referer", "http://example.com/mine/list?page=2") // httptest's host
	v.want("/mine/list/end", url.Values{"a": {"b"}}, 401, `name="back" value="/mine/list?page=2"`)
	v.want("/mine/list/end", url.Values{"a": {"b"}}, 401, "nothing was changed")
	v.header.Set("Referer", "http://evil.test/mine/list")
	v.want("/mine/list/end", url.Values{"a": {"b"}}, 401, `name="back" value=""`)
	v.want("/mine/list", nil, 401, `name="back" value="/mine/list"`)
}

// TestPanic: a fault in a room is the end of one request, and is told.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	h := newHouse(t, func(o *web.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o.Rooms = []page.Room{{Path: "/broken/", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("as told") })}}
	})
	h.visitor().want("/broken/", nil, 500, "could not be made")
	if !strings.Contains(log.String(), "as told") || !strings.Contains(log.String(), "stack=") {
		t.Errorf("not logged with its stack: %s", &log)
	}
}

// TestNotOperator: neither an operator without a second factor nor anybody from outside gets into the rooms of operators.
func TestNotOperator(t *testing.T) {
	h := newHouse(t, nil)
	v := h.visitor()
	v.want("/sign-in", credentials("op@mail.test", authtest.Password), 303, "")
	v.want("/run/", nil, 404, "")
}

// TestStill: a page that takes long hears that its reader has signed out, or runs the house no more.
func TestStill(t *testing.T) {
	var still func(context.Context) bool
	room := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { still = page.VisitOf(r.Context()).Stays })
	h := newHouse(t, func(o *web.Options) { o.Rooms = []page.Room{{Path: "/run/", For: page.Admins, Handler: room}} })
	_, recovery := h.secondFactor()
	enter := func() *visitor {
		v := h.half()
		v.want("/sign-in/code", entered(recovery[0]), 303, "")
		recovery = recovery[1:]
		v.want("/run/", nil, 200, "")
		if !still(t.Context()) {
			t.Fatal("it is over at once")
		}
		return v
	}
	v := enter()
	v.want("/sign-out", url.Values{}, 303, "")
	if still(t.Context()) {
		t.Error("signed out, and still there")
	}
	enter()
	err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error {
		return h.directory.Configure(tx, 2, func(s *auth.AccountSettings) error { s.Operator = false; return nil })
	})
	if err != nil || still(t.Context()) {
		t.Errorf("no operator any more, and still there; %v", err)
	}
}
