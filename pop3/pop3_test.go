package pop3

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/textproto"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/transcript"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

var inClear = auth.Options{ClearLoopback: true}

func TestTranscripts(t *testing.T) {
	for pattern, start := range map[string]func(t *testing.T) *house{
		"testdata/*.txt":           func(t *testing.T) *house { return newHouse(t, Options{}, inClear) },
		"testdata/tls/*.txt":       func(t *testing.T) *house { return newHouse(t, Options{}, auth.Options{}) },
		"testdata/exclusive/*.txt": func(t *testing.T) *house { return newHouse(t, Options{Exclusive: true}, inClear) },
		"testdata/delay/*.txt":     func(t *testing.T) *house { return newHouse(t, Options{LoginDelay: time.Hour}, inClear) },
		"testdata/scram/*.txt": func(t *testing.T) *house {
			return newHouse(t, Options{}, auth.Options{ClearLoopback: true, SCRAM: true})
		},
	} {
		transcript.Run(t, pattern, func(t *testing.T) transcript.House { return start(t).transcript() })
	}
}

// client is a small POP3 client for what transcripts cannot say.
type client struct {
	t    testing.TB
	conn net.Conn
	*textproto.Conn
}

func newClient(t testing.TB, conn net.Conn) *client {
	c := &client{t: t, conn: conn, Conn: textproto.NewConn(conn)}
	c.line("+OK")
	return c
}

// line reads an answer and checks how it begins.
func (c *client) line(prefix string) string {
	c.t.Helper()
	line, err := c.ReadLine()
	if err != nil || !strings.HasPrefix(line, prefix) {
		c.t.Errorf("got %q %v, want %q", line, err, prefix)
		runtime.Goexit() // in any goroutine, as FailNow may not
	}
	return line
}

func (c *client) do(command, prefix string) string {
	c.t.Helper()
	c.PrintfLine("%s", command) // its error shows in the answer
	return c.line(prefix)
}

func (c *client) login() {
	c.t.Helper()
	c.do("USER alice", "+OK")
	c.do("PASS secret", "+OK")
}

// Ten minutes of silence end a session without a word, and delete nothing (RFC 1939 section 3).
func TestAutologout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{}, inClear)
		h.hooks()["mail"](t, "2")
		c := newClient(t, h.pipe())
		c.login()
		c.do("DELE 1", "+OK")
		time.Sleep(9*time.Minute + 59*time.Second)
		c.do("NOOP", "+OK")
		start := time.Now()
		if line, err := c.ReadLine(); !errors.Is(err, io.EOF) {
			t.Errorf("%q %v, want the end", line, err)
		}
		if silent := time.Since(start); silent != 10*time.Minute {
			t.Errorf("closed after %v", silent)
		}
		h.conns.Wait()
		h.hooks()["left"](t, "1 2")
		c.Close()
	})
}

// A stranger cannot hold a connection by talking, not even an octet at a time.
func TestStrangerIsClosed(t *testing.T) {
	for _, words := range []string{"CAPA\r\n", "N"} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, Options{}, inClear)
			conn := h.pipe()
			go io.Copy(io.Discard, conn)
			start := time.Now()
			for {
				if _, err := io.WriteString(conn, words); err != nil {
					break
				}
				time.Sleep(50 * time.Second)
			}
			if held := time.Since(start); held > loginWait+time.Minute {
				t.Errorf("%q held the connection for %v", words, held)
			}
			h.conns.Wait()
			conn.Close()
		})
	}
}

// A client that stops reading is cut, and frees its place.
func TestStalledClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Exclusive: true}, inClear)
		h.hooks()["mail"](t, "1 300000")
		c := newClient(t, h.pipe())
		c.login()
		c.PrintfLine("RETR 1")
		time.Sleep(defaultWriteTimeout + time.Second)
		synctest.Wait()
		next := newClient(t, h.pipe())
		next.login()
		next.do("QUIT", "+OK")
		h.conns.Wait()
		c.Close()
		next.Close()
	})
}

// Shutdown lets a RETR finish and then says farewell.
func TestShutdownDuringRetr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{}, inClear)
		h.hooks()["mail"](t, "1 1000000")
		c := newClient(t, h.pipe())
		c.login()
		c.do("RETR 1", "+OK")
		h.hooks()["shutdown"](t, "")
		synctest.Wait()
		text, err := c.ReadDotBytes()
		if err != nil || len(text) < 1000000 {
			t.Errorf("%d octets, %v", len(text), err)
		}
		c.line("-ERR [SYS/TEMP] server is shutting down")
		if _, err := c.ReadLine(); !errors.Is(err, io.EOF) {
			t.Errorf("after the farewell: %v", err)
		}
		h.conns.Wait()
		c.Close()
	})
}

