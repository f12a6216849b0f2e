package housetest

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// publishes puts the DKIM keys of domains into DNS, with a policy that asks to refuse what is not proven, and no SPF.
func (h *house) publishes(domains ...string) {
	h.t.Helper()
	for _, d := range domains {
		keys, err := h.Daemon.House().DKIMKeys(h.t.Context(), d)
		if err != nil || len(keys) == 0 {
			h.t.Fatalf("%s has no key: %v", d, err)
		}
		var pieces []string
		for text := keys[0].Record; text != ""; {
			n := min(len(text), 200)
			pieces = append(pieces, `"`+text[:n]+`"`)
			text = text[n:]
		}
		if err := h.street.zone.Add(keys[0].Name+". IN TXT "+strings.Join(pieces, " "), "_dmarc."+d+`. IN TXT "v=DMARC1; p=reject"`); err != nil {
			h.t.Fatal(err)
		}
	}
}

// list makes a list with members.
func (h *house) list(in admin.NewList, members ...string) {
	h.t.Helper()
	if _, err := h.Daemon.House().AddList(h.t.Context(), in); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.Daemon.House().ChangeMembers(h.t.Context(), in.Address, admin.MemberChange{Action: "add", Members: members}); err != nil {
		h.t.Fatal(err)
	}
}

// TestList: a stranger whose domain asks to refuse what is not proven posts to a list here; a member in another house gets it proven, the
// member here too, and leaves; a member who does not exist is paused, and the owner hears of it.
func TestList(t *testing.T) {
	s := newStreet(t)
	a := s.build("[lists]\nbounce_days = 1\n", "alice@one.test", "bob@one.test")
	b := s.build("", "ben@other.test")
	c := s.build("", "carol@third.test")
	for _, h := range []*house{a, b, c} {
		_, domain, _ := strings.Cut(h.name, ".")
		h.publishes(domain)
	}
	a.list(admin.NewList{Address: "dev@one.test", Name: "Developers", Owners: []string{"alice@one.test"}},
		"bob@one.test", "ben@other.test", "nobody@other.test", "carol@third.test")
	alice, bob, ben, carol := a.reader("alice@one.test"), a.reader("bob@one.test"), b.reader("ben@other.test"), c.reader("carol@third.test")
	c.send("carol@third.test", "hello all", "dev@one.test")
	there := ben.body(ben.awaits(1, "hello all")[0])
	contains(t, there, "dmarc=pass header.from=third.test", "From: <carol@third.test>\r\n", "List-Id: \"Developers\" <dev.one.test>\r\n", "List-Unsubscribe: <mailto:dev-unsubscribe@one.test?subject=unsubscribe>\r\n",
		"arc=pass", "Return-Path: <dev-bounces+")
	contains(t, bob.body(bob.awaits(1, "hello all")[0]), "Precedence: list\r\n")
	carol.awaits(1, "hello all")
	letter := alice.body(alice.awaits(1, "nobody@other.test is paused on the list dev@one.test")[0])
	contains(t, letter, "550 5.1.1")
	quiet(t, a, b, c)

	// Who is no member may not post, and hears it in the session.
	l := a.smtp()
	l.say("MAIL FROM:<eve@evil.test>")
	l.want("250 ")
	l.say("RCPT TO:<dev@one.test>")
	l.want("250 ")
	l.say("DATA")
	l.want("354 ")
	l.say("From: <eve@evil.test>\r\nSubject: buy\r\n\r\nx\r\n.")
	l.want("550 5.7.2 eve@evil.test may not post to the list dev@one.test")
	l.say("MAIL FROM:<>")
	l.want("250 ")
	l.say("RCPT TO:<dev@one.test>")
	l.want("550 5.7.1 ")
	l.say("RCPT TO:<dev-bounces+aaaaaaaaaaaaaaaa@one.test>")
	l.want("550 5.1.1 ")
	l.say("QUIT")

	// A proven author leaves by mail.
	b.send("ben@other.test", "unsubscribe", "dev-unsubscribe@one.test")
	ben.awaits(1, "You have left the list dev@one.test")
	a.send("bob@one.test", "second", "dev@one.test")
	carol.awaits(1, "second")
	quiet(t, a, b, c)
	d, err := a.Daemon.House().List(t.Context(), "dev@one.test")
	if err != nil || len(d.All) != 3 || d.Paused != 1 {
		t.Errorf("%+v %v", d, err)
	}
	ben.awaits(0, "second")
}

