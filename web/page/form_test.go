package page

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestForms: a page with two forms shows the one that was sent as it was typed, and the other as it is stored.
func TestForms(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(url.Values{"name": {" Robert\x01 "}, "box": {""}, "other": {"x"}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	f, err := Read(httptest.NewRecorder(), r, "name", "box")
	if err != nil {
		t.Fatal(err)
	}
	f.Under(map[string]string{"name": "bob", "box": "1", "space": "2 GiB"})
	if f.Is("box") || f.Value("space") != "2 GiB" || f.Value("other") != "" || f.Ok() || f.Fault("name") == "" {
		t.Errorf("%+v", f)
	}
	f = Filled(map[string]string{"name": "bob"})
	if !f.Ok() || f.Value("name") != "bob" {
		t.Errorf("%+v", f)
	}
	f.Reject("", "all of it")
	f.Reject("", "not said")
	if f.Ok() || f.Fault("") != "all of it" {
		t.Errorf("%+v", f)
	}
}

func TestDone(t *testing.T) {
	for to, want := range map[string]string{"/x": "/x?done=saved", "/x?name=a%26b": "/x?name=a%26b&done=saved"} {
		w := httptest.NewRecorder()
		Done(w, httptest.NewRequest("POST", "/x", nil), to, "saved")
		if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want {
			t.Errorf("%s leads to %s", to, got)
		}
	}
}
