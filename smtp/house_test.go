package smtp

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/transcript"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificates makes a server's and a client's configuration that trust each other, at the clock of now.
func certificates(t testing.TB, now func() time.Time) (server, client *tls.Config) {
	t.Helper()
	ca, err := cert.NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("mx.test")
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{leaf}, Time: now}, &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.test", Time: now}
}

// dial runs Handle over a pipe and returns the client's end; the test waits for the handler.
func dial(t testing.TB, ctx context.Context, s *Server, service string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	serveOn(t, ctx, s, service, [2]net.Conn{ours, theirs})
	return theirs
}

// dialTCP is dial over a socket.
func dialTCP(t testing.TB, ctx context.Context, s *Server, service string) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	theirs, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ctx, s, service, [2]net.Conn{ours, theirs})
	return theirs
}

func serveOn(t testing.TB, ctx context.Context, s *Server, service string, ends [2]net.Conn) {
	t.Helper()
	ours, theirs := ends[0], ends[1]
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ours.Close()
		s.Handle(ctx, &serve.Conn{Conn: ours, ID: "c1", Service: service, Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Local: netip.MustParseAddrPort("192.0.2.1:25")})
	}()
	t.Cleanup(func() { theirs.Close(); <-done })
}

// TestTranscripts plays the dialogues: the file's name chooses the flavour, notes compares what the desk was told.
func TestTranscripts(t *testing.T) {
	transcript.RunIn(t, filepath.Join("testdata", "*.txt"), func(t *testing.T, play func(*testing.T, transcript.House)) {
		synctest.Test(t, func(t *testing.T) { play(t, newHouse(t)) })
	})
}

func newHouse(t *testing.T) transcript.House {
	t.Helper()
	file := t.Name()
	server, client := certificates(t, time.Now)
	desk := &notebook{}
	o := Options{Hostname: "mx.test", Desk: desk, TLS: server, MaxSize: 1000, MaxRecipients: 5, MaxErrors: 12}
	service := "smtp"
	switch {
	case strings.Contains(file, "future"):
		o.FutureRelease, service = time.Hour, "submission"
	case strings.Contains(file, "submission"):
		desk.auth, o.Auth, o.FixLF, service = true, true, true, "submission"
	case strings.Contains(file, "lmtp"):
		o.LMTP, o.TLS, service = true, nil, "lmtp"
	}
	ctx, shutdown := context.WithCancelCause(t.Context())
	s := NewServer(o)
	return transcript.House{
		Dial: func(string) (net.Conn, error) { return dial(t, ctx, s, service), nil },
		TLS:  client,
		Hooks: map[string]func(*testing.T, string){
			"desk": func(t *testing.T, want string) { // the desk's notes hold this line
				t.Helper()
				for _, n := range desk.take() {
					if n == want {
						return
					}
					t.Logf("note: %s", n)
				}
				t.Errorf("no note: %s", want)
			},
			"nothing": func(t *testing.T, what string) { // no note begins with this word
				t.Helper()
				for _, n := range desk.take() {
					if strings.HasPrefix(n, what) {
						t.Errorf("note: %s", n)
					}
				}
			},
			"shutdown": func(*testing.T, string) { shutdown(serve.ErrShutdown) },
		},
	}
}
