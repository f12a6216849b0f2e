package submission

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// newest is the text of the newest message of somebody's INBOX.
func (r *rig) newest(t *testing.T, who string) string {
	t.Helper()
	rows := storetest.Rows(t, r.store, r.ids[who], "INBOX")
	if len(rows) == 0 {
		return ""
	}
	return storetest.Text(t, r.store, rows[len(rows)-1])
}

// waiting lists who waits to get mail.
func (r *rig) waiting(t *testing.T) (all []string) {
	t.Helper()
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		for _, to := range it.Envelope.Recipients {
			all = append(all, to.Address.String())
		}
	}
	return all
}

// TestLocal is the sendmail command: lines end in LF, recipients come from the header, From is added.
func TestLocal(t *testing.T) {
	r := newRig(t)
	m := LocalMessage{From: address(t, "root@alpha.test"), FromHeader: true, Name: "Jörg \"Root\" Doe", User: "root"}
	receipt, err := r.desk.Local(t.Context(), m, strings.NewReader("To: alice@alpha.test, \"X\" <x@away.test>\nBcc: bob@alpha.test\nSubject: cron\n\nout\n"))
	if err != nil || !strings.HasPrefix(receipt, "queued as ") {
		t.Fatal(receipt, err)
	}
	got := r.newest(t, "bob")
	for _, want := range []string{"\r\nFrom: ", "<root@alpha.test>\r\n", "=?utf-8?", "Subject: cron\r\n\r\nout\r\n", "Message-ID: <", "Received: from root\r\n\tby mx.alpha.test (posthouse) with ESMTP id "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "Bcc") || strings.Join(r.waiting(t), " ") != "x@away.test" || got != r.newest(t, "alice") {
		t.Error(got, r.waiting(t))
	}
	for name, text := range map[string]string{"501": "To: foo@bad_domain..x\n\n", "554": "Subject: nobody\n\n", "550": "To: nobody@alpha.test\n\n", "550 ": "To: alice@alpha.test\n\na\rb\n"} {
		var refused *gosmtp.SMTPError
		if _, err := r.desk.Local(t.Context(), m, strings.NewReader(text)); !errors.As(err, &refused) || !strings.HasPrefix(name, string(rune('0'+refused.Code/100))) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m = LocalMessage{From: address(t, "root@alpha.test"), Null: true, Recipients: []mail.Address{address(t, "alice@alpha.test")}, User: "root"}
	if _, err := r.desk.Local(t.Context(), m, strings.NewReader("Subject: x\n\n")); err != nil || !strings.HasPrefix(r.newest(t, "alice"), "Return-Path: <>\r\n") {
		t.Error(r.newest(t, "alice"), err)
	}
}

// TestInjection: what callers bring cannot begin a header field of its own.
func TestInjection(t *testing.T) {
	r := newRig(t)
	m := LocalMessage{From: address(t, "root@alpha.test"), Recipients: []mail.Address{address(t, "alice@alpha.test")}, Name: "x\r\nX-Evil: 1", User: "root\r\nX-Evil: 2"}
	if _, err := r.desk.Local(t.Context(), m, strings.NewReader("hello\n")); err != nil {
		t.Fatal(err)
	}
	if got := r.newest(t, "alice"); strings.Contains(got, "\nX-Evil") {
		t.Errorf("%q", got)
	}
}

// TestLargeMessage that leaves passes a file, which is gone afterwards; its octets are the same.
func TestLargeMessage(t *testing.T) {
	r := newRig(t)
	r.desk.o.MaxSize = 10 << 20
	s := r.desk.Session(t.Context(), smtp.Peer{Hello: "web", Extended: true}, auth.Identity{Account: r.ids["alice"], Main: address(t, "alice@alpha.test")})
	raw := make([]byte, 300<<10)
	rand.Read(raw)
	var b bytes.Buffer
	b.WriteString("From: alice@alpha.test\r\n\r\n")
	for i := 0; i < len(raw); i += 35 {
		b.WriteString(strings.ToUpper(string(hex(raw[i:min(i+35, len(raw))]))) + "\r\n")
	}
	steps := []error{
		s.Mail("alice@alpha.test", &gosmtp.MailOptions{}),
		s.Rcpt("dora@away.test", &gosmtp.RcptOptions{}),
		s.Rcpt("bob@alpha.test", &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess}}),
		s.Data(&b),
		s.Logout(),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if got := r.newest(t, "bob"); !strings.HasSuffix(got, strings.ToUpper(string(hex(raw[len(raw)-len(raw)%35:])))+"\r\n") || len(got) < 2*len(raw) {
		t.Errorf("%d octets arrived", len(got))
	}
	left, err := os.ReadDir(r.desk.o.Temp)
	if err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	// dora's copy, and the report that bob's was delivered (RFC 3461 section 5.2.5)
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil || len(items) != 2 || strings.Join(r.waiting(t), " ") != "dora@away.test" {
		t.Error(items, err)
	}
}

