package daemon

import (
	"slices"
	"testing"
)

// TestLingering: a name that leads elsewhere for a while keeps its certificate renewed; after a day it is let go.
func TestLingering(t *testing.T) {
	var l lingering
	both := []string{"imap.a.test", "mail.a.test"}
	if got := l.with(both); !slices.Equal(got, both) {
		t.Fatal(got)
	}
	for i := range 2 * lingerLooks {
		got := l.with([]string{"mail.a.test"})
		if i == lingerLooks/2 { // it is back in between
			l.with(both)
		}
		want := i < lingerLooks/2+lingerLooks
		if slices.Contains(got, "imap.a.test") != want || !slices.Contains(got, "mail.a.test") {
			t.Fatalf("look %d: %v", i, got)
		}
	}
}
