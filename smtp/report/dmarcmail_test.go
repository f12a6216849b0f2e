package report

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s", file, got)
	}
}

var march = time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)

// owedDay has one of everything that a report can have.
func owedDay() dmarcbook.Domain {
	return dmarcbook.Domain{
		Name: "far.test", Period: dmarcbook.Period{Begin: march, Length: 24 * time.Hour}, Missed: 3,
		Policy: dmarcbook.Policy{Domain: "far.test", P: "reject", SP: "quarantine", NP: "reject", StrictDKIM: true, Testing: true, Percent: 50, FailureOptions: "1:d"},
		Rows: []dmarcbook.Row{
			{Source: netip.MustParseAddr("192.0.2.1"), Disposition: "none", DKIM: true, SPF: true, HeaderFrom: "far.test", EnvelopeFrom: "far.test", EnvelopeTo: "here.test",
				Signatures: []dmarcbook.Signature{{Domain: "far.test", Selector: "s1", Result: "pass"}, {Domain: "esp.test", Selector: "x", Result: "softfail"}},
				SPFDomain:  "far.test", SPFResult: "pass", Count: 120},
			{Source: netip.MustParseAddr("2001:db8::1"), Disposition: "none", Override: "trusted_forwarder", Comment: "arc=pass", HeaderFrom: `a<&"b>.far.test`,
				SPFDomain: "mx.list.test", SPFHello: true, SPFResult: "", Count: 1},
			{Source: netip.MustParseAddr("198.51.100.7"), Disposition: "reject", SPFResult: "policy", Count: 7},
		},
	}
}

// TestDMARCXML: the report as it leaves; it fits the schema, and our own reader reads back what was written.
func TestDMARCXML(t *testing.T) {
	who := reporter{host: "mx.here.test", name: "Here & Co", contact: "postmaster@here.test", generator: "posthouse"}
	text, err := who.write(owedDay())
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/dmarc/sent/report.xml"
	golden(t, file, string(text))
	r, err := ParseDMARC(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/dmarc/sent/report.want", written(r))
	if got := who.file(owedDay()); got != "mx.here.test!far.test!1772582400!1772668799.xml.gz" {
		t.Errorf("file %s", got)
	}
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Log("xmllint (libxml2-utils) is not here: the schema was not asked")
		return
	}
	if out, err := exec.CommandContext(t.Context(), xmllint, "--noout", "--nonet", "--schema", "testdata/dmarc/aggregate.xsd", file).CombinedOutput(); err != nil {
		t.Errorf("the schema: %v\n%s", err, out)
	}
}

// office is a sender with its book and its world.
type office struct {
	*testing.T
	now    time.Time
	book   *dmarcbook.Book
	zone   *dns.Zone
	sent   *letters
	sender *DMARCSender
}

func openOffice(t *testing.T, records ...string) *office {
	t.Helper()
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	o := &office{T: t, now: march.Add(time.Hour), sent: &letters{}}
	if o.zone, err = dns.NewZone(records...); err != nil {
		t.Fatal(err)
	}
	resolver := o.zone.Client(dns.Options{})
	t.Cleanup(func() {
		if err := errors.Join(resolver.Close(), side.Close()); err != nil {
			t.Error(err)
		}
	})
	now := func() time.Time { return o.now }
	o.book = dmarcbook.New(dmarcbook.Options{Side: side, Now: now})
	o.sender = NewDMARCSender(DMARCOptions{
		Book: o.book, Resolver: resolver, Submit: o.sent.submit, Hostname: "mx.here.test", From: always("postmaster", "here.test"), Now: now,
		Ours: func(_ context.Context, d mail.Domain) (bool, error) { return d == "here.test", nil },
	})
	return o
}

// count counts a message of a domain, which asks for reports.
func (o *office) count(domain string) {
	o.Helper()
	o.book.Count(dmarcbook.Message{To: "here.test", Disposition: "none", Report: &mailauth.Report{
		Session: mailauth.Session{Remote: netip.MustParseAddr("192.0.2.1")},
		DMARC: mailauth.DMARC{Result: mailauth.Fail, Domain: domain, Policy: "none",
			Record: &mailauth.PolicyRecord{Domain: domain, Policy: "none", Percent: 100, ReportInterval: 86400, Aggregate: []mailauth.ReportAddress{{Address: "x@" + domain}}}},
	}})
}

func (o *office) due(wantSent int, left ...string) {
	o.Helper()
	n, err := o.sender.Due(o.Context())
	if err != nil || n != wantSent {
		o.Errorf("sent %d, %v, want %d", n, err, wantSent)
	}
	page, _, err := o.book.Owed(o.Context(), "", 100)
	var names []string
	for _, d := range page {
		names = append(names, d.Name)
	}
	if err != nil || !slices.Equal(names, left) {
		o.Errorf("left %v %v, want %v", names, err, left)
	}
}

