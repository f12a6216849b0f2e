package pop3

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/transcript"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// house is a server over a real store and directory, with the accounts alice (1) and
// bob (2), password "secret"; carol (3) may not use POP3.
type house struct {
	*storetest.House
	t         testing.TB
	dir       string
	server    *Server
	directory *auth.Directory
	ctx       context.Context
	stop      context.CancelCauseFunc
	conns     sync.WaitGroup
	ids       atomic.Int64
	trust     *tls.Config
}

func newHouse(t testing.TB, o Options, a auth.Options) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{House: storetest.Start(t, storetest.Options{KV: kv.Options{Dir: dir}}), t: t, dir: dir}
	h.ctx, h.stop = context.WithCancelCause(context.Background())
	h.directory = auth.New(h.DB, a)
	authtest.Make(t, h.House, h.directory, authtest.Account{Name: "alice"}, authtest.Account{Name: "bob"}, authtest.Account{Name: "carol", Doors: auth.DoorIMAP})
	authority, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Leaf("mail.test")
	if err != nil {
		t.Fatal(err)
	}
	o.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	h.trust = &tls.Config{RootCAs: authority.Pool(), ServerName: "mail.test"}
	o.Store, o.Auth, o.Hostname = h.Store, h.directory, "mail.test"
	h.server = NewServer(o)
	t.Cleanup(func() {
		h.stop(serve.ErrShutdown)
		h.conns.Wait()
	})
	return h
}

// dial connects over a loopback socket, from 127.0.0.1.
func (h *house) dial(string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	end, err := l.Accept()
	if err != nil {
		return nil, err
	}
	h.serve(end)
	return client, nil
}

// pipe connects without a network, for synctest.
func (h *house) pipe() net.Conn {
	client, end := net.Pipe()
	h.serve(end)
	return client
}

func (h *house) serve(end net.Conn) {
	c := &serve.Conn{Conn: end, ID: "c" + strconv.FormatInt(h.ids.Add(1), 10), Service: "pop3", Remote: netip.MustParseAddrPort("127.0.0.1:40000")}
	h.conns.Go(func() {
		defer end.Close()
		h.server.Handle(h.ctx, c)
	})
}

// damage inverts octets of the stored message so far behind its beginning, and returns how to undo it.
func (h *house) damage(t *testing.T, m store.Message, behind int64) (undo func()) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.dir, "*", fmt.Sprintf("%08x.seg", m.Place.Segment())))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	flip := func() {
		f, err := os.OpenFile(files[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [16]byte
		at := m.Place.Offset() + behind
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0xff
		}
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	return flip
}

// hooks are the RUN steps of transcripts.
func (h *house) hooks() map[string]func(*testing.T, string) {
	return map[string]func(*testing.T, string){
		// mail n [octets]: n messages for alice.
		"mail": func(t *testing.T, arguments string) {
			n, size := 1, 0
			fmt.Sscan(arguments, &n, &size)
			for i := range n {
				storetest.Deliver(t, h.Store, 1, "INBOX", fmt.Sprintf("Subject: message %d\r\n\r\nline one\r\n.line two\r\n%s", i+1, strings.Repeat("x", size)))
			}
		},
		// raw "text": one message as it stands.
		"raw": func(t *testing.T, arguments string) {
			text, err := strconv.Unquote(arguments)
			if err != nil {
				t.Fatal(err)
			}
			storetest.Deliver(t, h.Store, 1, "INBOX", text)
		},
		// expunge uid: another program removes a message.
		"expunge": func(t *testing.T, arguments string) {
			uid, err := strconv.ParseUint(arguments, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			box, err := h.Store.Mailbox(h.ctx, 1, "INBOX")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := h.Store.Expunge(h.ctx, box.ID, []store.UIDRange{{First: uint32(uid), Last: uint32(uid)}}, false); err != nil {
				t.Fatal(err)
			}
		},
		// left uids: what alice's INBOX holds.
		"left": func(t *testing.T, arguments string) {
			var uids []string
			for _, m := range storetest.Rows(t, h.Store, 1, "INBOX") {
				uids = append(uids, strconv.FormatUint(uint64(m.UID), 10))
			}
			if got := strings.Join(uids, " "); got != arguments {
				t.Errorf("INBOX holds %q, want %q", got, arguments)
			}
		},
		// account VERB: what an operator does to alice.
		"account":  func(t *testing.T, verb string) { authtest.Change(t, h.House, h.directory, 1, verb) },
		"shutdown": func(*testing.T, string) { h.stop(serve.ErrShutdown) },
		// ended: every connection has been served to its end.
		"ended": func(*testing.T, string) { h.conns.Wait() },
	}
}

func (h *house) transcript() transcript.House {
	return transcript.House{Dial: h.dial, TLS: h.trust, Hooks: h.hooks()}
}
