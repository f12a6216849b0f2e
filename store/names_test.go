package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	long := strings.Repeat("x", maxLevel)
	good := []struct{ in, want string }{
		{"INBOX", "INBOX"},
		{"inbox", "INBOX"},
		{"InBoX/Lists", "INBOX/Lists"},
		{"inboxes", "inboxes"},
		{"work/inbox", "work/inbox"},
		{"Entwu\u0308rfe", "Entw\u00fcrfe"}, // NFD to NFC
		{"\u053e\u0548/\u65e5\u672c", "\u053e\u0548/\u65e5\u672c"},
		{"100% done * really", "100% done * really"},
		{long, long},
		{strings.TrimSuffix(strings.Repeat("a/", maxDepth), "/"), strings.TrimSuffix(strings.Repeat("a/", maxDepth), "/")},
		{"ınbox", "ınbox"}, // a dotless i folds to I in no RFC
	}
	for _, c := range good {
		got, err := CheckName(c.in)
		if err != nil || got != c.want {
			t.Errorf("CheckName(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
		if again, err := CheckName(got); err != nil || again != got {
			t.Errorf("CheckName(%q) is not stable: %q, %v", got, again, err)
		}
	}
	bad := []string{
		"", "/", "a//b", "/a", "a/", "a\x00b", "a\r\nb", "a\x7fb", "a\u0085b", "a\u2028b", "\ufeffa", "a\xffb", "\xed\xa0\x80",
		long + "x", strings.Repeat("a/", maxDepth) + "a", strings.Repeat(long+"/", 3) + long, strings.Repeat("a", 1<<20),
	}
	for _, in := range bad {
		if got, err := CheckName(in); !errors.Is(err, ErrBadName) {
			t.Errorf("CheckName(%.40q) = %.40q, %v; want ErrBadName", in, got, err)
		}
	}
}

func TestParents(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{{"a", nil}, {"a/b", []string{"a"}}, {"ä/ö/ü", []string{"ä", "ä/ö"}}} {
		if got := parents(c.in); !slices.Equal(got, c.want) {
			t.Errorf("parents(%q) = %q; want %q", c.in, got, c.want)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"INBOX", "inbox/x", "a/b", "Entwu\u0308rfe", "a//b", "\u2028", "\xff", strings.Repeat("a/", 33)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, err := CheckName(in)
		if err != nil {
			if !errors.Is(err, ErrBadName) {
				t.Fatalf("CheckName(%q): %v", in, err)
			}
			return
		}
		if again, err := CheckName(name); err != nil || again != name || len(name) > maxName {
			t.Fatalf("CheckName(%q) = %q, which becomes %q, %v", in, name, again, err)
		}
	})
}

func TestKeywords(t *testing.T) {
	for name, want := range map[string]bool{
		"Important": true, "$MDNSent": true, "work-2024": true, "": false, "a b": false, "\\Seen": false, "a]": false,
		"a(": false, "ü": false, "a\"": false, "100%": false, strings.Repeat("k", maxKeyword): true, strings.Repeat("k", maxKeyword+1): false,
	} {
		if got := ValidKeyword(name); got != want {
			t.Errorf("ValidKeyword(%.20q) = %v; want %v", name, got, want)
		}
	}
	k := &keywords{}
	for i := range maxKeywords {
		f, err := k.learn(strings.Repeat("k", i+1))
		if err != nil || f != 1<<(8+i) {
			t.Fatalf("keyword %d: bit %#x, %v", i, f, err)
		}
	}
	if k.known() != ^Flags(0) {
		t.Errorf("known = %#x with all keywords", k.known())
	}
	if _, err := k.learn("one-more"); !errors.Is(err, ErrLimit) {
		t.Errorf("keyword 57: %v; want ErrLimit", err)
	}
	if f, err := k.learn("KKK"); err != nil || f != 1<<10 {
		t.Errorf("KKK: bit %#x, %v; want that of kkk", f, err)
	}
	if f, err := k.learn("$forwarded"); err != nil || f != Forwarded {
		t.Errorf("$forwarded: bit %#x, %v", f, err)
	}
	if _, err := (&keywords{}).learn("a b"); !errors.Is(err, ErrKeyword) {
		t.Errorf("bad keyword: %v; want ErrKeyword", err)
	}
}
