package spam

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// junkFrom is a message that is Junk by itself: unproven, a program, from a bad client.
func junkFrom(author string, extra ...string) []byte {
	return wire("From: " + author + "\nTo: alice@example.org\nSubject: Invoice\n" + strings.Join(extra, "") +
		"Content-Type: application/octet-stream; name=invoice.pdf.exe\nContent-Transfer-Encoding: base64\n\nTVqQAAMAAAAEAAAA\n")
}

func bad() mailauth.Report {
	return mailauth.Report{SPF: mailauth.SPF{Result: mailauth.None}, IPRev: mailauth.IPRev{Result: mailauth.PermError}, DMARC: mailauth.DMARC{Result: mailauth.None}}
}

// TestCorrespondents: what an account has to do with somebody keeps his mail out of Junk, if it is his.
func TestCorrespondents(t *testing.T) {
	j := judge(t, Options{})
	j.Wrote(t.Context(), alice.Account, "<sent.1@example.org>", []mail.Address{addr(t, "Bob@example.net"), addr(t, "carol@example.com")})
	flush(t, j)
	ours := "In-Reply-To: <sent.1@example.org>\n"
	failed := proven("example.net")
	failed.DKIM, failed.SPF.Result = nil, mailauth.Fail
	failed.DMARC = mailauth.DMARC{Result: mailauth.Fail, Domain: "example.net", Policy: mailauth.PolicyReject}
	soft := bad()
	soft.SPF = mailauth.SPF{Result: mailauth.SoftFail, Domain: "example.net"}
	for name, c := range map[string]struct {
		raw   []byte
		r     mailauth.Report
		known bool
	}{
		"proven":               {junkFrom("bob@example.net"), proven("example.net"), true},
		"proven, other case":   {junkFrom("BOB@EXAMPLE.net"), proven("example.net"), true},
		"stranger":             {junkFrom("mallory@example.net"), proven("example.net"), false},
		"forged":               {junkFrom("bob@example.net"), failed, false},
		"forged answer":        {junkFrom("bob@example.net", ours), failed, false},
		"soft":                 {junkFrom("bob@example.net"), soft, false},
		"nothing to prove":     {letter("carol@example.com", "Hello", "a letter"), bad(), true},
		"nothing, dangerous":   {junkFrom("carol@example.com"), bad(), false},
		"nothing, an answer":   {junkFrom("carol@example.com", ours), bad(), true},
		"answer of his house":  {junkFrom("sales@example.net", ours), proven("example.net"), true},
		"answer of a stranger": {junkFrom("dan@example.edu", ours), proven("example.edu"), false},
	} {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "localhost", From: addr(t, "x@example.info")}, c.r, c.raw)
		v := j.Verdict(t.Context(), f, alice)
		if v.Known != c.known || v.Known && v.Class != Good || !v.Known && v.Class < Junk {
			t.Errorf("%s: %s", name, describe(v))
		}
		if other := j.Verdict(t.Context(), f, Recipient{Account: 8, Address: alice.Address}); other.Known {
			t.Errorf("%s: known to another account", name)
		}
	}
}

// TestKept: mail put back from Junk makes its author a correspondent, mail put into Junk unmakes him.
func TestKept(t *testing.T) {
	j := judge(t, Options{})
	stored := func(n int) []byte {
		return append([]byte("Return-Path: <bob@example.net>\r\nAuthentication-Results: mx.example.org; iprev=pass policy.iprev=192.0.2.25;\r\n spf=pass smtp.mailfrom=example.net; dkim=none;\r\n dmarc=pass header.from=example.net\r\nReceived: from mail.example.net ([192.0.2.25])\r\n\tby mx.example.org (posthouse) with ESMTP id 1;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\n"),
			letter("bob@example.net", fmt.Sprintf("Letter %d", n), "text")...)
	}
	known := func() bool {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, proven("example.net"), letter("bob@example.net", "new", "new"))
		return j.Verdict(t.Context(), f, alice).Known
	}
	if known() {
		t.Error("a stranger is known")
	}
	learn(t, j, stored(1), Good)
	if !known() {
		t.Error("his mail was kept and he is not known")
	}
	learn(t, j, stored(2), Junk)
	learn(t, j, stored(3), Junk)
	if known() {
		t.Error("his mail was put into Junk and he is known")
	}
	f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, proven("example.net"), letter("bob@example.net", "new", "new"))
	if v := j.Verdict(t.Context(), f, alice); !has(v, "author_junk") || !has(v, "domain_bad") || !has(v, "network_bad") {
		t.Errorf("%s", describe(v))
	}
}

