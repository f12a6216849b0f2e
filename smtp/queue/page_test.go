package queue

import (
	"errors"
	"fmt"
	"testing"
)

// TestPage: all of the queue is seen page by page, each entry once, and filters narrow it.
func TestPage(t *testing.T) {
	h := newHouse(t, Options{})
	for i := range 7 {
		h.send(envelope(t, "alice@alpha.test", fmt.Sprintf("u%d@far%d.test", i, i%2)), "x")
	}
	seen := map[uint64]bool{}
	pages, next := 0, ""
	for {
		p, err := h.q.Page(t.Context(), Filter{Limit: 3}, next)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			if seen[it.Number] {
				t.Errorf("entry %d twice", it.Number)
			}
			seen[it.Number] = true
		}
		pages++
		if next = p.Next; next == "" {
			break
		}
	}
	if len(seen) != 7 || pages != 3 {
		t.Errorf("%d entries on %d pages", len(seen), pages)
	}
	for name, c := range map[string]struct {
		f    Filter
		want int
	}{
		"address": {Filter{Address: "U3@far", Limit: 10}, 1}, "sender": {Filter{Address: "alpha", Limit: 10}, 7}, "nobody": {Filter{Address: "zz", Limit: 10}, 0},
		"domain": {Filter{Domain: "far0.test", Limit: 10}, 4}, "tried": {Filter{Tried: true, Limit: 10}, 0}, "held": {Filter{Held: true, Limit: 10}, 0},
	} {
		if p, err := h.q.Page(t.Context(), c.f, ""); err != nil || len(p.Items) != c.want || p.Next != "" {
			t.Errorf("%s: %d entries, next %q, %v", name, len(p.Items), p.Next, err)
		}
	}
	for _, bad := range []string{"x", "-", "1-", "1-!", "../.."} {
		if _, err := h.q.Page(t.Context(), Filter{}, bad); !errors.Is(err, ErrNoItem) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
