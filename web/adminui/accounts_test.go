package adminui_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/adminui"
)

const bobs = "who=bob%40mail.test"

func TestAccounts(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/accounts", nil, 200, "alice@mail.test", "bob@mail.test", "2 accounts", `href="/admin/account?who=bob%40mail.test"`)
	h.want("/admin/accounts?q=BOB", nil, 200, "bob@mail.test", "1 account<", `value="BOB"`)
	h.want("/admin/accounts?q=nobody", nil, 200, "There is no such account.")
	h.want("/admin/accounts?domain=mail.test&only=closed", nil, 200, "There is no such account.")
	h.want("/admin/accounts?only=strange", nil, 422)
	h.want("/admin/accounts?page=9999999999999999999999&q="+url.QueryEscape("\xff"+strings.Repeat("x", 5000)), nil, 200)
	h.want("/admin/account?who=nobody%40mail.test", nil, 404)
	h.want("/admin/account", nil, 404)
}

func TestAddAccount(t *testing.T) {
	h := newHouse(t)
	h.want("/admin/accounts/add", nil, 200, `type="password"`)
	h.goes("/admin/accounts/add", form("address", "carol@mail.test", "name", "Carol", "password", "a long password", "bytes", "2 GiB"), "/admin/account?who=carol%40mail.test&done=account-added")
	h.want("/admin/account?who=carol%40mail.test", nil, 200, "<h1>Carol</h1>", `value="2 GiB"`)
	h.want("/admin/accounts/add", form("address", "dave@mail.test"), 200, "It is shown this once", `id="password"`)
	// Quotes and UTF-8 are addresses like any other (RFC 5321 section 4.1.2, RFC 6531).
	for _, odd := range []string{`"quo ted"@mail.test`, "jörg@mail.test", `"<b>&"@mail.test`, "o'neill@mail.test", "a+b/c=d@mail.test"} {
		_, header := h.want("/admin/accounts/add", form("address", odd, "password", "a long password"), 303)
		to := header.Get("Location")
		if u, err := url.Parse(to); err != nil || u.Query().Get("who") != odd {
			t.Errorf("%s leads to %q", odd, to)
		}
		body, _ := h.want(to, nil, 200)
		if strings.Contains(body, "<b>") {
			t.Errorf("%s stands in the page as it is", odd)
		}
		h.want("/admin/accounts?q="+url.QueryEscape(odd), nil, 200, "1 account<")
	}
	for address, want := range map[string]string{
		"": "fault", "carol": "has no @domain", "carol@elsewhere.test": "elsewhere.test", "alice@mail.test": "fault", "a b@mail.test": "fault", "<x>@mail.test": "fault",
		"carol@mail.test\r\nBcc: x@y.test": "fault", strings.Repeat("x", 65) + "@mail.test": "fault", "x@mail.test\x00": "characters that cannot be used", "\"a\nb\"@mail.test": "fault",
	} {
		h.want("/admin/accounts/add", form("address", address, "password", "a long password"), 422, want)
	}
	body, _ := h.want("/admin/accounts/add", form("address", "carol@elsewhere.test", "password", "a long password"), 422)
	if strings.Contains(body, "posthouse domain") || strings.Contains(body, "a long password") {
		t.Error("the page speaks of commands, or shows the password")
	}
	h.want("/admin/accounts/add", form("address", "short@mail.test", "password", "short"), 422, "At least 10 characters")
	h.want("/admin/accounts/add", form("address", "big@mail.test", "bytes", "a lot"), 422, "This is no size")
	h.want("/admin/accounts/add", form("address", "big@mail.test", "password", strings.Repeat("x", 2000)), 422, "fault")
	h.want("/admin/accounts/add", form("address", strings.Repeat("x", 100<<10)), 413, "That is too much at once")
}

func TestAccountPerson(t *testing.T) {
	h := newHouse(t)
	path := "/admin/account?" + bobs
	old := h.version(path)
	h.goes("/admin/account/person", form("who", "bob@mail.test", "version", old, "name", "Robert", "login", "bob", "door_imap", "1", "operator", "1"), path+"&done=account-saved")
	h.want(path, nil, 200, "<h1>Robert</h1>", `name="door_imap" value="1" checked`, `name="operator" value="1" checked`)
	if body, _ := h.want(path, nil, 200); strings.Contains(body, `name="door_pop3" value="1" checked`) {
		t.Error("a door stayed open")
	}
	h.want("/admin/account/person", form("who", "bob@mail.test", "version", old, "name", "Bobby"), 409, "Nothing of yours was saved", `value="Bobby"`)
	if a, err := h.admin.Account(t.Context(), "bob@mail.test"); err != nil || a.Name != "Robert" {
		t.Errorf("somebody's change is lost: %+v %v", a, err)
	}
	h.want("/admin/account/person", form("who", "bob@mail.test", "version", h.version(path), "login", "alice"), 422, `id="login-fault"`)
	h.want("/admin/account/person", form("who", "gone@mail.test"), 404)
	mine := "/admin/account?who=alice%40mail.test"
	h.want("/admin/account/person", form("who", "alice@mail.test", "version", h.version(mine), "door_web", "1", "operator", "1", "closed", "1"), 422, "you would lock yourself out")
	h.want("/admin/account/person", form("who", "alice@mail.test", "version", h.version(mine), "operator", "1"), 422, "you would lock yourself out")
	h.want("/admin/account/person", form("who", "alice@mail.test", "version", h.version(mine), "door_web", "1"), 422, "let another operator do it")
}

