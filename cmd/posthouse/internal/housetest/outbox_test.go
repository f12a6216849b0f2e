package housetest

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// submit sends a message with parameters on MAIL that the client library does not know, and returns the last answer.
func (h *house) submit(from, parameters, text string, to ...string) string {
	h.t.Helper()
	c := h.dialTLS("submissions")
	defer c.Close()
	in := bufio.NewReader(c)
	say := func(line string, want byte) string {
		if line != "" {
			if _, err := io.WriteString(c, line+"\r\n"); err != nil {
				h.t.Fatal(err)
			}
		}
		for {
			answer, err := in.ReadString('\n')
			if err != nil || answer[0] != want {
				h.t.Fatalf("%s: %q %v", line, answer, err)
			}
			if answer[3] == ' ' {
				return strings.TrimSpace(answer)
			}
		}
	}
	say("", '2')
	say("EHLO here.test", '2')
	say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+from+"\x00"+password)), '2')
	say("MAIL FROM:<"+from+"> "+parameters, '2')
	for _, a := range to {
		say("RCPT TO:<"+a+">", '2')
	}
	say("DATA", '3')
	answer := say(text+".", '2')
	say("QUIT", '2')
	return answer
}

// in counts the messages of a mailbox that is there.
func (r *reader) in(mailbox string) int {
	r.t.Helper()
	data, err := r.Status(mailbox, &goimap.StatusOptions{NumMessages: true}).Wait()
	if err != nil {
		r.t.Fatal(err)
	}
	return int(*data.NumMessages)
}

// TestScheduledMail: a message waits over a restart for everybody it is for, here and elsewhere; taken back it is never sent, and when its
// time comes it is sent once and stands in Sent once, whatever the client puts there.
func TestScheduledMail(t *testing.T) {
	s := newStreet(t)
	a, b := s.build("", "alice@one.test", "bob@one.test"), s.build("", "ben@other.test")
	ben := b.reader("ben@other.test")
	letter := func(n int) string {
		return fmt.Sprintf("From: <alice@one.test>\r\nTo: <bob@one.test>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\nMessage-ID: <%d@one.test>\r\nSubject: number %d\r\n\r\nhello\r\n", n, n)
	}
	answer := a.submit("alice@one.test", "HOLDFOR=3600", letter(1), "bob@one.test", "ben@other.test")
	if !strings.Contains(answer, ", to be sent at 20") {
		t.Error(answer)
	}
	a.stop()
	a.start()
	alice, bob := a.reader("alice@one.test"), a.reader("bob@one.test")
	queue, err := a.Daemon.House().Queue(t.Context())
	if err != nil || len(queue) != 2 || !queue[0].Waits || alice.in("Outbox") != 1 || bob.in("INBOX") != 0 {
		t.Fatal("over a restart:", queue, err)
	}
	a.traced("1@one.test", story.Scheduled)
	if _, err := alice.Select("Outbox", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if text := alice.body(1); !strings.Contains(text, "Bcc: ben@other.test\r\n") && !strings.Contains(text, "Bcc: <ben@other.test>\r\n") {
		t.Error("the sender's copy tells of blind copies:", text)
	}
	if _, err := alice.Move(goimap.UIDSetNum(1), "Drafts").Wait(); err != nil {
		t.Fatal(err)
	}
	a.traced("1@one.test", story.TakenBack)
	if queue, err := a.Daemon.House().Queue(t.Context()); err != nil || len(queue) != 0 || alice.in("Drafts") != 1 {
		t.Error("taken back:", queue, err)
	}

	a.submit("alice@one.test", "HOLDUNTIL="+time.Now().Add(2*time.Second).UTC().Format(time.RFC3339), letter(2), "bob@one.test", "ben@other.test")
	bob.awaits(1, "number 2")
	if text := ben.body(ben.awaits(1, "number 2")[0]); strings.Contains(text, "Bcc") {
		t.Error("blind copies are told:", text)
	}
	a.traced("2@one.test", story.LetGo, story.Relayed)
	again := alice.Append("Sent", int64(len(letter(2))), nil)
	if _, err := io.WriteString(again, letter(2)); err != nil {
		t.Fatal(err)
	}
	check(t, again.Close())
	if data, err := again.Wait(); err != nil || data.UID != 1 || alice.in("Sent") != 1 || alice.in("Outbox") != 0 {
		t.Errorf("the client's own copy: %+v %v", data, err)
	}

	// An account whose sending is switched off sends nothing that waited before.
	a.submit("alice@one.test", "HOLDFOR=3600", letter(4), "bob@one.test")
	if _, err := a.Daemon.House().SetSending(t.Context(), "alice@one.test", admin.SendSwitch{Reason: "stolen"}); err != nil {
		t.Fatal(err)
	}
	if queue, err := a.Daemon.House().Queue(t.Context()); err != nil || len(queue) != 1 || !queue[0].Held {
		t.Error("what waits is held:", queue, err)
	}
	if _, err := a.Daemon.House().QueueAction(t.Context(), admin.Cancel, nil); err != nil || alice.in("Drafts") != 2 {
		t.Error(err)
	}
	if _, err := a.Daemon.House().SetSending(t.Context(), "alice@one.test", admin.SendSwitch{On: true}); err != nil {
		t.Fatal(err)
	}

	// A setting of the account holds up everything and keeps a copy.
	hold, on := "1s", admin.On
	if _, err := a.Daemon.House().SetAccount(t.Context(), "alice@one.test", admin.Change{Hold: &hold, SentCopy: &on}); err != nil {
		t.Fatal(err)
	}
	a.submit("alice@one.test", "", letter(3), "bob@one.test")
	if n := alice.in("Outbox"); n != 1 {
		t.Errorf("%d messages wait", n)
	}
	bob.awaits(1, "number 3")
	if n := alice.in("Sent"); n != 2 {
		t.Errorf("%d messages in Sent", n)
	}
}
