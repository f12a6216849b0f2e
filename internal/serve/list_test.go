package serve

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestList: who is there, since when, what he does; and his end.
func TestList(t *testing.T) {
	g := New(Options{})
	defer force(g)
	door := newGate()
	doing := make(chan *Conn, 2)
	g.Go(Service{Name: "imap", Listener: door, Handler: func(_ context.Context, c *Conn) {
		c.Does("LOGIN")
		c.Does("IDLE")
		doing <- c
		_, _ = c.Read(make([]byte, 1)) // until it is closed
	}})
	begin := time.Now()
	first := door.dial("192.0.2.7:1234")
	c := <-doing
	second := door.dial("192.0.2.8:1")
	d := <-doing
	g.Whose(c.ID, "alice@one.test")
	g.Whose("nobody", "x")
	g.Whose("0", "x")
	all := g.Conns()
	if len(all) != 2 || all[0].ID != c.ID || all[0].Who != "alice@one.test" || all[0].Doing != "IDLE" || all[0].Service != "imap" || all[0].Remote.String() != "192.0.2.7:1234" || all[0].Began.Before(begin) || all[0].Since.Before(begin) || all[1].Who != "" {
		t.Errorf("%+v", all)
	}
	if g.End("zzzz") || g.End("") || g.End("-1") || !g.End(c.ID) {
		t.Error("ended something else")
	}
	if got := line(t, first); !strings.Contains(got, "EOF") {
		t.Errorf("the client reads %q", got)
	}
	if !g.End(d.ID) {
		t.Error("the second one is not there")
	}
	if got := line(t, second); !strings.Contains(got, "EOF") {
		t.Errorf("the client reads %q", got)
	}
}
