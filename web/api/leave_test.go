package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestLeave: a GET changes nothing, a POST with the right words does (RFC 8058 section 3.2), and nothing of a stranger stands in the page
// as markup.
func TestLeave(t *testing.T) {
	var used []string
	h := Leave(func(_ context.Context, link string) (admin.Left, error) {
		used = append(used, link)
		switch link {
		case "old":
			return admin.Left{}, &admin.Error{Class: admin.Missing, Message: "this link is not good any more"}
		case "broken":
			return admin.Left{}, errors.New("disk")
		}
		return admin.Left{List: "dev@alpha.test", Member: `"<b>"@away.test`}, nil
	})
	for _, c := range []struct {
		name, method, path, form, body string
		code, uses                     int
		has                            string
	}{
		{name: "a look", method: "GET", path: "1-abc", code: 200, has: "<button>"},
		{name: "a head", method: "HEAD", path: "1-abc", code: 200},
		{name: "one click", method: "POST", path: "1-abc", body: "List-Unsubscribe=One-Click", code: 200, uses: 1, has: "&lt;b&gt;"},
		{name: "one click, as a form in parts", method: "POST", path: "1-abc", form: "multipart/form-data; boundary=b",
			body: "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n", code: 200, uses: 1},
		{name: "other words", method: "POST", path: "1-abc", body: "List-Unsubscribe=Yes", code: 400},
		{name: "nothing", method: "POST", path: "1-abc", code: 400},
		{name: "too much", method: "POST", path: "1-abc", body: "x=" + strings.Repeat("x", 8<<10) + "&List-Unsubscribe=One-Click", code: 400},
		{name: "used before", method: "POST", path: "old", body: "List-Unsubscribe=One-Click", code: 404, uses: 1, has: "not good any more"},
		{name: "not now", method: "POST", path: "broken", body: "List-Unsubscribe=One-Click", code: 503, uses: 1, has: "Try again later"},
		{name: "no link", method: "POST", path: "", body: "List-Unsubscribe=One-Click", code: 404},
		{name: "another method", method: "PUT", path: "1-abc", code: 405},
	} {
		used = nil
		r := httptest.NewRequest(c.method, LeavePath+c.path, strings.NewReader(c.body))
		if c.form == "" {
			c.form = "application/x-www-form-urlencoded"
		}
		r.Header.Set("Content-Type", c.form)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.code || len(used) != c.uses || !strings.Contains(w.Body.String(), c.has) || strings.Contains(w.Body.String(), "<b>") || strings.Contains(w.Body.String(), "disk") {
			t.Errorf("%s: %d, used %q\n%s", c.name, w.Code, used, w.Body)
		}
		if w.Code == http.StatusOK && (w.Header().Get("Referrer-Policy") != "no-referrer" || w.Header().Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v", c.name, w.Header())
		}
	}
}