// TestLastWord: whose mail was kept often, and is put into Junk some times in a row, is no correspondent any more; once may be a mistake.
func TestLastWord(t *testing.T) {
	j := judge(t, Options{})
	known := func() bool {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, proven("example.net"), letter("news@example.net", "new", "new"))
		return j.Verdict(t.Context(), f, alice).Known
	}
	stored := func(n int) []byte {
		return append([]byte("Return-Path: <news@example.net>\r\nAuthentication-Results: mx.example.org; spf=pass smtp.mailfrom=example.net; dmarc=pass header.from=example.net\r\n"+
			"Received: from mail.example.net ([192.0.2.25])\r\n\tby mx.example.org (posthouse) with ESMTP id 1;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\n"),
			letter("news@example.net", fmt.Sprintf("Letter %d", n), "text")...)
	}
	for i := range 20 {
		learn(t, j, stored(i), Good)
	}
	if !known() {
		t.Fatal("his mail was kept and he is not known")
	}
	learn(t, j, stored(20), Junk)
	if !known() {
		t.Error("one mistake, and he is not known")
	}
	learn(t, j, stored(21), Junk)
	learn(t, j, stored(22), Junk)
	if known() {
		t.Error("his reader has had enough of him, and he is known")
	}
	for i := range 3 {
		learn(t, j, stored(20+i), Good)
	}
	if !known() {
		t.Error("all is taken back, and he is not known")
	}
}

func TestUsuallyProven(t *testing.T) {
	j := judge(t, Options{})
	for i := range 6 {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, proven("example.net"), letter("bob@example.net", "n", fmt.Sprint(i)))
		j.Delivered(t.Context(), f, alice, j.Verdict(t.Context(), f, alice))
	}
	flush(t, j)
	f := look(t.Context(), j, Facts{Remote: netip.MustParseAddr("198.51.100.1"), Hello: "x.example.com"}, unproven(), letter("bob@example.net", "n", "pay now"))
	if v := j.Verdict(t.Context(), f, alice); !has(v, "usually_proven") || v.FirstContact == false {
		t.Errorf("%s", describe(v))
	}
}

// TestStrangersPushOutStrangers: a flood of authors does not make an account forget its correspondents.
func TestStrangersPushOutStrangers(t *testing.T) {
	j := judge(t, Options{Known: 60})
	j.Wrote(t.Context(), alice.Account, "", []mail.Address{addr(t, "friend@example.com")})
	for i := range 200 {
		domain := fmt.Sprintf("d%d.example", i)
		f := look(t.Context(), j, Facts{Remote: client, Hello: "mail." + domain}, proven(domain), letter("x@"+domain, "n", "t"))
		j.Delivered(t.Context(), f, alice, Verdict{})
	}
	flush(t, j)
	tr, err := j.Training(t.Context(), alice.Account)
	if err != nil || tr.Known > 60 {
		t.Errorf("%+v, %v", tr, err)
	}
	f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.com"}, proven("example.com"), letter("friend@example.com", "n", "t"))
	if !j.Verdict(t.Context(), f, alice).Known {
		t.Error("the friend is forgotten")
	}
}

