package smtp

import (
	"bytes"
	"crypto/rand"
	"io"
	"testing"
)

// TestSpool: what was written is read back, from memory and from a file.
func TestSpool(t *testing.T) {
	var p Spool
	for _, size := range []int{0, 10, spoolMemory, spoolMemory + 1, 3 * spoolMemory} {
		p.Reset(t.TempDir())
		want := make([]byte, size)
		rand.Read(want)
		if _, err := io.Copy(&p, struct{ io.Reader }{bytes.NewReader(want)}); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := p.CopyTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d octets: copy differs (%v)", size, err)
		}
		all, err := io.ReadAll(io.NewSectionReader(&p, 0, p.Size()))
		if err != nil || !bytes.Equal(all, want) {
			t.Errorf("%d octets: ReadAt differs (%v)", size, err)
		}
		p.Close()
		if p.Size() != 0 {
			t.Error("it is not forgotten")
		}
	}
}
