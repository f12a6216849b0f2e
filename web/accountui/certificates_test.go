package accountui_test

import (
	"bytes"
	"crypto/tls"
	"maps"
	"mime/multipart"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/web/page"
)

const certificatesPath = "/account/certificates"

func certificateForm(c tls.Certificate) url.Values {
	return url.Values{"name": {`<b>"notebook"`}, "imap": {"1"}, "ends": {"90"}, "pem": {authtest.PEM(c)}, "password": {authtest.Password}}
}

// TestCertificates: one is pasted, listed beside the app passwords, and taken back.
func TestCertificates(t *testing.T) {
	h := newHouse(t)
	h.want(certificatesPath, nil, 200, "There are none yet", "asks no program for a certificate", `enctype="multipart/form-data"`)
	h.want(certificatesPath, certificateForm(authtest.Certificate(t, nil, nil)), 303)
	h.want(certificatesPath, nil, 200, "&lt;b&gt;&#34;notebook&#34;", "CN=a program", "Read mail (IMAP)", "in 8")
	h.want(appsPath, nil, 200, "1 of your programs may log in with a certificate", "&lt;b&gt;&#34;notebook&#34;", certificatesPath)
	h.want(certificatesPath+"/remove", url.Values{"number": {"x"}}, 404)
	h.want(certificatesPath+"/remove", url.Values{"number": {"1"}}, 303)
	h.want(certificatesPath+"/remove", url.Values{"number": {"1"}}, 404, "no such certificate")
	h.want(certificatesPath, nil, 200, "There are none yet")
}

// TestCertificateUpload: the file of a form takes the place of what was typed.
func TestCertificateUpload(t *testing.T) {
	h := newHouse(t)
	send := func(file string) *httptest.ResponseRecorder {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		fields := certificateForm(authtest.Certificate(t, nil, nil))
		fields.Set("pem", "")
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if err := form.WriteField(name, fields.Get(name)); err != nil {
				t.Fatal(err)
			}
		}
		part, err := form.CreateFormFile("file", "../../etc/notebook.pem")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(file)); err != nil {
			t.Fatal(err)
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", certificatesPath, &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		visit := h.visit
		w := httptest.NewRecorder()
		h.room.Handler.ServeHTTP(w, r.WithContext(page.WithVisit(r.Context(), &visit)))
		return w
	}
	for file, status := range map[string]int{
		"": 422, "no certificate": 422, strings.Repeat("a", 100<<10): 413, authtest.PEM(authtest.Certificate(t, nil, nil)): 303,
	} {
		if w := send(file); w.Code != status {
			t.Errorf("%.20q: %d, not %d", file, w.Code, status)
		}
	}
	if all, err := h.admin.ClientCertificates(t.Context(), "alice"); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestCertificateMistakes: what was typed stays, a private key does not come back, nothing is made.
func TestCertificateMistakes(t *testing.T) {
	h := newHouse(t)
	c := authtest.Certificate(t, nil, nil)
	for field, wrong := range map[string][2]string{
		"name":     {"", "Say which program"},
		"imap":     {"", "Choose what the program may do"},
		"ends":     {"x", "Choose one of these"},
		"pem":      {authtest.KeyPEM(t, c), "there is a private key in it"},
		"password": {"wrong", "This is not your password"},
	} {
		form := certificateForm(c)
		form.Set(field, wrong[0])
		body, _ := h.want(certificatesPath, form, 422, wrong[1], "Nothing was changed")
		if strings.Contains(body, "BEGIN PRIVATE KEY") || strings.Contains(body, `value="wrong"`) {
			t.Errorf("%s: a secret comes back", field)
		}
	}
	form := certificateForm(c)
	form.Set("pem", "")
	h.want(certificatesPath, form, 422, "Paste the certificate")
	if all, err := h.admin.ClientCertificates(t.Context(), "alice"); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
