package imap

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
)

// TestSqueeze: a pattern and its shorter form match the same names.
func TestSqueeze(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab/*%]{0,8}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab/]{0,8}`).Draw(t, "name")
		squeezed, _ := squeeze(pattern)
		if got, want := matchName(squeezed, name), matchSlow(pattern, name); got != want {
			t.Errorf("%q (%q), %q: %v, want %v", squeezed, pattern, name, got, want)
		}
	})
}

func TestInboxHasNoCase(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"inbox", "INBOX", true}, {"InB*", "INBOX", true}, {"inbox/x", "INBOX/x", true}, {"*x/a", "INBOX/a", true},
		{"inbox/X", "INBOX/x", false}, {"inboxes", "INBOXes", false}, {"sent", "Sent", false}, {"inbox", "INBOX/x", false},
	} {
		if got := matchName(test.pattern, test.name); got != test.want {
			t.Errorf("%q, %q: %v", test.pattern, test.name, got)
		}
	}
}

// TestPatternBounds: what one LIST may ask, and the next one may not.
func TestPatternBounds(t *testing.T) {
	for _, test := range []struct {
		patterns []string
		good     bool
	}{
		{[]string{strings.Repeat("a", maxPattern)}, true},
		{[]string{strings.Repeat("a", maxPattern+1)}, false},
		{[]string{strings.Repeat("a", maxPattern), strings.Repeat("b", maxPattern)}, true},
		{[]string{strings.Repeat("a", maxPattern-1) + "*", "b*"}, false},
		{[]string{strings.Repeat("*a", maxWild)}, true},
		{[]string{strings.Repeat("*a", maxWild), "%"}, false},
		{[]string{strings.Repeat("*%", 200)}, true},
	} {
		var l listing
		d := syntax.NewDecoder(nil, syntax.Limits{})
		for _, p := range test.patterns {
			l.add(&d, p)
		}
		if got := d.Err() == nil; got != test.good {
			t.Errorf("%d patterns, %.20q...: %v", len(test.patterns), test.patterns[0], d.Err())
		}
	}
}
