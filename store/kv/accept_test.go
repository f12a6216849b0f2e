package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// TestAcceptDamage: a record that was durable and cannot be read stops the start; told so, the start goes past it, keeps the file, and
// the next one needs no telling.
func TestAcceptDamage(t *testing.T) {
	for name, spoil := range map[string]func(file []byte, at blob.LSN){
		"header":     func(file []byte, at blob.LSN) { file[at.Offset()+9] ^= 1 },
		"text":       func(file []byte, at blob.LSN) { file[at.Offset()+300] ^= 1 },
		"both heads": func(file []byte, at blob.LSN) { file[40] ^= 1; file[at.Offset()+3] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openHouse(t, Options{Dir: dir, Plain: true, Pace: time.Hour, BacklogAge: time.Hour})
			// The first is not kept waiting, and takes with it what is there by then; what comes behind its commit waits for an hour.
			if _, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, []byte("first")}}}); err != nil {
				t.Fatal(err)
			}
			if err := db.SettleAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			var places []blob.LSN
			for i := range 20 {
				key := fmt.Appendf(nil, "key%02d", i)
				at, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, key}}, Body: body(t, db, nil, bytes.Repeat(key, 100))})
				if err != nil {
					t.Fatal(err)
				}
				places = append(places, at)
			}
			dir = copyFolder(t, dir)
			db.Close()
			segment := fmt.Sprintf("%08x.seg", places[7].Segment())
			file, err := os.ReadFile(filepath.Join(dir, "seg", segment))
			if err != nil {
				t.Fatal(err)
			}
			spoil(file, places[7])
			if err := os.WriteFile(filepath.Join(dir, "seg", segment), file, 0o600); err != nil {
				t.Fatal(err)
			}
			o := Options{Dir: dir, Plain: true}
			if db, err := startHouse(o); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "--accept-damage") {
				if err == nil {
					db.Close()
				}
				t.Fatal(err)
			}
			o.AcceptDamage = true
			db, err = startHouse(o)
			if err != nil {
				t.Fatal(err)
			}
			d := db.Damage()
			if d == nil || len(d.Holes)+len(d.Broken) == 0 {
				t.Fatalf("%+v", d)
			}
			for i := range places {
				key := fmt.Sprintf("key%02d", i)
				if there := get(t, db, key) != nil; there != (i != 7 || name == "text") {
					t.Errorf("%s is there: %v", key, there)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "damaged", segment)); err != nil {
				t.Error(err)
			}
			if _, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, []byte("new")}}, Body: body(t, db, nil, []byte("new"))}); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			o.AcceptDamage = false
			db, err = startHouse(o)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if db.Damage() != nil || get(t, db, "new") == nil || get(t, db, "key08") == nil {
				t.Fatal(db.Damage())
			}
			if at := get(t, db, "key08"); len(at) == 8 {
				if _, text := readAll(t, db, blob.LSN(number(at))); !bytes.HasPrefix(text, []byte("key08")) {
					t.Fatalf("%q", text[:10])
				}
			}
		})
	}
}

// startHouse is openHouse for starts that may fail.
func startHouse(o Options) (*DB, error) {
	db, err := Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	repairOwners(db)
	if err := db.Start(context.Background()); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// TestAsideIsTold: the owner of a part hears that its record was set aside, so that it gives back what it holds for it.
func TestAsideIsTold(t *testing.T) {
	db, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 9)
	db.Register(testKind, Kind{
		Apply: func(tx *Tx, e Entry, data []byte) error { return errors.New("no") },
		Aside: func(data []byte) { told <- string(data) },
	})
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, []byte("part")}}}); err != nil {
		t.Fatal(err)
	}
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != "part" || db.committer.aside.Load() != 1 {
		t.Fatal(got)
	}
	if err := db.Close(); err != nil || len(told) > 0 {
		t.Fatal(err)
	}
}
