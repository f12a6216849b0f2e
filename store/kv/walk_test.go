package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

// tablesFile is a file with small, branching and large-valued tables, after deletes.
func tablesFile(t *testing.T, keys int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "meta.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, NoSync: true, PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 5 {
		err := db.Update(func(tx *bbolt.Tx) error {
			for _, name := range []string{"s", "m", "x"} {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				n, size := 3, 20
				if name != "s" {
					n = keys
				}
				if name == "m" {
					size = 3600
				}
				for range n {
					k := binary.BigEndian.AppendUint32(nil, uint32(r.IntN(keys*10)))
					if round%2 == 1 && r.IntN(2) == 0 {
						if c, _ := b.Cursor().Seek(k); c != nil {
							if err := b.Delete(c); err != nil {
								return err
							}
						}
						continue
					}
					if err := b.Put(k, bytes.Repeat([]byte{byte(round)}, 1+r.IntN(size))); err != nil {
						return err
					}
				}
			}
			b, err := tx.CreateBucketIfNotExists([]byte("z"))
			if err != nil {
				return err
			}
			return b.Put([]byte("large"), bytes.Repeat([]byte("x"), 20_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWalkTables(t *testing.T) {
	for _, keys := range []int{1, 30, 2000} {
		if err := WalkTables(tablesFile(t, keys)); err != nil {
			t.Errorf("%d keys: %v", keys, err)
		}
	}
}

// A walk that nobody waits for any more ends, and calls nothing damaged.
func TestWalkEnds(t *testing.T) {
	end := make(chan struct{})
	close(end)
	if err := walkTables(tablesFile(t, 30), end); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// Whatever stands in the file, the walk ends with an answer; and where it finds nothing wrong bbolt reads every key.
func TestWalkFindsDamage(t *testing.T) {
	path := tablesFile(t, 300)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pages := pagesInUse(t, path) // where bbolt puts things differs from run to run
	r := rand.New(rand.NewPCG(3, 4))
	found := 0
	const rounds = 120
	for range rounds {
		b := bytes.Clone(whole)
		switch page := pages[r.IntN(len(pages))]; r.IntN(3) {
		case 0: // the head of a page and its first entries, which all meaning depends on
			b[page*pageSize+r.IntN(48)] ^= 1 << r.IntN(8)
		case 1:
			clear(b[page*pageSize : (page+1)*pageSize])
		case 2:
			b = b[:page*pageSize]
		}
		name := filepath.Join(t.TempDir(), "broken.db")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := WalkTables(name); err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("not called damage: %v", err)
			}
			found++
			continue
		}
		db, err := openFile(name, &bbolt.Options{NoFreelistSync: true, PageSize: pageSize, NoSync: true})
		if err != nil {
			t.Fatalf("walked well and does not open: %v", err)
		}
		if err := verify(db); err != nil {
			t.Fatalf("walked well and is not: %v", err)
		}
		db.Close()
	}
	if found < rounds/2 { // what is cleared or cut off is found always, one bit not
		t.Errorf("found %d damages of %d", found, rounds)
	}
}

// pagesInUse are the pages that the walk comes to.
func pagesInUse(t *testing.T, path string) []int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &walker{file: f, pages: math.MaxInt32, seen: map[uint64]bool{}}
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	var pages []int
	for n := range w.seen {
		pages = append(pages, int(n))
	}
	slices.Sort(pages)
	return pages
}

func FuzzWalkTables(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{1, 0, 0, 0, 255, 255}, uint16(2*pageSize))
	f.Fuzz(func(t *testing.T, patch []byte, at uint16) {
		path := tablesFile(t, 5)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[min(int(at), len(b)):], patch)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := WalkTables(path); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}
