package page

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"rsc.io/qr"
)

// TestQR: the picture has the modules of the code, and a border; the label cannot end its attribute.
func TestQR(t *testing.T) {
	const text = "https://mail.example.org/email.mobileconfig?email=alice%40example.org"
	html, err := QR(text, `the "profile"`)
	if err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	black := map[[2]int]bool{}
	runs := regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1H\d+z`).FindAllStringSubmatch(string(html), -1)
	for _, m := range runs {
		var x, y, n int
		if _, err := fmt.Sscan(m[1]+" "+m[2]+" "+m[3], &x, &y, &n); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			black[[2]int{x + i - 4, y - 4}] = true
		}
	}
	for y := range code.Size {
		for x := range code.Size {
			if black[[2]int{x, y}] != code.Black(x, y) {
				t.Fatalf("module %d, %d", x, y)
			}
		}
	}
	if !strings.Contains(string(html), `aria-label="the &#34;profile&#34;"`) || !strings.Contains(string(html), fmt.Sprintf(`viewBox="0 0 %d %d"`, code.Size+8, code.Size+8)) {
		t.Error(string(html)[:200])
	}
	if _, err := QR(strings.Repeat("a", 5000), ""); err == nil {
		t.Error("a text of 5,000 octets is a code")
	}
}
