package junkmail

import (
	"bytes"
	"testing"
	"time"
)

// TestRates holds the judge to what it finds. The rates themselves are printed by `go run ./internal/bench/figures -run junk`.
func TestRates(t *testing.T) {
	for _, trial := range []Trial{{}, {Lists: true}, {Same: true}} {
		trial.Accounts, trial.Messages, trial.Dir = 1, 150, t.TempDir()
		rates, err := Measure(t.Context(), trial)
		if err != nil {
			t.Fatal(err)
		}
		found := -1
		for _, r := range rates {
			t.Logf("%+v: %s missed %v wronged %v", trial, r, r.Missed, r.Wronged)
			if r.Friends < 15 || r.Friend > 0 {
				t.Errorf("%d of %d good messages of known correspondents went into Junk", r.Friend, r.Friends)
			}
			if r.GoodJunk*100 > r.Good {
				t.Errorf("%d of %d good messages went into Junk: %v", r.GoodJunk, r.Good, r.Wronged)
			}
			if r.Found <= found {
				t.Errorf("after %d lessons %d of %d are found, before it were %d", r.Trained, r.Found, r.Junk, found)
			}
			found = r.Found
		}
		if last := rates[len(rates)-1]; last.Found*2 < last.Junk {
			t.Errorf("%+v: only %d of %d junk messages are found", trial, last.Found, last.Junk)
		}
	}
}

// TestWorlds: the same seed makes the same mail, and worlds for training and testing share no sender.
func TestWorlds(t *testing.T) {
	o := Options{Seed: 7, To: "alice@example.org", Now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	a, b := New(o), New(o)
	o.Test = true
	c := New(o)
	senders := map[string]bool{}
	for range 100 {
		for _, make := range []func(*World) Mail{(*World).Good, (*World).Junk} {
			m := make(a)
			if again := make(b); !bytes.Equal(m.Raw, again.Raw) || m.Remote != again.Remote {
				t.Fatal("the same seed makes other mail")
			}
			senders[m.Author], senders[m.Remote.String()] = true, true
		}
	}
	for range 100 {
		for _, m := range []Mail{c.Good(), c.Junk()} {
			if senders[m.Author] || senders[m.Remote.String()] {
				t.Errorf("%s %s is in both", m.Author, m.Remote)
			}
		}
	}
}
