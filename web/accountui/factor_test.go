package accountui_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"image/png"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/authtest"
)

const factorPath = "/account/second-factor"

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

// TestSecondFactor: set up with a code and the password, recovery codes shown once, made anew, ended.
func TestSecondFactor(t *testing.T) {
	h := newHouse(t)
	body, header := h.want(factorPath, nil, 200, "Or type this key")
	if header.Get("Cache-Control") != "no-store" {
		t.Error("the secret may be kept by a browser")
	}
	secret := regexp.MustCompile(`name="secret" value="([A-Z2-7]{32})"`).FindStringSubmatch(body)[1]
	text := regexp.MustCompile(`src="data:image/png;base64,([^"]+)"`).FindStringSubmatch(body)
	if text == nil {
		t.Fatalf("no picture:\n%s", body)
	}
	image, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text[1], "&#43;", "+"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(image)); err != nil {
		t.Error(err)
	}
	now := time.Now()
	good := url.Values{"secret": {secret}, "code": {code(t, secret, now)}, "password": {authtest.Password}}
	for field, says := range map[string]string{"code": "This code does not fit", "password": "This is not your password"} {
		form := url.Values{"secret": good["secret"], "code": good["code"], "password": good["password"]}
		form.Set(field, "wrong")
		h.want(factorPath, form, 422, says, secret)
	}
	h.want(factorPath, url.Values{"secret": {"AAAA"}, "code": {"123456"}, "password": {authtest.Password}}, 422)
	if h.renewed != 0 || h.ended != 0 {
		t.Error("mistakes changed sessions")
	}
	body, _ = h.want(factorPath, good, 200, "shown only now", "data-copy")
	if n := len(regexp.MustCompile(`(?m)[a-z]{4}(-[a-z]{4}){4}$`).FindAllString(body, -1)); n != 8 {
		t.Errorf("%d recovery codes", n)
	}
	if h.renewed != 1 || !h.proved || h.ended != 1 {
		t.Errorf("renewed %d (strong: %v), ended %d", h.renewed, h.proved, h.ended)
	}
	if body, _ := h.want(factorPath, nil, 200, "8 recovery codes are left"); strings.Contains(body, secret) {
		t.Error("the secret is shown again")
	}
	h.want(factorPath+"/codes", url.Values{"password": {"wrong"}}, 422, "This is not your password")
	h.want(factorPath+"/codes", url.Values{"password": {authtest.Password}}, 200, "shown only now")
	h.want(factorPath+"/remove", url.Values{"password": {"wrong"}}, 422)
	h.want(factorPath+"/remove", url.Values{"password": {authtest.Password}}, 303)
	h.want(factorPath+"/remove", url.Values{"password": {authtest.Password}}, 422, "no second factor")
	h.want(factorPath, nil, 200, "Or type this key")
}