// TestDMARCTargets: to whom the reports of one day go (RFC 7489 sections 6.2 and 7.1).
func TestDMARCTargets(t *testing.T) {
	record := func(domain, rua string) string {
		return "_dmarc." + domain + `. TXT "v=DMARC1; p=none; rua=` + rua + `"`
	}
	for _, c := range []struct{ name, domain, dns, want string }{
		{"its own", "one.test", record("one.test", "mailto:r@one.test"), "r@one.test"},
		{"below it", "one.test", record("one.test", "mailto:r@mail.one.test!10m"), "r@mail.one.test"},
		{"too small", "one.test", record("one.test", "mailto:r@one.test!300,mailto:big@one.test!1m"), "big@one.test"},
		{"twice", "one.test", record("one.test", "mailto:r@one.test,mailto:R@one.test,https://one.test/,mailto:"), "r@one.test"},
		{"same organization", "a.one.test", record("a.one.test", "mailto:r@b.one.test") + "\n" + record("one.test", "mailto:x@one.test"), "r@b.one.test"},
		{"foreign", "one.test", record("one.test", "mailto:victim@far.test"), ""},
		{"foreign, wants them", "one.test", record("one.test", "mailto:r@far.test,mailto:s@one.test") + "\n" + `one.test._report._dmarc.far.test. TXT "v=DMARC1"`, "r@far.test s@one.test"},
		{"foreign, says something else", "one.test", record("one.test", "mailto:r@far.test") + "\n" + `one.test._report._dmarc.far.test. TXT "v=spf1 -all"`, ""},
		{"foreign, elsewhere", "one.test", record("one.test", "mailto:r@far.test") + "\n" + `one.test._report._dmarc.far.test. TXT "v=DMARC1; rua=mailto:other@far.test"`, "other@far.test"},
		{"foreign, to a third", "one.test", record("one.test", "mailto:r@far.test") + "\n" + `one.test._report._dmarc.far.test. TXT "v=DMARC1; rua=mailto:victim@third.test"`, "r@far.test"},
		{"asks no more", "one.test", `_dmarc.one.test. TXT "v=DMARC1; p=none"`, ""},
		{"has no record any more", "one.test", "one.test. A 192.0.2.1", ""},
		{"address literal", "one.test", record("one.test", "mailto:r@[192.0.2.1]"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := openOffice(t, strings.Split(c.dns, "\n")...)
			o.count(c.domain)
			o.book.Flush(t.Context())
			o.now = march.Add(30 * time.Hour)
			n := 0
			if c.want != "" {
				n = 1
			}
			o.due(n)
			if got := strings.Join(o.sent.to, " "); got != c.want {
				t.Errorf("to %q, want %q", got, c.want)
			}
		})
	}
}

// TestDMARCDue: a report goes out once, after its day and some hours; DNS and the desk may fail meanwhile; our own is kept.
func TestDMARCDue(t *testing.T) {
	o := openOffice(t, `_dmarc.one.test. TXT "v=DMARC1; p=none; rua=mailto:r@far.test,mailto:s@one.test"`, `_dmarc.here.test. TXT "v=DMARC1; p=none; rua=mailto:x@here.test"`)
	o.zone.Fail("one.test._report._dmarc.far.test")
	o.count("one.test")
	o.count("here.test")
	o.book.Flush(t.Context())
	o.due(0)
	o.now = march.Add(24 * time.Hour)
	o.due(0, "here.test", "one.test") // not at midnight
	o.now = march.Add(27 * time.Hour)
	o.due(0, "one.test")
	own, err := o.book.Reports(t.Context(), "here.test", time.Time{})
	if err != nil || len(own) != 1 || own[0].Sender != "mx.here.test" || own[0].Sources[0].Count != 1 {
		t.Errorf("our own: %+v %v", own, err)
	}
	o.now = march.Add(49 * time.Hour) // a foreign host's DNS that does not work takes nobody his report
	o.sent.fail = errors.New("not now")
	o.due(0, "one.test")
	o.sent.fail = nil
	o.due(1)
	o.due(0)
	if !slices.Equal(o.sent.to, []string{"s@one.test"}) {
		t.Errorf("to %v", o.sent.to)
	}
	golden(t, "testdata/dmarc/sent/letter.eml", strings.ReplaceAll(string(o.sent.text[0]), "\r\n", "\n"))
	f, err := Read(bytes.NewReader(o.sent.text[0]))
	if err != nil || f.DMARC == nil || f.DMARC.Domain != "one.test" || f.DMARC.ID != "20260304T00.24.one.test@mx.here.test" {
		t.Errorf("%+v %v", f, err)
	}
}

// TestDMARCLast: the last messages of a day, which are not in the tables yet, are in its report and in no second one.
func TestDMARCLast(t *testing.T) {
	o := openOffice(t, `_dmarc.one.test. TXT "v=DMARC1; p=none; rua=mailto:r@one.test"`)
	o.count("one.test")
	o.now = march.Add(27 * time.Hour)
	o.due(1)
	o.book.Flush(t.Context())
	o.due(0)
}

// TestDMARCSpread: the reports of a day go out over three hours, not all behind midnight.
func TestDMARCSpread(t *testing.T) {
	var quarter [4]int
	for i := range 400 {
		d := delay(dmarcbook.Domain{Name: fmt.Sprintf("d%d.test", i), Period: dmarcbook.Period{Begin: march, Length: 24 * time.Hour}})
		if d < 0 || d >= 3*time.Hour {
			t.Fatal(d)
		}
		quarter[d/(45*time.Minute)]++
	}
	for _, n := range quarter {
		if n < 60 {
			t.Errorf("in the quarters of three hours there are %v reports", quarter)
		}
	}
}
