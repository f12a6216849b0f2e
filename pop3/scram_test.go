package pop3

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/textproto"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/posthouse-mail/posthouse/auth"
)

// SCRAM-SHA-256-PLUS over STLS, bound to this connection (RFC 9266) and to our certificate (RFC 5929).
func TestSCRAMPlus(t *testing.T) {
	for _, kind := range []string{"tls-exporter", "tls-server-end-point"} {
		h := newHouse(t, Options{}, auth.Options{SCRAM: true})
		leaf := h.server.o.TLS.Certificates[0].Leaf
		h.server.o.Auth = auth.New(h.DB, auth.Options{SCRAM: true, Leaf: func(string) *x509.Certificate { return leaf }})
		plain := newClient(t, must(h.dial("")))
		plain.do("STLS", "+OK")
		over := tls.Client(plain.conn, h.trust)
		if err := over.Handshake(); err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, conn: over, Conn: textproto.NewConn(over)}
		state := over.ConnectionState()
		binding, err := scram.NewTLSExporterBinding(&state)
		if kind == "tls-server-end-point" {
			binding, err = scram.NewTLSServerEndpointBinding(&state)
		}
		if err != nil {
			t.Fatal(err)
		}
		alice, err := scram.SHA256.NewClient("alice", "secret", "")
		if err != nil {
			t.Fatal(err)
		}
		proof := alice.NewConversationWithChannelBinding(binding)
		message, err := proof.Step("")
		if err != nil {
			t.Fatal(err)
		}
		line := c.do("AUTH SCRAM-SHA-256-PLUS "+base64.StdEncoding.EncodeToString([]byte(message)), "+ ")
		for !proof.Done() {
			challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, "+ "))
			if err != nil {
				t.Fatal(err)
			}
			if message, err = proof.Step(string(challenge)); err != nil {
				t.Fatal(err)
			}
			line = c.do(base64.StdEncoding.EncodeToString([]byte(message)), "+")
		}
		if !proof.Valid() || line != "+OK maildrop has 0 messages (0 octets)" {
			t.Errorf("%s: %q, server proved: %v", kind, line, proof.Valid())
		}
		c.do("QUIT", "+OK")
		c.Close()
	}
}
