package daemon

import "testing"

func TestRest(t *testing.T) {
	const mb = 1 << 20
	var r rest
	for i, s := range []struct {
		allocated uint64
		want      bool
	}{
		{20 * mb, false},      // busy: the start
		{20*mb + 1000, true},  // at rest, and much was allocated
		{20*mb + 2000, false}, // nothing to give back
		{25 * mb, false},      // busy
		{25*mb + 100, false},  // at rest, little was allocated
		{40 * mb, false},
		{60 * mb, false},
		{60*mb + 1, true},
		{80 * mb, false},
		{80*mb + 1, false}, // at rest, and too soon after the last time
		{80*mb + 2, true},
	} {
		if got := r.worthwhile(s.allocated); got != s.want {
			t.Errorf("look %d: %v, want %v", i, got, s.want)
		}
	}
	if allocated() == 0 {
		t.Error("nothing was ever allocated")
	}
}
