package transcript

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// shouter answers each line in upper case, twice for "twice", and closes at "bye".
func shouter(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "hello 4711\r\n")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if strings.HasPrefix(line, "bye") {
			return
		}
		if strings.HasPrefix(line, "twice") {
			io.WriteString(c, "ONE\r\n")
		}
		io.WriteString(c, strings.ToUpper(line))
	}
}

func TestRun(t *testing.T) {
	Run(t, "testdata/*.txt", func(t *testing.T) House {
		return House{
			Dial: func(string) (net.Conn, error) {
				here, there := net.Pipe()
				go shouter(there)
				return here, nil
			},
			Hooks: map[string]func(*testing.T, string){"same": func(t *testing.T, arguments string) {
				if a, b, _ := strings.Cut(arguments, " "); a != b {
					t.Errorf("RUN got %q and %q", a, b)
				}
			}},
		}
	})
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, line string
		want          bool
	}{
		{"plain", "plain", true},
		{"plain", "plains", false},
		{"a {{*}} c", "a  c", true},
		{"a {{*}} c", "a b b c", true},
		{"a {{*}} c", "a c", false},
		{"{{x}}-{{x}}", "ab-ab", true},
		{"{{x}}-{{x}}", "ab-ac", false},
		{"{{x}}", "", false},
		{"{{open", "{{open", false},
	} {
		if got := (words{}).match(c.pattern, c.line); got != c.want {
			t.Errorf("match(%q, %q) = %v", c.pattern, c.line, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{"hello", "Z: x", "CX: unquoted", "SLEEP:", "== empty"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("parse(%q) took it", bad)
		}
	}
}

func TestRewrite(t *testing.T) {
	got := rewrite("a\nb\nc", map[int][]string{2: {"x", "y"}, 3: nil})
	if got != "a\nx\ny" {
		t.Errorf("rewrite gave %q", got)
	}
}
