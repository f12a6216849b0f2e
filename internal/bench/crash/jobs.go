package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
)

// jobs are what the house does in the background while it is killed: compaction of small segments, backups.
type jobs struct {
	backup  string // the folder; empty: this binary makes none
	tried   int
	done    int
	failure error // the last one; a kill explains most
}

// tune makes log segments small and compaction restless, as far as the binary knows the settings.
func (t *trial) tune() error {
	example, err := exec.Command(t.house.Binary, "config", "example").Output()
	if err != nil {
		return fmt.Errorf("config example: %w", err)
	}
	for _, setting := range []struct{ name, value string }{
		{"segment_size", `"512KiB"`}, {"compact_every", `"100ms"`}, {"compact_below", "80"}, {"compact_share", "100"},
	} {
		if bytes.Contains(example, []byte(setting.name+" = ")) {
			if t.tuned == 0 {
				t.house.Extra += "[store]\n"
			}
			t.house.Extra += setting.name + " = " + setting.value + "\n"
			t.tuned++
		}
	}
	help, err := exec.Command(t.house.Binary, "--help").Output()
	if bytes.Contains(help, []byte("\n  backup ")) {
		t.jobs.backup = filepath.Join(t.house.Dir, "backup")
	}
	return err
}

// backups makes a backup in some rounds; the kill comes in the middle of some of them.
func (t *trial) backups(wg *sync.WaitGroup) {
	if t.jobs.backup == "" || t.rng.IntN(3) > 0 {
		return
	}
	t.jobs.tried++
	wg.Go(func() {
		if _, t.jobs.failure = t.house.Command("", "backup", t.jobs.backup); t.jobs.failure == nil {
			t.jobs.done++
		}
	})
}

// lastBackup must go through, and proves itself, on top of all that were cut off.
func (t *trial) lastBackup() error {
	if t.jobs.backup == "" {
		return nil
	}
	if _, err := t.house.Command("", "backup", t.jobs.backup); err != nil {
		return errors.Join(errors.New("the backup at the end"), err)
	}
	t.jobs.done++
	return nil
}
