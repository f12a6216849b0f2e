package spam

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

var (
	today  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	alice  = Recipient{Account: 7, Address: mail.Address{Local: "alice", Domain: "example.org"}}
	client = netip.MustParseAddr("192.0.2.25")
)

func local(d mail.Domain) bool { return d == "example.org" }

// side opens tables in a folder of the test.
func side(t testing.TB) *kv.Side {
	t.Helper()
	s, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// judge is a Judge over tables, with a clock that stands.
func judge(t testing.TB, o Options) *Judge {
	t.Helper()
	if o.Side == nil {
		o.Side = side(t)
	}
	if o.Now == nil {
		o.Now = func() time.Time { return today }
	}
	o.Hostname, o.Local = "mx.example.org", local
	return New(o)
}

// flush waits for what never waits.
func flush(t testing.TB, j *Judge) {
	t.Helper()
	if err := j.o.Side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func addr(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// look shows a message to the judge.
func look(ctx context.Context, j *Judge, f Facts, r mailauth.Report, raw []byte) *Findings {
	s := j.Begin(ctx, f)
	s.Write(raw)
	return s.Finish(r)
}

// wire makes a message of lines that end in LF.
func wire(text string) []byte { return []byte(strings.ReplaceAll(text, "\n", "\r\n")) }

// proven is the report about mail of a domain that is in order.
func proven(domain string) mailauth.Report {
	return mailauth.Report{
		SPF:   mailauth.SPF{Result: mailauth.Pass, Domain: domain},
		IPRev: mailauth.IPRev{Result: mailauth.Pass, Name: "mail." + domain},
		DKIM:  []mailauth.DKIM{{Result: mailauth.Pass, Domain: domain}},
		DMARC: mailauth.DMARC{Result: mailauth.Pass, Domain: domain},
	}
}

// unproven is the report about mail of a domain that publishes nothing.
func unproven() mailauth.Report {
	return mailauth.Report{SPF: mailauth.SPF{Result: mailauth.None}, IPRev: mailauth.IPRev{Result: mailauth.Pass, Name: "mail.example.net"}, DMARC: mailauth.DMARC{Result: mailauth.None}}
}

func has(v Verdict, name string) bool {
	return slices.ContainsFunc(v.Signals, func(s Signal) bool { return s.Name == name })
}

func letter(from, subject, text string) []byte {
	return wire(fmt.Sprintf("From: %s\nTo: alice@example.org\nSubject: %s\nDate: Sun, 22 Nov 2026 11:00:00 +0000\nMessage-ID: <%s@mail>\n\n%s\n", from, subject, strings.Join(strings.Fields(subject), "."), text))
}

// TestCases judges the messages of testdata: NAME.eml as it travels but for its line ends, NAME.dns with the records of the world and
// what the connection knows ("session ADDRESS HELLO MAIL-FROM", "to RECIPIENT", "list ..."), NAME.want with class, flags and signals.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".eml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runCase(t, wire(string(raw)), name+".dns")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(name+".want", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".want")
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// runCase judges one message as the house would: with the checks of mailauth over the same records.
func runCase(t *testing.T, raw []byte, world string) string {
	text, err := os.ReadFile(world)
	if err != nil {
		t.Fatal(err)
	}
	z, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	f, to := Facts{Remote: client}, alice
	var o Options
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		w := strings.Fields(line)
		switch {
		case len(w) == 0:
		case w[0] == "session":
			f = Facts{Remote: netip.MustParseAddr(w[1]), Hello: w[2]}
			if w[3] != "<>" {
				f.From = addr(t, w[3])
			}
		case w[0] == "to":
			to.Address = addr(t, w[1])
		case w[0] == "list":
			l, err := ParseList(strings.TrimPrefix(line, "list "))
			if err != nil {
				t.Fatal(err)
			}
			o.Lists = append(o.Lists, l)
		case w[0] == "fail":
			z.Fail(w[1])
		default:
			if err := z.Add(line); err != nil {
				t.Fatalf("%s: %q: %v", world, line, err)
			}
		}
	}
	c := z.Client(dns.Options{})
	t.Cleanup(func() { c.Close() })
	o.Resolver = c
	j := judge(t, o)
	check := mailauth.New(mailauth.Options{Resolver: c, Hostname: "mx.example.org", Now: j.o.Now}).Begin(t.Context(), mailauth.Session{Remote: f.Remote, Hello: f.Hello, From: f.From})
	head, body := split(raw)
	check.Header(bytes.Clone(head))
	check.Write(body)
	s := j.Begin(t.Context(), f)
	for rest := raw; len(rest) > 0; { // in odd pieces
		n := min(len(rest), 7)
		s.Write(rest[:n])
		rest = rest[n:]
	}
	return describe(j.Verdict(t.Context(), s.Finish(check.Finish()), to))
}

// describe writes a verdict as the .want files have it.
func describe(v Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %.1f", v.Class, v.Score)
	for flag, on := range map[string]bool{" phishing": v.Phishing, " known": v.Known} {
		if on {
			b.WriteString(flag)
		}
	}
	b.WriteByte('\n')
	for _, s := range v.Signals {
		fmt.Fprintf(&b, "%+.1f %s: %s\n", s.Score, s.Name, s.Text)
	}
	return b.String()
}
