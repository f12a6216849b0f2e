package cert

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
)

// silent is an ACME whose authority answers nothing of use; asked tells of each time that it was asked.
func silent(t *testing.T, folder string) (a *ACME, asked chan struct{}) {
	t.Helper()
	asked = make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(s.Close)
	a, err := NewACME(ACMEOptions{Folder: folder, Directory: s.URL, HTTP: true, HTTPPort: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a, asked
}

// TestManageAgain: what kept the first certificate from being asked for (a full disk; here a folder that is none) is over at the next
// look, without a restart.
func TestManageAgain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "acme")
	a, asked := silent(t, folder)
	locks := filepath.Join(folder, "locks")
	if err := os.WriteFile(locks, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Manage(t.Context(), []string{"mail.test"})
	a.work.Wait()
	if at := a.Attempts(); len(at) != 1 || at[0].Error == "" || len(asked) != 0 {
		t.Fatalf("%+v, asked %d times", at, len(asked))
	}
	if err := os.Remove(locks); err != nil {
		t.Fatal(err)
	}
	a.Manage(t.Context(), []string{"mail.test"})
	<-asked
	a.Manage(t.Context(), []string{"mail.test", "imap.test"}) // the first is on its way: nothing is begun twice
	if at := a.Attempts(); len(at) != 2 {
		t.Errorf("%+v", at)
	}
	a.Manage(t.Context(), nil)
	a.work.Wait()
	if at := a.Attempts(); len(at) != 0 {
		t.Errorf("after they were let go: %+v", at)
	}
	if err := a.event(context.Background(), "cert_obtaining", map[string]any{"identifier": "mail.test"}); err == nil {
		t.Error("a certificate of a name that was let go would be got")
	}
}

// stored puts a certificate where certmagic keeps it.
func stored(t *testing.T, a *ACME, ca *Authority, name string) {
	t.Helper()
	at := filepath.Join(a.o.Folder, filepath.FromSlash(certmagic.StorageKeys.CertsSitePrefix(a.issuer.IssuerKey(), name)))
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	chain, key, err := ca.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{name + ".key": key, name + ".crt": chain} {
		if err := os.WriteFile(filepath.Join(at, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCertificatesOfAnAuthority: a name that is let go is shown no more; a folder that cannot be read for a moment changes nothing.
func TestCertificatesOfAnAuthority(t *testing.T) {
	a, _ := silent(t, filepath.Join(t.TempDir(), "acme"))
	ca, err := NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	stored(t, a, ca, "imap.old.test")
	stored(t, a, ca, "mail.test")
	k, err := Open(Options{ACME: a, Hostname: "mail.test"})
	if err != nil {
		t.Fatal(err)
	}
	shows := func(name, want string) {
		t.Helper()
		leaf := k.Leaf(name)
		if leaf.VerifyHostname(want) != nil {
			t.Errorf("%s is shown the certificate of %v", name, leaf.DNSNames)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()}); err != nil {
			t.Errorf("%s is shown one of our own make", name)
		}
	}
	shows("imap.old.test", "imap.old.test")
	folder := filepath.Join(a.o.Folder, filepath.FromSlash(certmagic.StorageKeys.CertsPrefix(a.issuer.IssuerKey())))
	if err := os.Rename(folder, folder+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); err == nil {
		t.Error("nothing is said of a folder that cannot be read")
	}
	shows("imap.old.test", "imap.old.test")
	if len(k.Status()) != 2 {
		t.Errorf("%+v", k.Status())
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(folder+".away", folder); err != nil {
		t.Fatal(err)
	}
	a.Manage(t.Context(), []string{"mail.test"})
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	shows("imap.old.test", "mail.test")
	shows("mail.test", "mail.test")
}

// TestStands: a certificate that clients refuse is known as one.
func TestStands(t *testing.T) {
	a, _ := silent(t, filepath.Join(t.TempDir(), "acme"))
	ca, err := NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	k, err := Open(Options{ACME: a, Hostname: "mail.test", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if k.Stands("mail.test") {
		t.Error("one of our own make")
	}
	stored(t, a, ca, "mail.test")
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	if !k.Stands("mail.test") || k.Stands("other.test") {
		t.Error("by name")
	}
	if now = now.Add(100 * 24 * time.Hour); k.Stands("mail.test") {
		t.Error("an expired one")
	}
}
