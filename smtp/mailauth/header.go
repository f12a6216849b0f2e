package mailauth

import (
	"bytes"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/message"
)

// maxFields bounds what is looked at of a header.
const maxFields = 2000

// header is the fields of a message, ready to be picked for a signature.
type header struct {
	fields []message.Field
	byName map[string][]int // lower case; indexes of fields, top down
}

// parseHeader reads a header; the slices point into raw.
func parseHeader(raw []byte) *header {
	h := &header{byName: map[string][]int{}}
	for f := range message.Fields(raw) {
		if len(f.Name) == 0 {
			continue
		}
		name := strings.ToLower(string(f.Name))
		h.byName[name] = append(h.byName[name], len(h.fields))
		h.fields = append(h.fields, f)
		if len(h.fields) == maxFields {
			break
		}
	}
	return h
}

func (h *header) count(name string) int { return len(h.byName[name]) }

// values are the unfolded values of all fields of a name (lower case), top down.
func (h *header) values(name string) []string {
	var out []string
	for _, i := range h.byName[name] {
		out = append(out, h.fields[i].Unfolded())
	}
	return out
}

// picked appends the canonical forms of the fields that names lists, each name taking the lowest field of it that was not taken
// before; a name without a field adds nothing (RFC 6376 section 5.4.2).
func (h *header) picked(dst []byte, c canonicalization, names []string) []byte {
	taken := map[string]int{}
	for _, name := range names {
		name = strings.ToLower(name)
		all := h.byName[name]
		n := len(all) - taken[name]
		if n == 0 {
			continue
		}
		taken[name]++
		dst = canonField(dst, c, h.fields[all[n-1]].Raw)
	}
	return dst
}

// withoutB is a signature field with an empty tag b (RFC 6376 section 3.5), all else as it stands, without its line end.
func withoutB(raw []byte) []byte {
	raw = bytes.TrimRight(raw, "\r\n")
	colon := bytes.IndexByte(raw, ':')
	out := append(make([]byte, 0, len(raw)), raw[:colon+1]...)
	rest := raw[colon+1:]
	for len(rest) > 0 {
		tag := rest
		if i := bytes.IndexByte(rest, ';'); i >= 0 {
			tag = rest[:i+1]
		}
		rest = rest[len(tag):]
		eq := bytes.IndexByte(tag, '=')
		if eq < 0 || string(bytes.TrimSpace(tag[:eq])) != "b" {
			out = append(out, tag...)
			continue
		}
		out = append(out, tag[:eq+1]...)
		if tag[len(tag)-1] == ';' {
			out = append(out, ';')
		}
	}
	return out
}
