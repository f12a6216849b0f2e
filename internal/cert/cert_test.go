package cert_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
)

func authority(t *testing.T) *cert.Authority {
	t.Helper()
	a, err := cert.NewAuthority("test authority", nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pair(t *testing.T, a *cert.Authority, dir, base string, names ...string) cert.Pair {
	t.Helper()
	p, err := a.WritePair(dir, base, names...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, o cert.Options) *cert.Keeper {
	t.Helper()
	k, err := cert.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// shake does a handshake over a pipe and returns the client's view and whether a ticket came.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	var wait sync.WaitGroup
	wait.Go(func() {
		s := tls.Server(b, server)
		if s.Handshake() == nil {
			s.Write([]byte("x"))
		}
		b.Close()
	})
	c := tls.Client(a, client)
	err := c.Handshake()
	if err == nil {
		c.Read(make([]byte, 1)) // brings the tickets of TLS 1.3 along
	}
	state := c.ConnectionState()
	a.Close()
	wait.Wait()
	return state, err
}

func TestChoice(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	k := open(t, cert.Options{Hostname: "Mail.one.test.", Pairs: []cert.Pair{
		pair(t, a, dir, "wild", "*.two.test", "two.test"),
		pair(t, a, dir, "own", "mail.one.test", "127.0.0.1"),
		pair(t, a, dir, "special", "imap.two.test"),
	}})
	for _, c := range []struct{ sni, want string }{
		{"mail.one.test", "mail.one.test"},
		{"two.test", "*.two.test"},
		{"SMTP.two.test", "*.two.test"},
		{"imap.two.test", "imap.two.test"},
		{"a.b.two.test", "mail.one.test"},
		{"unknown.test", "mail.one.test"},
		{"", "mail.one.test"},
	} {
		state, err := shake(t, k.ForClients(), &tls.Config{ServerName: c.sni, InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("%q: %v", c.sni, err)
			continue
		}
		if got := state.PeerCertificates[0].Subject.CommonName; got != c.want {
			t.Errorf("SNI %q got %s, want %s", c.sni, got, c.want)
		}
		if !bytes.Equal(k.Leaf(c.sni).Raw, state.PeerCertificates[0].Raw) {
			t.Errorf("Leaf(%q) is not what the client saw", c.sni)
		}
	}
	if _, err := shake(t, k.ForHosts(), &tls.Config{ServerName: "two.test", RootCAs: a.Pool()}); err != nil {
		t.Errorf("a client that trusts the authority: %v", err)
	}
}

func TestVersions(t *testing.T) {
	a := authority(t)
	k := open(t, cert.Options{Pairs: []cert.Pair{pair(t, a, t.TempDir(), "own", "mail.test")}})
	for _, config := range []*tls.Config{k.ForClients(), k.ForHosts()} {
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			_, err := shake(t, config, &tls.Config{ServerName: "mail.test", RootCAs: a.Pool(), MinVersion: version, MaxVersion: version})
			if (err == nil) != (version >= tls.VersionTLS12) {
				t.Errorf("%s: %v", tls.VersionName(version), err)
			}
		}
	}
}

// ticketCache sees whether a server gave a session ticket.
type ticketCache struct{ puts int }

func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *ticketCache) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.puts++
	}
}

