package pop3

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// script is a connection that says its input and ends, and keeps what it hears.
type script struct {
	input *bytes.Reader
	heard bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.input.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.heard.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzSession plays any bytes as a whole session, before the login and after it. The
// session ends when the client does, every answer is whole, and without QUIT nothing is removed.
func FuzzSession(f *testing.F) {
	f.Add([]byte("STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nRSET\r\nNOOP\r\nCAPA\r\n"), true)
	f.Add([]byte("DELE 2\r\nRETR 2\r\nLIST 2\r\nUIDL 2\r\nRETR 3\r\nTOP 1 0\r\nretr 01\r\n"), true)
	f.Add([]byte("CAPA\r\nUSER alice\r\nAUTH\r\nAUTH PLAIN\r\n*\r\nUTF8\r\nSTLS\r\nLAST\r\n"), false)
	f.Add([]byte("AUTH LOGIN\r\n!\r\nAUTH PLAIN =\r\nPASS\r\nPASS x\r\nSTLS\r\nplain text"), false)
	f.Add([]byte("\x00\r\n\xff\n\r\r\n"+strings.Repeat("A", 600)+"\r\nNOOP"), true)
	h := newHouse(f, Options{}, inClear)
	for _, text := range []string{"Subject: one\r\n\r\n.\r\n..\r\ntext", "\r\n", "Subject: \u00fc\r\nbroken\r\n\r\nx\r\n"} {
		storetest.Deliver(f, h.Store, 1, "INBOX", text)
	}
	drop, err := openMaildrop(f.Context(), h.Store, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input []byte, inside bool) {
		conn := &script{input: bytes.NewReader(input)}
		c := newSession(h.server, &serve.Conn{Conn: conn, ID: "f", Remote: netip.MustParseAddrPort("127.0.0.1:1")})
		if inside {
			own := *drop
			own.rows = append([]row(nil), drop.rows...)
			if bytes.Contains(bytes.ToUpper(input), []byte("QUIT")) {
				own.box = 0 // no mailbox to remove from
			}
			c.state, c.drop, c.who = transaction, &own, auth.Identity{Account: 1}
		}
		c.run(t.Context())
		heard := conn.heard.Bytes()
		if !bytes.HasPrefix(heard, []byte("+OK ")) {
			t.Fatalf("answers: %q", heard)
		}
		if tls := bytes.Contains(heard, []byte("+OK begin TLS\r\n")); !tls && !bytes.HasSuffix(heard, []byte("\r\n")) {
			t.Errorf("answers: %q", heard)
		}
		if bytes.Count(heard, []byte("\r\n")) > 200*(1+bytes.Count(input, []byte("\n"))) {
			t.Errorf("%d octets made %d", len(input), len(heard))
		}
	})
	f.Cleanup(func() {
		if left := len(storetest.Rows(f, h.Store, 1, "INBOX")); left != 3 {
			f.Errorf("%d messages left", left)
		}
	})
}
