package scan

import (
	"bytes"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// What one helper may do to a header.
const (
	maxEdits = 100
	maxValue = 8 << 10
	maxAdded = 64 << 10
)

type editOp uint8

const (
	editInsert editOp = iota // before the field number index (0: on top)
	editAppend               // at the end
	editChange               // the occurrence number index of name, from 1; without value it is removed; a missing one is added
	editRemove               // likewise; 0: all of them; below 0: counted from the last
)

// edit is one change that a helper wants made.
type edit struct {
	op          editOp
	index       int
	name, value string // the value as it follows the colon
}

// edits collects what a helper wants, in bounds.
type edits struct {
	all   []edit
	octet int
}

// traced are the fields by which a message that goes round in circles is known (RFC 5321 section 6.3): a helper that took them out each
// time would let it go on for ever.
func traced(name string) bool {
	return slices.ContainsFunc([]string{"Received", "Delivered-To", "X-Posthouse-Loop"}, func(n string) bool { return strings.EqualFold(n, name) })
}

// add notes an edit; false: it is none that can be made. What would hide where a message has been is left out.
func (e *edits) add(one edit) bool {
	if (one.op == editChange || one.op == editRemove) && traced(one.name) {
		return true
	}
	if !fieldName(one.name) || len(e.all) >= maxEdits || len(one.value) > maxValue || e.octet+len(one.value) > maxAdded {
		return false
	}
	var ok bool
	if one.value, ok = folded(one.value); !ok {
		return false
	}
	e.octet += len(one.name) + len(one.value)
	e.all = append(e.all, one)
	return true
}

// fieldName: RFC 5322 section 2.2, and no longer than anybody needs.
func fieldName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 100
}

// folded gives a value CRLF line ends, each followed by white space, so that it is one field whatever it holds.
func folded(s string) (string, bool) {
	if s == "" {
		return "", true
	}
	var b strings.Builder
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n"), "\n")
	for i, line := range lines {
		if strings.TrimLeft(line, " \t") == "" { // RFC 5322 section 3.2.2: no line of white space only
			continue
		}
		if i > 0 && b.Len() > 0 {
			b.WriteString("\r\n")
			if line[0] != ' ' && line[0] != '\t' {
				b.WriteByte('\t')
			}
		}
		if len(line) > 900 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return "", false
		}
		b.WriteString(line)
	}
	return b.String(), b.Len() > 0
}

func (e edit) raw() []byte { return []byte(e.name + ":" + e.value + "\r\n") }

// apply makes the edits, in their order.
func apply(header []byte, list []edit) []byte {
	if len(list) == 0 {
		return header
	}
	var fields []message.Field
	for f := range message.Fields(header) {
		fields = append(fields, f)
	}
	for _, e := range list {
		fields = e.apply(fields)
	}
	var out []byte
	for _, f := range fields {
		out = append(out, f.Raw...)
		if !bytes.HasSuffix(f.Raw, []byte("\n")) {
			out = append(out, "\r\n"...)
		}
	}
	return out
}

func (e edit) apply(fields []message.Field) []message.Field {
	field := message.Field{Name: []byte(e.name), Raw: e.raw()}
	switch e.op {
	case editInsert:
		at := min(max(e.index, 0), len(fields))
		return append(fields[:at:at], append([]message.Field{field}, fields[at:]...)...)
	case editAppend:
		return append(fields, field)
	}
	var places []int
	for i, f := range fields {
		if f.Is(e.name) {
			places = append(places, i)
		}
	}
	if e.op == editChange && e.index == 0 {
		e.index = 1
	}
	chosen := places
	if e.index != 0 {
		n := e.index - 1
		if e.index < 0 {
			n = len(places) + e.index
		}
		chosen = nil
		if n >= 0 && n < len(places) {
			chosen = places[n : n+1]
		}
	}
	switch {
	case e.op == editChange && e.value != "" && len(chosen) == 0:
		return append(fields, field)
	case e.op == editChange && e.value != "":
		fields[chosen[0]] = field
		return fields
	}
	for i := len(chosen) - 1; i >= 0; i-- {
		fields = append(fields[:chosen[i]], fields[chosen[i]+1:]...)
	}
	return fields
}
