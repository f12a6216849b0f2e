package housetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// publish puts into DNS what a domain of the house needs to be believed and reported on.
func (h *house) publish(domain string) {
	h.t.Helper()
	keys, err := h.Daemon.House().DKIMKeys(h.t.Context(), domain)
	if err != nil || len(keys) == 0 {
		h.t.Fatal("no key", err)
	}
	for _, line := range []string{
		domain + `. TXT "v=spf1 ip4:` + h.ip + ` -all"`,
		"_dmarc." + domain + `. TXT "v=DMARC1; p=reject; rua=mailto:postmaster@` + domain + `"`,
		"_smtp._tls." + domain + `. TXT "v=TLSRPTv1; rua=mailto:postmaster@` + domain + `"`,
		keys[0].Name + `. TXT ` + admin.QuotedText(keys[0].Record),
	} {
		if err := h.street.zone.Add(line); err != nil {
			h.t.Fatal(err)
		}
	}
}

// await asks until the answer is good.
func await[T any](t *testing.T, what string, ask func() (T, error), good func(T) bool) T {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		got, err := ask()
		if err == nil && good(got) {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %+v %v", what, got, err)
		}
	}
}

// TestReports: mail goes from one house to another; a day later each tells the other what it saw, signed, once, and neither reports on reports.
func TestReports(t *testing.T) {
	s := newStreet(t)
	s.reports = 30 * time.Millisecond
	one, two := s.build("", "admin@one.test", "alice@one.test"), s.build("", "admin@two.test", "bob@two.test")
	one.publish("one.test")
	two.publish("two.test")
	one.send("alice@one.test", "hello", "bob@two.test")
	two.reader("bob@two.test").awaits(1, "hello")

	one.ahead.Store(int64(31 * time.Hour)) // yesterday's reports are due, at any hour of today
	two.ahead.Store(int64(31 * time.Hour))
	ask := admin.ReportsRequest{Domain: "one.test"}
	dmarc := await(t, "the DMARC report", func() ([]report.DMARCDigest, error) { return one.Daemon.House().DMARCReports(t.Context(), ask) },
		func(d []report.DMARCDigest) bool { return d[0].Reports > 0 })[0]
	if len(dmarc.Reporters) != 1 || dmarc.Reporters[0].Sender != "two.test" || dmarc.Passed != 1 || dmarc.Failed != 0 || dmarc.Policy != "reject" {
		t.Errorf("one.test hears %+v", dmarc)
	}
	if len(dmarc.Sources) != 1 || dmarc.Sources[0].DKIM != 1 || dmarc.Sources[0].Count != 1 {
		t.Errorf("sources %+v", dmarc.Sources)
	}
	ask.Domain = "two.test"
	tls := await(t, "the TLS report", func() ([]report.TLSDigest, error) { return two.Daemon.House().TLSReports(t.Context(), ask) },
		func(d []report.TLSDigest) bool { return d[0].Reports > 0 })[0]
	if tls.Good+tls.Bad == 0 || !slices.Contains(tls.Reporters, "mx.one.test") {
		t.Errorf("two.test hears %+v", tls)
	}
	letters := one.reader("admin@one.test")
	mail := letters.body(letters.awaits(1, "Report Domain: one.test")[0])
	for _, want := range []string{"Return-Path: <>\r\n", "Auto-Submitted: auto-generated\r\n", "dmarc=pass", "From: <postmaster@two.test>\r\n", "mx.two.test!one.test!"} {
		if !strings.Contains(mail, want) {
			t.Errorf("%q is missing in\n%s", want, mail)
		}
	}
	two.reader("admin@two.test").awaits(1, "Report Domain: two.test")

	// The day after, one more message: the reports themselves were no mail and no connection that anybody tells of.
	one.send("alice@one.test", "again", "bob@two.test")
	two.reader("bob@two.test").awaits(1, "again")
	one.ahead.Store(int64(62 * time.Hour))
	two.ahead.Store(int64(62 * time.Hour))
	ask.Domain = "one.test"
	dmarc = await(t, "the second DMARC report", func() ([]report.DMARCDigest, error) { return one.Daemon.House().DMARCReports(t.Context(), ask) },
		func(d []report.DMARCDigest) bool { return d[0].Reports > 1 })[0]
	if dmarc.Messages != 2 || dmarc.Passed != 2 {
		t.Errorf("one.test hears of %+v", dmarc)
	}
	ask.Domain = "two.test"
	back, err := two.Daemon.House().DMARCReports(t.Context(), ask)
	if err != nil || back[0].Reports != 0 {
		t.Errorf("a report on reports: %+v %v", back, err)
	}
}

// TestLetter: the postmaster gets one letter a week, over restarts and jumps of the clock too, and may look at it before.
func TestLetter(t *testing.T) {
	s := newStreet(t)
	s.reports = 30 * time.Millisecond
	h := s.build("", "admin@one.test", "alice@one.test")
	preview, err := h.Daemon.Letter(t.Context(), false)
	if err != nil || !strings.Contains(preview.Text, "Who sends as one.test") || len(preview.To) != 0 {
		t.Fatalf("%+v %v", preview, err)
	}
	postmaster := h.reader("admin@one.test")
	postmaster.awaits(0, "week to") // none on the first day
	h.ahead.Store(int64(8 * 24 * time.Hour))
	text := postmaster.body(postmaster.awaits(1, "week to")[0])
	for _, want := range []string{"No backups are made", "Return-Path: <>\r\n", "Subject: Mail at mx.one.test, week to "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	h.stop()
	h.start()
	h.ahead.Store(0) // the clock goes back
	h.stop()
	h.ahead.Store(int64(16 * 24 * time.Hour)) // the letter was due while the house was down
	h.start()
	postmaster = h.reader("admin@one.test")
	postmaster.awaits(2, "week to")
	sent, err := h.Daemon.Letter(t.Context(), true)
	if err != nil || !slices.Equal(sent.To, []string{"postmaster"}) {
		t.Fatalf("%+v %v", sent, err)
	}
	postmaster.awaits(3, "week to")
}

// TestLetterReaders: a domain's own postmaster hears of his domain only; a reader elsewhere gets the letter signed.
func TestLetterReaders(t *testing.T) {
	s := newStreet(t)
	far := s.build("", "boss@far.test")
	h := s.build("[reports]\nletter_to = \"boss@far.test\"", "admin@one.test", "bob@two.test")
	h.publish("one.test")
	if _, err := h.Daemon.House().AddAlias(t.Context(), admin.Alias{Address: "postmaster@two.test", Members: []string{"bob@two.test"}}); err != nil {
		t.Fatal(err)
	}
	sent, err := h.Daemon.Letter(t.Context(), true)
	if err != nil || !slices.Equal(sent.To, []string{"boss@far.test", "postmaster@two.test"}) {
		t.Fatalf("%+v %v", sent, err)
	}
	bob := h.reader("bob@two.test")
	text := bob.body(bob.awaits(1, "week to")[0])
	if !strings.Contains(text, "Who sends as two.test") || strings.Contains(text, "one.test\r\n---") || strings.Contains(text, "backup") {
		t.Errorf("bob reads\n%s", text)
	}
	boss := far.reader("boss@far.test")
	text = boss.body(boss.awaits(1, "week to")[0])
	if !strings.Contains(text, "Who sends as one.test") || !strings.Contains(text, "dmarc=pass") {
		t.Errorf("the boss reads\n%s", text)
	}
}
