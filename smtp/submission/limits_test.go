package submission

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// limited is a rig with limits.
func limited(t *testing.T, s limit.Settings) *rig {
	t.Helper()
	r := newRig(t)
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	r.desk.o.Limits = limit.New(limit.Options{Side: side, Settings: s, Now: r.desk.o.Now})
	return r
}

// alice is a session of hers, from an address.
func (r *rig) alice(t *testing.T, from string) gosmtp.Session {
	t.Helper()
	p := smtp.Peer{ID: "c1", Hello: "laptop", Extended: true, Remote: netip.MustParseAddrPort(from + ":4711")}
	return r.desk.Session(t.Context(), p, auth.Identity{Account: r.ids["alice"], Main: address(t, "alice@alpha.test")})
}

// answers compares a refusal; code 0: taken.
func answers(t *testing.T, err error, code int, detail gosmtp.EnhancedCode, words string) {
	t.Helper()
	no, ok := errors.AsType[*gosmtp.SMTPError](err)
	switch {
	case code == 0 && err == nil:
	case !ok || no.Code != code || no.EnhancedCode != detail || !strings.Contains(no.Message, words):
		t.Errorf("answered %v, want %d %v %s", err, code, detail, words)
	}
}

func (r *rig) leavers(t *testing.T) int {
	t.Helper()
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return len(items)
}

const note = "From: alice@alpha.test\r\nSubject: x\r\n\r\nx\r\n"

// TestLimits: at each command, and what a message costs that is refused in the end.
func TestLimits(t *testing.T) {
	tooMuch := gosmtp.EnhancedCode{4, 7, 1}
	r := limited(t, limit.Settings{Account: limit.Limits{MessagesHour: 2, RecipientsHour: 3}, Program: limit.Limits{RecipientsHour: 1}})
	one, two := r.alice(t, "192.0.2.50"), r.alice(t, "192.0.2.50")
	for _, s := range []gosmtp.Session{one, two} { // side by side, each has room for itself
		answers(t, s.Mail("alice@alpha.test", nil), 0, gosmtp.EnhancedCode{}, "")
		answers(t, s.Rcpt("a@far.test", nil), 0, gosmtp.EnhancedCode{}, "")
		answers(t, s.Rcpt("b@far.test", nil), 0, gosmtp.EnhancedCode{}, "")
		answers(t, s.Rcpt("bob@alpha.test", nil), 0, gosmtp.EnhancedCode{}, "")
	}
	answers(t, one.Data(strings.NewReader("From: eve@else.test\r\n\r\nx\r\n")), 550, gosmtp.EnhancedCode{5, 7, 1}, "may not send as")
	answers(t, one.Data(strings.NewReader(note)), 0, gosmtp.EnhancedCode{}, "")
	waits := r.leavers(t)
	answers(t, two.Data(strings.NewReader(note)), 452, tooMuch, "recipients outside an hour (3)")
	if n := r.leavers(t); n != waits {
		t.Errorf("%d wait, want %d", n, waits)
	}
	two.Reset()
	answers(t, two.Mail("alice@alpha.test", nil), 0, gosmtp.EnhancedCode{}, "")
	answers(t, two.Rcpt("c@far.test", nil), 0, gosmtp.EnhancedCode{}, "")
	answers(t, two.Rcpt("d@far.test", nil), 452, tooMuch, "there is room again from 2 January 04:05 UTC on")
	answers(t, two.Data(strings.NewReader(note)), 0, gosmtp.EnhancedCode{}, "")
	answers(t, one.Mail("alice@alpha.test", nil), 452, tooMuch, "messages an hour (2)")

	program := func(m LocalMessage) error {
		m.From, m.Recipients, m.User = address(t, "root@alpha.test"), []mail.Address{address(t, "x@far.test")}, "cron"
		_, err := r.desk.Local(t.Context(), m, strings.NewReader("Subject: x\n\nx\n"))
		return err
	}
	answers(t, program(LocalMessage{}), 0, gosmtp.EnhancedCode{}, "")
	answers(t, program(LocalMessage{}), 452, tooMuch, "cron has reached")
	answers(t, program(LocalMessage{House: true}), 0, gosmtp.EnhancedCode{}, "")
	device, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c2", Hello: "printer", Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, device.Mail("printer@alpha.test", nil), 0, gosmtp.EnhancedCode{}, "")
	answers(t, device.Rcpt("a@far.test", nil), 0, gosmtp.EnhancedCode{}, "")
	answers(t, device.Rcpt("b@far.test", nil), 452, tooMuch, "printer@alpha.test has reached")
}

