package logx

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

func TestLevelsOfParts(t *testing.T) {
	var out bytes.Buffer
	base := new(slog.LevelVar)
	log := New(&out, Options{Level: base, Plain: true})
	levels := LevelsOf(log)
	smtp, imap := Part(log, PartSMTP), Part(log.With("a", 1), PartIMAP)
	said := func() string {
		out.Reset()
		for _, l := range []*slog.Logger{log, smtp, imap} {
			l.Debug("d")
			l.Info("i")
			l.With("w", 1).Warn("w")
		}
		return strings.ReplaceAll(strings.ReplaceAll(out.String(), "level=", ""), "\n", ";")
	}
	step := func(what, want string) {
		t.Helper()
		if got := said(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", what, got, want)
		}
	}
	const info = "INFO msg=i;WARN msg=w w=1;"
	const imapInfo = "INFO msg=i a=1;WARN msg=w a=1 w=1;"
	step("as the settings say", info+info+imapInfo)
	if err := levels.Set(PartSMTP, slog.LevelDebug); err != nil {
		t.Fatal(err)
	}
	step("smtp at debug", info+"DEBUG msg=d;"+info+imapInfo)
	if err := levels.Set("", slog.LevelWarn); err != nil {
		t.Fatal(err)
	}
	step("the rest at warn", "WARN msg=w w=1;DEBUG msg=d;"+info+"WARN msg=w a=1 w=1;")
	base.Set(slog.LevelError)
	if err := levels.Unset(""); err != nil {
		t.Fatal(err)
	}
	if err := levels.Unset(PartSMTP); err != nil {
		t.Fatal(err)
	}
	step("the settings say error", "")
	levels.Configure(map[string]slog.Level{PartIMAP: slog.LevelWarn})
	step("the settings name imap", "WARN msg=w a=1 w=1;")
	for _, err := range []error{levels.Set("kitchen", 0), levels.Unset("kitchen")} {
		if err == nil || !strings.Contains(err.Error(), `"kitchen" is no part`) {
			t.Errorf("%v", err)
		}
	}
	other := slog.New(slog.DiscardHandler)
	if Part(other, PartSMTP) != other || LevelsOf(other) != nil {
		t.Error("a logger of somebody else has levels")
	}
}

func TestParseLevels(t *testing.T) {
	for in, want := range map[string]string{
		"smtp=debug": "", "imap = warn": "", "": "is no part=level", "smtp": "is no part=level", "kitchen=info": "is no part of the house", "smtp=loud": "is no log level", "smtp=info,smtp=debug": "two levels",
	} {
		_, err := ParseLevels(strings.Split(in, ","))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// TestFollow: a follower sees what is written, with every attribute; a slow one loses lines and is told how many, and nobody waits for him.
func TestFollow(t *testing.T) {
	log := New(io.Discard, Options{})
	levels := LevelsOf(log)
	if f := levels.Follow(func(Line) bool { return false }); true {
		log.Info("not wanted")
		f.Close()
		f.Close()
		if _, ok := f.Next(t.Context()); ok {
			t.Error("a line that was not wanted")
		}
	}
	f := levels.Follow(func(l Line) bool { return l.Part == PartSMTP })
	ctx := With(t.Context(), slog.String("conn", "c1"))
	smtp := Part(log, PartSMTP).With("bound", true)
	smtp.DebugContext(ctx, "too quiet")
	log.InfoContext(ctx, "of another part")
	smtp.InfoContext(ctx, "first", "n", 7)
	line, ok := f.Next(t.Context())
	if !ok || line.Event != "first" || line.Level != "INFO" || len(line.Attrs) != 3 || line.Attrs[0] != (Attr{"bound", "true"}) || line.Attrs[1] != (Attr{"n", "7"}) || line.Attrs[2] != (Attr{"conn", "c1"}) {
		t.Errorf("%+v %v", line, ok)
	}
	for range followRoom + 10 {
		smtp.Info("many")
	}
	for i := range followRoom {
		if line, ok := f.Next(t.Context()); !ok || line.Lost != 0 {
			t.Fatalf("line %d: %+v", i, line)
		}
	}
	smtp.Info("after")
	if line, _ := f.Next(t.Context()); line.Event != "after" || line.Lost != 10 {
		t.Errorf("%+v", line)
	}
	smtp.Info("last")
	levels.EndFollowers()
	smtp.Info("too late")
	if line, ok := f.Next(t.Context()); !ok || line.Event != "last" {
		t.Errorf("%+v", line)
	}
	if line, ok := f.Next(t.Context()); ok {
		t.Errorf("after the end: %+v", line)
	}
	f.Close()
	if _, ok := levels.Follow(func(Line) bool { return true }).Next(t.Context()); ok {
		t.Error("a line of a house that has stopped")
	}
}

// TestFollowWaits: the reader sleeps until there is a line.
func TestFollowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := New(io.Discard, Options{})
		f := LevelsOf(log).Follow(func(Line) bool { return true })
		defer f.Close()
		got := make(chan Line)
		go func() {
			line, _ := f.Next(t.Context())
			got <- line
		}()
		synctest.Wait()
		log.Warn("now")
		if line := <-got; line.Event != "now" || line.Level != "WARN" {
			t.Errorf("%+v", line)
		}
	})
}
