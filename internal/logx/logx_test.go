package logx

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestLoggerWritesContextAttributes(t *testing.T) {
	for _, c := range []struct{ format, want string }{
		{"text", `level=INFO msg="doors open" n=1 conn=c1 account=7` + "\n"},
		{"", `level=INFO msg="doors open" n=1 conn=c1 account=7` + "\n"},
		{"json", `{"level":"INFO","msg":"doors open","n":1,"conn":"c1","account":7}` + "\n"},
	} {
		var out bytes.Buffer
		ctx := With(t.Context(), slog.String("conn", "c1"))
		ctx = With(ctx, slog.Int("account", 7))
		New(&out, Options{Format: c.format, Plain: true}).InfoContext(ctx, HouseOpen, "n", 1)
		if out.String() != c.want {
			t.Errorf("format %q:\n got %s\nwant %s", c.format, out.String(), c.want)
		}
	}
}

func TestWithDoesNotTouchTheParent(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, Options{Plain: true})
	parent := With(t.Context(), slog.Int("a", 1))
	With(parent, slog.Int("b", 2))
	second := With(parent, slog.Int("c", 3))
	log.With("w", 0).WithGroup("g").InfoContext(second, "m")
	log.InfoContext(parent, "m")
	log.InfoContext(context.Background(), "m")
	want := "level=INFO msg=m w=0 g.a=1 g.c=3\nlevel=INFO msg=m a=1\nlevel=INFO msg=m\n"
	if out.String() != want {
		t.Errorf("got %s\nwant %s", out.String(), want)
	}
}

func TestLevelChangesWhileRunning(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := New(&out, Options{Level: level})
	log.Debug("one")
	level.Set(slog.LevelDebug)
	log.Debug("two")
	if got := out.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") || !strings.Contains(got, "time=") {
		t.Errorf("got %q", got)
	}
}

func TestParseLevel(t *testing.T) {
	for s, want := range map[string]slog.Level{"debug": -4, "INFO": 0, "warn": 4, "error": 8} {
		if got, err := ParseLevel(s); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil || !strings.Contains(err.Error(), "debug, info, warn or error") {
		t.Errorf("ParseLevel(loud): %v", err)
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimiter(time.Minute, func() time.Time { return now })
	step := func(after time.Duration, key string, wantSkipped int, wantOK bool) {
		t.Helper()
		now = now.Add(after)
		if skipped, ok := l.Allow(key); skipped != wantSkipped || ok != wantOK {
			t.Errorf("at %v %s: got %d %v, want %d %v", now.Unix(), key, skipped, ok, wantSkipped, wantOK)
		}
	}
	step(0, "a", 0, true)
	step(time.Second, "a", 0, false)
	step(time.Second, "b", 0, true)
	step(time.Second, "a", 0, false)
	step(time.Minute, "a", 2, true)
	step(time.Minute, "a", 0, true)
}

func TestLimiterIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimiter(time.Minute, func() time.Time { return now })
	for i := range 10 * maxKeys {
		l.Allow(strconv.Itoa(i))
	}
	if len(l.seen) > maxKeys {
		t.Errorf("holds %d keys, want at most %d", len(l.seen), maxKeys)
	}
}

// TestVocabulary: one text per event, short, without a full stop and without anything that varies.
func TestVocabulary(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "vocabulary.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			t.Fatalf("vocabulary.go holds constants only, not %T", d)
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			for i, name := range v.Names {
				if err := checkEvent(v.Values[i], name.Name, seen); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if len(seen) == 0 {
		t.Fatal("no event found")
	}
}

func checkEvent(e ast.Expr, name string, seen map[string]string) error {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return fmt.Errorf("%s is no string literal", name)
	}
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if before := seen[text]; before != "" {
		return fmt.Errorf("%s and %s are both %q", before, name, text)
	}
	seen[text] = name
	if text == "" || len(text) > 60 || strings.ContainsAny(text, "%.\n") {
		return fmt.Errorf("%s: %q must be a short text without %% and full stop", name, text)
	}
	return nil
}