func TestTickets(t *testing.T) {
	a := authority(t)
	k := open(t, cert.Options{Pairs: []cert.Pair{pair(t, a, t.TempDir(), "own", "mail.test")}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, c := range []struct {
			config *tls.Config
			want   int
		}{{k.ForClients(), 1}, {k.ForHosts(), 0}} {
			var cache ticketCache
			if _, err := shake(t, c.config, &tls.Config{ServerName: "mail.test", RootCAs: a.Pool(), ClientSessionCache: &cache, MaxVersion: version}); err != nil {
				t.Fatal(err)
			}
			if cache.puts != c.want {
				t.Errorf("%s: %d tickets, want %d", tls.VersionName(version), cache.puts, c.want)
			}
		}
	}
}

func TestReload(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	first := pair(t, a, dir, "first", "one.test")
	second := pair(t, a, dir, "second", "two.test")
	var logged bytes.Buffer
	k := open(t, cert.Options{Pairs: []cert.Pair{first, second}, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	before := k.Leaf("one.test").SerialNumber

	if err := k.Reload(); err != nil || k.Leaf("one.test").SerialNumber.Cmp(before) != 0 {
		t.Errorf("unchanged files: %v", err)
	}
	pair(t, a, dir, "first", "one.test", "also.one.test")
	if err := os.WriteFile(second.Certificate, []byte("half a certif"), 0o644); err != nil {
		t.Fatal(err)
	}
	logged.Reset()
	err := k.Reload()
	if err == nil || !strings.Contains(err.Error(), second.Certificate) || !strings.Contains(err.Error(), "PEM") {
		t.Errorf("the broken file is not named with a remedy: %v", err)
	}
	if k.Leaf("also.one.test").SerialNumber.Cmp(before) == 0 {
		t.Error("the good file was not taken")
	}
	if got := k.Leaf("two.test").Subject.CommonName; got != "two.test" {
		t.Errorf("the broken file took the old certificate away: %s", got)
	}
	if !strings.Contains(logged.String(), `msg="certificate kept"`) || !strings.Contains(logged.String(), `msg="certificate loaded"`) {
		t.Errorf("log: %s", logged.String())
	}
	if status := k.Status(); status[0].Error != nil || status[1].Error == nil {
		t.Errorf("status: %+v", status)
	}
	pair(t, a, dir, "second", "new.two.test")
	if err := k.Reload(); err != nil || k.Leaf("new.two.test").Subject.CommonName != "new.two.test" {
		t.Errorf("repaired file: %v", err)
	}
}

// A renewal writes two files one after the other; Run takes both when both are there, and complains once.
func TestRun(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	p := pair(t, a, dir, "own", "one.test")
	chain, key, err := a.Issue("two.test")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		k := open(t, cert.Options{Pairs: []cert.Pair{p}, Poll: time.Minute, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		var wait sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		wait.Go(func() { k.Run(ctx) })
		if err := os.WriteFile(p.Certificate, chain, 0o644); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(logged.String(), "certificate kept"); n != 1 || k.Leaf("").Subject.CommonName != "one.test" {
			t.Errorf("half a renewal: %d lines, %s", n, k.Leaf("").Subject.CommonName)
		}
		if err := os.WriteFile(p.Key, key, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := k.Leaf("").Subject.CommonName; got != "two.test" {
			t.Errorf("after the renewal: %s", got)
		}
		cancel()
		wait.Wait()
	})
}

func TestOpenErrors(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	one, two := pair(t, a, dir, "one", "one.test"), pair(t, a, dir, "two", "two.test")
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, a.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		pairs []cert.Pair
		want  []string
	}{
		{"none", nil, []string{"settings"}},
		{"absent", []cert.Pair{{dir + "/no.pem", one.Key}}, []string{"no.pem", "correct its name"}},
		{"folder", []cert.Pair{{dir, one.Key}}, []string{dir}},
		{"mixed up", []cert.Pair{{one.Certificate, two.Key}}, []string{one.Certificate, two.Key, "does not match"}},
		{"swapped", []cert.Pair{{one.Key, one.Certificate}}, []string{one.Key, "no CERTIFICATE"}},
		{"authority", []cert.Pair{{ca, one.Key}}, []string{ca}},
	} {
		_, err := cert.Open(cert.Options{Pairs: c.pairs})
		if err == nil {
			t.Errorf("%s: taken", c.name)
			continue
		}
		for _, word := range c.want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q is not in %v", c.name, word, err)
			}
		}
	}
}

func TestAuthority(t *testing.T) {
	a := authority(t)
	leaf, err := a.Leaf("localhost", "127.0.0.1", "::1", "mail.alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "mail.alpha.test"} {
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: a.Pool()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := a.Issue(); err == nil {
		t.Error("a certificate without a name")
	}
}