// TestMask: mail to a masked address arrives until it is switched off, its owner writes as it, and it counts.
func TestMask(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test", "bob@one.test")
	b := s.build("", "ben@other.test")
	s.proves("one.test", "other.test")
	house := a.Daemon.House()
	m, err := house.AddMask(t.Context(), "alice@one.test", admin.NewMask{Note: "a shop"})
	if err != nil || !regexp.MustCompile(`^[a-z]+\.[a-z]+\d{3}@one\.test$`).MatchString(m.Address) {
		t.Fatal(m, err)
	}
	alice, ben := a.reader("alice@one.test"), b.reader("ben@other.test")
	b.send("ben@other.test", "to the mask", m.Address)
	contains(t, alice.body(alice.awaits(1, "to the mask")[0]), "Delivered-To: "+m.Address+"\r\n")
	a.send("bob@one.test", "from here", m.Address)
	alice.awaits(1, "from here")

	out := a.submission("alice@one.test")
	if err := out.SendMail(m.Address, []string{"ben@other.test"}, strings.NewReader(text(m.Address, "the answer", "ben@other.test"))); err != nil {
		t.Fatal(err)
	}
	contains(t, ben.body(ben.awaits(1, "the answer")[0]), "From: <"+m.Address+">\r\n", "Return-Path: <"+m.Address+">\r\n")
	if err := a.submission("bob@one.test").Mail(m.Address, nil); err == nil || !strings.Contains(err.Error(), "may not send as") {
		t.Error("somebody else writes as the mask:", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		list, err := house.Masks(t.Context(), "alice@one.test")
		if err == nil && len(list) == 1 && list[0].Used == 2 && list[0].Last != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v %v", list, err)
		}
	}
	if _, err := house.SetMask(t.Context(), "alice@one.test", admin.MaskChange{Address: m.Address, State: "off"}); err != nil {
		t.Fatal(err)
	}
	l := a.smtp()
	said := map[string]string{}
	for _, to := range []string{m.Address, "no.body123@one.test"} {
		l.say("MAIL FROM:<eve@evil.test>")
		l.want("250 ")
		l.say("RCPT TO:<%s>", to)
		said[to] = strings.ReplaceAll(l.want("550 5.1.1 "), to, "ADDRESS")
		l.say("RSET")
		l.want("250 ")
	}
	if said[m.Address] != said["no.body123@one.test"] {
		t.Errorf("a mask that is off differs from an address that never was: %q", said)
	}
	l.say("QUIT")
	if err := a.submission("alice@one.test").Mail(m.Address, nil); err == nil {
		t.Error("a mask that is off still sends")
	}
}

// TestForwardsInACircle: two accounts that forward to each other across two houses get one copy each.
func TestForwardsInACircle(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test")
	b := s.build("", "ben@other.test")
	s.proves("one.test", "other.test")
	for who, to := range map[*house][2]string{a: {"alice@one.test", "ben@other.test"}, b: {"ben@other.test", "alice@one.test"}} {
		if _, err := who.Daemon.House().SetForwarding(t.Context(), to[0], admin.Forwarding{To: to[1:], Keep: true}); err != nil {
			t.Fatal(err)
		}
	}
	alice, ben := a.reader("alice@one.test"), b.reader("ben@other.test")
	l := a.smtp()
	l.say("MAIL FROM:<stranger@away.test>")
	l.want("250 ")
	l.say("RCPT TO:<alice@one.test>")
	l.want("250 ")
	l.say("DATA")
	l.want("354 ")
	l.say("From: <stranger@away.test>\r\nSubject: round\r\nMessage-ID: <%d@away.test>\r\n\r\nx\r\n.", time.Now().UnixNano())
	l.want("250 ")
	l.say("QUIT")
	alice.awaits(1, "round")
	ben.awaits(1, "round")
	quiet(t, a, b)
	alice.awaits(1, "round")
	ben.awaits(1, "round")
	if f := fmt.Sprint(a.Daemon.House().Forwarding(t.Context(), "alice@one.test")); !strings.Contains(f, "ben@other.test") {
		t.Error(f)
	}
}

