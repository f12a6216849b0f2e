package report

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/store/kv"
)

func TestParseTLS(t *testing.T) {
	files, err := filepath.Glob("testdata/tls/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(f, ".json") + ".want")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		r, err := ParseTLS(bytes.NewReader(text))
		if err != nil {
			got = err.Error()
		} else {
			good, bad := r.Totals()
			failures := 0
			for _, p := range r.Policies {
				failures += len(p.Failures)
			}
			got = fmt.Sprintf("%s %s %d good %d bad, %d failures", r.Organization, strings.Join(r.Domains(), " "), good, bad, failures)
		}
		if got != strings.TrimSpace(string(want)) {
			t.Errorf("%s: got %s, want %s", f, got, want)
		}
	}
}

// A bomb unpacks to no more than the bound.
func TestBomb(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 20 {
		z.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	z.Close()
	m := "Content-Type: application/tlsrpt+gzip\r\n\r\n" + b.String()
	if _, err := ReadTLS(strings.NewReader(m)); !errors.Is(err, ErrBomb) {
		t.Errorf("got %v", err)
	}
}

func TestNoReport(t *testing.T) {
	for _, m := range []string{
		"Subject: x\r\n\r\nhello\r\n", "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n",
		"Content-Type: multipart/mixed\r\n\r\n", "Content-Type: ;;\r\n\r\n",
	} {
		if _, err := ReadTLS(strings.NewReader(m)); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v", m, err)
		}
	}
}

func TestParseTLSRecord(t *testing.T) {
	for text, want := range map[string]string{
		"v=TLSRPTv1; rua=mailto:tls@beta.test":                        "mailto:tls@beta.test",
		"v=TLSRPTv1;rua=mailto:a@b.test,https://r.test/x;":            "mailto:a@b.test https://r.test/x",
		"v=TLSRPTv1; rua=mailto:a%2Bb@b.test!10m":                     "",
		"v=TLSRPTv1; rua=http://r.test/x,ftp://x,https://u:p@r.test/": "",
		"v=TLSRPTv1":                      "",
		"v=TLSRPTv2; rua=mailto:a@b.test": "",
		"v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@b.test,", 50): strings.TrimSpace(strings.Repeat("mailto:a@b.test ", maxTargets)),
	} {
		if got := strings.Join(ParseTLSRecord([]string{"other", text}), " "); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	if got := ParseTLSRecord([]string{"v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@b.test"}); got != nil {
		t.Errorf("two records: %v", got)
	}
}

// always is a Sender.
func always(local string, domain mail.Domain) Sender {
	return func(context.Context) (mail.Address, error) { return mail.Address{Local: local, Domain: domain}, nil }
}

// letters is where a sender's mail ends.
type letters struct {
	to   []string
	text [][]byte
	fail error
}

func (l *letters) submit(_ context.Context, _ mail.Address, to []mail.Address, text []byte) error {
	if l.fail != nil {
		return l.fail
	}
	for _, a := range to {
		l.to = append(l.to, a.String())
	}
	l.text = append(l.text, text)
	return nil
}

// What was counted comes to the domain that wants it, once, as our own reader reads it.
func TestDay(t *testing.T) {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	book := tlsbook.New(tlsbook.Options{Side: side, Now: func() time.Time { return now }})
	var posted []byte
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posted, _ = io.ReadAll(r.Body)
		if r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer web.Close()
	zone, err := dns.NewZone(`_smtp._tls.beta.test. TXT "v=TLSRPTv1; rua=mailto:tls@beta.test"`, `_smtp._tls.web.test. TXT "v=TLSRPTv1; rua=`+web.URL+`"`, "mute.test. A 192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	zone.Fail("_smtp._tls.later.test")
	client := web.Client()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: client.Transport.(*http.Transport).TLSClientConfig.RootCAs}
	resolver := zone.Client(dns.Options{})
	defer resolver.Close()
	l := &letters{fail: errors.New("not now")}
	s := NewTLSSender(TLSOptions{Book: book, Resolver: resolver, HTTP: client, Submit: l.submit, Organization: "mail.alpha.test",
		From: always("tls-reports", "alpha.test"), Now: func() time.Time { return now }})
	sts := tlspolicy.Verdict{Kind: tlspolicy.STS, Domain: "beta.test", Policy: []string{"version: STSv1"}, Hosts: []string{"mx.beta.test"}}
	for _, d := range []string{"beta.test", "web.test", "mute.test", "later.test"} {
		book.Count(tlsbook.Session{Domain: d, Verdict: sts})
		book.Count(tlsbook.Session{Domain: d, Verdict: sts, Failure: &tlsbook.Failure{Type: "certificate-expired", Host: "mx.beta.test", Address: "192.0.2.1"}})
	}
	book.Flush(t.Context())
	left := func() (all []string) {
		page, err := book.Day(t.Context(), now, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page {
			all = append(all, d.Name)
		}
		return all
	}
	if n, err := s.Day(t.Context(), now); err != nil || n != 1 || !slices.Equal(left(), []string{"beta.test", "later.test"}) {
		t.Fatalf("sent %d, %v, left %v", n, err, left())
	}
	f, err := content(bytes.NewReader(posted))
	r := f.TLS
	if good, bad := r.Totals(); err != nil || good != 1 || bad != 1 || r.Range.End.Sub(r.Range.Begin) != 24*time.Hour-time.Second {
		t.Errorf("posted %+v %v", r, err)
	}
	l.fail = nil
	for range 2 {
		if _, err := s.Day(t.Context(), now); err != nil || !slices.Equal(left(), []string{"later.test"}) || !slices.Equal(l.to, []string{"tls@beta.test"}) {
			t.Fatalf("%v, left %v, to %v", err, left(), l.to)
		}
	}
	r, err = ReadTLS(bytes.NewReader(l.text[0]))
	if err != nil || r.ID != "20261122-beta.test@mail.alpha.test" || r.Policies[0].Failures[0].Type != "certificate-expired" || r.Policies[0].Policy.Hosts[0] != "mx.beta.test" {
		t.Errorf("%+v %v\n%s", r, err, l.text[0])
	}
	for _, want := range []string{"\r\nTLS-Report-Domain: beta.test\r\n", "\r\nTLS-Required: No\r\n", "report-type=\"tlsrpt\""} {
		if !strings.Contains(string(l.text[0]), want) {
			t.Errorf("no %q in\n%s", want, l.text[0])
		}
	}
}

func FuzzReadTLS(f *testing.F) {
	f.Add([]byte("Content-Type: application/tlsrpt+json\r\n\r\n{\"policies\":[{}]}"))
	f.Add([]byte("Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\nH4sI\r\n--x--\r\n"))
	f.Add([]byte("Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ReadTLS(bytes.NewReader(text))
		if err == nil && (len(r.Policies) == 0 || len(r.Policies) > maxPolicies) {
			t.Fatalf("%+v", r)
		}
	})
}