func TestAccountAddresses(t *testing.T) {
	h := newHouse(t)
	path := "/admin/account?" + bobs
	send := func(action, address string) url.Values {
		return form("who", "bob@mail.test", "version", h.version(path), "action", action, "address", address)
	}
	h.goes("/admin/account/addresses", send("add", "robert@mail.test"), path+"&done=account-addresses")
	h.want(path, nil, 200, "Make it the main one: robert@mail.test")
	h.want("/admin/account/addresses", send("add", "alice@mail.test"), 422, `id="address-fault"`)
	h.want("/admin/account/addresses", send("add", "robert@elsewhere.test"), 422, `id="address-fault"`)
	h.want("/admin/account/addresses", send("remove", "nobody@mail.test"), 422)
	h.want("/admin/account/addresses", send("paint", "robert@mail.test"), 404)
	h.goes("/admin/account/addresses", send("main", "robert@mail.test"), "/admin/account?who=robert%40mail.test&done=account-addresses")
	h.goes("/admin/account/addresses", send("remove", "bob@mail.test"), "/admin/account?who=robert%40mail.test&done=account-addresses")
	h.want(path, nil, 404)
}

func TestAccountSpace(t *testing.T) {
	h := newHouse(t)
	path := "/admin/account?" + bobs
	h.goes("/admin/account/space", form("who", "bob@mail.test", "version", h.version(path), "bytes", "5 MiB", "messages", "20"), path+"&done=account-space")
	h.want(path, nil, 200, `value="5 MiB"`, `value="20"`)
	h.want("/admin/account/space", form("who", "bob@mail.test", "version", h.version(path), "bytes", "99999999999999999999 GiB"), 422, "This is no size")
	h.goes("/admin/account/space", form("who", "bob@mail.test", "version", h.version(path)), path+"&done=account-space")
	if a, err := h.admin.Account(t.Context(), "bob@mail.test"); err != nil || a.Quota.Bytes != 0 || a.Quota.Messages != 0 {
		t.Errorf("%+v %v", a.Quota, err)
	}
}

// code is what an authenticator shows now (RFC 6238).
func code(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1e6)
}

