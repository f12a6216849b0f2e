package housetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestBackupSchedule: the house makes backups by itself, as its settings say; when they fail the postmaster reads why, once, and when
// the cause is gone the next one succeeds. What is deleted afterwards comes back while the house runs.
func TestBackupSchedule(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(blocked, "backup")
	h := newStreet(t).build(fmt.Sprintf("[backup]\nto = %q\nshare = 100", to), "admin@one.test", "alice@one.test")
	h.send("admin@one.test", "kept", "alice@one.test")
	h.reader("alice@one.test").awaits(1, "kept")
	postmaster := h.reader("admin@one.test")
	told := postmaster.body(postmaster.awaits(1, "Backups of mx.one.test fail")[0])
	for _, want := range []string{"not a directory", to, "posthouse backup"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is missing in\n%s", want, told)
		}
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	rep, err := h.Daemon.House().Backup(t.Context(), admin.BackupRequest{})
	for err != nil && strings.Contains(err.Error(), "running already") { // the house's own, which is as good
		rep, err = h.Daemon.House().Backup(t.Context(), admin.BackupRequest{})
	}
	if err != nil || rep.Verified == nil || rep.Verified.Compared == 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if list, err := backup.Generations(nil, to); err != nil || len(list) == 0 || len(list) > 2 {
		t.Fatalf("%d generations, %v", len(list), err)
	}
	if err := h.Daemon.House().RemoveAccount(t.Context(), "alice@one.test"); err != nil {
		t.Fatal(err)
	}
	out, err := h.Daemon.House().BringBack(t.Context(), admin.BringBack{Source: admin.Source{From: to}, Account: "alice@one.test"})
	if err != nil || !out.Made || out.Messages != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	h.reader("alice@one.test").awaits(1, "kept") // with her old password
}
