package cert

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/certmagic"
)

// TestRenew: a new certificate is asked for at once, whether there is one or one is waited for; what is there stays.
func TestRenew(t *testing.T) {
	a, asked := silent(t, filepath.Join(t.TempDir(), "acme"))
	ca, err := NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	stored(t, a, ca, "mail.test")
	about := filepath.Join(a.o.Folder, filepath.FromSlash(certmagic.StorageKeys.SiteMeta(a.issuer.IssuerKey(), "mail.test")))
	if err := os.WriteFile(about, []byte(`{"sans":["mail.test"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Manage(t.Context(), []string{"mail.test", "imap.test"})
	if err := a.Renew("other.test"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	<-asked // for imap.test; the next attempt is a minute away
	for len(asked) > 0 {
		<-asked
	}
	if err := a.Renew("IMAP.test"); err != nil {
		t.Fatal(err)
	}
	<-asked
	a.mu.Lock()
	a.names["mail.test"].renews = true
	a.mu.Unlock()
	if err := a.Renew("mail.test"); !errors.Is(err, ErrUnderWay) {
		t.Error(err)
	}
	a.mu.Lock()
	a.names["mail.test"].renews = false
	a.mu.Unlock()
	if err := a.Renew("mail.test"); err != nil {
		t.Fatal(err)
	}
	a.Manage(t.Context(), []string{"mail.test"}) // nobody waits for the other one any more
	for tried := false; !tried; {                // a question may still be one for the other name
		<-asked
		at := a.Attempts()
		if len(at) != 1 {
			t.Fatalf("%+v", at)
		}
		tried = !at[0].Tried.IsZero()
	}
	if !a.Has("mail.test") {
		t.Error("the certificate that was there is gone")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := a.Renew("mail.test"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}
