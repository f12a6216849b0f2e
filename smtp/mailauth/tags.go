package mailauth

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const maxTags = 100

// tags is a tag=value list (RFC 6376 section 3.2), which DKIM, ARC and DMARC share.
type tags map[string]string

// parseTags reads a list; a tag that stands twice makes it invalid.
func parseTags(s string) (tags, error) {
	return readTags(strings.Split(strings.Trim(s, " \t\r\n"), ";"))
}

// parseLooseTags is parseTags for records in DNS, which people write: semicolons too many do no harm.
func parseLooseTags(s string) (tags, error) {
	return readTags(slices.DeleteFunc(strings.Split(s, ";"), func(part string) bool { return strings.Trim(part, " \t") == "" }))
}

func readTags(parts []string) (tags, error) {
	t := tags{}
	for i, part := range parts {
		part = strings.Trim(part, " \t\r\n")
		if part == "" && i > 0 && i == len(parts)-1 {
			continue // a final semicolon
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.Trim(name, " \t\r\n")
		if !ok || !tagName(name) {
			return nil, fmt.Errorf("no tag: %.40q", part)
		}
		if _, twice := t[name]; twice {
			return nil, fmt.Errorf("tag %s stands twice", name)
		}
		if len(t) == maxTags {
			return nil, fmt.Errorf("more than %d tags", maxTags)
		}
		t[name] = strings.Trim(value, " \t\r\n")
	}
	return t, nil
}

func tagName(s string) bool {
	for i, c := range []byte(s) {
		if c|0x20 >= 'a' && c|0x20 <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '_') {
			continue
		}
		return false
	}
	return s != ""
}

// solid is a value without the white space that may stand anywhere in it.
func (t tags) solid(name string) string { return strings.Join(strings.Fields(t[name]), "") }

// bytes is a base64 value.
func (t tags) bytes(name string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(t.solid(name))
	if err != nil {
		return nil, fmt.Errorf("tag %s is no base64", name)
	}
	return b, nil
}

// list is a colon-separated value, white space around its parts dropped.
func (t tags) list(name string) []string {
	v := t[name]
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ":")
	for i, p := range parts {
		parts[i] = strings.Trim(p, " \t\r\n")
	}
	return parts
}

// number is a value of up to 12 digits (times) or more that saturates; ok is false when the tag is not there.
func (t tags) number(name string) (n int64, ok bool, err error) {
	v, ok := t[name]
	if !ok {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || v[0] == '+' {
		return 0, true, fmt.Errorf("tag %s is no number", name)
	}
	return n, true, nil
}
