package mailauth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// TestDMARC: whose mail is proven, what its owner asks for, and where the record is found. The first four are the examples of RFC 7489
// appendix B.1.
func TestDMARC(t *testing.T) {
	pass := func(domain string) SPF { return SPF{Result: Pass, Domain: domain} }
	signed := func(domains ...string) (out []DKIM) {
		for _, d := range domains {
			out = append(out, DKIM{Result: Pass, Domain: d})
		}
		return out
	}
	for _, c := range []struct {
		name   string
		dns    string // records, one a line
		from   mail.Domain
		spf    SPF
		dkim   []DKIM
		want   string // result, policy, disposition
		choose int
	}{
		{name: "SPF, same domain", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", spf: pass("example.com"), want: "pass reject -"},
		{name: "SPF, child", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", spf: pass("child.example.com"), want: "pass reject -"},
		{name: "SPF, child, strict", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;aspf=s", from: "example.com", spf: pass("child.example.com"), want: "fail reject reject"},
		{name: "SPF, somebody else", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", spf: pass("sample.net"), want: "fail reject reject"},
		{name: "DKIM, parent", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "child.example.com", dkim: signed("example.com"), want: "pass reject -"},
		{name: "DKIM, strict", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;adkim=s", from: "example.com", dkim: signed("a.example.com"), want: "fail reject reject"},
		{name: "DKIM, strict, one of several", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;adkim=s", from: "example.com", dkim: signed("x.net", "a.example.com", "example.com"), want: "pass reject -"},
		{name: "nothing published", from: "example.com", spf: pass("example.com"), want: "none - -"},
		{name: "a subdomain under sp", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;sp=quarantine\na.example.com A 192.0.2.1", from: "a.example.com", want: "fail quarantine quarantine"},
		{name: "a subdomain with its own record", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;sp=quarantine\n_dmarc.a.example.com TXT v=DMARC1;p=none", from: "a.example.com", want: "fail none none"},
		{name: "a subdomain that does not exist under np", dns: "_dmarc.example.com TXT v=DMARC1;p=none;sp=quarantine;np=reject", from: "nope.example.com", want: "fail reject reject"},
		{name: "a subdomain that exists under np", dns: "_dmarc.example.com TXT v=DMARC1;p=none;sp=quarantine;np=reject\nyes.example.com MX 10 m.example.com.", from: "yes.example.com", want: "fail quarantine quarantine"},
		{name: "trying", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;t=y", from: "example.com", want: "fail reject quarantine"},
		{name: "trying to quarantine", dns: "_dmarc.example.com TXT v=DMARC1;p=quarantine;t=y", from: "example.com", want: "fail quarantine none"},
		{name: "pct=0", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;pct=0", from: "example.com", want: "fail reject quarantine"},
		{name: "inside of pct", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;pct=60", from: "example.com", choose: 59, want: "fail reject reject"},
		{name: "outside of pct", dns: "_dmarc.example.com TXT v=DMARC1;p=reject;pct=60", from: "example.com", choose: 60, want: "fail reject quarantine"},
		{name: "two records are none", dns: "_dmarc.example.com TXT v=DMARC1;p=reject\n_dmarc.example.com TXT v=DMARC1;p=none", from: "example.com", want: "none - -"},
		{name: "another text beside it", dns: "_dmarc.example.com TXT hello\n_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", want: "fail reject reject"},
		{name: "no policy, but reports", dns: "_dmarc.example.com TXT v=DMARC1;p=bad;rua=mailto:d@example.com", from: "example.com", want: "fail none none"},
		{name: "a policy nobody knows", dns: "_dmarc.example.com TXT v=DMARC1;p=bad", from: "example.com", want: "none - -"},
		{name: "a public suffix", dns: "_dmarc.co.test TXT v=DMARC1;psd=y;p=reject\n_dmarc.example.co.test TXT v=DMARC1;p=none", from: "a.example.co.test", dkim: signed("example.co.test"), want: "pass none -"},
		{name: "two owners below a public suffix", dns: "_dmarc.co.test TXT v=DMARC1;psd=y;p=reject", from: "one.co.test", dkim: signed("two.co.test"), want: "fail reject reject"},
		{name: "without psd they would be one", dns: "_dmarc.co.test TXT v=DMARC1;p=reject", from: "one.co.test", dkim: signed("two.co.test"), want: "pass reject -"},
		{name: "a part that is its own owner", dns: "_dmarc.example.com TXT v=DMARC1;p=reject\n_dmarc.uni.example.com TXT v=DMARC1;p=reject;psd=n", from: "a.uni.example.com", dkim: signed("example.com"), want: "fail reject reject"},
		{name: "a deep name", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "a.b.c.d.e.f.g.h.i.j.example.com", dkim: signed("x.example.com"), want: "pass reject -"},
		{name: "the record cannot be asked for", dns: "fail _dmarc.example.com", from: "example.com", want: "temperror - -"},
		{name: "the record above cannot be asked for", dns: "fail _dmarc.example.com", from: "a.example.com", want: "temperror - -"},
		{name: "SPF could not be told", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", spf: SPF{Result: TempError, Domain: "example.com"}, want: "temperror reject -"},
		{name: "a key could not be asked for", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", dkim: []DKIM{{Result: TempError, Domain: "example.com"}}, want: "temperror reject -"},
		{name: "a key could not be asked for, another holds", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", dkim: append(signed("example.com"), DKIM{Result: TempError}), want: "pass reject -"},
		{name: "a trusted form only counts", dns: "_dmarc.example.com TXT v=DMARC1;p=reject", from: "example.com", dkim: []DKIM{{Result: Policy, Domain: "example.com"}}, want: "fail reject reject"},
	} {
		t.Run(c.name, func(t *testing.T) {
			z, err := dns.NewZone()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(c.dns) {
				line = strings.TrimSpace(line)
				if name, ok := strings.CutPrefix(line, "fail "); ok {
					z.Fail(name)
					continue
				}
				name, rest, _ := strings.Cut(line, " ")
				if text, ok := strings.CutPrefix(rest, "TXT "); ok {
					rest = `TXT "` + text + `"`
				}
				if err := z.Add(name + ". IN " + rest); err != nil {
					t.Fatal(err)
				}
			}
			k := New(Options{Resolver: resolver(t, z), Choose: func(int) int { return c.choose }})
			d := k.checkDMARC(t.Context(), c.from, c.spf, c.dkim)
			or := func(s string) string {
				if s == "" {
					return "-"
				}
				return s
			}
			if got := string(d.Result) + " " + or(d.Policy) + " " + or(d.Disposition); got != c.want {
				t.Errorf("%s, want %s (%s)", got, c.want, d.Reason)
			}
		})
	}
}

// A walk up the tree asks eight names at most.
func TestTreeWalkIsBounded(t *testing.T) {
	z, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	w := newTreeWalk(resolver(t, z))
	deep := strings.Repeat("a.", 100) + "example.com"
	if org, r, err := w.organizational(t.Context(), deep); org != deep || r != nil || err != nil {
		t.Errorf("%s %v %v", org, r, err)
	}
	if len(w.asked) != 8 {
		t.Errorf("%d questions", len(w.asked))
	}
}

func TestAuthor(t *testing.T) {
	for _, c := range []struct {
		header string
		want   mail.Domain
		ok     bool
	}{
		{"From: a@Example.org\r\n", "example.org", true},
		{"From: \"x@evil.example\" <a@example.org>\r\n", "example.org", true},
		{"From: a@example.org, b@EXAMPLE.org\r\n", "example.org", true},
		{"From: a@bücher.example\r\n", "xn--bcher-kva.example", true},
		{"From: Team: a@example.org, b@example.org;\r\n", "example.org", true},
		{"From: a@example.org, b@example.net\r\n", "", false},
		{"From: a@example.org\r\nFrom: b@example.net\r\n", "", false},
		{"From: undisclosed:;\r\n", "", false},
		{"From: nobody\r\n", "", false},
		{"From: a@[192.0.2.1]\r\n", "", false},
		{"To: a@example.org\r\n", "", false},
	} {
		d, err := author(parseHeader([]byte(c.header)))
		if d != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %q %v", c.header, d, err)
		}
		if r, reason := resultOf(err); err != nil && (r != PermError || reason == "") {
			t.Errorf("%q: %s %q", c.header, r, reason)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	r, err := ParsePolicy("v=DMARC1 ; p=Quarantine; rua=mailto:a@example.org!10m, https://x, mailto:b@example.org;ruf=mailto:c@example.org; pct=200; ri=3600; fo=1:d; ;")
	if err != nil || r.Policy != PolicyQuarantine || r.Percent != 100 || r.ReportInterval != 3600 || r.FailureOptions != "1:d" ||
		fmt.Sprint(r.Aggregate) != "[{a@example.org 10485760} {b@example.org 0}]" || fmt.Sprint(r.Failure) != "[{c@example.org 0}]" {
		t.Errorf("%+v %v", r, err)
	}
	for _, text := range []string{"", "v=spf1", "p=none; v=DMARC1", "v=DMARC2; p=none", "v=dmarc1; p=none"} {
		if _, err := ParsePolicy(text); !errors.Is(err, ErrNoPolicy) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ParsePolicy("v=DMARC1; p=none; p=reject"); err == nil || errors.Is(err, ErrNoPolicy) {
		t.Errorf("a policy that stands twice: %v", err)
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("v=DMARC1; p=none; rua=mailto:a@b; pct=10; psd=y")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParsePolicy(text)
		if err == nil && (!knownPolicy(r.Policy) || r.Percent < 0 || r.Percent > 100 || len(r.Aggregate) > 10) {
			t.Fatalf("%+v", r)
		}
	})
}

// Results in our name on mail from outside are forged, however they are written.
// TestSaid: only our own words count in results, which repeat much of what strangers wrote.
func TestSaid(t *testing.T) {
	for _, c := range []struct {
		results string
		want    Result
	}{
		{"dmarc=pass", Pass},
		{"spf=pass smtp.mailfrom=a.test;\r\n DMARC=Pass header.from=a.test", Pass},
		{"spf=none; dmarc=fail reason=\"x; dmarc=pass\"", Fail},
		{"", ""},
		{"spf=pass reason=\"dmarc=pass\"", ""},
		{"spf=pass reason=\"a; dmarc=pass; b\"", ""},
		{"spf=pass reason=\"a\\\"; dmarc=pass; b\"", ""},
		{"spf=pass reason=\"a\\\\\"; dmarc=pass", Pass},
		{"spf=pass (; dmarc=pass; \"); x=y", ""},
		{"spf=pass \"; dmarc=pass", ""},
		{"spf=pass smtp.mailfrom=dmarc=pass", ""},
		{"xdmarc=pass; dmarc.x=pass", ""},
	} {
		if got := Said(c.results, "dmarc"); got != c.want {
			t.Errorf("%q: %q, want %q", c.results, got, c.want)
		}
	}
}

func TestOurs(t *testing.T) {
	for _, c := range []struct {
		field string
		ours  bool
	}{
		{"Authentication-Results: mx.example.org; spf=pass", true},
		{"authentication-results : MX.Example.ORG; spf=pass", true},
		{"Authentication-Results:\r\n (a ; comment) mx.example.org 1; spf=pass", true},
		{`Authentication-Results: "mx.example.org"; spf=pass`, true},
		{"Authentication-Results: mx.example.org", true},
		{"Authentication-Results: mx.example.org.; none", true},
		{"Authentication-Results: mx.example.net; spf=pass", false},
		{"Authentication-Results: mx.example.org.evil.example; spf=pass", false},
		{"X-Authentication-Results: mx.example.org; spf=pass", false},
		{"ARC-Authentication-Results: i=1; mx.example.org; spf=pass", false},
	} {
		for f := range message.Fields([]byte(c.field + "\r\n")) {
			if got := Ours(f, "mx.example.org"); got != c.ours {
				t.Errorf("%q: %v", c.field, got)
			}
		}
	}
}

func TestVouched(t *testing.T) {
	c := New(Options{Trusted: func(d string) bool { return d == "lists.example.org" || d == "good.example" }})
	for _, x := range []struct {
		arc  ARC
		want bool
	}{
		{ARC{Result: Pass, Sealers: []string{"lists.example.org"}, Results: []string{"lists.example.org; spf=fail; dmarc=pass header.from=x"}}, true},
		{ARC{Result: Pass, Sealers: []string{"lists.example.org", "good.example"}, Results: []string{"a; dmarc=pass", "b; dmarc=fail"}}, true},
		{ARC{Result: Pass, Sealers: []string{"lists.example.org", "evil.example"}, Results: []string{"a; dmarc=pass", "b; dmarc=pass"}}, false},
		{ARC{Result: Pass, Sealers: []string{"lists.example.org"}, Results: []string{"a; dmarc=fail (dmarc=pass; dmarc=pass)"}}, false},
		{ARC{Result: Fail, Sealers: []string{"lists.example.org"}, Results: []string{"a; dmarc=pass"}}, false},
		{ARC{Result: None}, false},
	} {
		if got := c.Vouched(Report{ARC: x.arc}); got != x.want {
			t.Errorf("%+v: %v", x.arc, got)
		}
	}
}