func TestAccountAccess(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	h.sessions = []adminui.Session{{Name: "one", Agent: "Firefox", Remote: "192.0.2.1", Created: now, Seen: now}}
	path := "/admin/account/access?" + bobs
	h.want(path, nil, 200, "Firefox", "There are none.", "There is none: the password alone")
	h.goes("/admin/account/password", form("who", "bob@mail.test", "password", "quite another one"), path+"&done=account-password")
	if _, err := h.directory.Confirm(t.Context(), auth.Identity{Main: mail.Address{Local: "bob", Domain: "mail.test"}}, netip.MustParseAddr("127.0.0.1"), "quite another one"); err != nil {
		t.Error(err)
	}
	h.want("/admin/account/password", form("who", "bob@mail.test"), 200, "It is shown this once")
	h.want("/admin/account/password", form("who", "bob@mail.test", "password", "short"), 422, "At least 10 characters")
	h.want("/admin/account/password", form("who", "alice@mail.test", "password", "quite another one"), 422, "This is your own account")
	h.want("/admin/account/password", form("who", "gone@mail.test", "password", "quite another one"), 404)

	shown, err := h.admin.AddCertificate(t.Context(), "bob@mail.test", admin.NewClientCertificate{Name: "<notebook>", PEM: authtest.PEM(authtest.Certificate(t, nil, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h.want(path, nil, 200, "&lt;notebook&gt;", shown.Key[:16], "CN=a program")
	h.goes("/admin/account/certificate", form("who", "bob@mail.test", "number", fmt.Sprint(shown.Number)), path+"&done=certificate-revoked")
	h.want("/admin/account/certificate", form("who", "bob@mail.test", "number", fmt.Sprint(shown.Number)), 404)
	app, err := h.admin.AddAppPassword(t.Context(), "bob@mail.test", admin.NewAppPassword{Name: "<phone>"})
	if err != nil {
		t.Fatal(err)
	}
	h.want(path, nil, 200, "&lt;phone&gt;")
	h.goes("/admin/account/app-password", form("who", "bob@mail.test", "number", fmt.Sprint(app.Number)), path+"&done=app-revoked")
	h.want("/admin/account/app-password", form("who", "bob@mail.test", "number", fmt.Sprint(app.Number)), 404)
	h.want("/admin/account/app-password", form("who", "bob@mail.test", "number", "-1"), 404)

	token, err := h.admin.AddToken(t.Context(), admin.NewToken{Account: "bob@mail.test", Name: "<script>", Scopes: []string{"send"}})
	if err != nil {
		t.Fatal(err)
	}
	h.want(path, nil, 200, "&lt;script&gt;", "Take back the token")
	h.goes("/admin/account/token", form("who", "bob@mail.test", "number", fmt.Sprint(token.Number)), path+"&done=token-revoked")
	h.want("/admin/account/token", form("who", "bob@mail.test", "number", fmt.Sprint(token.Number)), 404)
	h.want("/admin/account/passkey", form("who", "bob@mail.test", "number", "1"), 404)

	h.want("/admin/account/second-factor?"+bobs, nil, 200, "call back")
	h.want("/admin/account/second-factor", form("who", "bob@mail.test"), 422)
	secret := auth.NewAuthenticator()
	if _, err := h.admin.StartSecondFactor(t.Context(), "bob@mail.test", admin.Authenticator{Secret: secret, Code: code(t, secret)}); err != nil {
		t.Fatal(err)
	}
	h.want(path, nil, 200, "8 recovery codes are left", "Reset it")
	h.goes("/admin/account/second-factor", form("who", "bob@mail.test"), path+"&done=factor-reset")
	h.want("/admin/account/second-factor", form("who", "alice@mail.test"), 409, "could not come back")

	h.goes("/admin/account/sign-ins", form("who", "bob@mail.test", "name", "one"), path+"&done=sign-ins-ended")
	h.goes("/admin/account/sign-ins", form("who", "bob@mail.test"), path+"&done=sign-ins-ended")
	h.want("/admin/audit", nil, 200, "Signed out", "all sign-ins at the pages")
	if got := strings.Join(h.ended, " "); got != "one all" {
		t.Errorf("ended: %s", got)
	}
}

func TestAccountSending(t *testing.T) {
	h := newHouse(t)
	path := "/admin/account/sending?" + bobs
	h.want(path, nil, 200, "Keep it from sending", `name="messages_per_hour"`)
	h.goes("/admin/account/sending/switch", form("who", "bob@mail.test", "reason", "it sent junk"), path+"&done=sending-off")
	h.want(path, nil, 200, "it sent junk", "Let it send again")
	h.want("/admin/", nil, 200, "Kept from sending", "bob@mail.test", "it sent junk")
	h.want("/admin/accounts?only=silent", nil, 200, "1 account<")
	h.goes("/admin/account/sending/switch", form("who", "bob@mail.test", "on", "1"), path+"&done=sending-on")
	h.want("/admin/account/sending/switch", form("who", "bob@mail.test", "reason", strings.Repeat("why ", 200)), 422, `id="reason-fault"`)
	old := h.version(path)
	h.goes("/admin/account/sending/limits", form("who", "bob@mail.test", "version", old, "messages_per_day", "5", "new_recipients_per_day", "none"), path+"&done=account-limits")
	h.want(path, nil, 200, `value="5"`, `value="none"`)
	h.want("/admin/account/sending/limits", form("who", "bob@mail.test", "version", old, "messages_per_day", "6"), 409, "Nothing of yours was saved", `value="6"`)
	h.want("/admin/account/sending/limits", form("who", "bob@mail.test", "version", h.version(path), "messages_per_day", "0"), 422, "Write a number, or none.")
	h.goes("/admin/account/forwarding", form("who", "bob@mail.test", "version", h.version(path), "forward", "bob@elsewhere.test\r\nrobert@elsewhere.test", "keep", "1"), path+"&done=account-forwarding")
	h.want(path, nil, 200, "bob@elsewhere.test\nrobert@elsewhere.test", `name="keep" value="1" checked`)
	h.want("/admin/account/forwarding", form("who", "bob@mail.test", "version", h.version(path), "forward", "no address"), 422, `id="forward-fault"`, "no address</textarea>")
	h.want("/admin/account/forwarding", form("who", "bob@mail.test", "version", h.version(path), "forward", "bob@mail.test"), 422, `id="forward-fault"`)
}

func TestRemoveAccount(t *testing.T) {
	h := newHouse(t)
	ask := "/admin/account/remove?" + bobs
	h.want(ask, nil, 200, "This cannot be undone", "0 messages", "bob@mail.test")
	h.want("/admin/account/remove", form("who", "bob@mail.test", "version", h.version(ask)), 422, "This is not its main address.")
	h.want("/admin/account/remove", form("who", "alice@mail.test", "version", h.version(ask), "typed", "alice@mail.test"), 422, "This is your own account")
	h.want("/admin/account/remove", form("who", "bob@mail.test", "version", "0000000000000000", "typed", "bob@mail.test"), 409, "Nothing of yours was saved")
	h.goes("/admin/account/remove", form("who", "bob@mail.test", "version", h.version(ask), "typed", "Bob@mail.test"), "/admin/accounts?done=account-removed")
	h.want(ask, nil, 404)
	h.want("/admin/account/remove", form("who", "bob@mail.test", "typed", "bob@mail.test"), 404)
}
