package accountui_test

import (
	"crypto/tls"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

const tokensPath = "/account/tokens"

// TestTokens: one is made, shown once, does what was ticked, and is taken back.
func TestTokens(t *testing.T) {
	h := newHouse(t)
	h.want(tokensPath, nil, 200, "There are none yet", `name="masks"`)
	form := url.Values{"name": {"<i>Bitwarden"}, "masks": {"1"}, "mail": {"1"}, "ends": {"365"}, "password": {authtest.Password}}
	body, header := h.want(tokensPath, form, 200, "It is shown only now", "addy.io", "&lt;i&gt;", "OAUTHBEARER")
	if header.Get("Cache-Control") != "no-store" {
		t.Error("the token may be kept by a browser")
	}
	secret := regexp.MustCompile(auth.TokenPattern).FindString(body)
	show := func(door auth.Door) error {
		_, err := h.directory.LoginToken(t.Context(), auth.Client{Door: door, Remote: netip.MustParseAddr("127.0.0.1"), TLS: &tls.ConnectionState{}}, "", secret, "test")
		return err
	}
	if err := show(auth.DoorIMAP); err != nil {
		t.Error(err)
	}
	if show(auth.DoorSubmission) == nil {
		t.Error("it opens more than was ticked")
	}
	if body, _ := h.want(tokensPath, nil, 200, "Read my mail", "masked addresses", "Bitwarden"); strings.Contains(body, secret) {
		t.Error("it is shown again")
	}
	h.want(tokensPath+"/remove", url.Values{"number": {"x"}}, 404)
	h.want(tokensPath+"/remove", url.Values{"number": {"1"}}, 303)
	h.want(tokensPath+"/remove", url.Values{"number": {"1"}}, 404, "no token 1")
	if show(auth.DoorIMAP) == nil {
		t.Error("it was taken back and works")
	}
}

// TestTokenMistakes: what was typed stays, nothing is made.
func TestTokenMistakes(t *testing.T) {
	h := newHouse(t)
	for field, c := range map[string][2]string{
		"name": {"", "Say which program"}, "send": {"", "Choose what the program may do"}, "ends": {"x", "Choose one of these"}, "password": {"wrong", "This is not your password"},
	} {
		form := url.Values{"name": {"shop"}, "send": {"1"}, "ends": {"0"}, "password": {authtest.Password}}
		form.Set(field, c[0])
		h.want(tokensPath, form, 422, c[1])
	}
	if all, err := h.admin.Tokens(t.Context(), "alice"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestTokensOfOperators: what operators may do is ticked by them only, after a second factor; tokens of others are not theirs here.
func TestTokensOfOperators(t *testing.T) {
	h := newHouse(t)
	form := url.Values{"name": {"x"}, "everything": {"1"}, "ends": {"0"}, "password": {authtest.Password}}
	h.want(tokensPath, form, 422, "Choose what the program may do")
	yes := true
	if _, err := h.admin.SetAccount(t.Context(), "alice", admin.Change{Operator: &yes}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.admin.AddToken(t.Context(), admin.NewToken{Name: "the metrics", Scopes: []string{"read"}}); err != nil {
		t.Fatal(err)
	}
	h.visit.SignIn.Admin = true
	if body, _ := h.want(tokensPath, form, 422, "after a sign-in with a second factor"); strings.Contains(body, "the metrics") {
		t.Error("tokens of the house are shown without a second factor")
	}
	h.want(tokensPath+"/remove", url.Values{"number": {"1"}}, 404)
	h.visit.SignIn.Strong = true
	h.want(tokensPath, nil, 200, "Of the house", "the metrics", `name="everything"`)
	h.want(tokensPath, form, 200, "posthouse_")
	h.want(tokensPath+"/remove", url.Values{"number": {"1"}}, 303)
}