func hex(b []byte) []byte {
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return out
}

// TestManyAuthors: an address behind as many as the parser keeps is not let through unchecked.
func TestManyAuthors(t *testing.T) {
	r := newRig(t)
	id, err := r.desk.o.Directory.Login(t.Context(), auth.Client{Door: auth.DoorSubmission, Remote: netip.MustParseAddr("127.0.0.1")}, "alice@alpha.test", "posthouse")
	if err != nil {
		t.Fatal(err)
	}
	s := r.desk.Session(t.Context(), smtp.Peer{Hello: "c", Extended: true}, id)
	if err := errors.Join(s.Mail("alice@alpha.test", nil), s.Rcpt("bob@alpha.test", nil)); err != nil {
		t.Fatal(err)
	}
	from := "From: " + strings.Repeat("alice@alpha.test,\r\n ", 10000) + "ceo@bank.test\r\n\r\n"
	if err := s.Data(strings.NewReader(from)); !strings.Contains(fmt.Sprint(err), "550") {
		t.Error("ceo@bank.test may be claimed behind 10,000 others:", err)
	}
}

// TestManyNamed: sendmail -t with more recipients than are taken says so, and takes none.
func TestManyNamed(t *testing.T) {
	r := newRig(t)
	var to strings.Builder
	for i := range 7000 {
		fmt.Fprintf(&to, "x%d@away.test,\n ", i)
	}
	m := LocalMessage{From: address(t, "root@alpha.test"), FromHeader: true, User: "root"}
	receipt, err := r.desk.Local(t.Context(), m, strings.NewReader("To: "+to.String()+"y@away.test\n\n"))
	if !strings.Contains(fmt.Sprint(err), "Too many") {
		t.Errorf("%q, %v: %d of 7,001 recipients were taken", receipt, err, len(r.waiting(t)))
	}
}

// TestStolenAccount: a session that stays connected sends nothing more after its password was changed, or its account disabled.
func TestStolenAccount(t *testing.T) {
	r := newRig(t)
	in := func(password string) *session {
		t.Helper()
		s := r.desk.session(t.Context(), smtp.Peer{Hello: "c", Extended: true, Remote: netip.MustParseAddrPort("127.0.0.1:4711")})
		m, err := s.Auth("PLAIN")
		if err != nil {
			t.Fatal(err)
		}
		if _, done, err := m.Next([]byte("\x00alice@alpha.test\x00" + password)); !done || err != nil {
			t.Fatal(done, err)
		}
		if err := s.Mail("alice@alpha.test", nil); err != nil {
			t.Fatal(err)
		}
		return s
	}
	gone := func(s *session) {
		t.Helper()
		for _, from := range []string{"alice@alpha.test", ""} {
			if err := s.Mail(from, nil); !strings.Contains(fmt.Sprint(err), "421") {
				t.Errorf("MAIL FROM:<%s>: %v", from, err)
			}
		}
	}
	s := in("posthouse")
	if err := r.desk.o.Directory.SetPassword(t.Context(), r.ids["alice"], "another password"); err != nil {
		t.Fatal(err)
	}
	gone(s)
	s = in("another password")
	if err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		return errors.Join(r.desk.o.Directory.RemoveAlias(tx, address(t, "sales@alpha.test")), r.desk.o.Directory.RemoveAccount(tx, r.ids["alice"]))
	}); err != nil {
		t.Fatal(err)
	}
	gone(s)
}
