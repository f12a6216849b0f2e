package queue

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// readCase reads a case: "host:" who answered, "advice:" a piece of what is advised, behind the empty line the whole reply.
func readCase(t testing.TB, text string) (r Result, want string) {
	t.Helper()
	head, reply, ok := strings.Cut(text, "\n\n")
	if !ok {
		t.Fatal("no empty line")
	}
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); name {
		case "host":
			r.Remote = value
		case "advice":
			want = value
		default:
			t.Fatalf("%q is neither host nor advice", name)
		}
	}
	var words []string
	for line := range strings.Lines(reply) { // as the client gives it: without the codes in front
		line = strings.TrimSpace(line)
		if m := regexp.MustCompile(`^(\d{3})[ -](.*)$`).FindStringSubmatch(line); m != nil {
			r.Code, _ = strconv.Atoi(m[1])
			line = m[2]
		}
		if m := regexp.MustCompile(`^(\d\.\d{1,3}\.\d{1,3})\b ?(.*)$`).FindStringSubmatch(line); m != nil {
			r.Status, line = m[1], m[2]
		}
		words = append(words, line)
	}
	r.Text = strings.TrimSpace(r.Status + " " + strings.Join(words, "\n"))
	r.Verdict = Never
	if r.Code/100 == 4 {
		r.Verdict = Later
	}
	if r.Status == "" {
		r.Status = strconv.Itoa(r.Code/100) + ".0.0"
	}
	return r, want
}

func TestAdvice(t *testing.T) {
	files, err := filepath.Glob("testdata/advice/*.txt")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r, want := readCase(t, string(text))
		got := r.Advice()
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %s\n%q, want %q", f, r.Error(), got, want)
		}
	}
	for _, r := range []Result{{}, {Verdict: Done, Remote: "mx", Code: 250, Text: "spam"}, {Verdict: Never, Code: 550, Status: "5.1.1", Text: "no such address here"}} {
		if got := r.Advice(); got != "" {
			t.Errorf("%+v: %s", r, got)
		}
	}
}

// A row that no answer can reach is dead: each is the first that fits some answer made of its own words.
func TestAdviceRows(t *testing.T) {
	for _, a := range advice() {
		if a.what == "" || len(a.codes) == 0 && len(a.texts) == 0 {
			t.Errorf("%+v says nothing, or fits everything", a)
		}
		for _, s := range append(a.texts, a.who...) {
			if s != strings.ToLower(s) {
				t.Errorf("%q can never be found: answers are compared in lower case", s)
			}
		}
	}
}

func FuzzAdvice(f *testing.F) {
	files, _ := filepath.Glob("testdata/advice/*.txt")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		r, _ := readCase(f, string(text))
		f.Add(r.Code, r.Status, r.Text, r.Remote)
	}
	known := map[string]bool{"": true}
	for _, a := range advice() {
		known[a.what] = true
	}
	f.Fuzz(func(t *testing.T, code int, status, text, remote string) {
		r := Result{Verdict: Never, Code: code, Status: status, Text: text, Remote: remote}
		if got := r.Advice(); !known[got] { // nothing of a stranger's words gets into it
			t.Errorf("%q", got)
		}
	})
}
