package page

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestDownload: an error before the first octet is told, one behind it cuts the file off, and who is signed out gets no more.
func TestDownload(t *testing.T) {
	w := httptest.NewRecorder()
	d := NewDownload(w, "application/zip")
	d.Name, d.Wait = "mail.zip", PartWait
	bad := errors.New("bad")
	if err := d.End(bad, nil); err != bad || w.Header().Get("Content-Type") != "" {
		t.Error(err, w.Header())
	}
	if _, err := d.Write([]byte("PK")); err != nil {
		t.Fatal(err)
	}
	if w.Header().Get("Content-Disposition") != `attachment; filename="mail.zip"` || w.Header().Get("Cache-Control") != "no-store" {
		t.Error(w.Header())
	}
	told := false
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("half a file ends as a whole one does")
			}
		}()
		_ = d.End(bad, func() { told = true })
	}()
	if !told {
		t.Error("nobody was told")
	}

	in := true
	d = NewDownload(httptest.NewRecorder(), "application/zip")
	d.Stands = func() bool { return in }
	part := []byte(strings.Repeat("x", 64<<10))
	for i := range 100 {
		if i == 50 {
			in = false
		}
		if _, err := d.Write(part); err != nil {
			if !errors.Is(err, ErrOver) || i < 50 || i > 50+standOctets/len(part) {
				t.Error(i, err)
			}
			return
		}
	}
	t.Error("who is signed out gets all of it")
}

// TestEmptyDownload: nothing is a file too.
func TestEmptyDownload(t *testing.T) {
	w := httptest.NewRecorder()
	if err := NewDownload(w, "application/octet-stream").End(nil, nil); err != nil || w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Error(err, w.Header())
	}
}