func TestWishes(t *testing.T) {
	j := judge(t, Options{})
	f := look(t.Context(), j, Facts{Remote: client, Hello: "localhost", From: addr(t, "x@example.info")}, bad(), junkFrom("bob@example.net"))
	if v := j.Verdict(t.Context(), f, alice); v.Class < Junk {
		t.Fatalf("%s", describe(v))
	}
	to := alice
	to.LetIn = "bob@example.net"
	if v := j.Verdict(t.Context(), f, to); v.Class != Good || !has(v, "let_in") {
		t.Errorf("let in: %s", describe(v))
	}
	forged := bad()
	forged.SPF = mailauth.SPF{Result: mailauth.Fail, Domain: "example.net"}
	g := look(t.Context(), j, Facts{Remote: client, Hello: "localhost", From: addr(t, "x@example.info")}, forged, junkFrom("bob@example.net"))
	if v := j.Verdict(t.Context(), g, to); v.Class < Junk || !has(v, "let_in_unproven") {
		t.Errorf("forged: %s", describe(v))
	}
	good := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net"}, proven("example.net"), letter("bob@example.net", "Hi", "t"))
	to = alice
	to.KeptOut = "@example.net"
	if v := j.Verdict(t.Context(), good, to); v.Class != Junk || !has(v, "kept_out") {
		t.Errorf("kept out: %s", describe(v))
	}
	to = alice
	to.Line = 100
	if v := j.Verdict(t.Context(), f, to); v.Class != Good {
		t.Errorf("a line of 100: %s", describe(v))
	}
	f.Add(Signal{Name: "scanner", Score: 50, Text: "a\r\nvirus\x00"})
	if v := j.Verdict(t.Context(), f, alice); v.Class != Refuse || v.Signals[0].Text != "a virus" || !strings.Contains(v.Reason(1), "virus") {
		t.Errorf("%s", describe(v))
	}
}

func TestGreylist(t *testing.T) {
	now := today
	j := judge(t, Options{Now: func() time.Time { return now }, Greylist: Greylisting{Rows: 50}})
	ask := func(from, remote string, r mailauth.Report) Wait {
		f := look(t.Context(), j, Facts{Remote: netip.MustParseAddr(remote), Hello: "x.example.net", From: addr(t, from)}, r, letter("a@example.net", "s", "t"))
		w := j.Greylist(t.Context(), f, alice)
		flush(t, j)
		return w
	}
	if w := ask("a@example.net", "192.0.2.1", bad()); w.Pass || w.For != 4*time.Minute {
		t.Errorf("first: %+v", w)
	}
	now = now.Add(time.Minute)
	if w := ask("a@example.net", "192.0.2.1", bad()); w.Pass || w.For < 3*time.Minute || w.For > 4*time.Minute {
		t.Errorf("too early: %+v", w)
	}
	now = now.Add(4 * time.Minute)
	if w := ask("b@example.net", "192.0.2.1", bad()); w.Pass {
		t.Errorf("another sender: %+v", w)
	}
	if w := ask("a@example.net", "192.0.2.77", bad()); !w.Pass {
		t.Errorf("from its network: %+v", w)
	}
	now = now.Add(30 * 24 * time.Hour)
	if w := ask("a@example.net", "192.0.2.1", bad()); !w.Pass {
		t.Errorf("a pass is forgotten: %+v", w)
	}
	now = now.Add(37 * 24 * time.Hour)
	if w := ask("a@example.net", "192.0.2.1", bad()); w.Pass {
		t.Errorf("a pass is remembered for ever: %+v", w)
	}
	ask("bounce-17@big.example.com", "198.51.100.1", proven("example.com"))
	now = now.Add(5 * time.Minute)
	if w := ask("bounce-18@big.example.com", "203.0.113.9", proven("example.com")); !w.Pass {
		t.Errorf("a large sender from another address: %+v", w)
	}
	for i := range 5 { // five senders of one host come again: the host is trusted
		ask(fmt.Sprintf("s%s@example.net", letters(i)), "203.0.113.50", bad())
	}
	now = now.Add(5 * time.Minute)
	for i := range 5 {
		ask(fmt.Sprintf("s%s@example.net", letters(i)), "203.0.113.50", bad())
	}
	if w := ask("new@example.net", "203.0.113.50", bad()); !w.Pass {
		t.Errorf("a trusted host: %+v", w)
	}
	for i := range 60 {
		ask(fmt.Sprintf("f%s@example.net", letters(i)), fmt.Sprintf("10.0.%d.1", i), bad())
	}
	if w := ask("full@example.net", "192.0.2.200", bad()); !w.Pass {
		t.Errorf("with a full book: %+v", w)
	}
	now = now.Add(100 * 24 * time.Hour)
	j.forget()
	if got := dump(t, j, tabGrey); len(got) != 0 || j.grey.rows.Load() != 0 {
		t.Errorf("%d rows are left", len(got))
	}
}

