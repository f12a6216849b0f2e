package wire

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// configs makes a server's and a client's configuration that trust each other.
func configs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Far limits, because the clock of synctest stands at the year 2000.
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"}, DNSNames: []string{"mx.test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "mx.test"}
}

func TestStartTLSDropsReadAhead(t *testing.T) {
	a, b := net.Pipe()
	server, client := configs(t)
	c := New(a, Options{})
	defer c.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		b.Write([]byte("STARTTLS\r\nRSET\r\nMAIL FROM:<evil@x>\r\n"))
		k := New(b, Options{})
		if l, err := k.ReadLine(100); err != nil || string(l) != "220 go" {
			done <- err
			return
		}
		if err := k.StartTLSClient(t.Context(), client); err != nil {
			done <- err
			return
		}
		k.WriteString("EHLO inside\r\n")
		done <- k.Flush()
	}()
	if l, err := c.ReadLine(100); err != nil || string(l) != "STARTTLS" || c.Buffered() == 0 {
		t.Fatalf("%q %v", l, err)
	}
	c.WriteString("220 go\r\n")
	if err := c.StartTLS(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	if c.TLS() == nil {
		t.Fatal("no state")
	}
	if l, err := c.ReadLine(100); err != nil || string(l) != "EHLO inside" {
		t.Fatalf("%q %v", l, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestStartTLSBadHandshake(t *testing.T) {
	a, b := net.Pipe()
	server, _ := configs(t)
	c := New(a, Options{})
	go func() { b.Write([]byte("EHLO not tls at all\r\n")); io.Copy(io.Discard, b) }()
	if err := c.StartTLS(t.Context(), server); err == nil {
		t.Fatal("handshake of plain text")
	}
	if _, err := c.ReadLine(100); err == nil {
		t.Fatal("read after a failed handshake")
	}
	c.Close()
	b.Close()
}

// TestPanicInHandshake comes back to the goroutine that has the recover.
func TestPanicInHandshake(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := New(a, Options{})
	defer c.Close()
	_, client := configs(t)
	go tls.Client(b, client).Handshake()
	defer func() {
		if p := recover(); p != "callback" {
			t.Errorf("recovered %v", p)
		}
	}()
	c.StartTLS(t.Context(), &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("callback") }})
	t.Error("no panic")
}

func TestSilentHandshake(t *testing.T) {
	server, _ := configs(t)
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := New(a, Options{})
		begin := time.Now()
		if err := c.StartTLS(t.Context(), server); err == nil || time.Since(begin) != HandshakeTimeout {
			t.Fatal(err, time.Since(begin))
		}
		c.Close()
		b.Close()
	})
}

// rot is a layer, as COMPRESS will be one.
type rot struct{ net.Conn }

func (r rot) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	for i := range p[:n] {
		p[i] ^= 1
	}
	return n, err
}

func TestLayer(t *testing.T) {
	over := []byte("inside\r\n")
	for i := range over {
		over[i] ^= 1
	}
	s := chopped("COMPRESS\r\n"+string(over)+string(over), 39)
	c := New(s, Options{})
	if l, err := c.ReadLine(20); err != nil || string(l) != "COMPRESS" {
		t.Fatal(err)
	}
	if err := c.Layer(func(nc net.Conn) net.Conn { return rot{nc} }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if l, err := c.ReadLine(20); err != nil || string(l) != "inside" {
			t.Fatalf("%q %v", l, err)
		}
	}
	if err := c.Close(); err != nil || !s.closed {
		t.Fatal("not closed")
	}
}
