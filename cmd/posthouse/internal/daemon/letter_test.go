package daemon

import (
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// TestLetterDue: one letter a week, whatever the clock does between.
func TestLetterDue(t *testing.T) {
	monday := time.Date(2026, 3, 2, letterHour, 0, 0, 0, time.Local)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name      string
		day       string
		sent, now time.Duration // from Monday at seven
		want      bool
	}{
		{"on the hour", "monday", -7 * day, 0, true},
		{"a minute before", "monday", -7 * day, -time.Minute, false},
		{"sent just now", "monday", 0, time.Minute, false},
		{"later in the week", "monday", 0, 6 * day, false},
		{"a week later", "monday", 0, 7 * day, true},
		{"sent late last week", "monday", 5 * day, 7 * day, true},
		{"the house was down for weeks", "monday", 0, 40 * day, true},
		{"down on Monday, up on Thursday", "monday", -5 * day, 3 * day, true},
		{"another day", "sunday", 0, 5 * day, false},
		{"another day came", "sunday", 0, 6 * day, true},
		{"the day was changed", "tuesday", 0, day + time.Minute, true},
		{"the clock went back", "monday", 300 * day, 0, false},
		{"off", "off", -70 * day, 0, false},
	} {
		if got := letterDue(c.day, monday.Add(c.sent), monday.Add(c.now)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSum(t *testing.T) {
	set := metrics.New()
	v := set.Counters("things_total", "Things.", "kind", "result")
	v.WithLabelValues("a", "good").Add(3)
	v.WithLabelValues("b", "good").Add(4)
	v.WithLabelValues("b", "bad").Add(5)
	set.GaugeFunc("height", "Height.", func() float64 { return 2 })
	all, err := gather(set)
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]float64{"things_total": 12, "things_total kind=b": 9, "things_total kind=b result=bad": 5, "things_total kind=c": 0, "height": 2, "none": 0} {
		if got := all.sum(what); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// TestFiledAsJunk: the letter counts what stands in Junk, by names that are counted.
func TestFiledAsJunk(t *testing.T) {
	counts := map[string]float64{}
	for _, name := range letterCounts() {
		counts[name] = 1
	}
	if n := filedAsJunk(counts); n != 2 {
		t.Errorf("%d messages in Junk", n)
	}
}
