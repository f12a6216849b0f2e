//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// TestCertificatesInMailPrograms: EXTERNAL as other people's programs speak it, with a certificate that is registered and with one that
// is not.
func TestCertificatesInMailPrograms(t *testing.T) {
	authority, err := cert.NewAuthority("interop", nil)
	if err != nil {
		t.Fatal(err)
	}
	h := plan{data: filepath.Join(t.TempDir(), "data"), domain: "alpha.test", accounts: []string{alice, bob}, remotePort: "1", names: "127.0.0.1:1", authority: authority,
		settings: "[tls.clients]\nservices = [\"imaps\", \"submissions\"]\n"}.serve(t)
	home := t.TempDir()
	own, other := authtest.Certificate(t, nil, nil), authtest.Certificate(t, nil, nil)
	key, pem := write(t, home, "key.pem", authtest.KeyPEM(t, own)), write(t, home, "cert.pem", authtest.PEM(own))
	otherKey, otherPEM := write(t, home, "other-key.pem", authtest.KeyPEM(t, other)), write(t, home, "other.pem", authtest.PEM(other))
	run(t, home, "", binary, "account", "certificate", "add", bob, "Notebook", pem, "--config", filepath.Join(h.data, "posthouse.toml"))

	mail := write(t, home, "mail.eml", message(bob, alice, "sent by curl with a certificate"))
	for what, args := range map[string][]string{
		"AUTHENTICATE EXTERNAL": {"imaps://localhost:" + h.port(1993) + "/", "--user", bob + ":"},
		"235 2.7.0":             {"smtps://localhost:" + h.port(1465), "--user", bob + ":", "--mail-from", bob, "--mail-rcpt", alice, "-T", mail},
	} {
		args = append(args, "-sSv", "--cacert", h.ca, "--login-options", "AUTH=EXTERNAL")
		if out, err := try(t, home, "", "curl", append(args, "--cert", pem, "--key", key)...); err != nil || !strings.Contains(out, what) {
			t.Errorf("%v\n%s", err, out)
		}
		if out, err := try(t, home, "", "curl", append(args, "--cert", otherPEM, "--key", otherKey)...); err == nil {
			t.Errorf("with another certificate\n%s", out)
		}
		if out, err := try(t, home, "", "curl", args...); err == nil {
			t.Errorf("without a certificate\n%s", out)
		}
	}
	fetched := filepath.Join(home, "fetched")
	conf := write(t, home, "fetchmailrc", "poll localhost service "+h.port(1993)+" protocol imap auth external\n user \""+bob+"\" password \"\" ssl sslcertck sslcertfile \""+h.ca+
		"\" sslcert \""+pem+"\" sslkey \""+key+"\" fetchall mda \"cat > "+fetched+"\"\n")
	h.deliver(t, "stranger@gamma.test", bob, "fetched with a certificate")
	run(t, home, "", "fetchmail", "-v", "-f", conf, "--pidfile", filepath.Join(home, "pid"))
	if text, err := os.ReadFile(fetched); err != nil || !strings.Contains(string(text), "Subject: fetched with a certificate") {
		t.Errorf("%v\n%s", err, text)
	}
	if log := h.log.String(); strings.Count(log, "mechanism=EXTERNAL certificate=1") < 3 {
		t.Error("the log does not name the certificate")
	}
}
