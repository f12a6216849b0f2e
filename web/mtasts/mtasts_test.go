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
