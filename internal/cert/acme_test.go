package cert

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// TestNoWay: without a way to prove a name nothing is begun.
func TestNoWay(t *testing.T) {
	if _, err := NewACME(ACMEOptions{Folder: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "open port 80 or 443") {
		t.Error(err)
	}
}

// TestWithoutCertificate: the doors have something to show before the authority has answered.
func TestWithoutCertificate(t *testing.T) {
	a, err := NewACME(ACMEOptions{Folder: filepath.Join(t.TempDir(), "acme"), HTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	k, err := Open(Options{ACME: a, Hostname: "mail.test"})
	if err != nil {
		t.Fatal(err)
	}
	if leaf := k.Leaf("mail.test"); leaf == nil || leaf.DNSNames[0] != "mail.test" {
		t.Errorf("shown: %+v", leaf)
	}
	if len(k.Status()) != 0 {
		t.Errorf("a certificate of our own make is told as one: %+v", k.Status())
	}
	if err := k.Reload(); err != nil {
		t.Error(err)
	}
}

// TestWebroot: a token stands in the folder while its proof runs, and no name leads out of it.
func TestWebroot(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "www", ".well-known", "acme-challenge")
	w := &webroot{Storage: &certmagic.FileStorage{Path: t.TempDir()}, folder: folder}
	key := "acme/x/challenge_tokens/mail.test.json"
	if err := w.Store(t.Context(), key, []byte(`{"type":"http-01","token":"abc_-9","keyAuthorization":"abc_-9.k"}`)); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "abc_-9")); err != nil || string(text) != "abc_-9.k" {
		t.Errorf("%q, %v", text, err)
	}
	if err := w.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "../../x", "a/b", ".", strings.Repeat("a", 200)} {
		if err := w.Store(t.Context(), key, []byte(`{"token":"`+bad+`","keyAuthorization":"k"}`)); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestWebrootIsReadable: the other web server runs as another user, and the unit's umask (0077) must not keep it out.
func TestWebrootIsReadable(t *testing.T) {
	top := t.TempDir()
	defer syscall.Umask(syscall.Umask(0o077))
	folder := filepath.Join(top, ".well-known", "acme-challenge")
	w := &webroot{Storage: &certmagic.FileStorage{Path: t.TempDir()}, folder: folder}
	if err := w.Store(t.Context(), "acme/x/challenge_tokens/mail.test.json", []byte(`{"token":"abc","keyAuthorization":"abc.k"}`)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Dir(folder): 0o755, folder: 0o755, filepath.Join(folder, "abc"): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

const tsigSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0IGhvdXNlIQ=="

// nameServer takes updates that its key has signed.
type nameServer struct {
	mu      sync.Mutex
	updates []string
	addr    string
}

func serveUpdates(t *testing.T) *nameServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addr: l.Addr().String()}
	server := &dns.Server{Listener: l, TsigSecret: map[string]string{"posthouse.": tsigSecret}, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept },
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
			answer := new(dns.Msg)
			answer.SetReply(m)
			if m.IsTsig() == nil || w.TsigStatus() != nil {
				answer.Rcode = dns.RcodeNotAuth
			} else {
				s.mu.Lock()
				for _, rr := range m.Ns {
					s.updates = append(s.updates, m.Question[0].Name+": "+strings.Join(strings.Fields(rr.String()), " "))
				}
				s.mu.Unlock()
				answer.SetTsig("posthouse.", "hmac-sha256.", tsigFudge, time.Now().Unix())
			}
			_ = w.WriteMsg(answer)
		})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		_ = server.Shutdown()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func TestDNSUpdate(t *testing.T) {
	s := serveUpdates(t)
	u := &DNSUpdate{Server: s.addr, Key: "posthouse", Secret: tsigSecret}
	records := []libdns.Record{libdns.TXT{Name: "_acme-challenge.mail", TTL: time.Minute, Text: "proof"}}
	if _, err := u.AppendRecords(t.Context(), "mail.test.", records); err != nil {
		t.Fatal(err)
	}
	if _, err := u.DeleteRecords(t.Context(), "mail.test.", records); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`mail.test.: _acme-challenge.mail.mail.test. 60 IN TXT "proof"`,
		`mail.test.: _acme-challenge.mail.mail.test. 0 NONE TXT "proof"`,
	}
	s.mu.Lock()
	got := strings.Join(s.updates, "\n")
	s.mu.Unlock()
	if got != strings.Join(want, "\n") {
		t.Errorf("the server took\n%s", got)
	}

	u.Secret = "d3Jvbmc="
	if _, err := u.AppendRecords(t.Context(), "mail.test.", records); err == nil {
		t.Error("a wrong secret was taken")
	}
	u.Key = ""
	if _, err := u.AppendRecords(t.Context(), "mail.test.", records); err == nil || !strings.Contains(err.Error(), "check the zone's update policy") {
		t.Errorf("unsigned: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := u.AppendRecords(ctx, "mail.test.", records); err == nil {
		t.Error("an update after the end")
	}
}

func TestPlain(t *testing.T) {
	err := errors.New("[mail.test] Obtain: [mail.test] solving challenges: HTTP 400 urn:ietf:params:acme:error:connection - no\nanswer on port 80")
	if got := Plain(err); got != "HTTP 400 urn:ietf:params:acme:error:connection - no answer on port 80" {
		t.Error(got)
	}
	if got := Plain(errors.New(strings.Repeat("x", 1000))); len(got) > 410 {
		t.Errorf("%d octets", len(got))
	}
}