// A login that is held back does not hold the shutdown, which is no error of ours.
func TestShutdownDuringLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		h := newHouse(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, inClear)
		for i := range 12 {
			h.directory.Login(h.ctx, auth.Client{Door: auth.DoorPOP3, Remote: netip.MustParseAddr("127.0.0.1")}, "alice", fmt.Sprint("guess", i))
		}
		c := newClient(t, h.pipe())
		c.do("USER alice", "+OK")
		c.PrintfLine("PASS secret")
		synctest.Wait()
		h.hooks()["shutdown"](t, "")
		c.line("-ERR [SYS/TEMP] server is shutting down")
		if _, err := c.ReadLine(); !errors.Is(err, io.EOF) {
			t.Errorf("after the farewell: %v", err)
		}
		h.conns.Wait()
		c.Close()
		if log.Len() > 0 {
			t.Errorf("log: %s", log.String())
		}
	})
}

// The end of an account ends its sessions at the next command that needs its mail.
func TestAccountRemoved(t *testing.T) {
	h := newHouse(t, Options{}, inClear)
	h.hooks()["mail"](t, "2")
	commands := []string{"RETR 1", "TOP 2 0", "QUIT"}
	clients := make([]*client, len(commands))
	for i := range commands {
		clients[i] = newClient(t, must(h.dial("")))
		defer clients[i].Close()
		clients[i].login()
	}
	clients[2].do("DELE 1", "+OK")
	if err := h.DB.Update(t.Context(), func(tx *kv.Tx) error { return h.Store.DeleteAccount(tx, 1) }); err != nil {
		t.Fatal(err)
	}
	for i, c := range clients {
		c.do(commands[i], "-ERR [SYS/PERM] the maildrop is gone")
		if line, err := c.ReadLine(); !errors.Is(err, io.EOF) {
			t.Errorf("after %s: %q %v", commands[i], line, err)
		}
	}
}

// Many sessions on one maildrop, each with numbers of its own, while mail arrives and goes.
func TestSessionsAtOnce(t *testing.T) {
	h := newHouse(t, Options{PerAccount: 100}, inClear)
	h.hooks()["mail"](t, "40 10000")
	rows := storetest.Rows(t, h.Store, 1, "INBOX")
	want := storetest.Text(t, h.Store, rows[7])
	first := newClient(t, must(h.dial("")))
	first.login()
	first.do("UIDL 8", "+OK")
	first.Close()

	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			c := newClient(t, must(h.dial("")))
			defer c.Close()
			c.login()
			for range 20 {
				c.do("RETR 8", "+OK")
				text, err := c.ReadDotBytes()
				if err != nil || string(text) != strings.ReplaceAll(want, "\r\n", "\n")+"\n" {
					t.Errorf("session %d: %d octets, %v", i, len(text), err)
					return
				}
			}
			c.do(fmt.Sprintf("DELE %d", 20+i), "+OK")
			c.do("QUIT", "+OK bye, 1 messages removed")
		})
	}
	wait.Go(func() { h.hooks()["mail"](t, "10 100") })
	wait.Wait()
	if left := len(storetest.Rows(t, h.Store, 1, "INBOX")); left != 42 {
		t.Errorf("%d messages left, want 42", left)
	}
}

// When the store fails the client is told so, and QUIT never says +OK.
func TestStoreFails(t *testing.T) {
	h := newHouse(t, Options{}, inClear)
	h.hooks()["mail"](t, "3")
	c := newClient(t, must(h.dial("")))
	defer c.Close()
	c.login()
	c.do("DELE 1", "+OK")
	h.Close()
	c.do("RETR 2", "-ERR [SYS/TEMP] internal error, try again later")
	c.do("TOP 3 1", "-ERR [SYS/TEMP] internal error, try again later")
	c.do("UIDL", "-ERR [SYS/TEMP] internal error, try again later")
	c.do("STAT", "+OK 2 ")
	c.do("QUIT", "-ERR [SYS/TEMP] deleted messages were not removed")
	if line, err := c.ReadLine(); !errors.Is(err, io.EOF) {
		t.Errorf("after QUIT: %q %v", line, err)
	}
}

