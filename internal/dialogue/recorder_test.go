package dialogue

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write what is shown")
	flag.Parse()
	os.Exit(m.Run())
}

// play gives the lines of a dialogue to a recorder ("C: " and "S: "; a line that ends with \ has no CRLF) and returns what it shows.
func play(p Protocol, bodies bool, text string) string {
	var out strings.Builder
	r := NewRecorder(p, bodies, func(client bool, text string) {
		who := "S: "
		if client {
			who = "C: "
		}
		out.WriteString(who + text + "\n")
	})
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		who, octets, _ := strings.Cut(line, ": ")
		if rest, ok := strings.CutSuffix(octets, `\`); ok {
			octets = rest
		} else {
			octets += "\r\n"
		}
		switch who {
		case "C":
			r.Received([]byte(octets))
		case "S":
			r.Sent([]byte(octets))
		}
	}
	return out.String()
}

// TestDialogues: testdata/*.txt are what is said, a line of ---, and what is shown of it. The name of the file begins with the protocol. SECRET never is.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d files %v", len(files), err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		said, want, _ := strings.Cut(string(text), "---\n")
		p := map[string]Protocol{"smtp": SMTP, "imap": IMAP, "pop3": POP3}[name[:4]]
		got := play(p, strings.Contains(name, "bodies"), said)
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(path, []byte(said+"---\n"+got), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got != want {
			t.Errorf("%s: shown is\n%s\nwant\n%s", name, got, want)
		}
		if strings.Contains(got, "SECRET") || strings.Contains(got, "BODY") && !strings.Contains(name, "bodies") {
			t.Errorf("%s: a secret is shown:\n%s", name, got)
		}
	}
}

// FuzzNoSecret: wherever the octets are cut into reads, and whatever a confused client says before, what follows a login is hidden.
func FuzzNoSecret(f *testing.F) {
	f.Add(uint8(1), []byte("EHLO x\r\nMAIL FROM:<a@b>\r\n"), uint8(7))
	f.Add(uint8(2), []byte("a NOOP\r\nb SEARCH {3}\r\nxyz\r\n"), uint8(1))
	f.Add(uint8(2), []byte("a LOGIN {0}\r\n"), uint8(2))
	f.Add(uint8(3), []byte("CAPA\r\nUSER alice\r\n"), uint8(3))
	f.Fuzz(func(t *testing.T, p uint8, before []byte, cut uint8) {
		protocol := Protocol(p%3 + 1)
		logins := map[Protocol][]string{
			SMTP: {"AUTH PLAIN SECRET\r\n", "AUTH LOGIN\r\nSECRET\r\nSECRET\r\n", "AUTH XOAUTH2 SECRET\r\n", "auth  plain   SECRET\r\n"},
			IMAP: {"x LOGIN alice SECRET\r\n", "x LOGIN {5}\r\nalice {6}\r\nSECRET\r\n", "x LOGIN {5+}\r\nalice {6+}\r\nSECRET\r\n", "x AUTHENTICATE PLAIN SECRET\r\n", "x AUTHENTICATE LOGIN\r\nSECRET\r\nSECRET\r\n"},
			POP3: {"PASS SECRET\r\n", "AUTH PLAIN SECRET\r\n", "AUTH LOGIN\r\nSECRET\r\nSECRET\r\n", "APOP alice SECRET\r\n"},
		}[protocol]
		for _, login := range logins {
			var shown []string
			r := NewRecorder(protocol, false, func(_ bool, text string) { shown = append(shown, text) })
			all := append(slices.Clone(before), "\r\n"+login...)
			for step := max(1, int(cut)); len(all) > 0; {
				n := min(step, len(all))
				r.Received(all[:n])
				all = all[n:]
			}
			if strings.Contains(string(before), "SECRET") {
				return
			}
			if strings.Contains(strings.Join(shown, "\n"), "SECRET") {
				t.Errorf("shown:\n%s", strings.Join(shown, "\n"))
			}
		}
	})
}

func TestLongLines(t *testing.T) {
	var shown []string
	r := NewRecorder(SMTP, false, func(_ bool, text string) { shown = append(shown, text) })
	r.Received([]byte("NOOP " + strings.Repeat("x", 100_000) + "\r\nNOOP " + strings.Repeat("y", 3000) + "\r\nAUTH PLAIN " + strings.Repeat("SECRET", 10_000) + "\r\n" + strings.Repeat("SECRET", 10_000) + "\r\n"))
	r.Sent([]byte("250 " + strings.Repeat("z", 100_000) + "\r\n"))
	for _, line := range shown {
		if len(line) > maxShown+30 || strings.Contains(line, "SECRET") || strings.Contains(line, "\x00") {
			t.Errorf("%d octets: %.40q", len(line), line)
		}
	}
	if len(shown) != 5 || cap(r.client.line) > 2*maxLine {
		t.Errorf("%d lines, room of %d", len(shown), cap(r.client.line))
	}
}
