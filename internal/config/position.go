package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is the text of a settings file and where each of its settings stands.
type document struct {
	name  string
	text  []byte
	place map[string]unstable.Range // of the value; "remote.smart_hosts.0.port" for the first of several tables
	bare  []string                  // keys of values without quotes
}

// at makes the Error for the setting key.
func (d *document) at(key, message, remedy string) *Error {
	r, ok := d.place[key]
	if !ok {
		return &Error{File: d.name, Message: key + ": " + message, Remedy: remedy}
	}
	return d.point(int(r.Offset), int(r.Length), key+": "+message, remedy)
}

// point makes the Error for a piece of the text.
func (d *document) point(offset, length int, message, remedy string) *Error {
	start := bytes.LastIndexByte(d.text[:offset], '\n') + 1
	end := len(d.text)
	if n := bytes.IndexByte(d.text[start:], '\n'); n >= 0 {
		end = start + n
	}
	return &Error{
		File:    d.name,
		Line:    bytes.Count(d.text[:start], []byte("\n")) + 1,
		Column:  offset - start + 1,
		Text:    strings.TrimSuffix(string(d.text[start:end]), "\r"),
		Width:   min(length, end-offset),
		Message: message,
		Remedy:  remedy,
	}
}

// decodeError translates what go-toml says into our errors, all of them.
func (d *document) decodeError(err error) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var all []error
		for i := range missing.Errors {
			e := &missing.Errors[i]
			key := strings.Join(e.Key(), ".")
			all = append(all, d.from(e, "no setting is called "+strconv.Quote(key), nearest(key)))
		}
		return errors.Join(all...)
	}
	var wrong *toml.DecodeError
	if !errors.As(err, &wrong) {
		return d.unplaced(err)
	}
	key := strings.Join(wrong.Key(), ".")
	message := strings.TrimPrefix(wrong.Error(), "toml: ")
	_, text, ok := strings.Cut(message, "UnmarshalText: ")
	if ok {
		message = text
	}
	if i := strings.Index(message, " into"); i > 0 && strings.HasPrefix(message, "cannot decode") {
		message = strings.Replace(message[:i], "cannot decode TOML", "the value cannot be of type", 1)
	}
	if key != "" {
		message = key + ": " + message
	}
	remedy := remedyFor(key)
	if key == "" && strings.Contains(message, "at start of value") {
		remedy = `Text stands in double quotes: name = "value".`
	}
	return d.from(wrong, message, remedy)
}

// unplaced finds the place that go-toml does not tell: a number where a duration or an address belongs.
func (d *document) unplaced(err error) error {
	if failed := d.index(); failed != nil {
		return failed
	}
	written := defaults()
	for _, key := range d.bare {
		if f, ok := find(key); ok && strings.HasPrefix(strings.TrimPrefix(written[f.Key], "["), `"`) {
			return d.at(key, "the value needs quotes", f.Form)
		}
	}
	return fmt.Errorf("%s: %w", d.name, err)
}

// from places an error of go-toml.
func (d *document) from(e *toml.DecodeError, message, remedy string) *Error {
	row, column := e.Position()
	offset := 0
	for range row - 1 {
		offset += bytes.IndexByte(d.text[offset:], '\n') + 1
	}
	offset = min(offset+max(column-1, 0), len(d.text))
	return d.point(offset, d.word(offset), message, remedy)
}

// word is the length of the key or value at offset.
func (d *document) word(offset int) int {
	rest := d.text[offset:]
	if len(rest) > 0 && (rest[0] == '"' || rest[0] == '\'') {
		if n := bytes.IndexByte(rest[1:], rest[0]); n >= 0 && bytes.IndexByte(rest[:n+2], '\n') < 0 {
			return n + 2
		}
	}
	n := bytes.IndexAny(rest, " \t\r\n=,]#")
	if n < 0 {
		n = len(rest)
	}
	return max(n, 1)
}

// index notes where each value stands; the text has been decoded, so it parses.
func (d *document) index() error {
	d.place = make(map[string]unstable.Range)
	tables := make(map[string]int)
	var p unstable.Parser
	p.Reset(d.text)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			name, at := keyOf(e)
			if e.Kind == unstable.ArrayTable {
				n := tables[name]
				tables[name]++
				name += "." + strconv.Itoa(n)
			}
			table = name
			d.place[name] = at
		case unstable.KeyValue:
			d.add(table, e)
		}
	}
	if err := p.Error(); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return nil
}

// add notes a key and its value, and what stands inside of it.
func (d *document) add(table string, e *unstable.Node) {
	name, at := keyOf(e)
	if table != "" {
		name = table + "." + name
	}
	value := e.Value()
	if value.Raw.Length > 0 {
		at = value.Raw
	}
	d.place[name] = at
	d.note(name, value)
	d.inside(name, value)
}

// note keeps the names of values that are written without quotes.
func (d *document) note(name string, value *unstable.Node) {
	switch value.Kind {
	case unstable.Bool, unstable.Float, unstable.Integer, unstable.LocalDate, unstable.LocalTime, unstable.LocalDateTime, unstable.DateTime:
		d.bare = append(d.bare, name)
	}
}

// inside notes the elements of arrays and inline tables.
func (d *document) inside(name string, value *unstable.Node) {
	it := value.Children()
	for i := 0; it.Next(); i++ {
		n := it.Node()
		if value.Kind == unstable.InlineTable {
			d.add(name, n)
			continue
		}
		element := name + "." + strconv.Itoa(i)
		d.note(element, n)
		if n.Raw.Length > 0 {
			d.place[element] = n.Raw
		}
		d.inside(element, n)
	}
}

// keyOf is the dotted key of a node and where its last part stands.
func keyOf(e *unstable.Node) (string, unstable.Range) {
	var parts []string
	var at unstable.Range
	it := e.Key()
	for it.Next() {
		parts = append(parts, string(it.Node().Data))
		at = it.Node().Raw
	}
	return strings.Join(parts, "."), at
}
