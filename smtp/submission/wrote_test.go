package submission

import (
	"context"
	"fmt"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
)

// TestWrote: whom an account writes to is told once the message is taken, and of accounts only.
func TestWrote(t *testing.T) {
	r := newRig(t)
	var heard []string
	r.desk.o.Wrote = func(_ context.Context, account mail.AccountID, id string, to []mail.Address) {
		heard = append(heard, fmt.Sprint(account, id, to))
	}
	alice, err := r.desk.o.Directory.FindAccount(t.Context(), "alice@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	send := func(s gosmtp.Session, text string) error {
		if err := s.Mail("alice@alpha.test", &gosmtp.MailOptions{}); err != nil {
			return err
		}
		for _, to := range []string{"bob@alpha.test", "x@away.test"} {
			if err := s.Rcpt(to, &gosmtp.RcptOptions{}); err != nil {
				return err
			}
		}
		return s.Data(strings.NewReader(text))
	}
	s := r.desk.Session(t.Context(), smtp.Peer{}, auth.Identity{Account: alice.ID, Main: alice.Addresses[0]})
	if err := send(s, "From: alice@alpha.test\r\nMessage-ID: <one@alpha.test>\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := send(s, "From: eve@away.test\r\n\r\nx\r\n"); err == nil {
		t.Error("a strange author was taken")
	}
	if err := send(s, "From: alice@alpha.test\r\n\r\nx\r\n"); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"Auto-Submitted: auto-replied", "auto-submitted: auto-replied; x=y", "Content-Type: multipart/report;\r\n report-type=disposition-notification; boundary=x"} {
		if err := send(s, "From: alice@alpha.test\r\n"+field+"\r\n\r\nx\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if len(heard) != 2 {
		t.Errorf("programs write to %q", heard[2:])
	}
	if err := send(s, "From: alice@alpha.test\r\nAuto-Submitted: no\r\nContent-Type: text/plain\r\n\r\nx\r\n"); err != nil || len(heard) != 3 {
		t.Errorf("heard %q, %v", heard, err)
	}
	if heard[0] != fmt.Sprint(alice.ID, "<one@alpha.test>", "[bob@alpha.test x@away.test]") || !strings.Contains(heard[1], "@alpha.test>") {
		t.Errorf("heard %q", heard)
	}
}
