package dns

import (
	"errors"
	"testing"
)

// An absence is kept where a zone has an SOA record over the name, and asked for again where it has none (RFC 2308 sections 3 and 5).
func TestAbsenceIsKept(t *testing.T) {
	z, err := NewZone("kept.test. 3600 IN SOA ns.kept.test. hostmaster.kept.test. 1 7200 900 1209600 600", "a.kept.test. A 192.0.2.1", "a.bare.test. A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	c := z.Client(Options{})
	for name, want := range map[string]int{"none.kept.test": 1, "a.kept.test": 1, "x.y.kept.test": 1, "none.bare.test": 3} {
		for range 3 {
			if _, _, err := c.TXT(t.Context(), name); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := z.Asked(name, "TXT"); n != want {
			t.Errorf("%s was asked for %d times, want %d", name, n, want)
		}
	}
}
