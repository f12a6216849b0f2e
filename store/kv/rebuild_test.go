package kv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestSuspectTablesAreCopied: after a failed commit the next start has the tables in a new file, with everything in it.
func TestSuspectTablesAreCopied(t *testing.T) {
	dir, fs := crashed(t, []byte("text"))
	path := filepath.Join(dir, "meta.db")
	if _, err := os.Stat(suspectName(dir)); err != nil {
		t.Fatal(err)
	}
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := openTest(t, Options{Dir: dir, FS: fs})
	defer db.Close()
	now, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(old, now) {
		t.Error("the tables stand in the file that could not be written")
	}
	for _, name := range []string{suspectName(dir), path + ".new"} {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if get(t, db, "k") == nil {
		t.Error("the delivery is gone")
	}
}

func TestShrinkAtStart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	db := openTest(t, Options{Dir: dir, TableGrowth: 64 << 10})
	key := func(i int) []byte { return fmt.Appendf(nil, "%06d", i) }
	const n = 3000
	for _, step := range []func(tx *Tx, i int){
		func(tx *Tx, i int) { tx.Put("n", key(i), bytes.Repeat([]byte{byte(i)}, 1000)) },
		func(tx *Tx, i int) {
			if i%10 > 0 {
				tx.Delete("n", key(i))
			}
		},
	} {
		if err := db.Update(t.Context(), func(tx *Tx) error {
			for i := range n {
				step(tx, i)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before := fileSize(path)
	db = openTest(t, Options{Dir: dir}) // too small to be worth it
	db.Close()
	if now := fileSize(path); now < before {
		t.Fatalf("%d octets, then %d", before, now)
	}
	db = openTest(t, Options{Dir: dir, rebuildOver: 1 << 20})
	defer db.Close()
	if now := fileSize(path); now > before/2 {
		t.Errorf("%d octets, then %d", before, now)
	}
	db.View(t.Context(), func(tx *Tx) error {
		for i := range n {
			v := tx.Get("n", key(i))
			if i%10 == 0 && !bytes.Equal(v, bytes.Repeat([]byte{byte(i)}, 1000)) || i%10 > 0 && v != nil {
				t.Errorf("%s: %d octets", key(i), len(v))
			}
		}
		return nil
	})
}
