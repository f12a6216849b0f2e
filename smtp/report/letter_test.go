package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
)

// week is what three receivers say of one.test.
func week(t *testing.T) LetterDomain {
	t.Helper()
	source := func(address string, n int64, dkim, spf bool, more ...string) dmarcbook.Source {
		s := dmarcbook.Source{Address: address, Count: n, DKIM: dkim, SPF: spf, Disposition: "none", HeaderFrom: "one.test"}
		if !dkim && !spf {
			s.Disposition = "reject"
		}
		for _, m := range more {
			if strings.Contains(m, ".") {
				s.Signers = append(s.Signers, m)
			} else {
				s.Reason = m
			}
		}
		return s
	}
	report := func(sender, id string, sources ...dmarcbook.Source) dmarcbook.Received {
		return dmarcbook.Received{ID: id, Sender: sender, From: strings.ToUpper(sender), Domain: "one.test", Begin: march, End: march.Add(24 * time.Hour),
			Policy: dmarcbook.Policy{P: "quarantine"}, Sources: sources}
	}
	ours := func(a string) bool { return a == "192.0.2.1" }
	dmarc := DigestDMARC("one.test", march, []dmarcbook.Received{
		report("big.test", "1", source("192.0.2.1", 1100, true, true, "one.test"), source("198.51.100.7", 40, false, false, "newsletter.test")),
		report("big.test", "2", source("192.0.2.1", 7, true, false, "one.test"), source("203.0.113.9", 3, false, false, "forwarded", "list.test")),
		report("far.test", "3", source("203.0.113.77", 12, false, false), source("2001:db8::9", 5, false, true)),
	}, ours)
	text, err := json.Marshal(TLS{Policies: []TLSResult{{Policy: TLSPolicy{Domain: "one.test"}, Summary: TLSSummary{Good: 400, Bad: 3},
		Failures: []TLSFailure{{Type: "certificate-expired", Host: "mx.one.test", Count: 3}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return LetterDomain{DMARC: dmarc, TLS: DigestTLS("one.test", march, []tlsbook.Received{
		{ID: "1", From: "Big", End: march.Add(24 * time.Hour), Domains: []string{"one.test"}, Text: text},
		{ID: "0", From: "Old", End: march.Add(-24 * time.Hour), Domains: []string{"one.test"}, Text: text},
		{ID: "2", From: "Other", End: march.Add(24 * time.Hour), Domains: []string{"two.test"}, Text: text},
	})}
}

// TestLetter: the letter of a bad week, of a quiet one, and that of a domain's own postmaster.
func TestLetter(t *testing.T) {
	end := march.Add(7 * 24 * time.Hour)
	bad := &HouseFacts{
		Received: 1204, Sent: 310, Undelivered: 4, Unproven: 9, Junk: 120, Logins: 80, LoginsRefused: 20_000, TLSFailures: 2, QueueEntries: 5, QueueHeld: 1, QueueOldest: 50 * time.Hour,
		DiskFree: 3 << 30, DiskSize: 40 << 30, SetAside: 1, BackupTo: "/backup", BackupLast: end.Add(-5 * 24 * time.Hour),
		Certificates: []CertificateFacts{{"mx.one.test", end.Add(6*24*time.Hour + time.Hour)}, {"old.test", end.Add(-time.Hour)}},
	}
	quiet := &HouseFacts{Received: 1, Junk: -1, DiskFree: 30 << 30, DiskSize: 40 << 30, BackupTo: "/backup", BackupLast: end.Add(-5 * time.Hour),
		Certificates: []CertificateFacts{{"mx.one.test", end.Add(60 * 24 * time.Hour)}}}
	none := LetterDomain{DMARC: DigestDMARC("two.test", march, nil, nil), TLS: DigestTLS("two.test", march, nil)}
	for _, c := range []struct {
		file  string
		facts LetterFacts
	}{
		{"bad", LetterFacts{House: bad, Domains: []LetterDomain{week(t), none}}},
		{"quiet", LetterFacts{House: quiet, Domains: []LetterDomain{none}}},
		{"new", LetterFacts{House: &HouseFacts{Junk: -1}}},
		{"domain", LetterFacts{Domains: []LetterDomain{week(t)}}},
	} {
		c.facts.Host, c.facts.Begin, c.facts.End = "mx.one.test", march, end
		subject, text := Letter(c.facts)
		golden(t, "testdata/letter/"+c.file+".txt", subject+"\n\n"+text)
		for line := range strings.Lines(text) {
			if len(line) > 100 {
				t.Errorf("%s: a long line: %s", c.file, line)
			}
		}
	}
}

// TestDigest: the digests as the operator's programs read them.
func TestDigest(t *testing.T) {
	w := week(t)
	text, err := json.MarshalIndent(w, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/letter/digest.json", string(text)+"\n")
	if got := w.DMARC.String(); got != "1167 messages in 3 reports: 1112 proven, 55 not" {
		t.Error(got)
	}
}