// TestForwardRefused: where a copy stays, the owner hears that what was forwarded did not arrive; where none stays, the sender does.
func TestForwardRefused(t *testing.T) {
	s := newStreet(t)
	a := s.build("", "alice@one.test", "bob@one.test")
	b := s.build("", "ben@other.test")
	s.proves("one.test", "other.test")
	// An address each: one that was refused is suppressed, and what would go on to it stays.
	for who, to := range map[string]string{"alice@one.test": "nobody@other.test", "bob@one.test": "noone@other.test"} {
		if _, err := a.Daemon.House().SetForwarding(t.Context(), who, admin.Forwarding{To: []string{to}, Keep: to == "nobody@other.test"}); err != nil {
			t.Fatal(err)
		}
	}
	alice, ben := a.reader("alice@one.test"), b.reader("ben@other.test")
	b.send("ben@other.test", "for alice", "alice@one.test")
	alice.awaits(1, "for alice")
	contains(t, alice.body(alice.awaits(1, "could not be delivered")[0]), "Final-Recipient: rfc822;nobody@other.test\r\n")
	quiet(t, a, b)
	ben.awaits(0, "could not be delivered")
	b.send("ben@other.test", "for bob", "bob@one.test")
	contains(t, ben.body(ben.awaits(1, "could not be delivered")[0]), "for bob")
}

// TestOneClick: a program leaves a list for its user with one request (RFC 8058).
func TestOneClick(t *testing.T) {
	s := newStreet(t)
	a := s.build("https = [\"127.0.0.1:0\"]\n[lists]\nurl = \"https://mx.one.test/lists/leave/\"\n", "alice@one.test")
	b := s.build("", "ben@other.test")
	a.publishes("one.test")
	a.list(admin.NewList{Address: "dev@one.test", Owners: []string{"alice@one.test"}}, "ben@other.test")
	ben := b.reader("ben@other.test")
	a.send("alice@one.test", "hello", "dev@one.test")
	text := ben.body(ben.awaits(1, "hello")[0])
	contains(t, text, "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", "dkim=pass", "dmarc=pass")
	link := regexp.MustCompile(`<https://mx\.one\.test(/lists/leave/[^>]+)>`).FindStringSubmatch(text)
	if link == nil {
		t.Fatal(text)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: a.trust()}}
	defer client.CloseIdleConnections()
	request := func(method, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+a.doors["https"]+link[1], strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		check(t, answer.Body.Close())
		return answer.StatusCode
	}
	if code := request("GET", ""); code != http.StatusOK {
		t.Errorf("GET: %d", code)
	}
	if d, err := a.Daemon.House().List(t.Context(), "dev@one.test"); err != nil || d.Members != 1 {
		t.Errorf("after a GET: %+v %v", d, err)
	}
	if code := request("POST", "List-Unsubscribe=One-Click"); code != http.StatusOK {
		t.Errorf("POST: %d", code)
	}
	if d, err := a.Daemon.House().List(t.Context(), "dev@one.test"); err != nil || d.Members != 0 {
		t.Errorf("after the POST: %+v %v", d, err)
	}
	if code := request("POST", "List-Unsubscribe=One-Click"); code != http.StatusNotFound {
		t.Errorf("a second POST: %d", code)
	}
}
