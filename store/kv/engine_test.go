package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// plainMap is the simplest tables there can be.
type plainMap map[string][]byte

func (m plainMap) scan(t Table, from, to []byte, back bool) (out []string) {
	for k := range m {
		key := []byte(k[1:])
		if k[:1] == string(t) && bytes.Compare(key, from) >= 0 && (to == nil || bytes.Compare(key, to) < 0) {
			out = append(out, k[1:])
		}
	}
	slices.Sort(out)
	if back {
		slices.Reverse(out)
	}
	return out
}

func engines(t *testing.T) map[string]engine {
	b, err := openBolt(filepath.Join(t.TempDir(), "meta.db"), 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	b.db.NoSync = true // nothing is lost here
	return map[string]engine{"bolt": b, "memory": newMemory()}
}

// TestEngines does the same random things to both engines and to a map.
func TestEngines(t *testing.T) {
	for name, e := range engines(t) {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			model := plainMap{}
			for range 150 {
				next := plainMap{}
				for k, v := range model {
					next[k] = v
				}
				err := e.update(func(p pages) error {
					for range 1 + r.IntN(20) {
						mutate(t, r, p, next)
					}
					if r.IntN(4) == 0 {
						return errMine
					}
					return nil
				})
				if err == nil {
					model = next
				} else if !errors.Is(err, errMine) {
					t.Fatal(err)
				}
				if err := e.view(func(p pages) error { compare(t, r, p, model); return nil }); err != nil {
					t.Fatal(err)
				}
				if t.Failed() {
					return
				}
			}
			if err := e.close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func randomKey(r *rand.Rand) []byte {
	k := make([]byte, 1+r.IntN(3))
	for i := range k {
		k[i] = byte(r.IntN(6)) * 51
	}
	return k
}

func mutate(t *testing.T, r *rand.Rand, p pages, m plainMap) {
	table, key := Table("mn"[r.IntN(2):][:1]), randomKey(r)
	if r.IntN(3) == 0 {
		if err := p.delete(table, key); err != nil {
			t.Error(err)
		}
		delete(m, string(table)+string(key))
		return
	}
	value := bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(3000))
	if err := p.put(table, key, value); err != nil {
		t.Error(err)
	}
	m[string(table)+string(key)] = bytes.Clone(value)
	if got := p.get(table, key); got == nil || !bytes.Equal(got, value) {
		t.Errorf("%x: %d octets after put of %d, nil is %v", key, len(got), len(value), got == nil)
	}
	clear(key) // the caller's slices may be used again
	clear(value)
}

func compare(t *testing.T, r *rand.Rand, p pages, m plainMap) {
	for range 10 {
		table, from, to := Table("mnq"[r.IntN(3):][:1]), randomKey(r), randomKey(r)
		switch r.IntN(4) {
		case 0:
			from = nil
		case 1:
			to = nil
		}
		limit := 1 + r.IntN(40)
		for _, back := range []bool{false, true} {
			want := m.scan(table, from, to, back)
			want = want[:min(len(want), limit)]
			var got []string
			yield := func(k, v []byte) bool {
				if !bytes.Equal(v, m[string(table)+string(k)]) || v == nil {
					t.Errorf("%s %x: %d octets", table, k, len(v))
				}
				got = append(got, string(k))
				return len(got) < limit
			}
			if back {
				p.scanBack(table, from, to, yield)
			} else {
				p.scan(table, from, to, yield)
			}
			if !slices.Equal(got, want) {
				t.Errorf("scan of %s from %x to %x, back %v: %x, want %x", table, from, to, back, got, want)
			}
		}
		if got, want := p.get(table, from), m[string(table)+string(from)]; !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("get %x: %d octets, want %d", from, len(got), len(want))
		}
	}
}

func TestViewIsASnapshot(t *testing.T) {
	for name, e := range engines(t) {
		t.Run(name, func(t *testing.T) {
			set := func(v string) {
				if err := e.update(func(p pages) error { return p.put("m", []byte("k"), []byte(v)) }); err != nil {
					t.Error(err)
				}
			}
			set("old")
			e.view(func(p pages) error {
				for i := range 3 {
					done := make(chan struct{})
					go func() { set(fmt.Sprint("new", i)); close(done) }()
					<-done
					if got := p.get("m", []byte("k")); string(got) != "old" {
						t.Errorf("%q", got)
					}
				}
				return nil
			})
			e.close()
		})
	}
}

func TestWriteInView(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir()})
	defer db.Close()
	for _, write := range []func(tx *Tx){
		func(tx *Tx) { tx.Put("m", []byte("k"), nil) },
		func(tx *Tx) { tx.Delete("m", []byte("k")) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			db.View(t.Context(), func(tx *Tx) error { write(tx); return nil })
		}()
	}
}

// TestBadKeys: what the tables cannot hold fails its own operation only.
func TestBadKeys(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir()})
	defer db.Close()
	for name, c := range map[string]struct {
		key, value int
		ok         bool
	}{
		"empty key": {0, 1, false}, "longest key": {maxKey, 1, true}, "longer key": {maxKey + 1, 1, false},
		"longest value": {1, maxValue, true}, "longer value": {1, maxValue + 1, false},
	} {
		err := db.Update(t.Context(), func(tx *Tx) error {
			tx.Put("n", bytes.Repeat([]byte("k"), c.key), make([]byte, c.value))
			return nil
		})
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrBadKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, make([]byte, maxRecord)}}})
	if !errors.Is(err, ErrBadKey) {
		t.Error(err)
	}
}

func TestCleanCloseIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	b, err := openBolt(path, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.update(func(p pages) error { return p.put("m", []byte("k"), make([]byte, 9000)) }); err != nil {
		t.Fatal(err)
	}
	if clean := metaClean(t, path); clean {
		t.Error("a file that is being used counts as closed")
	}
	if err := b.close(); err != nil {
		t.Fatal(err)
	}
	if clean := metaClean(t, path); !clean {
		t.Error("a file that was closed counts as crashed")
	}
}

// TestDiskErrorUnderTheMap: pages that cannot be read are an error of whoever needs them, not the end of the process.
func TestDiskErrorUnderTheMap(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, Options{Dir: dir})
	if err := db.Update(t.Context(), func(tx *Tx) error {
		for i := range 2000 {
			tx.Put("n", fmt.Append(nil, i), make([]byte, 500))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "meta.db"), 2*pageSize); err != nil { // what is behind faults, as a bad sector does
		t.Fatal(err)
	}
	read := func(tx *Tx) error { tx.Get("n", []byte("1")); return nil }
	if err := db.View(t.Context(), read); !errors.Is(err, ErrDamaged) {
		t.Errorf("View: %v", err)
	}
	if err := db.Update(t.Context(), read); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	db.Close() // with or without an error: it returns
}
