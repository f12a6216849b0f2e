package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	flag.Bool("update", false, "write the pages anew")
	flag.Parse()
	os.Exit(m.Run())
}

// TestPages runs testdata/*.txt: what a person types and what he reads. Lines that begin with "$ " are commands, "< " their stdin,
// "! " stderr, "- " a file of $DIR that gets lost, "= " an exit code that is not 0, anything else is stdout. $DIR is a folder of the page's own; --data $DIR/data is
// added to commands that name no house, except where a page begins with "# alone"; "# running" starts a house on that folder, "# deleted" puts mail there that was deleted,
// "# old mail" puts a Maildir, an mbox and a file of another server into $DIR.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	for _, path := range pages {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runPage(t, string(text))
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s: got\n%s", path, difference(got, string(text)))
			}
		})
	}
}

// runPage runs the commands of a page and writes it anew.
func runPage(t *testing.T, text string) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	alone := lines[0] == "# alone"
	switch lines[0] {
	case "# deleted":
		seedDeleted(t, filepath.Join(dir, "data"))
	case "# running":
		startHouse(t, filepath.Join(dir, "data"))
	}
	if slices.Contains(lines[:min(2, len(lines))], "# old mail") {
		seedOldMail(t, dir)
	}
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "#") || lines[i] == "" && (i+1 == len(lines) || strings.HasPrefix(lines[i+1], "$ ") || strings.HasPrefix(lines[i+1], "#")) {
			out.WriteString(lines[i] + "\n")
			continue
		}
		if lost, ok := strings.CutPrefix(lines[i], "- "); ok {
			out.WriteString(lines[i] + "\n")
			if err := os.Remove(filepath.Join(dir, lost)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			continue
		}
		var stdin strings.Builder
		fmt.Fprintf(&out, "$ %s\n", command)
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "<") {
			i++
			out.WriteString(lines[i] + "\n")
			stdin.WriteString(strings.TrimPrefix(lines[i][1:], " ") + "\n")
		}
		out.WriteString(typed(t, dir, command, stdin.String(), alone))
	}
	return out.String()
}

// typed runs one command line and returns what it printed.
func typed(t *testing.T, dir, command, stdin string, alone bool) string {
	t.Helper()
	argv := words(strings.ReplaceAll(command, "$DIR", dir))
	if !alone && !strings.Contains(command, "--config") && !strings.Contains(command, "--data") {
		argv = append(argv[:1:1], append([]string{"--data", filepath.Join(dir, "data")}, argv[1:]...)...)
	}
	var stdout, stderr bytes.Buffer
	p := &program{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, getenv: func(string) string { return "" }}
	code := p.run(t.Context(), argv)
	var out strings.Builder
	out.WriteString(masked(dir, stdout.String()))
	for line := range strings.Lines(masked(dir, stderr.String())) {
		out.WriteString("! " + line)
	}
	if code != 0 {
		fmt.Fprintf(&out, "= %d\n", code)
	}
	return out.String()
}

// words splits a command line at blanks; single quotes keep them.
func words(s string) []string {
	var all []string
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// masked hides what changes from run to run.
func masked(dir, s string) string {
	s = strings.ReplaceAll(s, dir, "$DIR")
	for _, m := range [][2]string{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, "(a time)"},
		{`"\d{4}-\d\d-\d\dT[^"]+"`, `"(a time)"`},
		{`go1\.[0-9.]+, \w+/\w+`, "(a toolchain)"},
		{`posthouse \S+ \(`, "posthouse (a version) ("},
		{`127\.0\.0\.1:\d{4,5}`, "127.0.0.1:PORT"},
		{`(process +)\d+,`, "${1}PID,"},
		{`\S+ \((command|socket)\)`, "(somebody) ($1)"},
		{`"name": "[^"]+",(\s+"door": "(command|socket)")`, `"name": "(somebody)",$1`},
		{`whsec_[A-Za-z0-9+/=]+`, "whsec_(a secret)"},
		{`(webhook(?: test)? +)[a-z2-7]{8}\b`, "$1(an id)"},
		{`\n[a-z2-7]{8}( +\d+ +message\.)`, "\n(an id)$1"},
		{`sendmail of [^ "\n]+`, "sendmail of (a user)"},
		{`before-repair-\d{8}-\d{6}`, "before-repair-(a time)"},
		{`\b[0-9][0-9a-z]{12}\b`, "(a queue id)"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "(a time)"},
		{`\d{4}-\d\d-\d\dT\d{6}Z(-\d)?`, "(a backup)"},
		{`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "(a house)"},
		{`\bM[0-9a-f]{16}\b`, "(a message id)"},
		{`[0-9]+ of [0-9]+ segments were new, [0-9.]+ \w+ written, [0-9.]+ \w+ in all`, "(so many) segments were new"},
		{`[0-9]+ segments(, [0-9.]+ \w+;| read back)`, "(so many) segments$1"},
		{`, [0-9.]+ \w+; every mailbox`, "; every mailbox"},
		{`\b[a-z]{4}(-[a-z]{4}){4}\b`, "(an app password)"},
		{`posthouse_[0-9A-Za-z]{38}`, "(a token)"},
		{`\bph\d{8}`, "ph(a day)"},
		{`p=[A-Za-z0-9+/" =]+"`, `p=(a key)"`},
		{`(next|active|old) +\d{4}-\d\d-\d\d`, "$1  (a day)"},
		{`TAKEN +SIZE +SEGMENTS +ENCRYPTED +VERIFIED +HOUSE`, "TAKEN  SIZE  SEGMENTS  ENCRYPTED  VERIFIED  HOUSE"},
		{`\(a time\) +[0-9.]+ \w+ +\d+ +(yes|no) +`, "(a time)  (a size)  (so many)  $1  "},
	} {
		s = regexp.MustCompile(m[0]).ReplaceAllString(s, m[1])
	}
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}
