package imap

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/transcript"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// house is a server over a real store and directory, with the accounts alice (1) and bob (2), password "secret".
type house struct {
	*storetest.House
	t      testing.TB
	server *Server
	ctx    context.Context
	stop   context.CancelCauseFunc
	conns  sync.WaitGroup
	ids    int
	pool   *tls.Config
	last   net.Conn // the client that connected last
	dialed []net.Conn

	arrived int // mails of the hook "mail"
}

func newHouse(t testing.TB, o Options) *house {
	t.Helper()
	return newHouseIn(t, t.TempDir(), o)
}

// newHouseIn is newHouse with its data in dir.
func newHouseIn(t testing.TB, dir string, o Options) *house {
	t.Helper()
	return newHouseOn(t, kv.Options{Dir: dir}, o)
}

// newHouseOn is newHouse on a database of the caller's choice.
func newHouseOn(t testing.TB, on kv.Options, o Options) *house {
	t.Helper()
	return newHouseWith(t, storetest.Options{KV: on}, o)
}

func newHouseWith(t testing.TB, so storetest.Options, o Options) *house {
	t.Helper()
	so.Register = append(so.Register, func(_ *kv.DB, s *store.Store) { // the queue's part of the Outbox
		s.SetOutbox(store.Outbox{
			Bind:   func(*kv.Tx, kv.Entry, store.Waiting, []byte) ([]byte, error) { return nil, nil },
			Cancel: func(*kv.Tx, store.Waiting, []byte) error { return nil },
		})
	})
	h := &house{House: storetest.Start(t, so), t: t}
	h.ctx, h.stop = context.WithCancelCause(context.Background())
	h.accounts(&o)
	ca, err := cert.NewAuthority("test CA", nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Leaf("mail.test")
	if err != nil {
		t.Fatal(err)
	}
	o.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	h.pool = &tls.Config{RootCAs: ca.Pool(), ServerName: "mail.test"}
	o.Store, o.Version = h.Store, "test"
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(testLog{t}, nil))
	}
	h.server = NewServer(o)
	t.Cleanup(func() {
		h.stop(serve.ErrShutdown)
		for _, conn := range h.dialed { // a command that waits for its client hears of no shutdown
			_ = conn.Close()
		}
		h.conns.Wait()
	})
	return h
}

// accounts makes alice and bob.
func (h *house) accounts(o *Options) {
	o.Auth = auth.New(h.DB, auth.Options{ClearLoopback: true})
	quota := store.Quota{Messages: 500, Bytes: 1 << 20}
	authtest.Make(h.t, h.House, o.Auth, authtest.Account{Name: "alice", Quota: quota}, authtest.Account{Name: "bob", Quota: quota})
}

// patience bounds what a test waits for on one connection, so that none hangs.
const patience = 3 * time.Minute

// dial connects over a loopback socket.
func (h *house) dial() (net.Conn, error) { return h.dialFrom("127.0.0.1:40000") }

// dialFrom is dial for a client that the server takes for another host.
func (h *house) dialFrom(remote string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	accepted, err := l.Accept()
	if err != nil {
		return nil, err
	}
	h.serve(accepted, remote)
	h.last, h.dialed = client, append(h.dialed, client)
	return client, client.SetDeadline(time.Now().Add(patience))
}

// pipe connects without a network, for synctest.
func (h *house) pipe() net.Conn {
	client, end := net.Pipe()
	h.dialed = append(h.dialed, client)
	h.serve(end, "127.0.0.1:40000")
	return client
}

func (h *house) serve(end net.Conn, remote string) {
	h.ids++
	sc := &serve.Conn{Conn: end, ID: "c" + strconv.Itoa(h.ids), Service: "imap", Remote: netip.MustParseAddrPort(remote)}
	h.conns.Go(func() { h.server.Handle(h.ctx, sc) })
}

// hooks are the RUN steps of transcripts.
func (h *house) hooks() map[string]func(*testing.T, string) {
	return map[string]func(*testing.T, string){
		// deliver NAME n: n small messages into alice's mailbox.
		"deliver": func(t *testing.T, arguments string) {
			name, count, _ := strings.Cut(arguments, " ")
			n, _ := strconv.Atoi(count)
			for i := range max(n, 1) {
				storetest.Deliver(t, h.Store, 1, name, "Subject: delivered "+strconv.Itoa(i+1)+"\r\n\r\nhello\r\n")
			}
		},
		// send n: octets without a line end; literal n: what would be commands.
		"send":     func(t *testing.T, n string) { h.send(t, "z", n) },
		"literal":  func(t *testing.T, n string) { h.send(t, "evil LOGOUT\r\n", n) },
		"outbox":   h.outbox,
		"sent":     h.sent,
		"mail":     h.mail,
		"account":  h.account,
		"shutdown": func(*testing.T, string) { h.stop(serve.ErrShutdown) },
	}
}

// account VERB: what an operator does to bob.
func (h *house) account(t *testing.T, verb string) {
	authtest.Change(t, h.House, h.server.auth, 2, verb)
}

// send writes what a dialogue cannot show, through the client that connected last.
func (h *house) send(t *testing.T, pattern, count string) {
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(h.last, strings.Repeat(pattern, n/len(pattern)+1)[:n]); err != nil {
		t.Fatal(err)
	}
}

func (h *house) transcript() transcript.House {
	return transcript.House{
		Dial: func(client string) (net.Conn, error) {
			if client == "far" { // not on this machine
				return h.dialFrom("192.0.2.7:40000")
			}
			return h.dial()
		},
		TLS:   h.pool,
		Hooks: h.hooks(),
	}
}

// testLog writes what the server logs to the test's.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func TestTranscripts(t *testing.T) {
	transcript.Run(t, "testdata/*.txt", func(t *testing.T) transcript.House {
		return newHouse(t, Options{MaxMessage: 100_000, RecentlyDeleted: true}).transcript()
	})
}
