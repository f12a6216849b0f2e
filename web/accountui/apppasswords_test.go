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
)

const appsPath = "/account/app-passwords"

// TestAppPasswords: one is made, shown once, works, and is taken back.
func TestAppPasswords(t *testing.T) {
	h := newHouse(t)
	h.want(appsPath, nil, 200, "There are none yet", `name="imap" value="1" checked`, "Let programs use app passwords only")
	form := url.Values{"name": {`<b>"phone"`}, "imap": {"1"}, "ends": {"90"}, "password": {authtest.Password}}
	body, header := h.want(appsPath, form, 200, "It is shown only now", "data-copy", "mail.test", "&lt;b&gt;")
	if header.Get("Cache-Control") != "no-store" {
		t.Error("the password may be kept by a browser")
	}
	password := regexp.MustCompile(`[a-z]{4}(-[a-z]{4}){4}`).FindString(body)
	login := func(door auth.Door) error {
		_, err := h.directory.Login(t.Context(), auth.Client{Door: door, Remote: netip.MustParseAddr("127.0.0.1"), TLS: &tls.ConnectionState{}}, "alice", password)
		return err
	}
	if err := login(auth.DoorIMAP); err != nil {
		t.Error(err)
	}
	if login(auth.DoorPOP3) == nil || login(auth.DoorWeb) == nil {
		t.Error("it opens more than was ticked")
	}
	if body, _ := h.want(appsPath, nil, 200, "&lt;b&gt;&#34;phone&#34;", "Read mail (IMAP)", "in 8"); strings.Contains(body, password) {
		t.Error("it is shown again")
	}
	h.want(appsPath+"/remove", url.Values{"number": {"x"}}, 404)
	h.want(appsPath+"/remove", url.Values{"number": {"1"}}, 303)
	h.want(appsPath+"/remove", url.Values{"number": {"1"}}, 404, "no such app password")
	if login(auth.DoorIMAP) == nil {
		t.Error("it was taken back and works")
	}
}

// TestAppPasswordMistakes: what was typed stays, nothing is made.
func TestAppPasswordMistakes(t *testing.T) {
	h := newHouse(t)
	good := func() url.Values {
		return url.Values{"name": {"phone"}, "submission": {"1"}, "ends": {"0"}, "password": {authtest.Password}}
	}
	for field, c := range map[string][2]string{
		"name":       {"", "Say which program"},
		"submission": {"", "Choose what the program may do"},
		"ends":       {"-1", "Choose one of these"},
		"password":   {"wrong", "This is not your password"},
	} {
		form := good()
		form.Set(field, c[0])
		body, _ := h.want(appsPath, form, 422, c[1], "Nothing was changed")
		if strings.Contains(body, `value="wrong"`) {
			t.Error("a password comes back")
		}
	}
	form := good()
	form.Set("name", strings.Repeat("a", 101))
	h.want(appsPath, form, 422, "too long")
	if all, err := h.admin.AppPasswords(t.Context(), "alice"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestWebOnly: to close the door costs no password, to open it again does.
func TestWebOnly(t *testing.T) {
	h := newHouse(t)
	h.want(appsPath+"/own", url.Values{"only": {"1"}}, 303)
	h.want(appsPath, nil, 200, "opens these pages only")
	h.want(appsPath+"/own", url.Values{"password": {"wrong"}}, 422, "This is not your password")
	h.want(appsPath, nil, 200, "opens these pages only")
	h.want(appsPath+"/own", url.Values{"password": {authtest.Password}}, 303)
	h.want(appsPath, nil, 200, "Let programs use app passwords only")
}
