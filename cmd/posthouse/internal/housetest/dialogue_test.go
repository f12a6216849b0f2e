package housetest

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// talks reads a trace of connections until the house stops.
func talks(t *testing.T, c *api.Client, f admin.DialogueFilter) <-chan dialogue.Line {
	t.Helper()
	f.For = time.Hour
	stream, err := c.Dialogues(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan dialogue.Line, 5000)
	go func() {
		defer close(lines)
		if err := stream.Each(func(l dialogue.Line) error {
			lines <- l
			return nil
		}); err != nil {
			t.Errorf("trace: %v", err)
		}
	}()
	return lines
}

func based(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// logins tries every way to say a password on every door, good and bad. Each is what a client says; lines that begin with + wait for a challenge before them.
func logins(h *house, user string) {
	plain, bearer := based("\x00"+user+"\x00"+password), based("n,a="+user+",\x01auth=Bearer "+password+"\x01\x01")
	x2 := based("user=" + user + "\x01auth=Bearer " + password + "\x01\x01")
	sasl := [][]string{
		{"PLAIN " + plain}, {"PLAIN", "+" + plain}, {"LOGIN", "+" + based(user), "+" + based(password)}, {"LOGIN " + based(user), "+" + based(password)},
		{"SCRAM-SHA-256 " + based("n,,n="+user+",r="+password)}, {"OAUTHBEARER " + bearer}, {"XOAUTH2 " + x2}, {"CRAM-MD5 " + plain}, {password}, {"PLAIN " + password},
	}
	exchange := func(l *line, command, more string, done func(string) bool, steps []string) {
		l.say("%s %s", command, steps[0])
		for rest := steps[1:]; ; {
			s := l.hear()
			switch {
			case strings.HasPrefix(s, more) && len(rest) > 0:
				l.say("%s", rest[0][1:])
				rest = rest[1:]
			case strings.HasPrefix(s, more):
				l.say("*")
			case done(s):
				return
			}
		}
	}
	for _, steps := range sasl {
		l := speak(h.t, h.dialTLS("submissions"))
		l.want("220 ")
		l.say("EHLO phone.test")
		l.want("250 ")
		exchange(l, "AUTH", "334", func(s string) bool { return s[0] == '2' || s[0] == '4' || s[0] == '5' }, steps)
		l.say("%s", based(password)) // a program that has lost its place
		l.hear()
		l = speak(h.t, h.dialTLS("pop3s"))
		l.want("+OK")
		exchange(l, "AUTH", "+ ", func(s string) bool { return strings.HasPrefix(s, "+OK") || s[0] == '-' }, steps)
		l.say("%s", password)
		l.hear()
		l = speak(h.t, h.dialTLS("imaps"))
		l.want("* OK")
		exchange(l, "x AUTHENTICATE", "+", func(s string) bool { return strings.HasPrefix(s, "x ") }, steps)
		l.say("y %s", password)
		l.want("y BAD")
	}
	for _, command := range []string{"a LOGIN " + user + ` "` + password + `"`, "a LOGIN {%u+}\r\n" + user + " {%p+}\r\n" + password, "a LOGIN {%u}\r\n+" + user + " {%p}\r\n+" + password, `a LOGIN "` + password + `" x`} {
		l := speak(h.t, h.dialTLS("imaps"))
		l.want("* OK")
		command = strings.NewReplacer("%u", strconv.Itoa(len(user)), "%p", strconv.Itoa(len(password))).Replace(command)
		for _, part := range strings.Split(command, "\r\n") {
			if rest, waits := strings.CutPrefix(part, "+"); waits {
				l.want("+")
				part = rest
			}
			l.say("%s", part)
		}
		for !strings.HasPrefix(l.hear(), "a ") {
		}
	}
	l := h.pop(user)
	l.say("QUIT")
	l.want("+OK")
	l = speak(h.t, h.dialTLS("pop3s"))
	l.want("+OK")
	l.say("USER %s\r\nPASS %s", user, password) // in one breath
	l.want("+OK")
	l.want("+OK")
}

// TestNoPasswordIsTraced: whatever way a password is said, no trace shows it, nor what it is hidden in; and a trace is of whom it is meant to be.
func TestNoPasswordIsTraced(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test", "bob@one.test")
	c := h.client()
	for _, f := range []admin.DialogueFilter{{For: time.Minute}, {Address: "here", For: time.Minute}, {Account: "nobody@one.test", For: time.Minute}, {Account: "alice@one.test"}, {Address: "::1", For: 25 * time.Hour}} {
		if _, err := c.Dialogues(t.Context(), f); err == nil {
			t.Errorf("%+v is taken", f)
		}
	}
	all := talks(t, c, admin.DialogueFilter{Address: "127.0.0.1"})
	bodies := talks(t, c, admin.DialogueFilter{Address: "127.0.0.1", Bodies: true})
	alice := talks(t, c, admin.DialogueFilter{Account: "alice@one.test"})
	elsewhere := talks(t, c, admin.DialogueFilter{Address: "192.0.2.1"})
	for _, user := range []string{"alice@one.test", "bob@one.test"} {
		h.send(user, "words for "+user, "alice@one.test")
	}
	h.reader("alice@one.test").awaits(2, "words for")
	logins(h, "alice@one.test")
	logins(h, "bob@one.test")
	h.stop()
	text := func(lines <-chan dialogue.Line) string {
		var b strings.Builder
		for l := range lines {
			if l.Lost > 0 {
				t.Errorf("lines lost: %+v", l)
			}
			b.WriteString(l.Service + " " + l.Text + "\n")
		}
		return b.String()
	}
	shown := map[string]string{"all": text(all), "bodies": text(bodies), "alice": text(alice)}
	for name, text := range shown {
		for _, user := range []string{"alice@one.test", "bob@one.test"} {
			for _, s := range []string{password, based(password), based("\x00" + user + "\x00" + password), based("n,a=" + user), "Bearer", based("user=" + user)[:20], based("n,,n=" + user)[:16]} {
				if i := strings.Index(text, s); i >= 0 {
					t.Errorf("%s shows %q:\n%s", name, s, text[max(0, i-400):min(len(text), i+100)])
				}
			}
		}
		for _, s := range []string{"imaps x AUTHENTICATE PLAIN (hidden)", "submissions AUTH LOGIN", "pop3s PASS (hidden)", "imaps a LOGIN (hidden)", "pop3s USER alice@one.test", "submissions 235 "} {
			if !strings.Contains(text, s) {
				t.Errorf("%s does not show %q", name, s)
			}
		}
		if shows := strings.Contains(text, "with a dot first"); shows != (name == "bodies") {
			t.Errorf("%s: words of messages are shown: %v", name, shows)
		}
		if shows := strings.Contains(text, "bob@one.test"); shows != (name != "alice") {
			t.Errorf("%s: bob is shown: %v", name, shows)
		}
	}
	if s := text(elsewhere); s != "" {
		t.Errorf("of somebody else: %s", s)
	}
}
