package mail

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ in, local, domain, out string }{
		{"alice@alpha.test", "alice", "alpha.test", "alice@alpha.test"},
		{"Alice@ALPHA.Test.", "Alice", "alpha.test", "Alice@alpha.test"},
		{`"a b"@y.test`, "a b", "y.test", `"a b"@y.test`},
		{`"a@b"@y.test`, "a@b", "y.test", `"a@b"@y.test`},
		{`"alice"@y.test`, "alice", "y.test", "alice@y.test"},
		{`"a\"b\\c"@y.test`, `a"b\c`, "y.test", `"a\"b\\c"@y.test`},
		{`"a..b"@y.test`, "a..b", "y.test", `"a..b"@y.test`},
		{"jürgen@bücher.test", "jürgen", "xn--bcher-kva.test", "jürgen@xn--bcher-kva.test"},
		{"u\u0308@y.test", "ü", "y.test", "ü@y.test"},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[ipv6:2001:DB8::1]", "a", "[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
		{"a%b@y.test", "a%b", "y.test", "a%b@y.test"},
		{"a!b@y.test", "a!b", "y.test", "a!b@y.test"},
		{"a@localhost", "a", "localhost", "a@localhost"},
	} {
		a, err := ParseAddress(c.in)
		if err != nil || a.Local != c.local || string(a.Domain) != c.domain || a.String() != c.out {
			t.Errorf("ParseAddress(%q) = %q %q %q, %v", c.in, a.Local, a.Domain, a, err)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{"", "@", "a", "a@", "@b", "a b@c", ".a@b", "a.@b", "a..b@c", "a@b c", "a@b..c", "a@-b", "a@b-", `"a@b`, `"a`, `""@b`, "\"a\nb\"@c",
		"a\x00@b", "a@[300.1.1.1]", "a@[192.0.2.1", "a@[IPv6:192.0.2.1]", "a@[2001:db8::1]", "a@[IPv6:fe80::1%eth0]", "a\xff@b", "a@b@c", "a<b@c", "a,b@c",
		strings.Repeat("x", 65) + "@b", "a@" + strings.Repeat("x", 64), "a@" + strings.Repeat("x.", 127) + "x", "a@b\r\nc"} {
		if a, err := ParseAddress(in); !errors.Is(err, ErrAddress) {
			t.Errorf("ParseAddress(%q) = %v, %v", in, a, err)
		}
	}
}

func TestKey(t *testing.T) {
	for in, want := range map[string]string{"Alice@Y.test": "alice@y.test", `"A B"@y.test`: "a b@y.test", "JÜRGEN@y.test": "jürgen@y.test"} {
		a, err := ParseAddress(in)
		if err != nil || a.Key() != want {
			t.Errorf("Key(%q) = %q, %v", in, a.Key(), err)
		}
	}
	if p, err := ParseLocal("Postmaster"); err != nil || p.Key() != "postmaster@" || p.IsNull() || p.String() != "Postmaster" {
		t.Errorf("ParseLocal gave %+v, %v", p, err)
	}
	if _, err := ParseLocal("a@b"); err == nil {
		t.Error("ParseLocal took a@b")
	}
}

func TestDomain(t *testing.T) {
	d, err := ParseDomain("BÜCHER.Test.")
	if err != nil || d != "xn--bcher-kva.test" || d.Unicode() != "bücher.test" {
		t.Errorf("got %q %q %v", d, d.Unicode(), err)
	}
	lit, err := ParseDomain("[IPv6:2001:db8::1]")
	if addr, ok := lit.Literal(); err != nil || !ok || addr.String() != "2001:db8::1" {
		t.Errorf("literal %v %v %v", addr, ok, err)
	}
}

// Printing what was parsed and parsing it again gives the same address.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@c.test`, "jürgen@bücher.test", "a@[192.0.2.1]", `"\"\\"@x`, "a@xn--bcher-kva.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a || !utf8.ValidString(a.String()) {
			t.Errorf("%q became %+v, printed %q, became %+v (%v)", s, a, a, again, err)
		}
		if strings.ContainsAny(a.String(), "\r\n\x00") {
			t.Errorf("%q kept a control character", s)
		}
	})
}
