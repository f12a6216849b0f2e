// Package pagetest asks a room for its pages in tests, as the web house does for somebody who is signed in, and reads pages as a screen
// reader does.
package pagetest

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// SignIn is the visit of a user@mail.test of authtest, who has entered his password on this machine.
func SignIn(t testing.TB, d *auth.Directory, user string) page.Visit {
	t.Helper()
	here := netip.MustParseAddr("127.0.0.1")
	id, err := d.Confirm(t.Context(), auth.Identity{Main: mail.Address{Local: user, Domain: "mail.test"}}, here, authtest.Password)
	if err != nil {
		t.Fatal(err)
	}
	return page.Visit{Site: "mail.test", Remote: here, SignIn: &page.SignIn{Identity: id, Name: user, Session: "this"}}
}

// Visitor is somebody in a room.
type Visitor struct {
	Room  page.Room
	Visit page.Visit
}

// Want asks for a page, or sends a form to it, and looks at the answer.
func (v Visitor) Want(t testing.TB, path string, form url.Values, status int, says ...string) (body string, header http.Header) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if form != nil {
		r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	in := *v.Visit.SignIn // the web house makes them anew for each request
	v.Visit.SignIn = &in
	ctx := admin.As(page.WithVisit(r.Context(), &v.Visit), admin.Actor{Name: in.Identity.Main.String(), Door: admin.DoorWeb, Remote: v.Visit.From()})
	w := httptest.NewRecorder()
	v.Room.Handler.ServeHTTP(w, r.WithContext(ctx))
	body = w.Body.String()
	if w.Code != status {
		t.Fatalf("%s answers %d (want %d):\n%s", path, w.Code, status, body)
	}
	for _, s := range says {
		if !strings.Contains(body, s) {
			t.Errorf("%s does not say %q:\n%s", path, s, body)
		}
	}
	return body, w.Header()
}

// Ears reads a room's templates: columns have names, and each field has its label, or a screen reader has nothing to say.
func Ears(t *testing.T, pages fs.FS) {
	t.Helper()
	names, err := fs.Glob(pages, "*.html")
	if err != nil || len(names) == 0 {
		t.Fatal("no pages", err)
	}
	empty := regexp.MustCompile(`<th[^>]*></th>`)
	field := regexp.MustCompile(`<(?:input|select|textarea) id="([^"]+)"`)
	nameless := regexp.MustCompile(`<(?:select|textarea|input) (?:name|type="(?:text|password|email)")`)
	for _, name := range names {
		text, err := fs.ReadFile(pages, name)
		if err != nil {
			t.Fatal(err)
		}
		if x := empty.Find(text); x != nil {
			t.Errorf("%s: a column without a name", name)
		}
		if x := nameless.Find(text); x != nil {
			t.Errorf("%s: a field that no label can name: %s", name, x)
		}
		for _, m := range field.FindAllSubmatch(text, -1) {
			if ok, _ := regexp.Match(`for="`+regexp.QuoteMeta(string(m[1]))+`"`, text); !ok {
				t.Errorf("%s: no label for %s", name, m[1])
			}
		}
	}
}
