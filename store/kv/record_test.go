package kv

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzParts: what is decoded is encoded to the same octets again; anything else is an error, never a panic.
func FuzzParts(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeParts([]Part{{'a', nil}, {'b', []byte("data")}}))
	f.Add([]byte{'a', 0, 0, 0})
	f.Add([]byte{'a', 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, meta []byte) {
		var parts []Part
		for p, err := range decodeParts(meta) {
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				return
			}
			parts = append(parts, p)
		}
		if got := encodeParts(parts); !bytes.Equal(got, meta) {
			t.Fatalf("%x became %x", meta, got)
		}
	})
}
