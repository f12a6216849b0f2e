package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestParseSendmail(t *testing.T) {
	for line, want := range map[string]string{
		"-t -i":                     "from= to= header dots mode=m",
		"-ti":                       "from= to= header dots mode=m",
		"-it":                       "from= to= header dots mode=m",
		"-oi a@b c@d":               "from= to=a@b,c@d dots mode=m",
		"-oem -f x@y a@b":           "from=x@y to=a@b mode=m",
		"-fx@y -FName a@b":          "from=x@y to=a@b name=Name mode=m",
		"-r x@y -- -odd@b":          "from=x@y to=-odd@b mode=m",
		"-f <> a@b":                 "from=<> to=a@b mode=m",
		"-N never -R hdrs -V id a":  "from= to=a mode=m",
		"-bs":                       "from= to= mode=s",
		"-bm -v -q30m a":            "from= to=a mode=m",
		"-bp":                       "from= to= mode=p",
		"-B8BITMIME -X/dev/null a":  "from= to=a mode=m",
		"-f":                        "error",
		"-bd":                       "error",
		"-Z":                        "error",
		"-FROM":                     "from= to= name=ROM mode=m",
		"":                          "from= to= mode=m",
		"-odi -oi -oQ/x -om a@b -t": "from= to=a@b header dots mode=m",
	} {
		s, err := parseSendmail(strings.Fields(line))
		got := "error"
		if err == nil {
			got = "from=" + s.message.From + " to=" + strings.Join(s.message.Recipients, ",")
			for _, x := range []struct {
				on   bool
				text string
			}{{s.message.Name != "", " name=" + s.message.Name}, {s.message.FromHeader, " header"}, {s.ignoreDots, " dots"}} {
				if x.on {
					got += x.text
				}
			}
			got += " mode=" + string(s.mode)
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", line, got, err, want)
		}
	}
}

// TestLineEnds: however the octets come, the lines get CRLF once.
func TestLineEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.SampledFrom([]rune("a.\r\n"))).Draw(t, "in")
		want := strings.ReplaceAll(strings.ReplaceAll(in, "\r\n", "\n"), "\n", "\r\n")
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.HalfReader(strings.NewReader(in))} {
			got, err := io.ReadAll(iotest.OneByteReader(&crlf{r: bufio.NewReader(r)}))
			if err != nil || string(got) != want {
				t.Fatalf("%q became %q, want %q (%v)", in, got, want, err)
			}
		}
	})
}

func TestUntilDot(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for in, want := range map[string]string{
		"a\n.\nb\n":                        "a\n",
		"a\r\n.\r\nb":                      "a\r\n",
		"..\n.a\n":                         "..\n.a\n",
		"a":                                "a",
		"":                                 "",
		".":                                "",
		long + ".\nb\n":                    long + ".\nb\n",
		long + "\n.\nb":                    long + "\n",
		strings.Repeat("y", 4096) + ".\nb": strings.Repeat("y", 4096) + ".\nb", // the rest of a long line is no line
	} {
		got, err := io.ReadAll(&untilDot{r: bufio.NewReader(strings.NewReader(in))})
		if err != nil || string(got) != want {
			t.Errorf("%.20q: %d octets, want %d (%v)", in, len(got), len(want), err)
		}
	}
	broken := io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(io.ErrClosedPipe))
	if _, err := io.ReadAll(&untilDot{r: bufio.NewReader(broken)}); err == nil {
		t.Error("a broken pipe is taken for the end")
	}
}

// TestDialogue: sendmail -bs answers each line before the next one comes.
func TestDialogue(t *testing.T) {
	in, toUs := io.Pipe()
	fromUs, out := io.Pipe()
	p := &program{stdin: in, stdout: out, stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }}
	done := make(chan int, 1)
	go func() {
		done <- p.run(t.Context(), []string{"sendmail", "--data", t.TempDir(), "-bs"})
		out.Close()
	}()
	r := bufio.NewReader(fromUs)
	for _, step := range []struct{ say, want string }{{"", "220 "}, {"HELO x", "250 "}, {"NOOP", "250 "}, {"QUIT", "221 "}} {
		if step.say != "" {
			if _, err := io.WriteString(toUs, step.say+"\n"); err != nil {
				t.Fatal(err)
			}
		}
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, step.want) {
			t.Fatalf("%q: %q %v", step.say, line, err)
		}
	}
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}
