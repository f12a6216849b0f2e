package inbound

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// TestUnproven: what a stranger sends and cannot prove is marked, whatever way it goes: forwarded under an address that takes no
// reports, and without a report of success from us.
func TestUnproven(t *testing.T) {
	author, record := signer(t, "good.test")
	z, err := dns.NewZone(record, `good.test. IN TXT "v=spf1 -all"`, `victim.test. IN TXT "v=spf1 ip4:198.51.100.1 -all"`, `mild.test. IN TXT "v=spf1 ?all"`)
	if err != nil {
		t.Fatal(err)
	}
	resolver := z.Client(dns.Options{})
	defer resolver.Close()
	for _, c := range []struct {
		name, from, text string
		unproven         bool
	}{
		{"signed", "zoe@good.test", signed(t, author, "From: Zoe <zoe@good.test>\r\nSubject: x\r\n", "x\r\n"), false},
		{"signed below", "x@bounce.good.test", signed(t, author, "From: Zoe <zoe@good.test>\r\nSubject: x\r\n", "x\r\n"), false},
		{"not signed", "zoe@good.test", "From: Zoe <zoe@good.test>\r\nSubject: x\r\n\r\nx\r\n", true},
		{"signed by another", "a@victim.test", signed(t, author, "From: Zoe <zoe@good.test>\r\nSubject: x\r\n", "x\r\n"), true},
		{"SPF says nothing", "a@mild.test", "From: a@mild.test\r\n\r\nx\r\n", true},
		{"no SPF", "a@nowhere.test", "From: a@nowhere.test\r\n\r\nx\r\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			dir := auth.New(r.db, auth.Options{})
			r.desk = New(Options{
				Hostname: "mx.alpha.test", Directory: dir, Store: r.store, Queue: r.queue, Policy: Note,
				Checks: mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"}),
				Local:  local.New(local.Options{Store: r.store, Directory: dir, Queue: r.queue, Forwarding: local.NewForwarding([32]byte{1}, time.Now)}),
			})
			session := func() gosmtp.Session {
				s, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true, Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := session()
			success := &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyFailure}}
			err := errors.Join(s.Mail(c.from, &gosmtp.MailOptions{}), s.Rcpt("out@alpha.test", success), s.Rcpt("alice@alpha.test", success), s.Data(strings.NewReader(c.text)))
			if err != nil {
				t.Fatal(err)
			}
			items, err := r.queue.List(t.Context(), queue.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			waits := map[string]queue.Item{}
			for _, it := range items {
				waits[it.Domain.String()] = it
				if it.Envelope.Unproven != c.unproven {
					t.Errorf("mail for %s: unproven is %t", it.Domain, it.Envelope.Unproven)
				}
			}
			reports := len(items) > 1
			if reports == c.unproven {
				t.Errorf("the queue has %+v", items)
			}
			s = session()
			if err := s.Mail("", &gosmtp.MailOptions{}); err != nil {
				t.Fatal(err)
			}
			err = s.Rcpt(waits["away.test"].Envelope.From.String(), &gosmtp.RcptOptions{})
			no, refused := errors.AsType[*gosmtp.SMTPError](err)
			if refused != c.unproven || refused && (no.Code != 550 || no.EnhancedCode != gosmtp.EnhancedCode{5, 7, 1}) {
				t.Errorf("a report to %s: %v", waits["away.test"].Envelope.From, err)
			}
		})
	}
}
