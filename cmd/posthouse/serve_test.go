package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// TestSignals: SIGHUP shows a changed certificate, keeps the house on a broken settings file, and SIGTERM ends it well.
func TestSignals(t *testing.T) {
	dir := t.TempDir()
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.WritePair(dir, "tls", "localhost"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "posthouse.toml")
	const text = `hostname = "mx.one.test"
data = "data"
dns.servers = ["127.0.0.1:1"]
metrics.listen = []
tls.certificates = [{cert = "tls.pem", key = "tls.key"}]
listen = {smtp = [], submission = [], submissions = [], pop3 = [], pop3s = [], imap = [], imaps = ["127.0.0.1:0"]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	p := &program{stdin: bytes.NewReader(nil), stdout: &log, stderr: &log, getenv: os.Getenv}
	done := make(chan int, 1)
	go func() {
		done <- p.run(context.WithoutCancel(t.Context()), []string{"posthouse", "serve", "--config", file})
	}()

	status := running(t, filepath.Join(dir, "data"), &log)
	before := shown(t, ca, status)
	if _, err := ca.WritePair(dir, "tls", "localhost"); err != nil {
		t.Fatal(err)
	}
	send(t, syscall.SIGHUP)
	until(t, &log, func() bool { return shown(t, ca, status) != before })
	if err := os.WriteFile(file, []byte(text+"colour = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	send(t, syscall.SIGHUP)
	until(t, &log, func() bool { return bytes.Contains(log.Bytes(), []byte("settings kept")) })
	shown(t, ca, status)
	send(t, syscall.SIGTERM)
	select {
	case code := <-done:
		if code != exitOK {
			t.Errorf("exit %d\n%s", code, log.Bytes())
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the house does not end:\n%s", log.Bytes())
	}
}

// running waits until the house answers its socket: from then on it takes signals.
func running(t *testing.T, data string, log *lockedBuffer) admin.Status {
	t.Helper()
	var s admin.Status
	until(t, log, func() bool {
		c, err := api.Dial(t.Context(), data)
		if err != nil {
			return false
		}
		s, err = c.Status(t.Context())
		return err == nil
	})
	return s
}

// until asks again and again: what a signal does is seen from outside only.
func until(t *testing.T, log *lockedBuffer, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("it does not come:\n%s", log.Bytes())
}

func send(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

// shown is the serial number of the certificate that the house shows.
func shown(t *testing.T, ca *cert.Authority, s admin.Status) string {
	t.Helper()
	c, err := tls.Dial("tcp", s.Listeners[0].Address, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return fmt.Sprint(c.ConnectionState().PeerCertificates[0].SerialNumber)
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}
