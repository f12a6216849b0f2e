package backup

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRetention is a year of nightly backups, and some by hand, as the golden file says what stays of them.
func TestRetention(t *testing.T) {
	var got strings.Builder
	for _, r := range []Retention{{Daily: 7, Weekly: 4, Monthly: 6}, {Daily: 3}, {Monthly: 2}, {}} {
		fmt.Fprintf(&got, "# %d days, %d weeks, %d months\n", r.Daily, r.Weekly, r.Monthly)
		var list []*Generation
		start := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
		var now time.Time
		for day := range 60 {
			now = start.AddDate(0, 0, day)
			list = append(list, generation(now, day < 50))
			if day%10 == 9 {
				now = now.Add(9 * time.Hour) // by hand
				list = append(list, generation(now, false))
			}
			keep := r.keeps(list, now)
			var left []*Generation
			for _, g := range list {
				if keep[g.Name] {
					left = append(left, g)
				}
			}
			list = left
		}
		for _, g := range list {
			verified := ""
			if g.Manifest.Verified != nil {
				verified = " verified"
			}
			fmt.Fprintf(&got, "%s%s\n", g.Name, verified)
		}
	}
	want, err := os.ReadFile("testdata/retention.txt")
	if err != nil || got.String() != string(want) {
		t.Fatalf("%v\n%s", err, got.String())
	}
}

func generation(at time.Time, verified bool) *Generation {
	g := &Generation{Name: at.Format(nameLayout), Manifest: Manifest{Taken: at}}
	if verified {
		g.Manifest.Verified = &Verified{At: at}
	}
	return g
}

// TestRetained: generations go, and with them the segments that no other names, and no other.
func TestRetained(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	o := options(h, folder, now)
	o.Keep = Retention{Daily: 2}
	for day := range 5 {
		fill(t, h, fmt.Sprint("day", day), 10)
		if day == 2 { // what was there before is given up, so that its segments go
			for id := range 2 {
				emptyAccount(t, h, id+1)
			}
		}
		rep := backup(t, o)
		if want := max(0, min(day-1, 1)); len(rep.Dropped) != want {
			t.Fatalf("day %d: %d dropped", day, len(rep.Dropped))
		}
		tidy(t, folder)
		sound(t, folder, rep.Generation)
		now.at = now.at.Add(24 * time.Hour)
	}
}
