package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/web"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// TestAPI: the table is on the web house, for tokens and for nothing else.
func TestAPI(t *testing.T) {
	h := newHouse(t, nil)
	set := metrics.New()
	verbs := admin.New(admin.Options{DB: h.store.DB, Directory: h.directory, Store: h.store.Store})
	h.open(func(o *web.Options) {
		o.Redirect, o.Metrics = true, set
		o.Rooms = append(o.Rooms, api.New(api.Options{House: verbs}).Room(api.DoorOptions{Directory: h.directory, Now: o.Now}))
	})
	made, err := verbs.AddToken(t.Context(), admin.NewToken{Account: "alice", Name: "manager", Scopes: []string{"masks"}})
	if err != nil {
		t.Fatal(err)
	}
	v := h.visitor()
	v.secure = true
	v.want("/api/v1/me", nil, 401, "show a token")
	v.want("/sign-in", credentials("alice@mail.test", authtest.Password), 303, "")
	if v.cookie == nil {
		t.Fatal("not signed in")
	}
	v.want("/api/v1/me", nil, 401, "show a token") // a session is none
	v.cookie = nil
	v.header.Set("Authorization", "Bearer "+made.Secret)
	v.want("/api/v1/me", nil, 200, "alice@mail.test")
	// A password manager in a browser sends where it comes from; there is no session that another site could use.
	v.header.Set("Sec-Fetch-Site", "cross-site")
	v.header.Set("Origin", "chrome-extension://abc")
	v.want("/api/v1/me/masks", url.Values{}, 400, "is empty")
	v.secure = false
	v.from = "192.0.2.1:5000"
	if to := v.want("/api/v1/me", nil, 403, "not in clear").Get("Location"); to != "" {
		t.Errorf("a token is led on to %s", to)
	}
	v.header = http.Header{}
	v.want("/api/v1/me", nil, 401, "show a token")
	v.want("/nothing", nil, 301, "")
	families, err := set.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if strings.HasSuffix(f.GetName(), "web_requests_total") {
				counted[fmt.Sprint(m.GetLabel()[0].GetValue(), " ", m.GetLabel()[1].GetValue())] = m.GetCounter().GetValue()
			}
		}
	}
	if counted["api 4xx"] != 5 || counted["api 2xx"] != 1 || counted["pages 3xx"] != 2 {
		t.Errorf("what programs ask for is not told from pages: %v", counted)
	}
}
