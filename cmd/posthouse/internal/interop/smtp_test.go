//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSwaks(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	common := []string{"--server", "127.0.0.1", "--helo", "client.test", "--suppress-data"}
	inbound := append([]string{"--port", h.port(1025), "--from", "stranger@gamma.test"}, common...)
	for _, c := range []struct {
		name string
		args []string
		want string
		ok   bool
	}{
		{"to a mailbox", []string{"--to", bob}, "250 2.0.0", true},
		{"STARTTLS", []string{"--to", bob, "--tls"}, "=== TLS started", true},
		{"pipelined", []string{"--to", bob, "--pipeline"}, "250 2.0.0", true},
		{"subaddress", []string{"--to", "bob+lists@alpha.test"}, "250 2.0.0", true},
		{"postmaster", []string{"--to", "postmaster@alpha.test"}, "250 2.0.0", true},
		{"null sender", []string{"--to", bob, "--from", "<>"}, "250 2.0.0", true},
		{"unknown", []string{"--to", "nobody@alpha.test"}, "550 5.1.1", false},
		{"relay", []string{"--to", "someone@gamma.test"}, "550 5.7.1", false},
		{"relay by percent", []string{"--to", "someone%gamma.test@alpha.test"}, "550 5.", false},
		{"relay by source route", []string{"--to", "@alpha.test:someone@gamma.test"}, "5", false},
		{"no AUTH on port 25", []string{"--to", bob, "--auth", "PLAIN", "--au", alice, "--ap", password}, "did not advertise authentication", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := try(t, home, "", "swaks", append(c.args, inbound...)...)
			if (err == nil) != c.ok || !strings.Contains(out, c.want) {
				t.Errorf("swaks ended with %v, want %q in:\n%s", err, c.want, out)
			}
		})
	}
	for _, c := range []struct {
		name string
		args []string
		want string
		ok   bool
	}{
		{"587 PLAIN", []string{"--port", h.port(1587), "--tls", "--auth", "PLAIN"}, "250 2.0.0", true},
		{"587 LOGIN", []string{"--port", h.port(1587), "--tls", "--auth", "LOGIN"}, "250 2.0.0", true},
		{"2525 PLAIN", []string{"--port", h.port(2525), "--tls", "--auth", "PLAIN"}, "250 2.0.0", true},
		{"465 PLAIN", []string{"--port", h.port(1465), "--tls-on-connect", "--auth", "PLAIN"}, "250 2.0.0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--au", alice, "--ap", password, "--from", alice, "--to", bob}, append(c.args, common...)...)
			out, err := try(t, home, "", "swaks", args...)
			if (err == nil) != c.ok || !strings.Contains(out, c.want) {
				t.Errorf("swaks ended with %v, want %q in:\n%s", err, c.want, out)
			}
		})
	}
	t.Run("forged sender", func(t *testing.T) {
		out, err := try(t, home, "", "swaks", append([]string{"--port", h.port(1587), "--tls", "--auth", "PLAIN", "--au", alice, "--ap", password,
			"--from", carol, "--to", bob}, common...)...)
		if err == nil || !strings.Contains(out, "5.7.1") {
			t.Errorf("alice sent as carol: %v\n%s", err, out)
		}
	})
	h.awaitMail(t, bob, "INBOX", "test", 9)
}

func TestCurlSMTP(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	file := write(t, home, "mail.eml", message(alice, carol, "curl to carol"))
	run(t, home, "", "curl", "-sS", "--cacert", h.ca, "--ssl-reqd", "--url", "smtp://localhost:"+h.port(1587), "--user", alice+":"+password,
		"--mail-from", alice, "--mail-rcpt", carol, "--mail-rcpt", bob, "-T", file)
	run(t, home, "", "curl", "-sS", "--cacert", h.ca, "--url", "smtps://localhost:"+h.port(1465), "--user", alice+":"+password,
		"--mail-from", alice, "--mail-rcpt", carol, "-T", file)
	h.awaitMail(t, carol, "INBOX", "curl to carol", 2)
	h.awaitMail(t, bob, "INBOX", "curl to carol", 1)
}

func TestMsmtp(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	conf := write(t, home, "msmtprc", "defaults\ntls on\ntls_trust_file "+h.ca+"\nauth on\nuser "+alice+"\npassword "+password+"\nfrom "+alice+
		"\naccount starttls\nhost localhost\nport "+h.port(1587)+"\ntls_starttls on\naccount tls\nhost localhost\nport "+h.port(1465)+"\ntls_starttls off\n")
	for _, account := range []string{"starttls", "tls"} {
		run(t, home, message(alice, carol, "msmtp "+account), "msmtp", "-C", conf, "-a", account, "--dsn-notify=failure,delay", carol)
	}
	h.awaitMail(t, carol, "INBOX", "msmtp", 2)
	out := run(t, home, "", "msmtp", "-C", conf, "-a", "tls", "--serverinfo")
	if !strings.Contains(out, "AUTH") || !strings.Contains(out, "SIZE") {
		t.Errorf("msmtp --serverinfo:\n%s", out)
	}
}

func TestPythonSMTP(t *testing.T) {
	h := demo(t)
	python(t, h, "smtp.py")
	h.awaitMail(t, carol, "INBOX", "smtplib", 3)
}

// python runs one of the scripts of testdata with the house's ports.
func python(t *testing.T, h *house, script string) string {
	t.Helper()
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, script)); err != nil {
		t.Fatal(err)
	}
	return run(t, t.TempDir(), "", "python3", filepath.Join(dir, script), h.ca, h.port(0))
}