// A message that cannot be read costs its own answer; the client gets at those behind it. In the middle of a large one only the end
// of the connection can tell.
func TestDamagedMessage(t *testing.T) {
	h := newHouse(t, Options{}, inClear)
	// The second stands in the log, the third, whose end is hit, in a file of its own. Both compress little.
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 200_000)
	random.Read(noise)
	small, large := hex.EncodeToString(noise[:3000]), hex.EncodeToString(noise)
	for _, body := range []string{"one", small, large, "four"} {
		storetest.Deliver(t, h.Store, 1, "INBOX", "Subject: x\r\n\r\n"+body+"\r\n")
	}
	rows := storetest.Rows(t, h.Store, 1, "INBOX")
	c := newClient(t, must(h.dial("")))
	defer c.Close()
	c.login()
	defer h.damage(t, rows[1], 1500)()
	defer h.damage(t, rows[2], 250_000)()
	for _, command := range []string{"RETR 2", "TOP 2 0"} {
		c.do(command, "-ERR [SYS/PERM] the message is damaged")
	}
	for _, command := range []string{"RETR 1", "RETR 4"} {
		c.do(command, "+OK ")
		if _, err := c.ReadDotBytes(); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
	c.do("RETR 3", "+OK ")
	if text, err := c.ReadDotBytes(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a damaged message ended whole: %d octets, %v", len(text), err)
	}
}

// Sessions leave nothing behind in the server's books, however they end.
func TestBooks(t *testing.T) {
	h := newHouse(t, Options{PerAccount: 2}, inClear)
	for range 3 {
		a, b, c := newClient(t, must(h.dial(""))), newClient(t, must(h.dial(""))), newClient(t, must(h.dial("")))
		a.login()
		b.login()
		c.do("USER alice", "+OK")
		c.do("PASS secret", "-ERR [IN-USE]")
		a.do("QUIT", "+OK")
		for _, x := range []*client{a, b, c} {
			x.Close()
		}
		h.conns.Wait()
	}
	if open := h.server.o.Sessions.open; len(open) != 0 {
		t.Errorf("accounts still open: %v", open)
	}
}

// A server made for new settings knows the sessions of the one before.
func TestNewSettings(t *testing.T) {
	sessions := NewSessions()
	h := newHouse(t, Options{Sessions: sessions}, inClear)
	old := newClient(t, must(h.dial("")))
	defer old.Close()
	old.login()
	o := h.server.o
	o.Exclusive = true
	h.server = NewServer(o)
	c := newClient(t, must(h.dial("")))
	defer c.Close()
	c.do("USER alice", "+OK")
	c.do("PASS secret", "-ERR [IN-USE]")
	old.do("QUIT", "+OK")
	if _, err := old.ReadLine(); !errors.Is(err, io.EOF) {
		t.Errorf("after QUIT: %v", err)
	}
	c.login()
	c.do("QUIT", "+OK")
}

func must(c net.Conn, err error) net.Conn {
	if err != nil {
		panic(err)
	}
	return c
}

// What was acknowledged is seen at once by the next login, without a wait.
func TestSettled(t *testing.T) {
	h := newHouse(t, Options{}, inClear)
	for i := range 200 {
		h.hooks()["mail"](t, "1")
		c := newClient(t, must(h.dial("")))
		c.login()
		c.do("STAT", fmt.Sprintf("+OK %d ", i+1))
		c.do("QUIT", "+OK")
		c.Close()
	}
}

// The text of messages on loopback, one after the other and pipelined.
func BenchmarkRetr(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, pipelined := range []int{1, 32} {
			b.Run(fmt.Sprintf("%d/%d", size, pipelined), func(b *testing.B) { benchRetr(b, size, pipelined) })
		}
	}
}

func benchRetr(b *testing.B, size, pipelined int) {
	h := newHouse(b, Options{}, inClear)
	line := strings.Repeat("All work and no play makes Jack a dull boy. ", 2)[:76] + "\r\n"
	storetest.Deliver(b, h.Store, 1, "INBOX", "Subject: x\r\n\r\n"+strings.Repeat(line, size/len(line)))
	c := newClient(b, must(h.dial("")))
	defer c.Close()
	c.login()
	b.SetBytes(int64(size * pipelined))
	r := bufio.NewReaderSize(c.conn, 1<<20)
	for b.Loop() {
		if _, err := io.WriteString(c.conn, strings.Repeat("RETR 1\r\n", pipelined)); err != nil {
			b.Fatal(err)
		}
		for ends := 0; ends < pipelined; {
			got, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if string(got) == ".\r\n" {
				ends++
			}
		}
	}
}
