package web_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/auth/passkey/passkeytest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	safe  = "https://mail.test"
	local = "http://localhost:1080" // the demo's
)

// passkeyOf gives an account a passkey made at a page.
func (h *house) passkeyOf(d *passkeytest.Device, id mail.AccountID) {
	h.t.Helper()
	at := passkey.Where{Host: strings.Split(strings.SplitN(d.Origin, "//", 2)[1], ":")[0], Origin: d.Origin}
	q, err := h.directory.AskNewPasskey(h.t.Context(), id, at, "s")
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := h.directory.NewPasskey(h.t.Context(), id, at, "s", d.Make(q))
	if err != nil {
		h.t.Fatal(err)
	}
	err = h.store.DB.Update(h.t.Context(), func(tx *kv.Tx) error {
		_, err := h.directory.AddPasskey(tx, id, "phone", c)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// asked is the question at a path.
func (v *visitor) asked(path string) (options json.RawMessage, wrong string) {
	v.t.Helper()
	_, body, header := v.ask(path, url.Values{})
	var a struct {
		Options json.RawMessage
		Wrong   string
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || header.Get("Cache-Control") != "no-store" {
		v.t.Fatalf("%s: %v\n%s", path, err, body)
	}
	return a.Options, a.Wrong
}

// enter signs in with a device alone, at a page.
func (v *visitor) enter(d *passkeytest.Device, at string) (status int, body string) {
	v.t.Helper()
	v.secure = strings.HasPrefix(at, "https:")
	options, wrong := v.asked(at + "/sign-in/passkey/ask")
	if wrong != "" {
		v.t.Fatal(wrong)
	}
	status, body, _ = v.ask(at+"/sign-in/passkey", url.Values{"credential": {d.Use(options)}, "back": {"/run/x"}})
	return status, body
}

// TestPasskeyAlone: a passkey is both factors, over TLS and at localhost; an operator's rooms open.
func TestPasskeyAlone(t *testing.T) {
	for _, at := range []string{safe, local, "https://mail.test:1443", "https://webmail.mail.test"} {
		h := newHouse(t, nil)
		d := &passkeytest.Device{T: t, Origin: at}
		h.passkeyOf(d, 2)
		v := h.visitor()
		v.secure = strings.HasPrefix(at, "https:")
		v.want(at+"/", nil, 200, `data-passkey="use"`)
		if status, body := v.enter(d, at); status != 303 {
			t.Fatalf("%s: %d %s", at, status, body)
		}
		v.want(at+"/run/x", nil, 200, "run /run/x")
		h.open(nil) // a restart
		v.want(at+"/run/x", nil, 200, "run /run/x")
		err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error { _, err := h.directory.RemovePasskey(tx, 2, 1); return err })
		if err != nil {
			t.Fatal(err)
		}
		v.want(at+"/run/x", nil, 401, "Sign in") // what it opened went with it
		if status, body := h.visitor().enter(d, at); status != 401 || !strings.Contains(body, "opens no account here") {
			t.Errorf("%d %s", status, body)
		}
	}
}

// TestPasskeyPassword: a new password ends what a passkey opened, and not the passkey.
func TestPasskeyPassword(t *testing.T) {
	h := newHouse(t, nil)
	d := &passkeytest.Device{T: t, Origin: safe}
	h.passkeyOf(d, 2)
	v := h.visitor()
	if status, body := v.enter(d, safe); status != 303 {
		t.Fatal(status, body)
	}
	if err := h.directory.SetPassword(t.Context(), 2, "another password"); err != nil {
		t.Fatal(err)
	}
	v.want(safe+"/run/", nil, 401, "Sign in")
	if status, _ := h.visitor().enter(d, safe); status != 303 {
		t.Error("the passkey is void")
	}
}

// TestPasskeyNowhere: at an address, in clear, or by a name that is not ours there is no button, and no question.
func TestPasskeyNowhere(t *testing.T) {
	h := newHouse(t, nil)
	for _, at := range []string{"http://mail.test", "https://127.0.0.1:1443", "http://[::1]:1080", "https://evil.test", "https://mail.test.evil.test", "https://mail.test."} {
		v := h.visitor()
		v.secure = strings.HasPrefix(at, "https:")
		if _, body, _ := v.ask(at+"/", nil); strings.Contains(body, "passkey") && !strings.Contains(body, "webauthn") || strings.Contains(body, "data-passkey") {
			t.Errorf("%s offers passkeys", at)
		}
		if options, wrong := v.asked(at + "/sign-in/passkey/ask"); options != nil || !strings.Contains(wrong, "cannot be used at this address") {
			t.Errorf("%s: %s %q", at, options, wrong)
		}
	}
}

// TestPasskeyMistakes: what is answered to another's question, late, twice, or without a question signs nobody in.
func TestPasskeyMistakes(t *testing.T) {
	h := newHouse(t, nil)
	d := &passkeytest.Device{T: t, Origin: safe}
	h.passkeyOf(d, 2)
	safely := func() *visitor { v := h.visitor(); v.secure = true; return v }
	answer := func(v *visitor) url.Values {
		options, _ := v.asked(safe + "/sign-in/passkey/ask")
		return url.Values{"credential": {d.Use(options)}}
	}
	v := safely()
	stolen := answer(v)
	if c := v.cookie; c == nil || c.Name != "__Host-posthouse-passkey" || !c.HttpOnly || !c.Secure || c.SameSite != 3 {
		t.Errorf("cookie %+v", c)
	}
	safely().want(safe+"/sign-in/passkey", stolen, 401, "took too long") // without the cookie
	other := safely()
	answer(other)
	other.want(safe+"/sign-in/passkey", stolen, 401, "took too long")
	cookie := *v.cookie
	v.want(safe+"/sign-in/passkey", stolen, 303, "")
	v.cookie = &cookie
	v.want(safe+"/sign-in/passkey", stolen, 401, "took too long")
	late := safely()
	old := answer(late)
	h.now = h.now.Add(passkey.Life + 2*time.Second)
	late.want(safe+"/sign-in/passkey", old, 401, "took too long")
	late.want(safe+"/sign-in/passkey", url.Values{"credential": {"{}"}}, 401, "proves nothing")
	late.want(safe+"/sign-in/passkey", url.Values{"credential": {strings.Repeat("a", 70<<10)}}, 413, "too much")
	d.Unverified = true
	weak := safely()
	weak.want(safe+"/sign-in/passkey", answer(weak), 401, "did not ask for your finger")
	d.Unverified = false
	err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error {
		who, err := h.directory.AccountIn(tx, 2)
		if err == nil {
			who.Doors = auth.DoorIMAP
			err = h.directory.UpdateAccount(tx, who)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	closed := safely()
	closed.want(safe+"/sign-in/passkey", answer(closed), 401, "may not use the web pages")
}

// TestPasskeyAfterPassword: where a second factor is asked for, a passkey does instead of a code; made at another address it does not.
func TestPasskeyAfterPassword(t *testing.T) {
	h := newHouse(t, nil)
	d := &passkeytest.Device{T: t, Origin: safe, Unverified: true} // the password is the other factor
	good := *d
	good.Unverified = false
	h.passkeyOf(&good, 2)
	d.Keys = good.Keys
	err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error { _, err := h.directory.RequirePasskey(tx, 2); return err })
	if err != nil {
		t.Fatal(err)
	}
	sign := func() *visitor {
		v := h.visitor()
		v.secure = true
		v.want(safe+"/sign-in", credentials("op@mail.test", authtest.Password), 303, "")
		return v
	}
	v := sign()
	v.want(safe+"/run/", nil, 401, "Recovery code")
	options, wrong := v.asked(safe + "/sign-in/code/ask")
	if wrong != "" {
		t.Fatal(wrong)
	}
	strangers := sign()
	strangers.want(safe+"/sign-in/code/passkey", url.Values{"credential": {d.Use(options)}}, 401, "took too long")
	v.want(safe+"/sign-in/code/passkey", url.Values{"credential": {d.Use(options)}, "back": {"/run/x"}}, 303, "")
	v.want(safe+"/run/x", nil, 200, "run")

	away := sign()
	away.want("https://webmail.mail.test/run/", nil, 401, "made at another address")
	if _, wrong := away.asked("https://webmail.mail.test/sign-in/code/ask"); !strings.Contains(wrong, "opens no account here") {
		t.Error(wrong)
	}
	nobody := h.visitor()
	nobody.secure = true
	if _, wrong := nobody.asked(safe + "/sign-in/code/ask"); !strings.Contains(wrong, "took too long") {
		t.Error(wrong)
	}
	nobody.want(safe+"/sign-in/code/passkey", url.Values{"credential": {"{}"}}, 401, "took too long")
	many := sign()
	for range 9 {
		many.want(safe+"/sign-in/code/passkey", url.Values{"credential": {"{}"}}, 401, "proves nothing")
	}
	many.want(safe+"/sign-in/code/passkey", url.Values{"credential": {"{}"}}, 401, "Too many tries")
}
