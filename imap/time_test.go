package imap

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// client speaks to a server over a pipe, inside a synctest bubble.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func newClient(t *testing.T, conn net.Conn) *client {
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.expect("* OK ")
	return c
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// expect reads up to a line that begins with prefix and returns it.
func (c *client) expect(prefix string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("want %q, got %v", prefix, err)
		}
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
		if !strings.HasPrefix(line, "*") {
			c.t.Fatalf("want %q, got %q", prefix, line)
		}
	}
}

func (c *client) closed() {
	c.t.Helper()
	if line, err := c.r.ReadString('\n'); err == nil {
		c.t.Fatalf("want the end, got %q", line)
	}
}

func (c *client) login() {
	c.t.Helper()
	c.send("l LOGIN alice secret")
	c.expect("l OK")
}

func TestIdleIsKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newHouse(t, Options{}).pipe())
		c.login()
		c.send("1 SELECT INBOX")
		c.expect("1 OK")
		c.send("2 IDLE")
		c.expect("+ idling")
		from := time.Now()
		for i := range 5 {
			if got := c.expect("* OK"); got != "* OK still here" {
				t.Fatalf("got %q", got)
			}
			if passed := time.Since(from); passed != time.Duration(i+1)*29*time.Minute {
				t.Fatalf("told after %v", passed)
			}
		}
		c.send("DONE")
		c.expect("2 OK")
		c.conn.Close()
	})
}

func TestSilentClients(t *testing.T) {
	for _, test := range []struct {
		name  string
		login bool
		after time.Duration
		last  string
	}{
		{"before login", false, time.Minute, "* BYE no command for too long"},
		{"after login", true, 30 * time.Minute, "* BYE no command for too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, newHouse(t, Options{}).pipe())
				if test.login {
					c.login()
				}
				from := time.Now()
				if got := c.expect("* BYE"); got != test.last || time.Since(from) != test.after {
					t.Errorf("%q after %v", got, time.Since(from))
				}
				c.closed()
			})
		})
	}
}

func TestNobodyStaysWithoutLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newHouse(t, Options{}).pipe())
		from := time.Now()
		for time.Since(from) < loginPhase-50*time.Second {
			c.send("1 NOOP")
			c.expect("1 OK")
			time.Sleep(50 * time.Second)
		}
		if got := c.expect("* BYE"); time.Since(from) > loginPhase {
			t.Errorf("%q after %v", got, time.Since(from))
		}
		c.closed()
	})
}

// TestADrippingClientIsClosed: each octet comes in time, the login does not.
func TestADrippingClientIsClosed(t *testing.T) {
	for name, text := range map[string]string{
		"in a literal":        "1 LOGIN {4000+}\r\n",
		"in a refused one":    "1 NOOP {4000+}\r\n",
		"in refused literals": strings.Repeat("1 NOOP {4+}\r\nabcd {4000+}\r\n", 2),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, newHouse(t, Options{}).pipe())
				go io.Copy(io.Discard, c.r)
				from := time.Now()
				_, err := io.WriteString(c.conn, text)
				for err == nil && time.Since(from) < time.Hour {
					_, err = io.WriteString(c.conn, "x")
					time.Sleep(100 * time.Second)
				}
				if passed := time.Since(from); passed > loginPhase+4*time.Minute {
					t.Errorf("stayed for %v", passed)
				}
			})
		})
	}
}

func TestAStalledCommandEnds(t *testing.T) {
	for name, text := range map[string]string{
		"in a line":    "1 NOO",
		"in a literal": "1 LOGIN {6+}\r\nal",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, newHouse(t, Options{}).pipe())
				from := time.Now()
				if _, err := io.WriteString(c.conn, text); err != nil {
					t.Fatal(err)
				}
				if got := c.expect("* BYE"); got != "* BYE timeout" || time.Since(from) != 2*time.Minute {
					t.Errorf("%q after %v", got, time.Since(from))
				}
				c.closed()
			})
		})
	}
}

func TestConnectionsOfOneAccount(t *testing.T) {
	h := newHouse(t, Options{MaxPerAccount: 2})
	dial := func() *client {
		conn, err := h.dial()
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, conn)
	}
	first, second, third := dial(), dial(), dial()
	first.login()
	second.login()
	third.send("1 LOGIN alice secret")
	if got, want := third.expect("1 "), "1 NO [LIMIT] too many connections of this account"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	third.send("2 LOGIN bob secret")
	third.expect("2 OK")
	second.send("3 LOGOUT")
	second.expect("3 OK")
	second.closed()
	third.send("4 UNAUTHENTICATE")
	third.expect("4 OK")
	third.login()
}

// TestNewSettings: a server made for new settings knows the sessions of the one before, and what they were told as \Recent.
func TestNewSettings(t *testing.T) {
	h := newHouse(t, Options{Sessions: NewSessions()})
	h.hooks()["deliver"](t, "INBOX 2")
	dial := func() *client {
		conn, err := h.dial()
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, conn)
	}
	old := dial()
	old.login()
	old.send("1 SELECT INBOX")
	old.expect("1 OK")
	o := h.server.o
	o.MaxPerAccount = 1
	h.server = NewServer(o)
	c := dial()
	c.send("1 LOGIN alice secret")
	c.expect("1 NO [LIMIT]")
	old.send("2 LOGOUT")
	old.expect("2 OK")
	old.closed()
	c.login()
	c.send("2 STATUS INBOX (RECENT)")
	if got, want := c.expect("* STATUS"), "* STATUS INBOX (RECENT 0)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.expect("2 OK")
}

// TestMessagesOfOneAppend: all or none, and not more than fit into memory together.
func TestMessagesOfOneAppend(t *testing.T) {
	conn, err := newHouse(t, Options{}).dial()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.login()
	c.send("1 APPEND INBOX" + strings.Repeat(" {3+}\r\na:b", maxAppend))
	c.expect("1 OK [APPENDUID ")
	c.send("2 APPEND INBOX" + strings.Repeat(" {3+}\r\na:b", maxAppend+5))
	if got, want := c.expect("2 "), "2 NO [LIMIT] too many messages in one APPEND"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.send("3 STATUS INBOX (MESSAGES)")
	if got, want := c.expect("* STATUS"), "* STATUS INBOX (MESSAGES 200)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c.expect("3 OK")
}
