package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/posthouse-mail/posthouse/store/importer"
)

// meter shows how far a long command has come: on a terminal a line that changes, else a line a minute.
type meter struct {
	w        io.Writer // nil: quiet
	terminal bool
	unit     string
	width    int // of the line on the terminal
	next     time.Duration
}

func (p *program) meter(o *options, unit string) *meter {
	m := &meter{unit: unit, next: time.Minute}
	if f, ok := p.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		m.terminal = true
	}
	if !o.json || m.terminal {
		m.w = p.stderr
	}
	return m
}

// show tells how far it is; it is called a few times a second.
func (m *meter) show(at importer.Progress) {
	if m.w == nil || !m.terminal && at.Elapsed < m.next {
		return
	}
	if !m.terminal {
		m.next = at.Elapsed + time.Minute
		fmt.Fprintln(m.w, m.line(at)) // a broken stderr stops nothing
		return
	}
	line := m.bar(at) + " " + m.line(at)
	fmt.Fprintf(m.w, "\r%s%s", line, strings.Repeat(" ", max(m.width-len(line), 0)))
	m.width = len(line)
}

// line is how far, how fast and how long still.
func (m *meter) line(at importer.Progress) string {
	rate := float64(at.Messages) / max(at.Elapsed.Seconds(), 0.001)
	text := fmt.Sprintf("%d %s, %.0f/s", at.Messages, m.unit, rate)
	if at.Done > 0 && at.Total > at.Done {
		left := time.Duration(float64(at.Elapsed) / float64(at.Done) * float64(at.Total-at.Done)).Round(time.Second)
		text += fmt.Sprintf(", %s left", left)
	}
	if at.Folder != "" {
		text += ", " + printable(at.Folder)
	}
	return text
}

func (m *meter) bar(at importer.Progress) string {
	const width = 24
	done := 0
	if at.Total > 0 {
		done = int(min(at.Done*width/at.Total, width))
	}
	return "[" + strings.Repeat("#", done) + strings.Repeat(".", width-done) + "]"
}

// end leaves the terminal's line.
func (m *meter) end() {
	if m.terminal && m.width > 0 {
		fmt.Fprintf(m.w, "\r%s\r", strings.Repeat(" ", m.width))
	}
}