func TestRefusals(t *testing.T) {
	now := today
	j := judge(t, Options{Now: func() time.Time { return now }, Refusals: 5})
	refuse := func(author string) {
		f := look(t.Context(), j, Facts{Remote: client, Hello: "x", From: addr(t, "m@example.info")}, bad(), junkFrom(author))
		j.Refused(t.Context(), f, alice, j.Verdict(t.Context(), f, alice))
		flush(t, j)
		now = now.Add(time.Minute)
	}
	for range 3 {
		refuse("eve@example.com")
	}
	refuse("mallory@example.com")
	got, err := j.Refusals(t.Context(), alice.Account)
	if err != nil || len(got) != 2 || got[0].Sender != "mallory@example.com" || got[1].Count != 3 || got[1].Remote != client || got[1].Subject != "Invoice" || !strings.Contains(got[1].Reason, "program") {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range 10 {
		refuse(fmt.Sprintf("x%d@example.com", i))
	}
	if got, _ = j.Refusals(t.Context(), alice.Account); len(got) != 5 || got[0].Sender != "x9@example.com" {
		t.Errorf("%d: %+v", len(got), got)
	}
	if other, _ := j.Refusals(t.Context(), 8); len(other) != 0 {
		t.Errorf("another account sees %+v", other)
	}
	now = now.Add(15 * 24 * time.Hour)
	if got, _ = j.Refusals(t.Context(), alice.Account); len(got) != 0 {
		t.Errorf("old ones: %+v", got)
	}
	j.forget()
	if rows := dump(t, j, tabBook); len(rows) != 0 {
		t.Errorf("%d rows are left", len(rows))
	}
}

func TestForget(t *testing.T) {
	j := judge(t, Options{})
	learn(t, j, letter("a@example.net", "s", "some words of text"), Good)
	j.Wrote(t.Context(), alice.Account, "x@y", []mail.Address{addr(t, "b@example.net")})
	f := look(t.Context(), j, Facts{Remote: client}, bad(), junkFrom("eve@example.com"))
	j.Refused(t.Context(), f, alice, Verdict{})
	if _, err := j.Learn(t.Context(), 8, bytes.NewReader(letter("a@example.net", "s", "other")), Good); err != nil {
		t.Fatal(err)
	}
	flush(t, j)
	if err := j.Forget(t.Context(), alice.Account); err != nil {
		t.Fatal(err)
	}
	for key := range dump(t, j, tabBayes, tabKnown, tabBook) {
		if !strings.HasPrefix(key[1:], "\x00\x00\x00\x08") {
			t.Errorf("%q is left", key)
		}
	}
	if tr, _ := j.Training(t.Context(), 8); tr.Good != 1 {
		t.Errorf("another account: %+v", tr)
	}
}

// TestWithoutTables: a judge without memory and without DNS judges all the same.
func TestWithoutTables(t *testing.T) {
	j := New(Options{})
	f := look(t.Context(), j, Facts{}, mailauth.Report{}, junkFrom("eve@example.com"))
	if v := j.Verdict(t.Context(), f, alice); !has(v, "file_program") {
		t.Errorf("%s", describe(v))
	}
	j.Delivered(t.Context(), f, alice, Verdict{})
	j.Refused(t.Context(), f, alice, Verdict{})
	j.Wrote(t.Context(), 1, "", nil)
	if w := j.Greylist(t.Context(), f, alice); !w.Pass {
		t.Error("it waits")
	}
	if _, err := j.Learn(t.Context(), 1, strings.NewReader("a: b\r\n\r\n"), Good); err != ErrNoTable {
		t.Errorf("learn: %v", err)
	}
	s := j.Begin(t.Context(), Facts{})
	s.Discard()
	s.Write([]byte("late"))
	if s.Finish(mailauth.Report{}) == nil {
		t.Error("nothing")
	}
}
