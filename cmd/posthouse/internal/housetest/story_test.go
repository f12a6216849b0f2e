package housetest

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// traced waits until the stories that the house finds have all these steps, and returns them.
func (h *house) traced(what string, want ...story.Step) []admin.Traced {
	h.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		found, err := h.Daemon.House().Trace(h.t.Context(), what, 10)
		has := map[story.Step]bool{}
		for _, t := range found {
			for _, e := range t.Events {
				has[e.Step] = true
			}
		}
		missing := ""
		for _, step := range want {
			if !has[step] {
				missing += " " + string(step)
			}
		}
		if err == nil && missing == "" {
			return found
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s: no%s in %+v %v", what, missing, found, err)
		}
	}
}

// event is the first one of that step, in words.
func event(t admin.Traced, step story.Step) string {
	for _, e := range t.Events {
		if e.Step == step {
			return fmt.Sprintf("%s %s %d %s %s %s %s %s %s", e.Who, e.Mailbox, e.Code, e.Host, e.Address, e.TLS, e.Client, e.Text, e.Advice)
		}
	}
	return ""
}

func contains(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in %q", w, text)
		}
	}
}

// TestStoryOfACrossing: who sent it, how it went, who has read it, in the books of both houses; after a restart, and on the files.
func TestStoryOfACrossing(t *testing.T) {
	s := newStreet(t)
	a, b := s.build("", "alice@one.test"), s.build("", "ben@other.test")
	ben := b.reader("ben@other.test")
	a.send("alice@one.test", "there", "ben@other.test")
	text := ben.body(ben.awaits(1, "there")[0])
	_, rest, _ := strings.Cut(text, "Message-ID: ")
	id, _, _ := strings.Cut(rest, "\r\n")

	out := a.traced(id, story.Signed, story.Queued, story.Relayed)[0]
	if out.Direction != story.Out || out.Account != "alice@one.test" || out.From != "alice@one.test" || out.Subject != "there" || out.TLS == "" {
		t.Errorf("%+v", out)
	}
	contains(t, event(out, story.Relayed), "ben@other.test", "250", "mx.other.test", b.ip, "TLS 1.3", "queued as ")
	if len(out.Outcome) != 1 || out.Outcome[0].State != story.Relayed {
		t.Errorf("%+v", out.Outcome)
	}
	in := b.traced(id, story.Checked, story.Delivered, story.Opened)[0]
	if in.Direction != story.In || in.Author != "alice@one.test" || !strings.HasPrefix(in.Client, "mx.one.test [") || !strings.HasPrefix(in.TLS, "TLS 1.3") {
		t.Errorf("%+v", in)
	}
	contains(t, event(in, story.Checked), "SPF none", "DKIM permerror (one.test): no key", "DMARC none") // the street publishes nothing
	contains(t, event(in, story.Delivered), "ben@other.test INBOX")
	contains(t, event(in, story.Opened), "ben@other.test", "IMAP")
	contains(t, event(out, story.Relayed), in.ID)
	if again := b.traced("BEN@other.test", story.Opened); len(again) != 1 || again[0].ID != in.ID {
		t.Errorf("by address: %+v", again)
	}

	b.stop()
	c, err := config.Load(b.settingsFile())
	if err != nil {
		t.Fatal(err)
	}
	files, err := daemon.OpenFiles(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	found, err := files.House.Trace(t.Context(), in.ID, 1)
	if err != nil || len(found) != 1 || len(found[0].Events) != len(in.Events) {
		t.Errorf("on the files: %+v %v", found, err)
	}
	check(t, files.Close())
	b.start()
	b.traced(in.ID, story.Opened)
}

// TestStoryOfABounce: the answer of the other host, what to do, and the report with a story of its own.
func TestStoryOfABounce(t *testing.T) {
	s := newStreet(t)
	a, b := s.build("", "alice@one.test"), s.build("", "ben@other.test")
	alice := a.reader("alice@one.test")
	a.send("alice@one.test", "to nobody", "nobody@other.test", "ben@other.test")
	alice.awaits(1, "could not be delivered")
	found := a.traced("nobody@other.test", story.Relayed, story.Failed, story.Bounced)
	failed := event(found[0], story.Failed)
	contains(t, failed, "nobody@other.test", "550", "mx.other.test", b.ip, "No such address here", "does not exist there")
	states := map[string]story.Step{}
	for _, r := range found[0].Outcome {
		states[r.Address] = r.State
	}
	if states["nobody@other.test"] != story.Failed || states["ben@other.test"] != story.Relayed {
		t.Errorf("%v", states)
	}
	_, report, _ := strings.Cut(event(found[0], story.Bounced), "report ")
	bounce := a.traced(strings.TrimSpace(report), story.Delivered)[0]
	if bounce.From != "" || bounce.Author != "MAILER-DAEMON@mx.one.test" || bounce.Outcome[0].Address != "alice@one.test" {
		t.Errorf("%+v", bounce)
	}
	// The other house refused one recipient of a message that it took.
	refused := b.traced("nobody@other.test", story.Refused)[0]
	contains(t, event(refused, story.Refused), "nobody@other.test", "550", "No such address here")
}

// TestStoryOfARefusal: what a stranger was told at RCPT and at the end of DATA; who guesses addresses fills no book.
func TestStoryOfARefusal(t *testing.T) {
	h := newStreet(t).build("", "alice@one.test")
	c := h.smtp()
	c.say("MAIL FROM:<guess@elsewhere.test>")
	c.want("250 ")
	c.say("RCPT TO:<nobody@one.test>")
	c.want("550 ")
	c.say("RSET")
	c.want("250 ")
	refused := h.traced("guess@elsewhere.test", story.Refused)[0]
	contains(t, event(refused, story.Refused), "nobody@one.test", "550", "No such address here")

	c.say("MAIL FROM:<round@elsewhere.test>")
	c.want("250 ")
	c.say("RCPT TO:<alice@one.test>")
	c.want("250 ")
	c.say("DATA")
	c.want("354 ")
	c.say("Delivered-To: alice@one.test")
	c.say("Message-ID: <round@elsewhere.test>")
	c.say("")
	c.say(".")
	c.want("554 ")
	loop := h.traced("<round@elsewhere.test>", story.Refused)[0]
	contains(t, event(loop, story.Refused), "554", "Mail loop")
	if loop.Outcome[0].Address != "alice@one.test" || loop.Outcome[0].State != story.Refused || !strings.Contains(loop.Client, "[127.0.0.1]") && !strings.Contains(loop.Client, "["+h.ip+"]") {
		t.Errorf("%+v", loop)
	}

	for i := range 60 {
		c.say("MAIL FROM:<many%d@elsewhere.test>", i)
		c.want("250 ")
		c.say("RCPT TO:<guess%d@one.test>", i)
		c.want("550 ")
		c.say("RSET")
		c.want("250 ")
		if i%15 == 14 { // before the door has enough of it
			c = h.smtp()
		}
	}
	told := 0
	for i := range 60 {
		if _, err := h.Daemon.House().Trace(t.Context(), fmt.Sprintf("many%d@elsewhere.test", i), 1); err == nil {
			told++
		}
	}
	if told == 0 || told > 40 { // 20 in a minute, and the minute may change
		t.Errorf("%d of 60 refusals of one network are told", told)
	}
}
