package housetest

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// line speaks a line protocol by hand.
type line struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func speak(t *testing.T, c net.Conn) *line { return &line{t: t, c: c, r: bufio.NewReader(c)} }

// say sends one line.
func (l *line) say(format string, values ...any) {
	l.t.Helper()
	if _, err := fmt.Fprintf(l.c, format+"\r\n", values...); err != nil {
		l.t.Fatal(err)
	}
}

// hear reads one line.
func (l *line) hear() string {
	l.t.Helper()
	s, err := l.r.ReadString('\n')
	if err != nil {
		l.t.Fatalf("%v after %q", err, s)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// want reads lines up to one with the prefix and returns it; a line that begins with another of the last characters of an SMTP
// reply (not "250-") must have it.
func (l *line) want(prefix string) string {
	l.t.Helper()
	for {
		s := l.hear()
		if strings.HasPrefix(s, prefix) {
			return s
		}
		if len(s) > 3 && s[3] == '-' || strings.HasPrefix(s, "*") {
			continue
		}
		l.t.Fatalf("heard %q, want %q", s, prefix)
	}
}

// dotted reads a POP3 or SMTP text up to its dot, decoded.
func (l *line) dotted() string {
	l.t.Helper()
	var b strings.Builder
	for {
		s := l.hear()
		if s == "." {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(s, ".") + "\r\n")
	}
}

// pop is a POP3 session over TLS that has logged in.
func (h *house) pop(user string) *line {
	h.t.Helper()
	l := speak(h.t, h.dialTLS("pop3s"))
	l.want("+OK")
	l.say("USER %s", user)
	l.want("+OK")
	l.say("PASS %s", password)
	l.want("+OK")
	return l
}

// smtp is a session on port 25 after EHLO.
func (h *house) smtp() *line {
	h.t.Helper()
	l := speak(h.t, h.dial("smtp"))
	l.want("220 ")
	l.say("EHLO stranger.test")
	l.want("250 ")
	return l
}
