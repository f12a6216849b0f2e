package inbound

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestReportHooks: what those who make reports hear of each message, and which messages go to those who read reports.
func TestReportHooks(t *testing.T) {
	key, record := signer(t, "good.test")
	header := func(subject string) string {
		return "From: Zoe <zoe@good.test>\r\nSubject: " + subject + "\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"
	}
	const report = "Report Domain: alpha.test Submitter: good.test"
	forged := func(subject string) string { return header(subject) + "\r\nx\r\n" }
	proven := func(subject string) string { return signed(t, key, header(subject), "x\r\n") }
	for _, c := range []struct {
		name   string
		policy Policy
		dmarc  string // record of good.test; empty: none
		mail   string
		to     string
		fail   string
		seen   string // disposition, aligned DKIM and SPF, override; empty: nobody hears of it
		taken  bool   // as a report
	}{
		{name: "proven", dmarc: "p=reject", mail: proven("hello"), seen: "none true false "},
		{name: "disowned", dmarc: "p=reject", mail: forged("hello"), seen: "reject false false "},
		{name: "set aside", dmarc: "p=quarantine", mail: forged("hello"), seen: "quarantine false false "},
		{name: "nothing asked", dmarc: "p=none", mail: forged("hello"), seen: "none false false "},
		{name: "only tried", dmarc: "p=reject; t=y", mail: forged("hello"), seen: "quarantine false false sampled_out"},
		{name: "never refused", policy: Quarantine, dmarc: "p=reject", mail: forged("hello"), seen: "quarantine false false local_policy"},
		{name: "only noted", policy: Note, dmarc: "p=reject", mail: forged("hello"), seen: "none false false local_policy"},
		{name: "to the postmaster", dmarc: "p=reject", mail: forged("hello"), to: "postmaster@alpha.test", seen: "quarantine false false local_policy"},
		{name: "cannot be told now", dmarc: "p=reject", mail: proven("hello"), fail: "s._domainkey.good.test"},
		{name: "no policy", mail: forged("hello")},
		{name: "a report", dmarc: "p=reject", mail: proven(report), taken: true},
		{name: "a report of a host without policy", mail: proven(report), taken: true},
		{name: "a forged report", dmarc: "p=none", mail: forged(report), seen: "none false false "},
		{name: "a report that nobody signed", mail: forged(report)},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := []string{record, "bounce.test. A 192.0.2.7"}
			if c.dmarc != "" {
				lines = append(lines, `_dmarc.good.test. TXT "v=DMARC1; rua=mailto:r@good.test; `+c.dmarc+`"`)
			}
			z, err := dns.NewZone(lines...)
			if err != nil {
				t.Fatal(err)
			}
			if c.fail != "" {
				z.Fail(c.fail)
			}
			resolver := z.Client(dns.Options{})
			defer resolver.Close()
			r := newRig(t)
			r.desk.o.Checks = mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"})
			if c.policy != "" {
				r.desk.o.Policy = c.policy
			}
			seen, places := "", []blob.LSN{}
			r.desk.o.Reports = Reports{
				Carried: func(header []byte) bool { return strings.Contains(string(header), "Report Domain:") },
				Seen: func(s Sighting) {
					d := s.Report.DMARC
					seen += fmt.Sprint(s.Disposition, " ", d.AlignedDKIM, " ", d.AlignedSPF, " ", s.Override)
					if s.To != "alpha.test" || len(d.Record.Aggregate) != 1 {
						t.Errorf("%+v", s)
					}
				},
				Taken: func(x TakenReport) {
					if x.Sender != "good.test" || len(x.To) != 1 || x.ID == "" {
						t.Errorf("%+v", x)
					}
					places = append(places, x.At)
				},
			}
			s, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true, Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
			if err != nil {
				t.Fatal(err)
			}
			to := c.to
			if to == "" {
				to = "alice@alpha.test"
			}
			if err := errors.Join(s.Mail("zoe@bounce.test", &gosmtp.MailOptions{}), s.Rcpt(to, &gosmtp.RcptOptions{})); err != nil {
				t.Fatal(err)
			}
			refused := s.Data(strings.NewReader(c.mail)) // what is done about it is TestChecks' matter
			if seen != c.seen || (len(places) == 1) != c.taken {
				t.Errorf("seen %q, want %q; taken %v, want %v (%v)", seen, c.seen, places, c.taken, refused)
			}
			if len(places) == 1 {
				b, err := r.store.OpenAt(t.Context(), places[0])
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				if rows := storetest.Rows(t, r.store, r.ids["alice"], "INBOX"); len(rows) != 1 || int64(rows[0].Size) != b.Size() {
					t.Errorf("the place is not that of the message: %+v, %d octets", rows, b.Size())
				}
			}
		})
	}
}

// TestReportedOnce: a message that has to come again is reported when it is taken or refused for good, and not each time.
func TestReportedOnce(t *testing.T) {
	z, err := dns.NewZone(`_dmarc.shop.test. TXT "v=DMARC1; p=none; rua=mailto:r@shop.test"`)
	if err != nil {
		t.Fatal(err)
	}
	resolver := z.Client(dns.Options{})
	defer resolver.Close()
	c := newCourt(t, 20)
	c.set("alice", func(s *auth.AccountSettings) { s.JunkLine = asDoubtful * 10 })
	seen := 0
	c.desk.o.Checks = mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"})
	c.desk.o.Reports = Reports{Seen: func(Sighting) { seen++ }}
	if code, said := c.send("alice"); code != 451 || seen != 0 {
		t.Errorf("to come again: %d %s, reported %d times", code, said, seen)
	}
	if err := c.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(10 * time.Minute)
	if code, said := c.send("alice"); code != 250 || seen != 1 {
		t.Errorf("he came again: %d %s, reported %d times", code, said, seen)
	}
}
