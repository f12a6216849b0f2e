package housetest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

func dialOnce(address string) (net.Conn, error) { return net.DialTimeout("tcp", address, time.Second) }

func serial(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].SerialNumber.String() }

// TestReloadOfCertificates: a changed pair is shown to new clients, a broken one changes nothing, and who is connected stays.
func TestReloadOfCertificates(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test")
	old := h.dialTLS("imaps")
	h.writePair("tls")
	if _, err := h.Daemon.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := h.dialTLS("imaps")
	if serial(old) == serial(fresh) {
		t.Error("the changed certificate is not shown")
	}
	for _, file := range []string{"tls.pem", "tls.key"} {
		path := filepath.Join(h.dir, file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, broken := range [][]byte{nil, []byte("no PEM"), bytes.Replace(good, []byte("M"), []byte("N"), 40)} {
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := h.Daemon.Reload(t.Context())
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s broken: %v", file, err)
			}
			if got := serial(h.dialTLS("pop3s")); got != serial(fresh) {
				t.Errorf("%s broken: another certificate is shown", file)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := speak(t, old)
	l.want("* OK")
	l.say("a NOOP")
	l.want("a OK")
}

// TestReloadOfSettings: what can change does, what cannot is named, and a broken file is told with its place.
func TestReloadOfSettings(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test")
	r, err := h.Daemon.Reload(t.Context())
	if err != nil || len(r.Changed)+len(r.Waiting) != 0 {
		t.Errorf("nothing changed, and yet %+v %v", r, err)
	}
	before := h.smtp()
	h.writeSettings("[limits]\nmessage_size = \"1MiB\"\nconnections = 99\n[quota]\nbytes = \"2MiB\"\n")
	r, err = h.Daemon.Reload(t.Context())
	if err != nil || strings.Join(r.Changed, " ") != "limits.message_size quota.bytes" || strings.Join(r.Waiting, " ") != "limits.connections" {
		t.Errorf("%+v %v", r, err)
	}
	before.say("MAIL FROM:<x@y.test> SIZE=2000000")
	before.want("250 ")
	after := h.smtp()
	after.say("MAIL FROM:<x@y.test> SIZE=2000000")
	after.want("552 ")
	bob, err := h.Daemon.House().AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"bob@one.test"}, Password: "secret"})
	if err != nil || bob.Quota.Bytes != 2<<20 {
		t.Errorf("a new account has the quota %+v, %v", bob.Quota, err)
	}

	h.writeSettings("[limits]\nmessage_sice = \"2MiB\"\n")
	var e *admin.Error
	if _, err := h.Daemon.Reload(t.Context()); !errors.As(err, &e) || !strings.Contains(err.Error(), "posthouse.toml:") || !strings.Contains(err.Error(), "Did you mean limits.message_size?") {
		t.Errorf("%v", err)
	}
	text, err := os.ReadFile(h.settingsFile())
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(bytes.Replace(text, []byte("sice"), []byte("size"), 1), []byte(`log.level = "debug"`), []byte(`log.level = "warn"`), 1)
	if err := os.WriteFile(h.settingsFile(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Daemon.Reload(t.Context()); err != nil || h.Level.Level() != slog.LevelWarn {
		t.Errorf("level %v, %v", h.Level.Level(), err)
	}
}
