package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
)

// TestSnapshot: the picture has what was applied when it was taken, and nothing later; every page of it is sound.
func TestSnapshot(t *testing.T) {
	for name, o := range map[string]Options{"bolt": {Dir: t.TempDir()}, "memory": {Dir: "/m", FS: vfstest.New(), Memory: true}} {
		t.Run(name, func(t *testing.T) {
			db := openTest(t, o)
			defer db.Close()
			for i := range 100 {
				put(t, db, fmt.Sprintf("early %d", i))
			}
			if _, err := db.Keep(t.Context(), body(t, db, nil, []byte("x"))); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "copy.db")
			if _, err := db.Snapshot(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			put(t, db, "late")
			if _, err := db.Snapshot(t.Context(), path); !errors.Is(err, os.ErrExist) {
				t.Fatalf("a second picture in the place of the first: %v", err)
			}
			path = filepath.Join(t.TempDir(), "copy.db")
			if _, err := db.Snapshot(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			file, err := openFile(path, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := verify(file); err != nil {
				t.Fatal(err)
			}
			err = file.View(func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("n"))
				if b.Get([]byte("early 99")) == nil || b.Get([]byte("late")) == nil || tx.Bucket([]byte(tableSettings)).Get([]byte(keyLog)) == nil {
					t.Fatal("rows are missing")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func put(t *testing.T, db *DB, key string) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte(key), []byte("v")); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotEnds: a picture whose context ends leaves no file.
func TestSnapshotEnds(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir()})
	defer db.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "copy.db")
	if _, err := db.Snapshot(ctx, path); !errors.Is(err, context.Canceled) {
		t.Fatalf("snapshot: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the file of a picture that was cut short: %v", err)
	}
}
