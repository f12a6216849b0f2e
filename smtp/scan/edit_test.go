package scan

import (
	"strings"
	"testing"
)

// TestEdits: what a helper wants done to a header, and what it may not.
func TestEdits(t *testing.T) {
	const header = "Received: one\r\nX: 1\r\nSubject: a\r\n b\r\nX: 2\r\nx: 3\r\n"
	for _, c := range []struct {
		name string
		edit edit
		want string // "": it is refused
	}{
		{"on top", edit{op: editInsert, name: "New", value: " v"}, "New: v\r\n" + header},
		{"behind the first", edit{op: editInsert, index: 1, name: "New", value: " v"}, "Received: one\r\nNew: v\r\n" + header[len("Received: one\r\n"):]},
		{"far behind", edit{op: editInsert, index: 99, name: "New", value: " v"}, header + "New: v\r\n"},
		{"at the end", edit{op: editAppend, name: "New", value: " v\n w"}, header + "New: v\r\n w\r\n"},
		{"folded without white space", edit{op: editAppend, name: "New", value: " v\r\nBcc: x"}, header + "New: v\r\n\tBcc: x\r\n"},
		{"an empty line within", edit{op: editAppend, name: "New", value: " v\n\nbody"}, header + "New: v\r\n\tbody\r\n"},
		{"change the second", edit{op: editChange, index: 2, name: "X", value: " two"}, strings.Replace(header, "X: 2", "X: two", 1)},
		{"change without a number", edit{op: editChange, name: "X", value: " one"}, strings.Replace(header, "X: 1", "X: one", 1)},
		{"change what is not there", edit{op: editChange, index: 1, name: "New", value: " v"}, header + "New: v\r\n"},
		{"change a folded one to nothing", edit{op: editChange, index: 1, name: "subject"}, strings.Replace(header, "Subject: a\r\n b\r\n", "", 1)},
		{"change a missing one to nothing", edit{op: editChange, index: 9, name: "X"}, header},
		{"remove all", edit{op: editRemove, name: "X"}, "Received: one\r\nSubject: a\r\n b\r\n"},
		{"remove the last but one", edit{op: editRemove, index: -2, name: "X"}, strings.Replace(header, "X: 2\r\n", "", 1)},
		{"remove beyond", edit{op: editRemove, index: -9, name: "X"}, header},
		{"where it has been", edit{op: editRemove, name: "received"}, header},
		{"where it has been, changed", edit{op: editChange, name: "Received", value: " elsewhere"}, header},
		{"no name", edit{op: editAppend, value: " v"}, ""},
		{"a name of two fields", edit{op: editAppend, name: "A: b\r\nC", value: " v"}, ""},
		{"a control character", edit{op: editAppend, name: "A", value: " \x00"}, ""},
		{"an endless line", edit{op: editAppend, name: "A", value: strings.Repeat("x", 901)}, ""},
		{"an endless value", edit{op: editAppend, name: "A", value: strings.Repeat("x\n ", maxValue)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e edits
			if ok := e.add(c.edit); ok != (c.want != "") {
				t.Fatalf("taken: %t", ok)
			}
			if got := string(apply([]byte(header), e.all)); c.want != "" && got != c.want {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
	var e edits
	n := 0
	for range 2 * maxEdits {
		if e.add(edit{op: editAppend, name: "A", value: strings.Repeat("x", 800)}) {
			n++
		}
	}
	if n > maxEdits || e.octet > maxAdded {
		t.Errorf("%d edits of %d octets were taken", n, e.octet)
	}
}
