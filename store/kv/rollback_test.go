package kv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestRollbackLosesABody: a text of since that is gone or cannot be read costs itself, is told before, and not the way back.
func TestRollbackLosesABody(t *testing.T) {
	for _, how := range []string{"missing", "flipped"} {
		old, newer, _ := upgraded(t, false)
		db, err := startTest(newer)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(old.Dir, "seg", fmt.Sprintf("%08x.seg", bodyOf(t, db, "since/large").Segment()))
		db.Close()
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if how == "flipped" {
			p[len(p)-20] ^= 1
			if err := os.WriteFile(path, p, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := RollbackOptions{Dir: old.Dir, Keep: string(testKind), Migrations: newer.Migrations}
		r, err := Rollback(t.Context(), o)
		if !errors.Is(err, ErrWouldLose) || r.Kept != 12 || r.Lost != 1 || r.Unknown != "" {
			t.Fatalf("%s: %+v, %v", how, r, err)
		}
		o.Lose = true
		if r, err = Rollback(t.Context(), o); err != nil || r.Kept != 12 || r.Lost != 1 {
			t.Fatalf("%s: %+v, %v", how, r, err)
		}
		if db, err = startTest(old); err != nil {
			t.Fatal(err)
		}
		if at := bodyOf(t, db, "since/large"); at != 0 {
			t.Errorf("%s: the large one is at %s", how, at)
		}
		if at := bodyOf(t, db, "since/0"); at == 0 {
			t.Errorf("%s: the others did not come along", how)
		}
		db.Close()
	}
}

// TestRollbackTwice: what the first rollback has put aside is still there after the second.
func TestRollbackTwice(t *testing.T) {
	o, _ := oldFolder(t, Options{})
	newer := o
	newer.Migrations = tomorrow()
	var aside []string
	for range 3 {
		db, err := startTest(newer)
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		r, err := Rollback(t.Context(), RollbackOptions{Dir: o.Dir, Keep: string(testKind), Migrations: newer.Migrations})
		if err != nil {
			t.Fatal(err)
		}
		aside = append(aside, r.Aside)
	}
	seen := map[string]bool{}
	for _, dir := range aside {
		if _, err := os.Stat(filepath.Join(dir, "meta.db")); err != nil || seen[dir] {
			t.Errorf("%q: %v", aside, err)
		}
		seen[dir] = true
	}
}
