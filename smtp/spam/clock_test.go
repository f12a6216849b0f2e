package spam

import (
	"net/netip"
	"testing"
	"time"
)

// TestGreylistClock: what was written down under a clock that ran ahead keeps nobody out when the clock is right again.
func TestGreylistClock(t *testing.T) {
	now := today
	j := judge(t, Options{Now: func() time.Time { return now }})
	ask := func() Wait {
		f := look(t.Context(), j, Facts{Remote: netip.MustParseAddr("192.0.2.1"), Hello: "x.example.net", From: addr(t, "a@example.net")}, bad(), letter("a@example.net", "s", "t"))
		w := j.Greylist(t.Context(), f, alice)
		flush(t, j)
		return w
	}
	now = today.Add(300 * 24 * time.Hour)
	ask()
	now = today
	if w := ask(); w.For > 5*time.Minute {
		t.Errorf("he is to come again in %s", w.For)
	}
	now = now.Add(5 * time.Minute)
	if w := ask(); !w.Pass {
		t.Errorf("he came again: %+v", w)
	}
	now = today.Add(300 * 24 * time.Hour)
	ask() // a pass, of the future
	now = today
	j.forget()
	flush(t, j)
	for key := range dump(t, j, tabGrey) {
		if key[1] == greyTriplet {
			t.Errorf("a row of the future is left: %q", key)
		}
	}
}

// TestOneZoneTwice: two lists over one zone have their own codes.
func TestOneZoneTwice(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2", "25.2.0.192.bl.test. IN A 127.0.0.10")
	j, _ := asking(t, z, blockList, "mine address bl.test 127.0.0.10=1")
	for range 2 {
		if s, ok := signal(t, j, client, "mine"); !ok || s.Score != 1 {
			t.Errorf("mine: %v %v", ok, s)
		}
		if s, ok := signal(t, j, client, "bl"); !ok || s.Score != -2 {
			t.Errorf("bl: %v %v", ok, s)
		}
	}
}
