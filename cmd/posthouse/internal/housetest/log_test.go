package housetest

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// client is the operator's, over the socket.
func (h *house) client() *api.Client {
	h.t.Helper()
	c, err := api.Dial(h.t.Context(), h.data())
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// followed reads the log of the house live until the test ends; the channel is closed when the house has no more.
func (h *house) followed(f admin.LogFilter) <-chan logx.Line {
	h.t.Helper()
	ctx, stop := context.WithCancel(h.t.Context())
	stream, err := h.client().FollowLog(ctx, f)
	if err != nil {
		stop()
		h.t.Fatal(err)
	}
	lines, done := make(chan logx.Line, 1000), make(chan error, 1)
	go func() {
		defer close(lines)
		done <- stream.Each(func(l logx.Line) error {
			lines <- l
			return nil
		})
	}()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Errorf("follow: %v", err)
		}
	})
	return lines
}

// TestLogOfARunningHouse: levels change at once and by part, live readers get what they asked for and no more, and the end when the house stops.
func TestLogOfARunningHouse(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test", "bob@one.test")
	text, err := os.ReadFile(h.settingsFile())
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), `log.level = "debug"`, "log.level = \"info\"\nlog.levels = [\"pop3=error\"]", 1))
	if err := os.WriteFile(h.settingsFile(), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Daemon.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := h.client()
	levels, err := c.LogLevels(t.Context())
	if err != nil || !strings.Contains(levels.Parts[7].Part+levels.Parts[7].Level, "pop3error") || !levels.Parts[7].Own {
		t.Fatalf("%+v %v", levels, err)
	}
	all := h.followed(admin.LogFilter{})
	alice := h.followed(admin.LogFilter{Account: "alice@one.test"})
	auth := h.followed(admin.LogFilter{Parts: []string{logx.PartAuth}, Address: "127.0.0.1"})
	nobody := h.followed(admin.LogFilter{Address: "192.0.2.1"})
	if _, err := c.SetLogLevel(t.Context(), admin.LogChange{Part: logx.PartIMAP, Level: "debug"}); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"bob@one.test", "alice@one.test"} {
		h.send(user, "of "+user, "bob@one.test")
		h.reader(user)
	}
	h.stop()
	count := func(lines <-chan logx.Line) map[string]int {
		n := map[string]int{}
		for l := range lines {
			n[l.Event]++
			for _, a := range l.Attrs {
				if strings.Contains(a.Value, "bob@one.test") {
					n["bob"]++
				}
			}
			if l.Lost > 0 {
				t.Errorf("lines lost: %+v", l)
			}
		}
		return n
	}
	if n := count(all); n[logx.HouseStopping] != 1 || n[logx.AdminVerb] != 1 || n[logx.LoginOK] != 4 {
		t.Errorf("all: %v", n)
	}
	if n := count(alice); n[logx.LoginOK] != 2 || n[logx.MailSubmitted]+n[logx.MailTaken] == 0 || n[logx.HouseStopping] != 0 {
		t.Errorf("alice: %v", n)
	}
	if n := count(auth); n[logx.LoginOK] != 4 || len(n) > 2 {
		t.Errorf("auth: %v", n)
	}
	if n := count(nobody); len(n) != 0 {
		t.Errorf("nobody: %v", n)
	}
}
