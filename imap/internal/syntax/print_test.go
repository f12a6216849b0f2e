package syntax

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// parsed decodes text as the one argument of a command.
func parsed[T any](t interface{ Fatalf(string, ...any) }, text string, read func(d *Decoder) T) T {
	s := &script{rest: []byte("a X " + text + "\r\n")}
	d := NewDecoder(s, Limits{Line: 1 << 20, Literal: 1 << 20, Command: 1 << 22, Skip: 1 << 20})
	d.Next()
	d.SP()
	v := read(&d)
	if err := d.End(); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func TestSetPrintsAsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		for range rapid.IntRange(1, 20).Draw(t, "ranges") {
			r := Range{First: rapid.Uint32().Draw(t, "first")}
			r.Last = rapid.OneOf(rapid.Just(r.First), rapid.Uint32()).Draw(t, "last")
			s.Ranges = append(s.Ranges, r)
		}
		text := string(AppendSet(nil, s))
		again := parsed(t, text, (*Decoder).Set)
		if got := string(AppendSet(nil, again)); got != text {
			t.Fatalf("%q prints as %q", text, got)
		}
	})
}

func TestSpansHoldWhatTheSetSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.Uint32Range(1, 40).Draw(t, "last")
		var s Set
		want := map[uint32]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "ranges") {
			a, b := rapid.Uint32Range(0, 40).Draw(t, "first"), rapid.Uint32Range(0, 40).Draw(t, "last of range")
			s.Ranges = append(s.Ranges, Range{a, b})
			if a == 0 {
				a = last
			}
			if b == 0 {
				b = last
			}
			for n := min(a, b); n <= max(a, b); n++ {
				want[n] = true
			}
		}
		spans := s.Spans(last)
		for i := 1; i < len(spans); i++ {
			if spans[i].First <= spans[i-1].Last+1 {
				t.Fatalf("%v: not sorted and joined", spans)
			}
		}
		got := 0
		for _, sp := range spans {
			for n := sp.First; n <= sp.Last; n++ {
				if !want[n] {
					t.Fatalf("%v has %d", spans, n)
				}
				got++
			}
		}
		if got != len(want) {
			t.Fatalf("%v has %d numbers, want %d", spans, got, len(want))
		}
	})
}

func TestSpans(t *testing.T) {
	for _, test := range []struct {
		set  string
		last uint32
		want string
	}{
		{"2,4:7,9,12:*", 15, "2,4:7,9,12:15"},
		{"*:4,5:7", 10, "4:10"},
		{"3291:*", 100, "100:3291"},
		{"*", 7, "7"},
		{"1:*", 0, "1"}, // the caller knows that there is nothing
		{"*", 0, ""},
		{"4294967295,1:4294967295", 3, "1:4294967295"},
		{"5:1,3", 9, "1:5"},
	} {
		b := NewSetBuilder(nil)
		for _, s := range parsed(t, test.set, (*Decoder).Set).Spans(test.last) {
			b.AddSpan(s.First, s.Last)
		}
		if got := string(b.Bytes()); got != test.want {
			t.Errorf("%s of %d = %s, want %s", test.set, test.last, got, test.want)
		}
	}
}

func TestWrongSets(t *testing.T) {
	for _, in := range []string{"", "0", "1:", ":1", "1,", ",1", "1:2:3", "1:0", "a", "$,1", "1,$", "-1", "4294967296"} {
		s := &script{rest: []byte("a X " + in + "\r\n")}
		d := NewDecoder(s, limits())
		d.Next()
		d.SP()
		d.Set()
		if d.End() == nil {
			t.Errorf("set %q was taken", in)
		}
	}
}

