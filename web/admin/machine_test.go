package admin_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// settled is a house with a settings file.
func settled(t *testing.T, text string) (*admin.House, string) {
	s := storetest.Start(t, storetest.Options{})
	h := admin.New(admin.Options{DB: s.DB, Directory: auth.New(s.DB, auth.Options{}), Store: s.Store})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(t.TempDir(), "posthouse.toml")
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	h.SetMachine(admin.Machine{Settings: admin.Settings{
		File: file, Data: t.TempDir(), Now: func() *config.Config { return c }, Live: func(key string) bool { return key == "quota.warn" },
		Check: func(_ string, c *config.Config) error {
			if c.Hostname == "bad.test" {
				return errors.New("tls.certificates: there is no such file")
			}
			return nil
		},
	}})
	return h, file
}

// TestSettingsFile: it is changed whole or not at all, only by who has seen it as it is, and the former text comes back.
func TestSettingsFile(t *testing.T) {
	const first, second = "hostname = \"mx.one.test\"\n", "hostname = \"mx.one.test\"\n[quota]\nwarn = 80\n"
	h, file := settled(t, first)
	ctx := t.Context()
	is, err := h.SettingsFile(ctx)
	if err != nil || is.Text != first || is.Fixed != "" || is.Former || is.Version == "" {
		t.Fatalf("%+v %v", is, err)
	}
	for _, bad := range []struct {
		text, version, says string
		class               admin.Class
	}{
		{"hostnam = 1\n", is.Version, "Did you mean hostname?", admin.Invalid}, {"hostname = \"bad.test\"\n", is.Version, "no such file", admin.Invalid},
		{"\xff", is.Version, "UTF-8", admin.Invalid}, {second, "another", "changed by somebody else", admin.Conflict}, {strings.Repeat("#", 1<<20+1), "", "larger", admin.Invalid},
	} {
		_, err := h.SetSettingsFile(ctx, admin.SettingsText{Text: bad.text, If: bad.version})
		if classOf(err) != bad.class || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%.20q: %v", bad.text, err)
		}
	}
	if _, err := h.RestoreSettingsFile(ctx, admin.SettingsText{}); classOf(err) != admin.Missing {
		t.Error(err)
	}
	now, err := h.SetSettingsFile(ctx, admin.SettingsText{Text: strings.ReplaceAll(second, "\n", "\r\n"), If: is.Version})
	if err != nil || now.Text != second || !now.Former || now.Version == is.Version {
		t.Fatalf("%+v %v", now, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	shown, err := h.Settings(ctx)
	if err != nil || shown.Wrong != "" {
		t.Fatal(err, shown.Wrong)
	}
	found := false
	for _, table := range shown.Tables {
		for _, s := range table.Settings {
			if s.Key == "quota.warn" {
				found = s.Value == "90" && s.File == "80" && s.Live && s.What != "" && s.Default == "90"
			} else if s.File != "" {
				t.Errorf("%+v", s)
			}
		}
	}
	if !found {
		t.Error("quota.warn is not told")
	}
	back, err := h.RestoreSettingsFile(ctx, admin.SettingsText{If: now.Version})
	if err != nil || back.Text != first {
		t.Errorf("%+v %v", back, err)
	}
	if again, err := h.RestoreSettingsFile(ctx, admin.SettingsText{}); err != nil || again.Text != second {
		t.Errorf("%+v %v", again, err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v %v", left, err)
	}
	entries, err := h.Audit(ctx, admin.AuditFilter{})
	if err != nil || len(entries.Entries) != 3 {
		t.Errorf("%+v %v", entries, err)
	}
}

// TestNoMachine: the files alone can tell nothing of a process.
func TestNoMachine(t *testing.T) {
	h := new(admin.House)
	_, err := h.Connections(t.Context(), admin.ConnectionFilter{})
	_, err2 := h.Vitals(t.Context())
	_, err3 := h.Settings(t.Context())
	for _, err := range []error{err, err2, err3, h.EndConnection(t.Context(), "1")} {
		if classOf(err) != admin.Unavailable {
			t.Error(err)
		}
	}
	if classOf(h.RenewCertificate(t.Context(), "x")) != admin.Conflict {
		t.Error("renewed")
	}
	for _, r := range []admin.HistoryRequest{{Hours: -1}, {Hours: 1, Days: 1}, {Days: 401}, {Hours: 241}} {
		if _, err := h.History(t.Context(), r); classOf(err) != admin.Invalid {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if all, err := h.History(t.Context(), admin.HistoryRequest{}); err != nil || len(all) != 30 {
		t.Error(len(all), err)
	}
}

// TestConnections: found by who and from where, and ended.
func TestConnections(t *testing.T) {
	h, _ := settled(t, "hostname = \"mx.one.test\"\n")
	open := []admin.Connection{{ID: "a", Service: "imap", Remote: "192.0.2.7:1", Who: "alice@one.test"}, {ID: "b", Service: "smtp", Remote: "192.0.2.8:1"}}
	h.SetMachine(admin.Machine{Connections: func() []admin.Connection { return open }, EndConnection: func(id string) bool { return id == "a" }})
	for text, want := range map[string]int{"": 2, "ALICE": 1, "192.0.2": 2, "192.0.2.8": 1, "bob": 0} {
		if got, err := h.Connections(t.Context(), admin.ConnectionFilter{Text: text}); err != nil || len(got) != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	if err := h.EndConnection(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := h.EndConnection(t.Context(), "c"); classOf(err) != admin.Missing {
		t.Error(err)
	}
}

// TestRecentLog: the first look begins to keep lines, filters narrow them, and nobody's look ends it.
func TestRecentLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := logx.New(io.Discard, logx.Options{})
		h := new(admin.House)
		h.SetLog(logx.LevelsOf(log))
		look := func(f admin.LogFilter) ([]logx.Line, bool) {
			t.Helper()
			synctest.Wait()
			lines, began, err := h.RecentLog(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			return lines, began
		}
		log.Info("before")
		if lines, began := look(admin.LogFilter{}); len(lines) != 0 || !began {
			t.Error(lines, began)
		}
		log.Info("one")
		logx.Part(log, logx.PartIMAP).Warn("two")
		if lines, began := look(admin.LogFilter{}); len(lines) != 2 || began || lines[0].Event != "one" {
			t.Error(lines, began)
		}
		if lines, _ := look(admin.LogFilter{Level: "warn"}); len(lines) != 1 || lines[0].Event != "two" {
			t.Error(lines)
		}
		if lines, _ := look(admin.LogFilter{Parts: []string{"smtp"}}); len(lines) != 0 {
			t.Error(lines)
		}
		for range 1500 {
			log.Info("many")
			synctest.Wait()
		}
		if lines, _ := look(admin.LogFilter{}); len(lines) > 1000 || len(lines) < 700 {
			t.Error(len(lines))
		}
		time.Sleep(40 * time.Minute)
		if lines, began := look(admin.LogFilter{}); len(lines) != 0 || !began {
			t.Error("lines were kept although nobody looked", len(lines), began)
		}
		if _, _, err := h.RecentLog(t.Context(), admin.LogFilter{Level: "loud"}); classOf(err) != admin.Invalid {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestKeptTraces: a trace goes on when nobody waits for it, ends in time, and there are not too many.
func TestKeptTraces(t *testing.T) {
	h, _ := settled(t, "hostname = \"mx.one.test\"\n")
	hub := dialogue.NewHub(nil)
	h.SetDialogues(hub)
	f := admin.DialogueFilter{Address: "192.0.2.7", For: time.Minute}
	k, err := h.KeepTrace(t.Context(), f)
	if err != nil || !k.Running {
		t.Fatal(k, err)
	}
	for range 9 {
		if _, err := h.KeepTrace(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.KeepTrace(t.Context(), f); classOf(err) != admin.Conflict {
		t.Error(err)
	}
	all, err := h.KeptTraces(t.Context())
	if err != nil || len(all) != 10 || all[9].ID != k.ID {
		t.Errorf("%+v %v", all, err)
	}
	if err := h.EndTrace(t.Context(), k.ID); err != nil {
		t.Error(err)
	}
	if err := h.EndTrace(t.Context(), "x"); classOf(err) != admin.Missing {
		t.Error(err)
	}
	if _, err := h.KeptTrace(t.Context(), k.ID); err != nil {
		t.Error(err)
	}
	if _, err := h.KeptTrace(t.Context(), "x"); classOf(err) != admin.Missing {
		t.Error(err)
	}
}
