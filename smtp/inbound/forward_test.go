package inbound

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// TestForwarded: mail to an alias with a member outside goes on under an address of ours, sealed; a report to that address goes to
// the sender, and nothing else does.
func TestForwarded(t *testing.T) {
	author, authorRecord := signer(t, "good.test")
	ours, oursRecord := signer(t, "alpha.test")
	z, err := dns.NewZone(authorRecord, oursRecord, `_dmarc.good.test. IN TXT "v=DMARC1; p=reject"`)
	if err != nil {
		t.Fatal(err)
	}
	resolver := z.Client(dns.Options{})
	defer resolver.Close()
	r := newRig(t)
	dir := auth.New(r.db, auth.Options{})
	r.desk = New(Options{
		Hostname: "mx.alpha.test", Directory: dir, Store: r.store, Queue: r.queue,
		Checks: mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"}),
		SealKey: func(context.Context, mail.Domain) ([]mailauth.SigningKey, error) {
			return []mailauth.SigningKey{ours}, nil
		},
		Local: local.New(local.Options{Store: r.store, Directory: dir, Queue: r.queue,
			Forwarding: local.NewForwarding([32]byte{1}, time.Now)}),
	})
	send := func(from, to, text string) error {
		t.Helper()
		s, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true, Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Mail(from, &gosmtp.MailOptions{}); err != nil {
			return err
		}
		if err := s.Rcpt(to, &gosmtp.RcptOptions{}); err != nil {
			return err
		}
		return s.Data(strings.NewReader(text))
	}
	// What leaves is taken out of the queue.
	leaves := func() (queue.Item, []byte) {
		t.Helper()
		items, err := r.queue.List(t.Context(), queue.Filter{})
		if err != nil || len(items) != 1 {
			t.Fatalf("%d wait, %v", len(items), err)
		}
		b, err := r.store.OpenAt(t.Context(), items[0].Place)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		raw := make([]byte, b.Size())
		if n, _ := b.ReadAt(raw, 0); n != len(raw) {
			t.Fatal("the text is cut short")
		}
		if _, err := r.queue.Cancel(t.Context(), queue.Filter{}, false); err != nil {
			t.Fatal(err)
		}
		return items[0], raw
	}
	text := signed(t, author, "From: Zoe <zoe@good.test>\r\nSubject: hello\r\n", "one\r\n\r\n")
	if err := send("zoe@good.test", "out@alpha.test", text); err != nil {
		t.Fatal(err)
	}
	item, raw := leaves()
	sender := item.Envelope.From
	if sender.Domain != "alpha.test" || !strings.HasPrefix(sender.Local, "SRS0=") || item.Envelope.Recipients[0].Address.String() != "dora@away.test" {
		t.Errorf("it goes on from %s to %v", sender, item.Envelope.Recipients)
	}
	_, rest, _ := bytes.Cut(raw, []byte("\r\n")) // Return-Path, which the carrier drops
	header, body, _ := bytes.Cut(rest, []byte("\r\n\r\n"))
	k := mailauth.New(mailauth.Options{Resolver: resolver}).Begin(t.Context(), mailauth.Session{Remote: netip.MustParseAddr("192.0.2.9")})
	k.Header(append(bytes.Clone(header), "\r\n"...))
	k.Write(body)
	report := k.Finish()
	if report.ARC.Result != mailauth.Pass || report.ARC.Sealers[0] != "alpha.test" || !strings.Contains(report.ARC.Results[0], "dmarc=pass") || report.DKIM[0].Result != mailauth.Pass {
		t.Errorf("the next host sees %+v %+v\n%s", report.ARC, report.DKIM, raw)
	}

	const bounce = "From: postmaster@away.test\r\nSubject: no\r\n\r\nno\r\n"
	if err := send("", sender.String(), bounce); err != nil {
		t.Fatal(err)
	}
	if item, _ := leaves(); !item.Envelope.From.IsNull() || item.Envelope.Recipients[0].Address.String() != "zoe@good.test" {
		t.Errorf("a report goes from %q to %v", item.Envelope.From, item.Envelope.Recipients)
	}
	changed := strings.Replace(sender.String(), "zoe", "eve", 1)
	for name, err := range map[string]error{
		"no report": send("eve@evil.test", sender.String(), bounce), "changed": send("", changed, bounce), "another domain's": send("", strings.Replace(sender.String(), "@alpha.test", "@away.test", 1), bounce),
	} {
		if said, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || said.Code != 550 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := send("alice@alpha.test", "out@alpha.test", "From: alice@alpha.test\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	if item, _ := leaves(); item.Envelope.From.String() != "alice@alpha.test" {
		t.Errorf("our own sender became %s", item.Envelope.From)
	}
}
