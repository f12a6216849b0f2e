package sasl_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// house is a server side with one user, alice.
type house struct {
	keys  sasl.Credentials
	users []string // who finished
}

func newHouse(t *testing.T) *house {
	t.Helper()
	keys, err := sasl.Derive("secret")
	if err != nil {
		t.Fatal(err)
	}
	return &house{keys: keys}
}

func (h *house) scram() sasl.SCRAM {
	return sasl.SCRAM{
		Lookup: func(user string) ([]sasl.Credentials, error) {
			if user != "alice" {
				return []sasl.Credentials{sasl.Fake([]byte("key"), user)}, nil
			}
			return []sasl.Credentials{h.keys}, nil
		},
		Finish: func(authzid, user string, _ int) error {
			if authzid != "" && authzid != user {
				return errWrong
			}
			h.users = append(h.users, user)
			return nil
		},
	}
}

// exchange plays a client's conversation to the end.
func exchange(s sasl.SCRAM, c *scram.ClientConversation) error {
	server := sasl.NewSCRAM(s)
	message, err := c.Step("")
	if err != nil {
		return err
	}
	for {
		challenge, done, err := server.Next([]byte(message))
		if err != nil || done {
			return err
		}
		if c.Done() {
			message = ""
			continue
		}
		if message, err = c.Step(string(challenge)); err != nil {
			return err
		}
	}
}

func client(t *testing.T, user, password, authzid string) *scram.Client {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, authzid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSCRAM(t *testing.T) {
	for _, c := range []struct {
		user, password, authzid string
		want                    error
	}{
		{"alice", "secret", "", nil},
		{"alice", "secret", "alice", nil},
		{"alice", "secret", "bob", errWrong},
		{"alice", "guess", "", sasl.ErrFailed},
		{"nobody", "secret", "", sasl.ErrFailed},
	} {
		h := newHouse(t)
		conversation := client(t, c.user, c.password, c.authzid).NewConversation()
		if err := exchange(h.scram(), conversation); !errors.Is(err, c.want) {
			t.Errorf("%s %s %s: %v, want %v", c.user, c.password, c.authzid, err, c.want)
		}
		if conversation.Valid() != (c.want == nil) || len(h.users) != 0 != (c.want == nil) {
			t.Errorf("%s %s %s: the client believes %v, finished %v", c.user, c.password, c.authzid, conversation.Valid(), h.users)
		}
	}
}

// The first reply to a user who does not exist looks like a real one and is the same each time.
func TestFakeSalt(t *testing.T) {
	h := newHouse(t)
	first := func(user string) string {
		reply, _, err := sasl.NewSCRAM(h.scram()).Next([]byte("n,,n=" + user + ",r=nonce"))
		if err != nil {
			t.Fatal(err)
		}
		_, salted, _ := strings.Cut(string(reply), ",")
		return salted
	}
	known, fake := first("alice"), first("nobody")
	if fake != first("nobody") || fake == first("somebody") || len(fake) != len(known) {
		t.Errorf("real %q, fake %q, again %q, other %q", known, fake, first("nobody"), first("somebody"))
	}
}

// connect makes a TLS connection over a pipe and returns both sides' states.
func connect(t *testing.T, version uint16) (server, client tls.ConnectionState, leaf *x509.Certificate) {
	t.Helper()
	authority, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := authority.Leaf("mail.test")
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{own}, SessionTicketsDisabled: true})
	c := tls.Client(a, &tls.Config{ServerName: "mail.test", RootCAs: authority.Pool(), MaxVersion: version})
	var wait sync.WaitGroup
	var serverErr error
	wait.Go(func() { serverErr = s.Handshake() })
	if err := errors.Join(c.Handshake()); err != nil {
		t.Fatal(err)
	}
	wait.Wait()
	if serverErr != nil {
		t.Fatal(serverErr)
	}
	return s.ConnectionState(), c.ConnectionState(), own.Leaf
}

func TestBinding(t *testing.T) {
	serverState, clientState, leaf := connect(t, tls.VersionTLS13)
	_, otherState, _ := connect(t, tls.VersionTLS13)
	h := newHouse(t)
	exporter, err := scram.NewTLSExporterBinding(&clientState)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := scram.NewTLSServerEndpointBinding(&clientState)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := scram.NewTLSExporterBinding(&otherState)
	if err != nil {
		t.Fatal(err)
	}
	alice := client(t, "alice", "secret", "")
	for _, c := range []struct {
		name          string
		plus, offered bool
		leaf          *x509.Certificate
		conversation  *scram.ClientConversation
		want          error
	}{
		{"exporter", true, true, nil, alice.NewConversationWithChannelBinding(exporter), nil},
		{"endpoint", true, true, leaf, alice.NewConversationWithChannelBinding(endpoint), nil},
		{"endpoint not served", true, true, nil, alice.NewConversationWithChannelBinding(endpoint), sasl.ErrBinding},
		{"another connection", true, true, leaf, alice.NewConversationWithChannelBinding(foreign), sasl.ErrBinding},
		{"binding without PLUS", false, true, leaf, alice.NewConversationWithChannelBinding(exporter), sasl.ErrBinding},
		{"PLUS without binding", true, true, leaf, alice.NewConversation(), sasl.ErrBinding},
		{"downgraded", false, true, leaf, alice.NewConversationAdvertisingChannelBinding(), sasl.ErrBinding},
		{"not offered", false, false, leaf, alice.NewConversationAdvertisingChannelBinding(), nil},
		{"none", false, true, leaf, alice.NewConversation(), nil},
		{"tls-unique", true, true, leaf, alice.NewConversationWithChannelBinding(scram.NewTLSUniqueBinding([]byte("x"))), sasl.ErrBinding},
	} {
		s := h.scram()
		s.Plus, s.PlusOffered, s.TLS, s.Leaf = c.plus, c.offered, &serverState, c.leaf
		if err := exchange(s, c.conversation); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// What breaks the grammar of RFC 5802 section 7 ends the exchange.
func TestSCRAMMalformed(t *testing.T) {
	h := newHouse(t)
	for _, first := range []string{"", "n,,", "x,,n=alice,r=a", "n,,n=al=ce,r=a", "n,,m=ext,n=alice,r=a", "n,bob,n=alice,r=a", "n,,n=alice\x00,r=a", "n,,n=\xff,r=a"} {
		server := sasl.NewSCRAM(h.scram())
		if first == "" {
			server.Next(nil)
		}
		if _, done, err := server.Next([]byte(first)); done || err == nil {
			t.Errorf("%q was taken", first)
		}
	}
	for _, final := range []string{"", "c=biws", "c=biws,r=other,p=AAAA", "c=eSws,r=a,p=AAAA", "p=AAAA,r=a,c=biws"} {
		server := sasl.NewSCRAM(h.scram())
		if _, _, err := server.Next([]byte("n,,n=alice,r=a")); err != nil {
			t.Fatal(err)
		}
		if _, done, err := server.Next([]byte(final)); done || err == nil {
			t.Errorf("%q was taken", final)
		}
	}
	if len(h.users) != 0 {
		t.Errorf("let in: %v", h.users)
	}
}
