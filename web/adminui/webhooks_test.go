package adminui_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// TestWebhooks: made, tried, given a new secret and removed; each secret is shown once, and the audit log has none.
func TestWebhooks(t *testing.T) {
	status := http.StatusNoContent
	var signatures []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signatures = append(signatures, r.Header.Get("webhook-signature"))
		w.WriteHeader(status)
	}))
	t.Cleanup(other.Close)
	h := newHouse(t, func(o *admin.Options) {
		side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := side.Close(); err != nil {
				t.Error(err)
			}
		})
		o.Hooks = hook.New(hook.Options{DB: o.DB, Side: side})
	})
	h.want("/admin/webhooks", nil, 200, "There are none.", `href="/admin/webhooks" aria-current="page"`, "A recipient called mail of ours junk", `name="message.bounced" value="1" checked`)
	h.want("/admin/webhooks", form("url", "https://far.test/in"), 422, "Choose at least one.", `value="https://far.test/in"`)
	h.want("/admin/webhooks", form("url", "http://far.test/<in>", "message.bounced", "1"), 422, "an address with https", "&lt;in&gt;", `name="message.bounced" value="1" checked`)
	if body, _ := h.want("/admin/webhooks", nil, 200); strings.Contains(body, "far.test") {
		t.Error("what was refused is there")
	}
	secret := regexp.MustCompile(`whsec_[A-Za-z0-9+/=&#;]+`)
	first := func(body string) string {
		if secret.FindString(body) == "" {
			t.Fatalf("no secret:\n%s", body)
		}
		return secret.FindString(body)
	}
	body, _ := h.want("/admin/webhooks", form("url", other.URL+"/?key=hidden", "private", "1", "message.bounced", "1", "account.suspended", "1"), 200, "shown this once")
	one := first(body)
	body, _ = h.want("/admin/webhooks", nil, 200, "key=hidden", ", Mail of ours was given up", "Nothing was sent yet", "No stories of messages are kept")
	if secret.MatchString(body) {
		t.Error("the secret is shown again")
	}
	id := regexp.MustCompile(`name="id" value="([a-z0-9]+)"`).FindStringSubmatch(body)[1]
	h.goes("/admin/webhooks/test", form("id", id), "/admin/webhooks?done=webhook-tested")
	status = http.StatusTeapot
	h.want("/admin/webhooks/test", form("id", id), 422, "418", "did not arrive at "+strings.TrimPrefix(other.URL, "http://"))
	status = http.StatusNoContent
	h.want("/admin/webhooks/secret?id="+id, nil, 200, "For a day")
	body, _ = h.want("/admin/webhooks/secret", form("id", id), 200, "shown this once", "for a day")
	if first(body) == one {
		t.Error("the same secret")
	}
	h.want("/admin/webhooks/test", form("id", id), 303)
	if last := signatures[len(signatures)-1]; strings.Count(last, "v1,") != 2 {
		t.Errorf("signed %q", last)
	}
	h.want("/admin/webhooks/remove?id="+id, nil, 200, "Its secret cannot be had back")
	h.goes("/admin/webhooks/remove", form("id", id), "/admin/webhooks?done=webhook-removed")
	for _, path := range []string{"/admin/webhooks/remove", "/admin/webhooks/secret", "/admin/webhooks/test"} {
		h.want(path, form("id", id), 404)
		if path != "/admin/webhooks/test" {
			h.want(path+"?id="+id, nil, 404)
		}
	}
	log, _ := h.want("/admin/audit", nil, 200, "Webhook made", "New secret of a webhook", "Webhook removed")
	if secret.MatchString(log) || strings.Contains(log, "hidden") {
		t.Error("the audit log has a secret")
	}
}
