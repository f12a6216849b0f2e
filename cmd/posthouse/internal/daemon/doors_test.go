package daemon

import (
	"testing"

	"github.com/posthouse-mail/posthouse/internal/config"
)

// TestPagesLeaveRoom: visitors of the web pages cannot take the last place of a mail program.
func TestPagesLeaveRoom(t *testing.T) {
	c := settings(t)
	c.Listen.HTTP = []config.Address{{HostPort: "127.0.0.1:0"}}
	c.Limits.Connections = 11
	d, err := New(t.Context(), Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	found := false
	for _, x := range d.doors {
		if s := x.service; s.Name == serviceHTTP {
			found = true
			if s.Max < 1 || s.Max > c.Limits.Connections/2 {
				t.Errorf("%d of %d places", s.Max, c.Limits.Connections)
			}
		}
	}
	if !found {
		t.Error("the door is not there")
	}
}
