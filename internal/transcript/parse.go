package transcript

import (
	"fmt"
	"strconv"
	"strings"
)

// step is one line of a dialogue.
type step struct {
	line   int // in the file, from 1
	verb   string
	client string
	text   string // as written, behind the colon and one space
}

// dialogue is one "==" section.
type dialogue struct {
	name  string
	steps []step
}

// verbs lists what may stand before the colon, and whether text must follow.
var verbs = map[string]bool{"S": false, "C": false, "SX": true, "CX": true, "TLS": false, "CLOSED": false, "CLOSE": false, "SLEEP": true, "RUN": true}

// parse reads a whole file.
func parse(file string) ([]dialogue, error) {
	var all []dialogue
	for i, raw := range strings.Split(file, "\n") {
		raw = strings.TrimSuffix(raw, "\r")
		switch {
		case strings.TrimSpace(raw) == "", strings.HasPrefix(raw, "#"):
			continue
		case strings.HasPrefix(raw, "== "):
			all = append(all, dialogue{name: strings.TrimSpace(raw[3:])})
			continue
		}
		s, err := parseStep(raw)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		s.line = i + 1
		if len(all) == 0 {
			all = append(all, dialogue{name: "dialogue"})
		}
		d := &all[len(all)-1]
		d.steps = append(d.steps, s)
	}
	for _, d := range all {
		if len(d.steps) == 0 {
			return nil, fmt.Errorf("dialogue %q has no steps", d.name)
		}
	}
	return all, nil
}

// parseStep reads one line; its verb's longest match wins, what follows is the client's name.
func parseStep(raw string) (step, error) {
	label, text, ok := strings.Cut(raw, ":")
	if !ok {
		return step{}, fmt.Errorf("%q has no verb", raw)
	}
	text = strings.TrimPrefix(text, " ")
	for n := len(label); n > 0; n-- {
		needs, known := verbs[label[:n]]
		if !known {
			continue
		}
		s := step{verb: label[:n], client: label[n:], text: text}
		if needs && text == "" {
			return step{}, fmt.Errorf("%s needs text", s.verb)
		}
		if s.verb == "SX" || s.verb == "CX" {
			if _, err := strconv.Unquote(text); err != nil {
				return step{}, fmt.Errorf("%s takes a Go string: %w", s.verb, err)
			}
		}
		return s, nil
	}
	return step{}, fmt.Errorf("unknown verb %q", label)
}

// words keeps what the {{name}}s of one dialogue stand for.
type words map[string]string

// fill replaces the {{name}}s of a line to send.
func (w words) fill(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}}")
		value, known := w[name]
		if !closed || !known {
			return "", fmt.Errorf("{{%s}} stands for nothing yet", name)
		}
		b.WriteString(value)
		text = after
	}
}

// match compares a pattern with a line and learns its names when the whole of it matches.
func (w words) match(pattern, line string) bool {
	learned := words{}
	if !w.matchHere(pattern, line, learned) {
		return false
	}
	for k, v := range learned {
		w[k] = v
	}
	return true
}

func (w words) matchHere(pattern, line string, learned words) bool {
	before, rest, found := strings.Cut(pattern, "{{")
	if !found {
		return pattern == line
	}
	name, after, closed := strings.Cut(rest, "}}")
	if !closed || !strings.HasPrefix(line, before) {
		return false
	}
	line = line[len(before):]
	value, known := w[name]
	if !known {
		value, known = learned[name]
	}
	if known && name != "*" {
		return strings.HasPrefix(line, value) && w.matchHere(after, line[len(value):], learned)
	}
	least := 1
	if name == "*" {
		least = 0
	}
	for n := least; n <= len(line); n++ {
		if name != "*" {
			learned[name] = line[:n]
		}
		if w.matchHere(after, line[n:], learned) {
			return true
		}
	}
	delete(learned, name)
	return false
}
