package cert_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// TestAsking: who is asked for a certificate, and what the server sees of it, now and when the session is resumed.
func TestAsking(t *testing.T) {
	a := authority(t)
	k := open(t, cert.Options{Hostname: "mail.one.test", Pairs: []cert.Pair{pair(t, a, t.TempDir(), "own", "mail.one.test", "cert.one.test")}})
	own := authtest.Certificate(t, nil, nil)
	// meet is a handshake; it returns whether the client was asked, and what the server was shown.
	meet := func(server *tls.Config, name string, version uint16, tickets tls.ClientSessionCache) (asked bool, state tls.ConnectionState) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		wait.Go(func() {
			s := tls.Server(far, server)
			defer far.Close()
			if err := s.Handshake(); err != nil {
				t.Error(err)
				return
			}
			state = s.ConnectionState()
			s.Write([]byte("x"))
		})
		c := tls.Client(near, &tls.Config{RootCAs: a.Pool(), ServerName: name, MaxVersion: version, ClientSessionCache: tickets,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { asked = true; return &own, nil }})
		if _, err := c.Read(make([]byte, 1)); err != nil { // brings the tickets of TLS 1.3 along
			t.Error(err)
		}
		near.Close()
		wait.Wait()
		return asked, state
	}
	named := k.Asking([]string{"cert.one.test"})
	for what, c := range map[string]struct {
		server  *tls.Config
		name    string
		version uint16
		asked   bool
	}{
		"everywhere":             {k.Asking(nil), "mail.one.test", 0, true},
		"the name that asks":     {named, "cert.one.test", 0, true},
		"another name":           {named, "mail.one.test", 0, false},
		"TLS 1.2 would tell all": {k.Asking(nil), "mail.one.test", tls.VersionTLS12, false},
		"programs by default":    {k.ForClients(), "mail.one.test", 0, false},
		"hosts":                  {k.ForHosts(), "mail.one.test", 0, false},
	} {
		asked, state := meet(c.server, c.name, c.version, nil)
		if asked != c.asked || (len(state.PeerCertificates) == 1) != c.asked {
			t.Errorf("%s: asked %v, shown %d", what, asked, len(state.PeerCertificates))
		}
	}
	tickets := tls.NewLRUClientSessionCache(4)
	meet(named, "cert.one.test", 0, tickets)
	asked, state := meet(named, "cert.one.test", 0, tickets)
	if asked || !state.DidResume || len(state.PeerCertificates) != 1 || !state.PeerCertificates[0].Equal(own.Leaf) {
		t.Errorf("a session that goes on: asked %v, resumed %v, shown %d", asked, state.DidResume, len(state.PeerCertificates))
	}
}
