package accountui_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/auth/passkey/passkeytest"
	"github.com/posthouse-mail/posthouse/web/page"
)

const keysPath = "/account/passkeys"

// asked is the question at a path.
func (h *house) asked(path string, form url.Values, status int) (options json.RawMessage, wrong string) {
	h.t.Helper()
	body, header := h.want(path, form, status)
	var a struct {
		Options json.RawMessage
		Wrong   string
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || header.Get("Cache-Control") != "no-store" {
		h.t.Fatalf("%v\n%s", err, body)
	}
	return a.Options, a.Wrong
}

// TestPasskeys: one is made with the password and the device, listed, asked for after the password, and removed with a warning.
func TestPasskeys(t *testing.T) {
	h := newHouse(t)
	d := &passkeytest.Device{T: t, Origin: "https://mail.test"}
	h.want(keysPath, nil, 200, "There are none yet", "cannot be made at this address")
	if _, wrong := h.asked(keysPath+"/ask", url.Values{"name": {"phone"}, "password": {authtest.Password}}, 422); !strings.Contains(wrong, "cannot be made or used at this address") {
		t.Error(wrong)
	}
	h.visit.At = passkey.Where{Host: "mail.test", Origin: "https://mail.test"}
	if body, _ := h.want(keysPath, nil, 200, `data-passkey="make"`, "hidden", "passkey."); strings.Contains(body, "cannot be made at this address") {
		t.Error("it cannot be made")
	}
	for field, says := range map[string]string{"name": "which device", "password": "not your password"} {
		form := url.Values{"name": {"phone"}, "password": {authtest.Password}}
		form.Set(field, "")
		if _, wrong := h.asked(keysPath+"/ask", form, 422); !strings.Contains(wrong, says) {
			t.Errorf("%s: %q", field, wrong)
		}
	}
	question, _ := h.asked(keysPath+"/ask", url.Values{"name": {"phone"}, "password": {authtest.Password}}, 200)
	answer := url.Values{"name": {"my <phone>"}, "credential": {d.Make(question)}}
	other := *h.visit.SignIn
	other.Session = "another"
	mine := h.visit.SignIn
	h.visit.SignIn = &other
	h.want(keysPath, answer, 422, "took too long")
	h.visit.SignIn = mine
	h.want(keysPath, url.Values{"name": {"x"}, "credential": {"{}"}}, 422, "cannot be taken")
	h.want(keysPath, answer, 303)
	h.want(keysPath, answer, 422, "took too long")
	h.want(keysPath, nil, 200, "my &lt;phone&gt;", "mail.test", "never", "Your password still opens these pages alone")

	require := "/account/second-factor/passkey"
	h.want("/account/second-factor", nil, 200, "Ask for a passkey", "With an authenticator")
	if _, wrong := h.asked(require+"/ask", url.Values{"password": {"wrong"}}, 422); !strings.Contains(wrong, "not your password") {
		t.Error(wrong)
	}
	h.want(require, url.Values{"credential": {"{}"}}, 422, "cannot be taken")
	question, _ = h.asked(require+"/ask", url.Values{"password": {authtest.Password}}, 200)
	body, _ := h.want(require, url.Values{"credential": {d.Use(question)}}, 200, "shown only now")
	if n := len(regexp.MustCompile(`(?m)[a-z]{4}(-[a-z]{4}){4}$`).FindAllString(body, -1)); n != 8 || h.renewed != 1 || !h.proved || h.ended != 1 {
		t.Errorf("%d codes, renewed %d (strong: %v), ended %d", n, h.renewed, h.proved, h.ended)
	}
	h.want("/account/second-factor", nil, 200, `a <a href="/account/passkeys">passkey</a> after the password`, "8 recovery codes are left", "An authenticator besides")
	h.want(keysPath+"/remove?number=x", nil, 404)
	body, _ = h.want(keysPath+"/remove?number=1", nil, 200, "It is your second factor")
	if strings.Contains(body, "operators") || strings.Contains(body, "signed out") {
		t.Error("alice is no operator, and did not sign in with it")
	}
	h.visit.SignIn.Admin, h.visit.SignIn.Passkey = true, 1
	h.want(keysPath+"/remove?number=1", nil, 200, "the pages of operators stay closed", "you will be signed out")
	h.want(keysPath+"/remove", url.Values{"number": {"1"}}, 422, "not your password", "It is your second factor") // a session that was found open is not enough
	if f, err := h.admin.SecondFactor(t.Context(), "alice"); err != nil || !f.On {
		t.Errorf("%+v, %v", f, err)
	}
	h.want(keysPath+"/remove", url.Values{"number": {"1"}, "password": {authtest.Password}}, 303)
	h.want(keysPath+"/remove", url.Values{"number": {"1"}}, 404)
	if f, err := h.admin.SecondFactor(t.Context(), "alice"); err != nil || f.On {
		t.Errorf("%+v, %v", f, err)
	}
	if s := page.VisitOf(t.Context()); s.At.Host != "" {
		t.Error("a visit of nobody is somewhere")
	}
}