func TestSetBuilderKeepsOrder(t *testing.T) {
	b := NewSetBuilder([]byte("APPENDUID 1 "))
	for _, n := range []uint32{9, 3, 4, 5, 1, 2} {
		b.Add(n)
	}
	if got, want := string(b.Bytes()), "APPENDUID 1 9,3:5,1:2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNamePrintsAsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := strings.ToValidUTF8(rapid.String().Draw(t, "name"), "")
		text := string(AppendName(nil, name))
		back, ok := DecodeName(text)
		if !ok || back != name {
			t.Fatalf("%q prints as %q and parses as %q, %v", name, text, back, ok)
		}
		if got := parsed(t, string(AppendMailbox(nil, name, false)), (*Decoder).Mailbox); got != name {
			t.Fatalf("mailbox %q comes back as %q", name, got)
		}
	})
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{ // from RFC 3501 section 5.1.3, RFC 2152 and mailboxes of the world
		"~peter/mail/&U,BTFw-/&ZeVnLIqe-": "~peter/mail/台北/日本語",
		"&Jjo-!":                          "☺!",
		"Hello &-":                        "Hello &",
		"&2DzfHg-":                        "🌞",
	} {
		if got, ok := DecodeName(name); !ok || got != want {
			t.Errorf("DecodeName(%q) = %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"&", "a&b", "&AG", "&AG-", // no end; printable ASCII in base64
		"&2Dw-", "&3x4-", "&3x7YPA-", // half a pair; pair the wrong way round
		"&U,BTFw-&ZeVnLIqe-", // superfluous end and begin
		"&Jjp-",              // bits left over
		"&=-", "&/-", "caf\xe9", "a\x01", "a\x7f",
	} {
		if got, ok := DecodeName(name); ok {
			t.Errorf("DecodeName(%q) = %q, want an error", name, got)
		}
	}
}

func TestSectionPrintsAsParsed(t *testing.T) {
	for _, text := range []string{
		"[]", "[TEXT]", "[HEADER]", "[1]", "[1.2.3]", "[1.MIME]", "[4.2.HEADER]",
		"[HEADER.FIELDS (From To)]", "[2.HEADER.FIELDS.NOT (\"X Y\")]", "[HEADER.FIELDS (\"NIL\")]",
	} {
		s := parsed(t, text, (*Decoder).Section)
		if got := string(AppendSection(nil, s)); got != text {
			t.Errorf("%s prints as %s", text, got)
		}
		if again := parsed(t, text, (*Decoder).Section); !again.Equal(s) {
			t.Errorf("%s does not equal itself", text)
		}
	}
	for _, text := range []string{
		"[", "[0]", "[1.]", "[.1]", "[MIME]", "[FOO]", "[HEADER.FIELDS]", "[HEADER.FIELDS ()]", "[1.2", "[TEXT.1]", "[1 2]",
		"[" + strings.Repeat("1.", 200) + "1]",
	} {
		s := &script{rest: []byte("a X " + text + "\r\n")}
		d := NewDecoder(s, limits())
		d.Next()
		d.SP()
		d.Section()
		if d.End() == nil {
			t.Errorf("section %s was taken", text)
		}
	}
}

func TestStringPrintsAsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.ReplaceAll(string(rapid.SliceOf(rapid.Byte()).Draw(t, "octets")), "\x00", "")
		for name, b := range map[string][]byte{
			"AppendString": AppendString(nil, s), "AppendUTF8": AppendUTF8(nil, s), "AppendAString": AppendAString(nil, s),
		} {
			if got := parsed(t, string(b), (*Decoder).AString); got != s {
				t.Fatalf("%s: %q comes back as %q", name, s, got)
			}
		}
	})
}

func TestDateTimePrintsAsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", rapid.IntRange(-14*60, 14*60).Draw(t, "zone")*60)
		at := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "time"), 0).In(zone)
		if got := parsed(t, string(AppendDateTime(nil, at)), (*Decoder).DateTime); !got.Equal(at) {
			t.Fatalf("%v comes back as %v", at, got)
		}
	})
}

func TestAppendsAllocateNothing(t *testing.T) {
	b := make([]byte, 0, 4096)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n := testing.AllocsPerRun(100, func() {
		b = AppendDateTime(AppendString(AppendNumber64(AppendNumber(b[:0], 77), 99), "a subject"), at)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
