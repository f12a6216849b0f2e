package transcript

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the expected output of transcripts and golden files anew")

// Update reports whether the test was asked to write its golden files anew.
func Update() bool { return *update }

// patience bounds one wait for the server; quiet is how long -update waits for a further line.
const (
	patience = 20 * time.Second
	quiet    = 300 * time.Millisecond
)

// House is what one dialogue talks to.
type House struct {
	// Dial connects a client; the name is what stands behind C or S ("" for the first).
	Dial func(client string) (net.Conn, error)
	// TLS is the client's configuration for the TLS step.
	TLS *tls.Config
	// Hooks are the RUN steps by name.
	Hooks map[string]func(t *testing.T, arguments string)
}

// Run plays every dialogue of every file that glob names; start makes the house of one dialogue. No file is a failure.
func Run(t *testing.T, glob string, start func(t *testing.T) House) {
	t.Helper()
	RunIn(t, glob, func(t *testing.T, play func(*testing.T, House)) { play(t, start(t)) })
}

// RunIn is Run for tests that need to wrap each dialogue, as synctest.Test does.
func RunIn(t *testing.T, glob string, each func(t *testing.T, play func(*testing.T, House))) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcript matches %s (%v)", glob, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) { runFile(t, file, each) })
	}
}

func runFile(t *testing.T, file string, each func(*testing.T, func(*testing.T, House))) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	changed := map[int][]string{} // line number -> what stands there now
	for _, d := range all {
		t.Run(d.name, func(t *testing.T) {
			each(t, func(t *testing.T, h House) {
				p := &player{t: t, house: h, file: filepath.Base(file), words: words{}, clients: map[string]*client{}, changed: changed}
				defer p.close()
				p.play(d.steps)
			})
		})
	}
	if *update && len(changed) > 0 {
		if err := os.WriteFile(file, []byte(rewrite(string(text), changed)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// rewrite replaces the lines that changed; an empty replacement drops the line.
func rewrite(text string, changed map[int][]string) string {
	var out []string
	for i, line := range strings.Split(text, "\n") {
		if now, ok := changed[i+1]; ok {
			out = append(out, now...)
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

type client struct {
	conn net.Conn
	r    *bufio.Reader
}

type player struct {
	t       *testing.T
	house   House
	file    string
	words   words
	clients map[string]*client
	changed map[int][]string
	line    int // of the step being played
}

func (p *player) close() {
	for _, c := range p.clients {
		c.conn.Close()
	}
}

// failf ends the dialogue, naming the line of the file.
func (p *player) failf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s:%d: %s", p.file, p.line, fmt.Sprintf(format, args...))
}

// play goes through the steps; runs of C steps of one client, and of S steps, are played together.
func (p *player) play(steps []step) {
	for i := 0; i < len(steps); {
		n := run(steps[i:])
		p.line = steps[i].line
		switch steps[i].verb {
		case "C", "CX":
			p.send(steps[i : i+n])
		case "S", "SX":
			p.expect(steps[i : i+n])
		default:
			p.act(steps[i])
		}
		i += n
	}
}

// run counts the steps that belong together.
func run(steps []step) int {
	kind := steps[0].verb[0]
	if v := steps[0].verb; v != "C" && v != "CX" && v != "S" && v != "SX" {
		return 1
	}
	n := 1
	for n < len(steps) && (steps[n].verb == string(kind) || steps[n].verb == string(kind)+"X") && steps[n].client == steps[0].client {
		n++
	}
	return n
}

// client finds or connects a client.
func (p *player) client(name string) *client {
	if c, ok := p.clients[name]; ok {
		return c
	}
	conn, err := p.house.Dial(name)
	if err != nil {
		p.failf("connect: %v", err)
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 1<<16)}
	p.clients[name] = c
	return c
}

func (p *player) send(steps []step) {
	var b strings.Builder
	for _, s := range steps {
		p.line = s.line
		text := s.text
		if s.verb == "CX" {
			text, _ = strconv.Unquote(text) // parse has checked it
		} else {
			text += "\r\n"
		}
		text, err := p.words.fill(text)
		if err != nil {
			p.failf("%v", err)
		}
		b.WriteString(text)
	}
	c := p.client(steps[0].client)
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		p.failf("send: %v", err)
	}
}

// expect reads a line for each step, or many for {{...}}.
func (p *player) expect(steps []step) {
	c := p.client(steps[0].client)
	if *update {
		p.renew(c, steps)
		return
	}
	for i, s := range steps {
		p.line = s.line
		if s.text == "{{...}}" {
			if i == len(steps)-1 {
				p.failf("{{...}} needs an S line behind it")
			}
			continue
		}
		skip := i > 0 && steps[i-1].text == "{{...}}"
		for {
			line, err := c.readLine(patience)
			if err != nil {
				p.failf("want %q, got %v", s.text, err)
			}
			if p.matches(s, line) {
				break
			}
			if !skip {
				p.failf("the server said\n\t%q\nwant\n\t%q", line, s.text)
			}
		}
	}
}

func (p *player) matches(s step, line string) bool {
	if s.verb == "SX" {
		want, _ := strconv.Unquote(s.text)
		return p.words.match(want, line)
	}
	return p.words.match(s.text, line)
}

// renew reads all that the server has to say and writes the steps anew, keeping those that match.
func (p *player) renew(c *client, steps []step) {
	var lines []string
	for wait := patience; ; wait = quiet {
		line, err := c.readLine(wait)
		if err != nil {
			break
		}
		lines = append(lines, line)
	}
	at := 0
	for i, s := range steps {
		p.line = s.line
		if s.text == "{{...}}" {
			for at < len(lines) && i+1 < len(steps) && !p.matches(steps[i+1], lines[at]) {
				at++
			}
			continue
		}
		if at < len(lines) && p.matches(s, lines[at]) {
			at++
			continue
		}
		p.changed[s.line] = nil
		if at < len(lines) {
			p.changed[s.line] = []string{expected(s.client, lines[at])}
			at++
		}
	}
	last := steps[len(steps)-1]
	for ; at < len(lines); at++ {
		if _, ok := p.changed[last.line]; !ok {
			p.changed[last.line] = []string{label(last) + ": " + last.text}
		}
		p.changed[last.line] = append(p.changed[last.line], expected(last.client, lines[at]))
	}
}

func label(s step) string { return s.verb + s.client }

// expected writes a server's line as a step.
func expected(client, line string) string {
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r == 0xfffd }) {
		return "SX" + client + ": " + strconv.Quote(line)
	}
	return "S" + client + ": " + line
}

func (c *client) readLine(wait time.Duration) (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(wait))
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > 0 {
				return "", fmt.Errorf("%w after %q", err, line)
			}
			return "", err
		}
	}
}

// act plays the steps that are neither C nor S.
func (p *player) act(s step) {
	switch s.verb {
	case "TLS":
		c := p.client(s.client)
		conn := tls.Client(c.conn, p.house.TLS)
		conn.SetDeadline(time.Now().Add(patience))
		if err := conn.Handshake(); err != nil {
			p.failf("TLS handshake: %v", err)
		}
		conn.SetDeadline(time.Time{})
		c.conn, c.r = conn, bufio.NewReaderSize(conn, 1<<16)
	case "CLOSED":
		line, err := p.client(s.client).readLine(patience)
		if err == nil {
			p.failf("want the connection closed, the server said %q", line)
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			p.failf("want the connection closed, it stays open")
		}
	case "CLOSE":
		p.client(s.client).conn.Close()
	case "SLEEP":
		d, err := time.ParseDuration(s.text)
		if err != nil {
			p.failf("%v", err)
		}
		time.Sleep(d)
	case "RUN":
		text, err := p.words.fill(s.text)
		if err != nil {
			p.failf("%v", err)
		}
		name, arguments, _ := strings.Cut(text, " ")
		hook := p.house.Hooks[name]
		if hook == nil {
			p.failf("the test has no hook %q", name)
		}
		hook(p.t, arguments)
	}
}
