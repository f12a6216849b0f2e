//go:build interop

package interop

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// TestSeveralAtOnce lets different programs write to and read from one mailbox at the same time.
func TestSeveralAtOnce(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	const each = 10
	conf := write(t, home, "mbsyncrc", "IMAPAccount house\nHost localhost\nPort "+h.port(1993)+"\nUser "+carol+"\nPass "+password+"\nSSLType IMAPS\nCertificateFile "+h.ca+
		"\n\nIMAPStore far\nAccount house\n\nMaildirStore near\nPath "+home+"/mail/\nInbox "+home+"/mail/INBOX\n\nChannel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nExpunge None\nSyncState *\n")
	if err := os.MkdirAll(home+"/mail", 0o700); err != nil {
		t.Fatal(err)
	}
	msmtp := write(t, home, "msmtprc", "account default\nhost localhost\nport "+h.port(1465)+"\ntls on\ntls_starttls off\ntls_trust_file "+h.ca+"\nauth on\nuser "+alice+"\npassword "+password+"\nfrom "+alice+"\n")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range each {
			run(t, home, message(alice, carol, fmt.Sprintf("together a%d", i)), "msmtp", "-C", msmtp, carol)
		}
	})
	wg.Go(func() {
		for i := range each {
			h.deliver(t, "stranger@gamma.test", carol, fmt.Sprintf("together b%d", i))
		}
	})
	wg.Go(func() {
		for range 4 {
			run(t, home, "", "mbsync", "-c", conf, "-a")
		}
	})
	wg.Go(func() {
		for range 6 {
			run(t, home, "", "curl", "-sS", "--cacert", h.ca, "--user", carol+":"+password, "pop3s://localhost:"+h.port(1995))
			run(t, home, "", "curl", "-sS", "--cacert", h.ca, "--user", carol+":"+password, "imaps://localhost:"+h.port(1993)+"/INBOX?ALL")
		}
	})
	wg.Wait()
	h.awaitMail(t, carol, "INBOX", "together", 2*each)
	run(t, home, "", "mbsync", "-c", conf, "-a")
	if n := maildir(t, home+"/mail/INBOX", "Subject: together"); n != 2*each {
		t.Errorf("mbsync has %d messages, want %d", n, 2*each)
	}
}

// TestPromtool: the metrics are what Prometheus wants to read.
func TestPromtool(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	h.deliver(t, "stranger@gamma.test", bob, "for the counters")
	metrics := run(t, home, "", "curl", "-sS", "http://"+h.addr(1090)+"/metrics")
	for _, name := range []string{"posthouse_build_info", "posthouse_connections"} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	if strings.Contains(metrics, "@") || strings.Contains(metrics, "127.0.0.1") {
		t.Error("/metrics carries an address")
	}
	if out := run(t, home, metrics, "promtool", "check", "metrics"); out != "" {
		t.Errorf("promtool check metrics:\n%s", out)
	}
}