// TestSuspended: what looks stolen is not sent, its account is kept from sending, and the reason stands in each answer.
func TestSuspended(t *testing.T) {
	never := gosmtp.EnhancedCode{5, 7, 1}
	r := newRig(t)
	now := r.desk.o.Now()
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	r.desk.o.Limits = limit.New(limit.Options{Side: side, Settings: limit.Settings{SuspendAt: 2}, Now: func() time.Time { return now }})
	r.desk.o.Suspend = func(ctx context.Context, id mail.AccountID, reason string) error {
		return r.db.Update(ctx, func(tx *kv.Tx) error {
			return r.desk.o.Directory.Configure(tx, id, func(s *auth.AccountSettings) error {
				s.SendOff, s.SendOffSince = reason, now.Unix()
				return nil
			})
		})
	}
	send := func(from string, to ...string) error {
		s := r.alice(t, from)
		defer s.Reset()
		if err := s.Mail("alice@alpha.test", nil); err != nil {
			return err
		}
		for _, a := range to {
			if err := s.Rcpt(a, nil); err != nil {
				return err
			}
		}
		return s.Data(strings.NewReader(note))
	}
	answers(t, send("192.0.2.50", "a@far.test", "b@far.test", "c@far.test"), 0, gosmtp.EnhancedCode{}, "")
	now = now.Add(25 * time.Hour)
	answers(t, send("198.51.100.1", "a@far.test", "b@far.test", "c@far.test"), 0, gosmtp.EnhancedCode{}, "")
	before := r.leavers(t)
	answers(t, send("198.51.100.1", "n1@far.test", "n2@far.test"), 550, never, "where the account has not been before")
	if r.leavers(t) != before {
		t.Error("it was sent all the same")
	}
	answers(t, send("192.0.2.50", "bob@alpha.test"), 550, never, "alice@alpha.test may not send since")
}

// TestSuspendedMeanwhile: a session that had its recipients taken before the account was kept from sending sends nothing either.
func TestSuspendedMeanwhile(t *testing.T) {
	r := newRig(t)
	s := r.alice(t, "192.0.2.50")
	answers(t, s.Mail("alice@alpha.test", nil), 0, gosmtp.EnhancedCode{}, "")
	answers(t, s.Rcpt("a@far.test", nil), 0, gosmtp.EnhancedCode{}, "")
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		return r.desk.o.Directory.Configure(tx, r.ids["alice"], func(set *auth.AccountSettings) error {
			set.SendOff, set.SendOffSince = "her password is known", 1_767_300_000
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	answers(t, s.Data(strings.NewReader(note)), 550, gosmtp.EnhancedCode{5, 7, 1}, "alice@alpha.test may not send since")
	if n := r.leavers(t); n != 0 {
		t.Errorf("%d wait", n)
	}
}

// TestSuppressedRecipient: the answers for an address that did not exist, and for one that the postmaster closed.
func TestSuppressedRecipient(t *testing.T) {
	r := newRig(t)
	list := limit.NewList(limit.ListOptions{DB: r.db})
	r.desk.o.Suppressed = list
	if _, err := list.Add(t.Context(), address(t, "closed@far.test"), 0, "a court said so"); err != nil {
		t.Fatal(err)
	}
	e := limit.Entry{Status: "5.1.1", Text: "5.1.1 no such user", Host: "mx.far.test", Last: time.Unix(1_767_300_000, 0), Until: time.Unix(1_767_400_000, 0)}
	answers(t, suppressed(address(t, "gone@far.test"), e), 550, gosmtp.EnhancedCode{5, 1, 1},
		"gone@far.test did not exist when it was tried on 1 January 2026 (mx.far.test said: 5.1.1 no such user). It is not tried again before 3 January 2026")
	s := r.alice(t, "192.0.2.50")
	answers(t, s.Mail("alice@alpha.test", nil), 0, gosmtp.EnhancedCode{}, "")
	answers(t, s.Rcpt("closed@far.test", nil), 550, gosmtp.EnhancedCode{5, 7, 1}, "closed@far.test: a court said so")
	answers(t, s.Rcpt("open@far.test", nil), 0, gosmtp.EnhancedCode{}, "")
}
