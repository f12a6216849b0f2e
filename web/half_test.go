package web_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// code is what an authenticator shows.
func code(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1e6)
}

// secondFactor gives the operator one; its next code is good half a minute later.
func (h *house) secondFactor() (secret string, recovery []string) {
	h.t.Helper()
	secret = auth.NewAuthenticator()
	err := h.store.DB.Update(h.t.Context(), func(tx *kv.Tx) (err error) {
		recovery, err = h.directory.SetFactor(tx, 2, secret, code(h.t, secret, h.now))
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.now = h.now.Add(30 * time.Second)
	return secret, recovery
}

// half signs the operator in with his password alone.
func (h *house) half() *visitor {
	h.t.Helper()
	v := h.visitor()
	in := credentials("op@mail.test", authtest.Password)
	in.Set("back", "/run/x")
	if to := v.want("/sign-in", in, 303, "").Get("Location"); to != "/run/x" {
		h.t.Errorf("led to %q", to)
	}
	if v.cookie == nil || v.cookie.Name != "posthouse-half" || v.cookie.SameSite != http.SameSiteStrictMode || !v.cookie.HttpOnly {
		h.t.Fatalf("cookie %+v", v.cookie)
	}
	return v
}

func entered(code string) url.Values { return url.Values{"code": {code}, "back": {"/run/x"}} }

// TestSecondFactor: the password alone opens nothing; with the code an operator comes into his rooms, and a code is good once.
func TestSecondFactor(t *testing.T) {
	h := newHouse(t, nil)
	secret, recovery := h.secondFactor()
	v := h.half()
	v.want("/", nil, 200, `autocomplete="one-time-code"`)
	v.want("/mine/", nil, 401, `autocomplete="one-time-code"`)
	v.want("/run/x", nil, 401, `name="back" value="/run/x"`)
	v.want("/sign-in/code", entered("12345"), 401, "not a code that is valid now")
	half := *v.cookie
	if to := v.want("/sign-in/code", entered(code(t, secret, h.now)), 303, "").Get("Location"); to != "/run/x" {
		t.Errorf("led to %q", to)
	}
	v.want("/run/x", nil, 200, "run /run/x")
	v.want("/mine/", nil, 200, "mine")
	again := h.visitor()
	again.cookie = &half
	again.want("/sign-in/code", entered(recovery[0]), 401, "took too long")
	other := h.half()
	other.want("/sign-in/code", entered(code(t, secret, h.now)), 401, "not a code")
	other.want("/sign-in/code", entered(recovery[0]), 303, "")
	other.want("/run/x", nil, 200, "run")
	third := h.half()
	third.want("/sign-in/leave", url.Values{}, 303, "")
	third.want("/", nil, 200, `action="/sign-in"`)
}

// TestHalfEnds: ten minutes, ten wrong codes, or a new password.
func TestHalfEnds(t *testing.T) {
	h := newHouse(t, nil)
	_, recovery := h.secondFactor()
	late := h.half()
	h.now = h.now.Add(10*time.Minute + time.Second)
	late.want("/", nil, 200, `action="/sign-in"`)
	late.want("/sign-in/code", entered(recovery[0]), 401, "took too long")
	many := h.half()
	for range 9 {
		many.want("/sign-in/code", entered("aaaa-aaaa-aaaa-aaaa-aaaa"), 401, "not a code")
	}
	many.want("/sign-in/code", entered("aaaa-aaaa-aaaa-aaaa-aaaa"), 401, "Too many wrong codes")
	many.want("/", nil, 200, `action="/sign-in"`)
	changed := h.half()
	if err := h.directory.SetPassword(t.Context(), 2, "another password"); err != nil {
		t.Fatal(err)
	}
	changed.want("/sign-in/code", entered(recovery[1]), 401, "has changed meanwhile")
	nobody := h.visitor()
	nobody.want("/sign-in/code", entered("123456"), 401, "took too long")
	for _, value := range []string{"x", "!!!", "AAAA"} {
		nobody.cookie = &http.Cookie{Name: "posthouse-half", Value: value}
		nobody.want("/", nil, 200, `action="/sign-in"`)
	}
}

// TestSlowCodes: guessing a code is held up, a recovery code is not.
func TestSlowCodes(t *testing.T) {
	h := newHouse(t, nil)
	_, recovery := h.secondFactor()
	v := h.half()
	for range 5 {
		v.want("/sign-in/code", entered("000000"), 401, "not a code")
	}
	v.want("/sign-in/code", entered("000000"), 429, "use a recovery code")
	v.want("/sign-in/code", entered(recovery[0]), 303, "")
}

// TestFactorOverSessions: a session from before the second factor ends, and one from with it is no stronger than another when it is gone.
func TestFactorOverSessions(t *testing.T) {
	h := newHouse(t, nil)
	old := h.visitor()
	old.want("/sign-in", credentials("op@mail.test", authtest.Password), 303, "")
	old.want("/mine/", nil, 200, "")
	secret, _ := h.secondFactor()
	old.want("/mine/", nil, 401, "")
	v := h.half()
	v.want("/sign-in/code", entered(code(t, secret, h.now)), 303, "")
	v.want("/run/x", nil, 200, "")
	if err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error { return h.directory.RemoveFactor(tx, 2) }); err != nil {
		t.Fatal(err)
	}
	v.want("/mine/", nil, 200, "")
	v.want("/run/x", nil, 404, "")
}

// TestHalfOfNobody: an account that goes while its owner looks for his code leaves a sign-in form behind, and no page that fails.
func TestHalfOfNobody(t *testing.T) {
	h := newHouse(t, nil)
	secret, _ := h.secondFactor()
	v, w := h.half(), h.half()
	if err := h.directory.SetPassword(t.Context(), 2, "another one"); err != nil {
		t.Fatal(err)
	}
	w.want("/", nil, 200, `autocomplete="current-password"`)
	if err := h.store.DB.Update(t.Context(), func(tx *kv.Tx) error { return h.directory.RemoveAccount(tx, 2) }); err != nil {
		t.Fatal(err)
	}
	v.want("/mine/", nil, 401, `name="password"`)
	v.want("/sign-in/code", entered(code(t, secret, h.now)), 401, "enter your password again")
}
