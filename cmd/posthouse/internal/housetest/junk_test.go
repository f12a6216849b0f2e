package housetest

import (
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// judged has strangers of this machine judged, and nobody come again.
const judged = "[junk]\nloopback = true\ngreylist_delay = \"0s\"\n"

// bring hands a message in at port 25.
func (h *house) bring(from, subject, to string) {
	h.t.Helper()
	l := h.smtp()
	l.say("MAIL FROM:<%s>", from)
	l.want("250 ")
	l.say("RCPT TO:<%s>", to)
	l.want("250 ")
	l.say("DATA")
	l.want("354 ")
	l.say("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@stranger.test>\r\nX-Spam-Flag: YES\r\n\r\nSee you on Friday.\r\n.",
		from, to, subject, time.Now().Format(time.RFC1123Z), strings.ReplaceAll(subject, " ", "."))
	l.want("250 ")
	l.say("QUIT")
}

// taught waits until the judge has learned so many messages of the account.
func (h *house) taught(user string, good, junk int) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		s, err := h.Daemon.House().SpamStats(h.t.Context())
		for _, a := range s.Accounts {
			if a.Account == user && a.SpamKnowledge.Good == good && a.SpamKnowledge.Junk == junk {
				return
			}
		}
		if time.Now().After(end) {
			h.t.Fatalf("%d good and %d junk are not learned: %+v %v", good, junk, s, err)
		}
	}
}

// TestJunk: what the account shuts out goes to Junk, with the reasons in its header and its story; what its owner moves teaches, also
// when the house ends in between; and answers of those he wrote to are let in.
func TestJunk(t *testing.T) {
	h := newStreet(t).build(judged, "alice@one.test")
	house := h.Daemon.House()
	if _, err := house.SetSpamSender(t.Context(), "alice@one.test", admin.SpamSender{Sender: "pest.test", Blocked: true}); err != nil {
		t.Fatal(err)
	}
	r := h.reader("alice@one.test")
	h.bring("ann@friend.test", "let us meet", "alice@one.test")
	h.bring("sales@pest.test", "buy one", "alice@one.test")
	good := r.awaits(1, "let us meet")
	if text := r.body(good[0]); !strings.Contains(text, "X-Spam-Status: No, score=") || strings.Contains(text, "X-Spam-Flag") {
		t.Error(text)
	}
	told := h.traced("sales@pest.test", story.Scored, story.Delivered)[0]
	contains(t, event(told, story.Scored), "alice@one.test", "junk", "you have shut out pest.test")
	contains(t, event(told, story.Delivered), "alice@one.test Junk")

	// Out of Junk, and into it.
	if _, err := r.Select("Junk", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	junk := r.awaits(1, "buy one")
	if text := r.body(junk[0]); !strings.Contains(text, "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=") {
		t.Error(text)
	}
	h.taught("alice@one.test", 0, 0)
	if _, err := r.Move(goimap.UIDSetNum(junk...), "INBOX").Wait(); err != nil {
		t.Fatal(err)
	}
	h.taught("alice@one.test", 1, 0)
	if _, err := r.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Move(goimap.UIDSetNum(good...), "Junk").Wait(); err != nil {
		t.Fatal(err)
	}
	h.stop() // before anybody has looked
	h.start()
	h.taught("alice@one.test", 1, 1)

	h.send("alice@one.test", "to pest", "sales@pest.test")
	e, err := h.Daemon.House().ExplainSpam(t.Context(), admin.SpamQuestion{Account: "alice@one.test", Message: "Junk/2"})
	if err != nil || e.Learned != "junk" || e.Author != "ann@friend.test" || len(e.Signals) == 0 {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := h.Daemon.House().ExplainSpam(t.Context(), admin.SpamQuestion{Message: "<let.us.meet@stranger.test>"}); err != nil {
		t.Error("by its Message-ID:", err)
	}
	if err := h.Daemon.House().RemoveAccount(t.Context(), "alice@one.test"); err != nil {
		t.Fatal(err)
	}
	if found, err := h.Daemon.House().CheckStore(t.Context(), admin.CheckRequest{}); err != nil || len(found) > 0 {
		t.Error("what she said stays behind:", found, err)
	}
}
