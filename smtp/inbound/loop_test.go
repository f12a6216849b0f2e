package inbound

import (
	"errors"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestLoopMarks: mail that went on from one of several recipients is known when it comes back to that one, and the mark tells nobody
// who the others were.
func TestLoopMarks(t *testing.T) {
	r := newRig(t)
	dir := auth.New(r.db, auth.Options{})
	r.desk = New(Options{Hostname: "mx.alpha.test", Directory: dir, Store: r.store, Queue: r.queue, MaxSize: 1000,
		Local: local.New(local.Options{Store: r.store, Directory: dir, Queue: r.queue, Forwarding: local.NewForwarding([32]byte{1}, time.Now)})})
	send := func(text string, to ...string) error {
		t.Helper()
		s, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Logout()
		if err := s.Mail("zoe@good.test", &gosmtp.MailOptions{}); err != nil {
			return err
		}
		for _, a := range to {
			if err := s.Rcpt(a, &gosmtp.RcptOptions{}); err != nil {
				return err
			}
		}
		return s.Data(strings.NewReader(text))
	}
	if err := send("Subject: x\r\n\r\nx\r\n", "bob@alpha.test", "out@alpha.test"); err != nil {
		t.Fatal(err)
	}
	rows := storetest.Rows(t, r.store, r.ids["bob"], store.Inbox)
	text := storetest.Text(t, r.store, rows[0])
	if strings.Count(text, local.LoopField+": ") != 1 || strings.Contains(text, "out@alpha.test") {
		t.Fatalf("%q", text)
	}
	_, text, _ = strings.Cut(text, "\r\n") // without Return-Path
	said, ok := errors.AsType[*gosmtp.SMTPError](send(text, "out@alpha.test"))
	if !ok || said.Code != 554 || said.EnhancedCode != (gosmtp.EnhancedCode{5, 4, 6}) {
		t.Errorf("back at the alias: %v", said)
	}
	if err := send(text, "bob@alpha.test"); err != nil {
		t.Errorf("at somebody whose mail does not go on: %v", err)
	}
	forged := strings.Replace(text, local.LoopField+": ", local.LoopField+": A", 1)
	if err := send(forged, "out@alpha.test"); err != nil {
		t.Errorf("with a mark that is not ours: %v", err)
	}
}
