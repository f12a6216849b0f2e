//go:build desktop

package desktop

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

// mostPicture is how large a picture of the documents may be.
const mostPicture = 150 << 10

// keep writes a picture (PNG) into a file of the repository. Its colours lose their last bits: nobody sees it, and gradients get small.
func keep(t *testing.T, name string, file []byte) {
	t.Helper()
	from, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	size := from.Bounds()
	to := image.NewRGBA(size)
	coarse := func(c uint32) uint8 { return uint8(c>>8)&^3 | uint8(c>>14) } // white stays white
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			r, g, b, _ := from.At(x, y).RGBA()
			to.SetRGBA(x, y, color.RGBA{coarse(r), coarse(g), coarse(b), 0xff})
		}
	}
	var out bytes.Buffer
	writer := png.Encoder{CompressionLevel: png.BestCompression}
	if err := writer.Encode(&out, to); err != nil {
		t.Fatal(err)
	}
	if out.Len() > mostPicture {
		t.Errorf("%s: %d octets are too many for a picture of the documents", name, out.Len())
	}
	path := filepath.Join("../../../..", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Error(err)
	}
}
