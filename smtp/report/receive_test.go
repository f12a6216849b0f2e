package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// postbox is a reader with its books, over messages by place.
type postbox struct {
	*testing.T
	now    time.Time
	zone   *dns.Zone
	dmarc  *dmarcbook.Book
	tls    *tlsbook.Book
	mail   map[blob.LSN]string
	reader *Reader
}

func openPostbox(t *testing.T, records ...string) *postbox {
	t.Helper()
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b := &postbox{T: t, now: march.Add(30 * time.Hour), mail: map[blob.LSN]string{}}
	if b.zone, err = dns.NewZone(records...); err != nil {
		t.Fatal(err)
	}
	resolver := b.zone.Client(dns.Options{})
	t.Cleanup(func() {
		if err := errors.Join(resolver.Close(), side.Close()); err != nil {
			t.Error(err)
		}
	})
	now := func() time.Time { return b.now }
	b.dmarc = dmarcbook.New(dmarcbook.Options{Side: side, Now: now})
	b.tls = tlsbook.New(tlsbook.Options{Side: side, Now: now})
	b.reader = NewReader(ReaderOptions{
		DMARC: b.dmarc, TLS: b.tls, Resolver: resolver, Now: now,
		Ours: func(_ context.Context, d mail.Domain) (bool, error) { return d == "far.test", nil },
		Open: func(_ context.Context, at blob.LSN) (io.ReadCloser, error) {
			text, ok := b.mail[at]
			if !ok {
				return nil, errors.New("it is gone")
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
	})
	return b
}

// take hands in a message and reads what waits.
func (b *postbox) take(sender, to, text string) {
	b.Helper()
	at := blob.LSN(len(b.mail) + 1)
	b.mail[at] = text
	b.reader.Take(dmarcbook.Waiting{At: at, ID: fmt.Sprint("id", at), Sender: sender, To: []string{"other@far.test", to}})
	b.all()
}

func (b *postbox) all() {
	b.Helper()
	if err := b.reader.All(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// kept are the reports that count.
func (b *postbox) kept() string {
	b.Helper()
	list, err := b.dmarc.Reports(b.Context(), "", time.Time{})
	if err != nil {
		b.Fatal(err)
	}
	out := ""
	for _, r := range list {
		var n int64
		for _, s := range r.Sources {
			n += s.Count
		}
		out += fmt.Sprintf("dmarc %s %s x%d;", r.Sender, r.Domain, n)
	}
	tls, err := b.tls.Reports(b.Context(), 10)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range tls {
		out += fmt.Sprintf("tls %s %s good %d bad %d;", r.Sender, strings.Join(r.Domains, ","), r.Good, r.Bad)
	}
	waiting, err := b.dmarc.Waiting(b.Context(), 10)
	if err != nil {
		b.Fatal(err)
	}
	if len(waiting) > 0 {
		out += fmt.Sprintf("%d wait", len(waiting))
	}
	return out
}

func dmarcMail(t *testing.T, change func(string) string) string {
	t.Helper()
	text, err := reporter{host: "mx.here.test", name: "Here", contact: "postmaster@here.test"}.write(owedDay())
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		text = []byte(change(string(text)))
	}
	return carried("application/gzip", "a.xml.gz", packedGzip(t, text))
}

const tlsReport = `{"organization-name":"Here","date-range":{"start-datetime":"2026-03-04T00:00:00Z","end-datetime":"2026-03-04T23:59:59Z"},
"report-id":"1","policies":[{"policy":{"policy-type":"sts","policy-domain":"Far.test"},"summary":{"total-successful-session-count":5,"total-failure-session-count":2},
"failure-details":[{"result-type":"certificate-expired","failed-session-count":2}]},
{"policy":{"policy-type":"sts","policy-domain":"victim.test"},"summary":{"total-successful-session-count":50,"total-failure-session-count":20}}]}`

// TestReader: what counts, and what does not.
func TestReader(t *testing.T) {
	const rua = `_dmarc.far.test. TXT "v=DMARC1; p=none; rua=mailto:Postmaster@far.test"`
	const tlsRUA = `_smtp._tls.far.test. TXT "v=TLSRPTv1; rua=mailto:postmaster@far.test"`
	good := dmarcMail(t, nil)
	in := func(old, with string) string {
		return dmarcMail(t, func(s string) string { return strings.ReplaceAll(s, old, with) })
	}
	for _, c := range []struct{ name, dns, to, text, want string }{
		{"dmarc", rua, "postmaster@far.test", good, "dmarc here.test far.test x128;"},
		{"tls, ours only", tlsRUA, "postmaster@far.test", carried("application/tlsrpt+json", "a.json", []byte(tlsReport)), "tls here.test far.test good 5 bad 2;"},
		{"tls, not asked for", rua, "postmaster@far.test", carried("application/tlsrpt+json", "a.json", []byte(tlsReport)), ""},
		{"to another address", rua, "alice@far.test", good, ""},
		{"asked for by nobody", tlsRUA, "postmaster@far.test", good, ""},
		{"about somebody else", rua, "postmaster@far.test", in("<domain>far.test<", "<domain>victim.test<"), ""},
		{"about a domain below", rua, "postmaster@far.test", in("<domain>far.test</domain>\n    <adkim>", "<domain>x.far.test</domain>\n    <adkim>"), "dmarc here.test x.far.test x128;"},
		{"of last year", rua, "postmaster@far.test", in("<begin>17", "<begin>15"), ""},
		{"of next year", rua, "postmaster@far.test", strings.ReplaceAll(in("<end>1772668799", "<end>1774668799"), "<begin>1772582400", "<begin>1774582400"), ""},
		{"no report", rua, "postmaster@far.test", "Subject: Report Domain: x\r\n\r\nhello\r\n", ""},
		{"a bomb", rua, "postmaster@far.test", carried("application/gzip", "a.xml.gz", packedGzip(t, bytes.Repeat([]byte(" "), 21<<20))), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := openPostbox(t, c.dns)
			b.take("here.test", c.to, c.text)
			if got := b.kept(); got != c.want {
				t.Errorf("kept %q, want %q", got, c.want)
			}
			b.take("here.test", c.to, c.text) // again: it counts once
			if got := b.kept(); got != c.want {
				t.Errorf("the same again: kept %q, want %q", got, c.want)
			}
		})
	}
}

// TestReaderLater: while DNS does not say whether a report is wanted it waits, over a restart too; one that is gone is given up.
func TestReaderLater(t *testing.T) {
	b := openPostbox(t, `_dmarc.far.test. TXT "v=DMARC1; p=none; rua=mailto:postmaster@far.test"`)
	b.zone.Fail("_dmarc.far.test")
	b.take("here.test", "postmaster@far.test", dmarcMail(t, nil))
	if got := b.kept(); got != "1 wait" {
		t.Fatalf("kept %q", got)
	}
	for range maxTries + 1 {
		b.all()
	}
	if got := b.kept(); got != "" {
		t.Errorf("after many tries: %q", got)
	}
	b.reader.Take(dmarcbook.Waiting{At: 99, Sender: "here.test"})
	b.all()
	if got := b.kept(); got != "" {
		t.Errorf("one that is gone: %q", got)
	}
}

// TestReaderAsksNobody: a report about somebody else's domain is refused before DNS is asked for that name: its owner could have it wait.
func TestReaderAsksNobody(t *testing.T) {
	b := openPostbox(t, `_smtp._tls.far.test. TXT "v=TLSRPTv1; rua=mailto:postmaster@far.test"`)
	b.zone.Fail("_dmarc.victim.test")
	b.zone.Fail("_smtp._tls.victim.test")
	b.take("evil.test", "postmaster@far.test", dmarcMail(t, func(s string) string { return strings.ReplaceAll(s, "<domain>far.test<", "<domain>victim.test<") }))
	b.take("evil.test", "postmaster@far.test", carried("application/tlsrpt+json", "a.json", []byte(strings.ReplaceAll(tlsReport, "Far.test", "victim.test"))))
	if got := b.kept(); got != "" {
		t.Errorf("%q", got)
	}
}

// TestReaderRests: a hundred reports that wait for DNS do not use their tries up at once.
func TestReaderRests(t *testing.T) {
	b := openPostbox(t, `_dmarc.far.test. TXT "v=DMARC1; p=none; rua=mailto:postmaster@far.test"`)
	b.zone.Fail("_dmarc.far.test")
	text := dmarcMail(t, nil)
	for i := range maxWaiting {
		b.mail[blob.LSN(i+1)] = text
		b.reader.Take(dmarcbook.Waiting{At: blob.LSN(i + 1), Sender: "here.test", To: []string{"postmaster@far.test"}})
	}
	<-b.reader.wake
	b.all()
	if len(b.reader.wake) > 0 {
		t.Error("it is to go on at once, with nothing done")
	}
}

// TestReaderFlood: one sender does not keep us busy.
func TestReaderFlood(t *testing.T) {
	b := openPostbox(t)
	for i := range maxDaily + 50 {
		b.reader.Take(dmarcbook.Waiting{At: blob.LSN(i + 1), Sender: "evil.test"})
	}
	b.reader.Take(dmarcbook.Waiting{At: 10_000, Sender: "good.test"})
	if err := b.dmarc.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := b.dmarc.Waiting(t.Context(), 5000)
	if err != nil || len(all) != maxDaily+1 {
		t.Errorf("%d wait, %v", len(all), err)
	}
	b.reader.Take(dmarcbook.Waiting{At: 15_000, Sender: "sub.evil.test"}) // names below a domain cost its owner nothing
	if err := b.dmarc.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err = b.dmarc.Waiting(t.Context(), 5000); err != nil || len(all) != maxDaily+1 {
		t.Errorf("%d wait, %v", len(all), err)
	}
	for i := range 2 * maxPending {
		b.reader.Take(dmarcbook.Waiting{At: blob.LSN(20_000 + i), Sender: fmt.Sprint("x", i, "-evil.test")})
	}
	if err := b.dmarc.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err = b.dmarc.Waiting(t.Context(), 5000); err != nil || len(all) != maxPending {
		t.Errorf("%d wait, %v", len(all), err)
	}
}

func TestCarried(t *testing.T) {
	for header, want := range map[string]bool{
		"Subject: Report Domain: a Submitter: b Report-ID: <c>\r\n":                       true,
		"Subject: [Preview] report\r\n domain: a\r\n":                                     true,
		"Content-Type: application/zip; name=\"x\"\r\n":                                   true,
		"Content-Type: multipart/report; report-type=\"tlsrpt\"\r\n":                      true,
		"TLS-Report-Domain: a\r\n":                                                        true,
		"Subject: Report\r\nContent-Type: multipart/mixed; boundary=zip\r\nTo: a@b\r\n":   false,
		"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n":     false,
		"From: a@b\r\nSubject: =?utf-8?q?hello?=\r\nContent-Type: text/plain\r\nX: y\r\n": false,
	} {
		if got := Carried([]byte(header)); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// TestReaderWithoutRoom: a report that cannot be kept now is not its sender's fault, and waits.
func TestReaderWithoutRoom(t *testing.T) {
	b := openPostbox(t, `_dmarc.far.test. TXT "v=DMARC1; p=none; rua=mailto:postmaster@far.test"`)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "full.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := side.Close(); err != nil {
		t.Fatal(err)
	}
	b.reader.o.DMARC = dmarcbook.New(dmarcbook.Options{Side: side})
	b.mail[1] = dmarcMail(t, nil)
	if _, _, err := b.reader.one(t.Context(), dmarcbook.Waiting{At: 1, Sender: "here.test", To: []string{"postmaster@far.test"}}); !errors.Is(err, errLater) {
		t.Error(err)
	}
}
