package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRestoredAgain: a house that came out of a backup is backed up and comes out of that too, with the settings it has now.
func TestRestoredAgain(t *testing.T) {
	h, now := newHouse(t), newClock()
	settings := filepath.Join(t.TempDir(), "posthouse.toml")
	for _, text := range []string{"hostname = \"first\"\n", "hostname = \"second\"\n", "hostname = \"third\"\n"} {
		put(t, settings, text)
		folder := t.TempDir()
		o := options(h, folder, now)
		o.Settings = settings
		backup(t, o)
		h = restored(t, openGeneration(t, newest1(t, folder), Secrets{}))
		got, err := os.ReadFile(filepath.Join(h.DB.Dir(), RestoredSettings))
		if err != nil || string(got) != text {
			t.Fatalf("settings: %q, %v", got, err)
		}
	}
}

// TestLeftovers: what rollback, repair and a broken side.db have left in the data folder is not packed, and whatever is too large keeps
// nothing else out.
func TestLeftovers(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	dir := h.DB.Dir()
	not := []string{"after-2/seg/00000001.seg", "after-2/meta.db", "damaged/00000001.seg", "side.db.damaged", "rollback.stage/meta.db", "meta.running"}
	for _, name := range not {
		put(t, filepath.Join(dir, name), "x")
	}
	for i := range 18 { // more than is packed in all
		path := filepath.Join(dir, "big", fmt.Sprint(i))
		put(t, path, "")
		if err := os.Truncate(path, folderFile+1); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "tls/key.pem"), "secret")
	rep := backup(t, options(h, folder, newClock()))
	if len(rep.Left) != 18 {
		t.Errorf("left out: %q", rep.Left)
	}
	back := restored(t, openGeneration(t, newest1(t, folder), Secrets{})).DB.Dir()
	if got, err := os.ReadFile(filepath.Join(back, "tls/key.pem")); err != nil || string(got) != "secret" {
		t.Errorf("the key: %q, %v", got, err)
	}
	for _, name := range not[:5] {
		if _, err := os.Stat(filepath.Join(back, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s came back: %v", name, err)
		}
	}
}

// TestPlace: however the folder is named, it does not stand in the data folder.
func TestPlace(t *testing.T) {
	h, now := newHouse(t), newClock()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(h.DB.Dir(), link); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{h.DB.Dir(), filepath.Join(h.DB.Dir(), "a", "b"), link, filepath.Join(link, "a", "b")} {
		if _, err := Run(t.Context(), options(h, to, now)); !errors.Is(err, ErrPlace) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if _, err := os.Stat(filepath.Join(h.DB.Dir(), "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made there: %v", err)
	}
}

// TestTornManifest: on a disk that forgets what was written last, one generation that cannot be read keeps neither the others from being
// used nor new ones from being made, and nothing of it is removed.
func TestTornManifest(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	o := options(h, folder, now)
	o.Keep = Retention{Daily: 1}
	var torn *Generation
	for day := range 3 {
		fill(t, h, fmt.Sprint(day), 5)
		backup(t, o)
		if day == 0 {
			torn = newest1(t, folder)
			put(t, filepath.Join(torn.dir(), manifestName), "")
		}
		now.at = now.at.Add(24 * time.Hour)
	}
	list, err := Generations(nil, folder)
	if err != nil || len(list) == 0 || slices.ContainsFunc(list, func(g *Generation) bool { return g.Name == torn.Name }) {
		t.Fatalf("%d generations, %v", len(list), err)
	}
	look(t, h.Store).compare(t, look(t, openGeneration(t, newest1(t, folder), Secrets{}).Store))
	for _, f := range torn.Manifest.Segments {
		if _, err := os.Stat(filepath.Join(torn.store(), segmentsDir, f.Name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(torn.dir(), tablesName)); err != nil {
		t.Error(err)
	}
	rep, err := Run(t.Context(), o)
	if err != nil || rep.Verified == nil || !strings.Contains(strings.Join(rep.Warnings, "\n"), torn.Name) {
		t.Fatalf("nobody is told: %+v, %v", rep, err)
	}
	if err := os.RemoveAll(torn.dir()); err != nil {
		t.Fatal(err)
	}
	now.at = now.at.Add(24 * time.Hour)
	if rep := backup(t, o); len(rep.Warnings) > 0 {
		t.Errorf("%q", rep.Warnings)
	}
}

// TestRemovedMeanwhile: a generation that retention removes while it is brought back does not come back in part.
func TestRemovedMeanwhile(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	fill(t, h, "x", 40)
	backup(t, options(h, folder, now))
	g := newest1(t, folder)
	r := openGeneration(t, g, Secrets{})
	gone := false
	_, err := r.Restore(t.Context(), t.TempDir(), func(Progress) {
		if !gone {
			gone = true
			remove(t, filepath.Join(g.dir(), manifestName))
			for _, f := range g.Manifest.Segments {
				remove(t, filepath.Join(g.store(), segmentsDir, f.Name))
			}
		}
	})
	if !errors.Is(err, ErrNone) {
		t.Fatalf("%v", err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
