package imap

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// TestViewAgainstASlice does to a view and to a plain list of uids the same things.
func TestViewAgainstASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v view
		var model []store.UID
		next := store.UID(1)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				next += rapid.Uint32Range(0, 3).Draw(t, "gap")
				n := rapid.Uint32Range(1, 10).Draw(t, "count")
				v.add(next, next+n-1)
				for range n {
					model = append(model, next)
					next++
				}
			} else {
				gone := drawSpans(t, next+5)
				var want []uint32
				for i, uid := range model {
					if contains(gone, uid) {
						want = append(want, uint32(i+1))
					}
				}
				if got := numbers(v.remove(gone)); !slices.Equal(got, want) {
					t.Fatalf("remove %v: sequence numbers %v, want %v", gone, got, want)
				}
				model = slices.DeleteFunc(model, func(uid store.UID) bool { return contains(gone, uid) })
			}
			compare(t, &v, model, next)
		}
	})
}

func compare(t *rapid.T, v *view, model []store.UID, next store.UID) {
	if int(v.total) != len(model) {
		t.Fatalf("total %d, want %d", v.total, len(model))
	}
	for uid := store.UID(0); uid <= next+1; uid++ {
		want := uint32(slices.Index(model, uid) + 1)
		if got := v.seq(uid); got != want {
			t.Fatalf("seq(%d) = %d, want %d", uid, got, want)
		}
	}
	set := drawSpans(t, next+5)
	var byUID, bySeq []uint32
	for i, uid := range model {
		if contains(set, uid) {
			byUID = append(byUID, uid)
		}
		if contains(set, uint32(i+1)) {
			bySeq = append(bySeq, uid)
		}
	}
	if got := numbers(spans(v.byUID(set))); !slices.Equal(got, byUID) {
		t.Fatalf("byUID(%v) = %v, want %v", set, got, byUID)
	}
	if got := numbers(spans(v.bySeq(below(slices.Clone(set), v.total+1)))); !slices.Equal(got, bySeq) {
		t.Fatalf("bySeq(%v) = %v, want %v", set, got, bySeq)
	}
	for i := 1; i < len(v.runs); i++ {
		if v.runs[i].first <= v.runs[i-1].last+1 {
			t.Fatalf("runs %v are not apart", v.runs)
		}
	}
}

func drawSpans(t *rapid.T, most uint32) []syntax.Span {
	var out []syntax.Span
	for range rapid.IntRange(1, 4).Draw(t, "spans") {
		first := rapid.Uint32Range(1, most).Draw(t, "first")
		out = append(out, syntax.Span{First: first, Last: first + rapid.Uint32Range(0, 5).Draw(t, "more")})
	}
	return syntax.Merge(out)
}

func numbers(spans []syntax.Span) []uint32 {
	var out []uint32
	for _, s := range spans {
		for n := s.First; n <= s.Last; n++ {
			out = append(out, n)
		}
	}
	return out
}

func TestBelow(t *testing.T) {
	for _, test := range []struct {
		in   []syntax.Span
		next store.UID
		want []uint32
	}{
		{[]syntax.Span{{First: 1, Last: 3}, {First: 5, Last: 9}}, 7, []uint32{1, 2, 3, 5, 6}},
		{[]syntax.Span{{First: 1, Last: 3}, {First: 5, Last: 9}}, 5, []uint32{1, 2, 3}},
		{[]syntax.Span{{First: 1, Last: 3}}, 1, nil},
		{[]syntax.Span{{First: 1, Last: 3}}, 99, []uint32{1, 2, 3}},
		{nil, 5, nil},
	} {
		if got := numbers(below(slices.Clone(test.in), test.next)); !slices.Equal(got, test.want) {
			t.Errorf("below(%v, %d) = %v, want %v", test.in, test.next, got, test.want)
		}
	}
}

func TestMatchName(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"", "", true}, {"", "a", false},
		{"a*", "a", true}, {"a%", "a", true}, {"a%", "a/", false}, {"a/%", "a/b", true}, {"a/%", "a/b/c", false},
		{"*b", "a/b", true}, {"*%b", "a/b", true}, {"%*b", "a/b/b", true}, {"%/%", "a/b", true}, {"%/%", "a/b/c", false},
		{"inbox", "INBOX", true}, {"InB*", "INBOX", true}, {"a", "A", false}, {"%%%", "abc", true}, {"*x*", "abc", false},
	} {
		if got := matchName(test.pattern, test.name); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.name, got)
		}
	}
}

// FuzzMatchName compares with the definition, written as a recursion.
func FuzzMatchName(f *testing.F) {
	f.Add("a*%b", "a/b/ab")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 8 || len(name) > 12 || strings.HasPrefix(name, "INBOX") {
			return
		}
		if got, want := matchName(pattern, name), matchSlow(pattern, name); got != want {
			t.Fatalf("matchName(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}

func matchSlow(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch p := pattern[0]; p {
	case '*', '%':
		if matchSlow(pattern[1:], name) {
			return true
		}
		return name != "" && (p == '*' || name[0] != delimiter) && matchSlow(pattern, name[1:])
	default:
		return name != "" && name[0] == p && matchSlow(pattern[1:], name[1:])
	}
}

// BenchmarkViewRemove expunges every third message of 100,000.
func BenchmarkViewRemove(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var gone []syntax.Span
	for uid := uint32(1); uid < 100_000; uid += 1 + random.Uint32N(5) {
		gone = append(gone, syntax.Span{First: uid, Last: uid})
	}
	gone = syntax.Merge(gone)
	for b.Loop() {
		v := newView([]syntax.Span{{First: 1, Last: 100_000}})
		v.remove(gone)
	}
}
