package list

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

func (r *rig) member(who string) *auth.Member {
	r.t.Helper()
	all, err := r.dir.Members(r.t.Context(), 1)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range all {
		if m.Address.String() == who {
			return &m
		}
	}
	return nil
}

// post sends a message to the list and gives the copies.
func (r *rig) post(name string) map[string]copied {
	r.t.Helper()
	if got := r.take("alice@alpha.test", "dev@alpha.test", "From: alice@alpha.test\nMessage-ID: <"+name+"@alpha.test>\n\nx\n"); got.Verdict != queue.Done {
		r.t.Fatal(got)
	}
	return r.leaving()
}

func report(action, status string) string {
	return "From: MAILER-DAEMON@mx.away.test\nSubject: no\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" +
		"--b\nContent-Type: text/plain\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.away.test\n\nFinal-Recipient: rfc822; dora@away.test\nAction: " + action +
		"\nStatus: " + status + "\nDiagnostic-Code: smtp; 550 5.1.1 no\n\tsuch \x1b[1muser\n--b--\n"
}

// TestBounces: what comes back on five days pauses a member, and the owners are told; what is no failure does not count.
func TestBounces(t *testing.T) {
	r := newRig(t)
	back := r.post("1")["dora@away.test"].Envelope.From.String()
	for name, text := range map[string]string{
		"delayed": report("delayed", "4.4.1"), "no report": "Subject: out of office\nAuto-Submitted: auto-replied\n\nI am away.\n",
		"torn": strings.SplitAfter(report("failed", "5.1.1"), "delivery-status\n")[0], "relayed": report("relayed", "2.0.0"),
		"refused as junk": report("failed", "5.7.1"), "too large": report("failed", "5.3.4"), "too large for the mailbox": report("failed", "5.2.3"),
	} {
		if got := r.take("", back, text); got.Verdict != queue.Done || r.member("dora@away.test").Bounces != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	for day := 1; day <= 5; day++ {
		for range 3 { // what comes back on one day counts once
			if got := r.take("", back, report("failed", "5.1.1")); got.Verdict != queue.Done {
				t.Fatal(got)
			}
		}
		m := r.member("dora@away.test")
		if m.Bounces != day || (m.State == auth.MemberBounced) != (day == 5) || m.Said != "5.1.1 550 5.1.1 no such [1muser" {
			t.Fatalf("day %d: %+v", day, m)
		}
		r.now = r.now.Add(24 * time.Hour)
	}
	letters := r.leaving()
	if len(letters) != 1 {
		t.Fatalf("%d letters", len(letters))
	}
	letter := letters["dev-owner@alpha.test"]
	has(t, letter.text, "Subject: dora@away.test is paused on the list dev@alpha.test", "posthouse list members resume dev@alpha.test dora@away.test", "Auto-Submitted: auto-generated")
	if !letter.Envelope.From.IsNull() {
		t.Error("the letter can come back to", letter.Envelope.From)
	}
	if copies := r.post("2"); len(copies) != 1 {
		t.Errorf("%d copies after the pause", len(copies))
	}
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		return r.dir.SetMember(tx, parse(t, "dev@alpha.test"), parse(t, "dora@away.test"), auth.MemberActive)
	})
	if err != nil || len(r.post("3")) != 2 || r.member("dora@away.test").Bounces != 0 {
		t.Error(err)
	}
	// A list that posts once a month pauses too.
	for month := range 5 {
		r.take("", back, report("failed", "5.1.1"))
		if m := r.member("dora@away.test"); m.Bounces != month+1 {
			t.Fatalf("month %d: %+v", month, m)
		}
		r.now = r.now.Add(36 * 24 * time.Hour) // the first of a month, and some days in which a queue tried
	}
	r.leaving()
	if err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		return r.dir.SetMember(tx, parse(t, "dev@alpha.test"), parse(t, "dora@away.test"), auth.MemberActive)
	}); err != nil {
		t.Fatal(err)
	}
	// Four days, some quiet weeks, and one more: the old ones are forgotten.
	for range 4 {
		r.take("", back, report("failed", "5.1.1"))
		r.now = r.now.Add(24 * time.Hour)
	}
	r.now = r.now.Add(41 * 24 * time.Hour)
	r.take("", back, report("failed", "5.1.1"))
	if m := r.member("dora@away.test"); m.Bounces != 1 || m.State != auth.MemberActive {
		t.Errorf("%+v", m)
	}
	// Addresses that we did not make.
	route, err := r.dir.Resolve(t.Context(), parse(t, "dev-bounces+aaaaaaaaaaaaaaaa@alpha.test"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.lists.Recipient(t.Context(), mail.Address{}, 0, route.Lists[0]); err == nil || !strings.Contains(err.Error(), "No such address") {
		t.Error(err)
	}
	route.Lists[0].Token = strings.TrimPrefix(parse(t, back).Local, "dev-bounces+")
	if err := r.lists.Recipient(t.Context(), mail.Address{}, 0, route.Lists[0]); err != nil {
		t.Error(err)
	}
	if err := r.lists.Recipient(t.Context(), parse(t, "eve@evil.test"), 0, route.Lists[0]); err == nil {
		t.Error("a bounce address takes mail of people")
	}
}

// TestLeaveByMail: a proven author leaves at once, another is asked, a token is enough, strangers hear nothing.
func TestLeaveByMail(t *testing.T) {
	r := newRig(t)
	ask := func(from, more string) queue.Result {
		return r.take(from, "dev-unsubscribe@alpha.test", more+"From: "+from+"\nSubject: unsubscribe\n\n")
	}
	if got := ask("eve@evil.test", ""); got.Verdict != queue.Done || len(r.leaving()) != 0 {
		t.Error(got)
	}
	if got := ask("dora@away.test", "Authentication-Results: mx.evil.test; dmarc=pass\n"); got.Verdict != queue.Done {
		t.Error(got)
	}
	question := r.leaving()["dora@away.test"]
	token := regexp.MustCompile(`dev-unsubscribe\+[a-z2-7]{16}@alpha\.test`).FindString(question.text)
	if token == "" || r.member("dora@away.test") == nil {
		t.Fatalf("%q", question.text)
	}
	if ask("dora@away.test", ""); len(r.leaving()) != 0 {
		t.Error("asked again at once")
	}
	if got := r.take("anybody@away.test", strings.Replace(token, "+", "+a", 1), "From: x@away.test\n\n"); got.Verdict != queue.Done || r.member("dora@away.test") == nil {
		t.Error("a changed token:", got)
	}
	if got := r.take("anybody@away.test", token, "From: x@away.test\n\n"); got.Verdict != queue.Done || r.member("dora@away.test") != nil {
		t.Error("the token:", got)
	}
	has(t, r.leaving()["dora@away.test"].text, "You have left the list dev@alpha.test")
	if got := ask("bob@alpha.test", "Authentication-Results: mx.alpha.test; dmarc=pass header.from=alpha.test\n"); got.Verdict != queue.Done || r.member("bob@alpha.test") != nil {
		t.Error("a proven author:", got)
	}
}

// TestOneClick: with an address of the web each copy that leaves has a link of its own, which its signature covers (RFC 8058).
func TestOneClick(t *testing.T) {
	r := newRig(t)
	r.with(Options{URL: "https://mx.alpha.test/lists/leave/"})
	copies := r.post("1")
	lacks(t, copies["bob@alpha.test"].text, "https:", "One-Click")
	c := copies["dora@away.test"]
	has(t, c.text, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
	if strings.Count(c.text, "\nList-Unsubscribe: ") != 1 {
		t.Error(c.text)
	}
	seen := r.there(c)
	if len(seen.DKIM) != 1 || seen.DKIM[0].Result != mailauth.Pass || seen.DKIM[0].Domain != "alpha.test" {
		t.Errorf("%+v", seen.DKIM)
	}
	signature, _, _ := strings.Cut(c.text, "List-Unsubscribe: ")
	has(t, strings.ReplaceAll(signature, "\r\n ", ""), "List-Unsubscribe:List-Unsubscribe-Post")
	changed := c
	changed.text = strings.Replace(c.text, "/leave/1-", "/leave/2-", 1)
	if seen := r.there(changed); seen.DKIM[0].Result == mailauth.Pass {
		t.Error("another link is not noticed")
	}
	link := regexp.MustCompile(`/leave/([0-9]+-[a-z2-7]+)>`).FindStringSubmatch(c.text)
	if link == nil {
		t.Fatal(c.text)
	}
	tokens := NewTokens([32]byte{})
	for _, bad := range []string{"", "1-", "1", "x-" + link[1], "2" + link[1][1:], link[1] + "a", link[1][:len(link[1])-1] + "0", "4294967297-" + link[1][2:]} {
		if _, _, err := tokens.Leave(t.Context(), r.db, r.dir, bad); err != ErrLink {
			t.Errorf("%q: %v", bad, err)
		}
	}
	l, who, err := tokens.Leave(t.Context(), r.db, r.dir, link[1])
	if err != nil || l.ID != 1 || who.String() != "dora@away.test" || r.member("dora@away.test") != nil {
		t.Error(l, who, err)
	}
	if _, _, err := tokens.Leave(t.Context(), r.db, r.dir, link[1]); err != ErrLink {
		t.Error("used twice:", err)
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(report("failed", "5.1.1")))
	f.Add([]byte(strings.ReplaceAll(report("failed", "5.1.1"), "\n", "\r\n")))
	f.Add([]byte("Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\nQWN0aW9uOiBmYWlsZWQNCg=="))
	f.Add([]byte("Content-Type: message/delivery-status\r\n\r\n" + strings.Repeat("Action: failed\r\n\r\n", 200)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, _ := readReport(strings.NewReader(string(raw)), int64(len(raw)))
		if len(all) > maxRecipients {
			t.Errorf("%d recipients", len(all))
		}
		for _, s := range all {
			if len(s.said) > maxSaid || strings.ContainsAny(s.said, "\r\n\x1b") || len(s.code) > 16 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// FuzzCompose: whatever a header says, the copy's header has the list's fields once, and no line that is no field.
func FuzzCompose(f *testing.F) {
	f.Add([]byte("From: a@b.test\r\nSubject: =?utf-8?q?x?=\r\n y\r\nList-Id: <x>\r\nX-Loop: a\r\n\r\nbody"))
	f.Add([]byte("From: \"a, b\" <a@b.test>, c@d.test\r\nReply-To: x\r\nno field\r\nX-Loop: a\r\n\tb\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := parseDraft(raw)
		if len(d.authors) == 0 || !strings.HasSuffix(string(d.header), "\r\n") {
			return
		}
		list := auth.List{ID: 1, Address: mail.Address{Local: "dev", Domain: "alpha.test"}, Name: "Dev", Tag: "[dev]"}
		p := &posting{l: New(Options{Hostname: "mx.alpha.test", Directory: new(auth.Directory)}), list: list, draft: d, id: "x"}
		again := parseDraft(append(p.compose(true), "\r\n"...))
		if len(again.lists) != 1 || again.lists[0] != "dev.alpha.test" || len(again.authors) != 1 || again.authors[0] != list.Address {
			t.Errorf("%q became %q: %+v", raw, again.header, again)
		}
		if got := fmt.Sprint(again.loops); !strings.Contains(got, "dev@alpha.test") {
			t.Errorf("loops %s", got)
		}
	})
}
