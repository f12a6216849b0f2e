package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
)

func openSide(t *testing.T, o SideOptions) *Side {
	t.Helper()
	s, err := OpenSide(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sideGet(t *testing.T, s *Side, key string) string {
	t.Helper()
	var got string
	err := s.View(t.Context(), func(tx *Tx) error {
		got = string(tx.Get("r", []byte(key)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sidePut(key, value string) func(tx *Tx) error {
	return func(tx *Tx) error {
		tx.Put("r", []byte(key), []byte(value))
		return nil
	}
}

func TestSideKeepsOrderAndReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "side.db")
	s := openSide(t, SideOptions{Path: path, Pace: time.Hour})
	for i := range 100 {
		s.Later(sidePut("k", fmt.Sprint(i)))
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sideGet(t, s, "k"); got != "99" {
		t.Fatalf("after Flush: %q", got)
	}
	s.Later(sidePut("k", "last"))
	if err := s.Close(); err != nil { // commits what waits
		t.Fatal(err)
	}
	s = openSide(t, SideOptions{Path: path})
	defer s.Close()
	if got := sideGet(t, s, "k"); got != "last" {
		t.Fatalf("after reopen: %q", got)
	}
}

func TestSideFailedChangeLeavesTheOthers(t *testing.T) {
	s := openSide(t, SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Hour})
	defer s.Close()
	bad := errors.New("bad")
	s.Later(sidePut("a", "1"))
	s.Later(func(tx *Tx) error { tx.Put("r", []byte("b"), []byte("2")); return bad })
	s.Later(func(tx *Tx) error { panic("oops") })
	if err := s.Update(t.Context(), func(tx *Tx) error { tx.Put("r", []byte("c"), []byte("3")); return bad }); !errors.Is(err, bad) {
		t.Fatalf("Update: %v", err)
	}
	s.Later(sidePut("d", "4"))
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "1", "b": "", "c": "", "d": "4"} {
		if got := sideGet(t, s, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// A change waits a second for company at most, and the first after a pause does not wait.
func TestSidePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commits := 0
		s := openSide(t, SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), wrap: func(e engine) engine {
			return &countingEngine{e, &commits}
		}})
		time.Sleep(5 * time.Second) // simulated
		for range 10 {
			s.Later(sidePut("k", "v"))
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if commits < 3 || commits > 4 {
			t.Errorf("%d commits for changes over 2.5 s", commits)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

type countingEngine struct {
	engine
	commits *int
}

func (e *countingEngine) update(fn func(pages) error) error {
	*e.commits++
	return e.engine.update(fn)
}

// A full disk keeps changes waiting up to the bound, tells who waits, and loses nothing that fits when room comes.
func TestSideFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := true
		s := openSide(t, SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pending: 5, wrap: func(e engine) engine {
			return &failingEngine{e, func() error {
				if full {
					return fmt.Errorf("commit: %w", vfs.ErrFull)
				}
				return nil
			}}
		}})
		for i := range 9 {
			s.Later(sidePut(fmt.Sprint(i), "v"))
		}
		if err := s.Flush(t.Context()); !errors.Is(err, ErrFull) {
			t.Fatalf("Flush on a full disk: %v", err)
		}
		full = false
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"v", "v", "v", "v", "v", "", "", "", ""} {
			if got := sideGet(t, s, fmt.Sprint(i)); got != want {
				t.Errorf("%d: %q, want %q", i, got, want)
			}
		}
		s.Close()
	})
}

type failingEngine struct {
	engine
	fail func() error
}

func (e *failingEngine) update(fn func(pages) error) error {
	if err := e.fail(); err != nil {
		return err
	}
	return e.engine.update(fn)
}

// After a failed sync the file is read again; the house goes on, and so does Side.
func TestSideFailedSync(t *testing.T) {
	failures := 1
	s := openSide(t, SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), wrap: func(e engine) engine {
		return &failingEngine{e, func() error {
			if failures--; failures >= 0 {
				return errFatal
			}
			return nil
		}}
	}})
	defer s.Close()
	if err := s.Update(t.Context(), sidePut("a", "1")); !errors.Is(err, errFatal) {
		t.Fatalf("first: %v", err)
	}
	if err := s.Update(t.Context(), sidePut("b", "2")); err != nil {
		t.Fatal(err)
	}
	if a, b := sideGet(t, s, "a"), sideGet(t, s, "b"); a != "" || b != "2" {
		t.Fatalf("%q %q", a, b)
	}
}

// A broken file is set aside, kept, and begun anew.
func TestSideDamaged(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"garbage": func(b []byte) []byte { return []byte("no tables at all, but longer than nothing") },
		"page":    func(b []byte) []byte { return append(b[:3*4096:3*4096], make([]byte, len(b)-3*4096)...) },
		"short":   func(b []byte) []byte { return b[:4096] },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "side.db")
			s := openSide(t, SideOptions{Path: path})
			if err := s.Update(t.Context(), sidePut("a", "1")); err != nil {
				t.Fatal(err)
			}
			crashed, err := os.ReadFile(path) // as a power cut leaves it: not closed
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			if err := os.WriteFile(path, damage(crashed), 0o600); err != nil {
				t.Fatal(err)
			}
			s = openSide(t, SideOptions{Path: path})
			defer s.Close()
			if got := sideGet(t, s, "a"); got != "" {
				t.Errorf("read %q out of a broken file", got)
			}
			if err := s.Update(t.Context(), sidePut("a", "2")); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path + ".damaged"); err != nil {
				t.Errorf("the broken file was not kept: %v", err)
			}
		})
	}
}

func TestSideClosed(t *testing.T) {
	s := openSide(t, SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.Later(sidePut("a", "1"))
	if err := s.Update(context.Background(), sidePut("a", "1")); !errors.Is(err, ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}
