package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// tear appends to one of the newest log segments what a write that was cut off may leave there: noise, zeros, or a piece
// of an earlier record. What was acknowledged stands before it.
func tear(data string, rng *rand.Rand) error {
	names, err := filepath.Glob(filepath.Join(data, "seg", "*.seg"))
	if err != nil || len(names) == 0 {
		return err
	}
	slices.Sort(names)
	file, err := newest(names, rng)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(litter(old, rng)); errors.Is(err, syscall.ENOSPC) {
		return nil // with -dir on a small file system: torn enough
	}
	return err
}

// newest is the last segment that holds something, or, seldom, a spare one after it.
func newest(names []string, rng *rand.Rand) (string, error) {
	if rng.IntN(4) == 0 {
		return names[len(names)-1-rng.IntN(min(len(names), 3))], nil
	}
	for _, n := range slices.Backward(names) {
		info, err := os.Stat(n)
		if err != nil {
			return "", err
		}
		if info.Size() > 0 {
			return n, nil
		}
	}
	return names[len(names)-1], nil
}

func litter(old []byte, rng *rand.Rand) []byte {
	b := make([]byte, 1+rng.IntN(20000))
	switch kind := rng.IntN(4); {
	case kind == 0:
		return b
	case kind == 3 && len(old) > 1000: // a piece of it with a few octets changed, and a bit in most of its headers
		p := slices.Clone(old[len(old)-min(len(b), len(old)):])
		for range 1 + len(p)/200 {
			p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
		}
		return p
	case kind == 1 && len(old) > 1000:
		at := rng.IntN(len(old) - 500)
		return slices.Clone(old[at:min(at+len(b), len(old))])
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
