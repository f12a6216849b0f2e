package mtasts_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/mtasts"
)

func TestPolicy(t *testing.T) {
	room := mtasts.Room(nil, func(_ context.Context, domain string) (string, error) {
		if domain != "example.test" {
			return "", &admin.Error{Class: admin.Missing, Message: "not ours"}
		}
		return "version: STSv1\nmode: enforce\n", nil
	})
	for _, c := range []struct {
		method, host string
		status       int
	}{
		{"GET", "mta-sts.example.test", 200},
		{"GET", "MTA-STS.example.test.:443", 200},
		{"HEAD", "mta-sts.example.test", 200},
		{"POST", "mta-sts.example.test", 404},
		{"GET", "mta-sts.elsewhere.test", 404},
		{"GET", "example.test", 404},
		{"GET", "", 404},
	} {
		r := httptest.NewRequest(c.method, mtasts.Path, nil)
		r.Host = c.host
		w := httptest.NewRecorder()
		room.Handler.ServeHTTP(w, r)
		if w.Code != c.status || c.status == 200 && (!strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || !strings.HasPrefix(w.Body.String(), "version: STSv1\n")) {
			t.Errorf("%s %s: %d %s\n%s", c.method, c.host, w.Code, w.Header(), w.Body)
		}
	}
}

// TestPolicyWithoutCertificate: nobody is told to insist on a certificate that is not there.
func TestPolicyWithoutCertificate(t *testing.T) {
	stands := false
	room := mtasts.Room(nil, mtasts.When(func() bool { return stands }, func(context.Context, string) (string, error) { return "version: STSv1\n", nil }))
	for _, want := range []int{503, 200} {
		r := httptest.NewRequest("GET", mtasts.Path, nil)
		r.Host = "mta-sts.example.test"
		w := httptest.NewRecorder()
		room.Handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("answers %d, want %d", w.Code, want)
		}
		stands = true
	}
}
