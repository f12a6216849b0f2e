package daemon

import (
	"slices"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
)

// TestLingering: a name that leads elsewhere for a while keeps its certificate renewed, however often it is looked at; after a day it
// is let go.
func TestLingering(t *testing.T) {
	var l lingering
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	both := []string{"imap.a.test", "mail.a.test"}
	if got := l.with(now, both); !slices.Equal(got, both) {
		t.Fatal(got)
	}
	back := now.Add(12 * time.Hour)
	for at := now; at.Before(now.Add(48 * time.Hour)); at = at.Add(20 * time.Minute) {
		if at.Equal(back) {
			l.with(at, both)
		}
		got := l.with(at, []string{"mail.a.test"})
		want := at.Before(back.Add(letGoAfter))
		if slices.Contains(got, "imap.a.test") != want || !slices.Contains(got, "mail.a.test") {
			t.Fatalf("at %v: %v", at, got)
		}
	}
}

// TestLooks: names are looked at soon after a start, a new domain and a checkup, and every hour in the end.
func TestLooks(t *testing.T) {
	var l looks
	one := []auth.Domain{{Name: "a.test"}}
	two := []auth.Domain{{Name: "a.test"}, {Name: "b.test"}}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	minutes := func(from, to int, domains []auth.Domain) (looked []int) {
		for m := from; m < to; m++ {
			if l.due(start.Add(time.Duration(m)*time.Minute), domains) {
				looked = append(looked, m)
			}
		}
		return looked
	}
	if got := minutes(0, 200, one); !slices.Equal(got, []int{0, 1, 3, 7, 15, 31, 63, 123, 183}) {
		t.Error("after the start:", got)
	}
	if got := minutes(200, 210, two); !slices.Equal(got, []int{200, 201, 203, 207}) {
		t.Error("after a new domain:", got)
	}
	l.soon()
	if got := minutes(210, 220, two); !slices.Equal(got, []int{210, 211, 213, 217}) {
		t.Error("after a checkup:", got)
	}
	if !l.due(start, two) && !l.due(start.Add(time.Minute), two) {
		t.Error("a clock that was set back puts the look off")
	}
}
