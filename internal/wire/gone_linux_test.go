package wire

import (
	"io"
	"testing"
	"time"
)

// TestGone: an end that is closed is seen in clear and under TLS, behind octets that nobody has read too; one that is open is not.
func TestGone(t *testing.T) {
	for name, pair := range conns(t) {
		c := New(pair[0], Options{})
		if name != "pipe" {
			if _, err := io.WriteString(pair[1], "unread"); err != nil {
				t.Fatal(err)
			}
		}
		if c.Gone() {
			t.Errorf("%s: gone before it is", name)
		}
		pair[1].Close()
		want := name != "pipe" // of which the system knows nothing
		for end := time.Now().Add(10 * time.Second); c.Gone() != want && time.Now().Before(end); {
		}
		if c.Gone() != want {
			t.Errorf("%s: gone is %v", name, !want)
		}
		c.Close()
		if c.Gone() != want {
			t.Errorf("%s: after Close", name)
		}
	}
}
