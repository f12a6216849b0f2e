package story

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestSearch: the same stories as Find, in parts, the newest first.
func TestSearch(t *testing.T) {
	b, c := newBook(t, Options{})
	for i := range 300 {
		c.now = c.now.Add(time.Second)
		b.Begin(Message{ID: fmt.Sprintf("q%d", i), At: c.now, Direction: In, From: fmt.Sprintf("W%d@Example.org", i%3), To: []string{"bob@example.net"}, MessageID: fmt.Sprintf("<m%d@example.org>", i)})
	}
	for what, want := range map[string]int{"BOB@example.net": 300, "w1@example.org": 100, "<M7@example.org>": 1, "m7@example.org": 1, "q9": 1, "q999": 0, "": 0, "zoe@example.org": 0, "@": 0, "w@example.org": 0} {
		var got []string
		seen := map[string]bool{}
		for before := (time.Time{}); ; {
			part, err := b.Search(t.Context(), what, before, 40)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range part {
				if seen[m.ID] {
					t.Errorf("%q: %s twice", what, m.ID)
				}
				seen[m.ID], got = true, append(got, m.ID)
				if !before.IsZero() && !m.At.Before(before) {
					t.Errorf("%q: %s is not older", what, m.ID)
				}
			}
			if len(part) < 40 {
				break
			}
			before = part[len(part)-1].At
		}
		if len(got) != want {
			t.Errorf("%q: %d stories, want %d: %.60s", what, len(got), want, strings.Join(got, " "))
		}
	}
	if none, err := (*Book)(nil).Search(t.Context(), "x", time.Time{}, 1); err != nil || none != nil {
		t.Error(none, err)
	}
}
