package accountui_test

import (
	"io"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/page/pagetest"
)

// begin tells stories: one that came for both, one between them, one of alice's to the world, one of bob's.
func (f *full) begin(day time.Time) {
	tell := func(m story.Message, events ...story.Event) {
		f.now = m.At.Add(time.Minute)
		f.story.Begin(m, events...)
		f.flush()
	}
	tell(story.Message{ID: "in1", At: day, Direction: story.In, From: "zoe@example.org", Author: "zoe@example.org", To: []string{"alice+shop@mail.test", "bob@mail.test"}, Subject: "For <both>",
		Client: "mx.example.org [192.0.2.1]", Owners: []uint32{1, 2}},
		story.Event{Step: story.Checked, Text: "spf=pass"},
		story.Event{Step: story.Scored, Who: "alice@mail.test", Text: "alices score"}, story.Event{Step: story.Scored, Who: "bob@mail.test", Text: "bobs score"},
		story.Event{Step: story.Delivered, Who: "alice+shop@mail.test", Mailbox: "Shops"}, story.Event{Step: story.Delivered, Who: "bob@mail.test", Mailbox: "Bobs box"},
		story.Event{Step: story.Opened, Who: "bob@mail.test", Client: "Bobs phone"})
	tell(story.Message{ID: "out1", At: day.Add(time.Hour), Direction: story.Out, From: "alice@mail.test", Author: "alice@mail.test", Account: "alice@mail.test", To: []string{"bob@mail.test", "yan@example.net"},
		Subject: "From alice", Client: "laptop [192.0.2.9]", Owners: []uint32{1, 2}, Recipients: 2},
		story.Event{Step: story.Delivered, Who: "bob@mail.test", Mailbox: "Bobs box"}, story.Event{Step: story.Queued, Who: "yan@example.net"}, story.Event{Step: story.Queued, Who: "bobs-other@example.com"},
		story.Event{Step: story.Scored, Who: "bob@mail.test", Text: "bobs score"}, story.Event{Step: story.Opened, Who: "bob@mail.test", Client: "Bobs phone"},
		story.Event{Step: story.Attempted, Who: "yan@example.net", Host: "mx.example.net", Code: 451, Text: "try later", Advice: "wait"})
	tell(story.Message{ID: "out2", At: day.Add(2 * time.Hour), Direction: story.Out, From: "bob@mail.test", Author: "bob@mail.test", Account: "bob@mail.test", To: []string{"hidden@example.net"}, Subject: "Bobs secret", Owners: []uint32{2}},
		story.Event{Step: story.Queued, Who: "hidden@example.net"})
	// An address that was alice's later.
	tell(story.Message{ID: "in2", At: day.Add(3 * time.Hour), Direction: story.In, From: "zoe@example.org", To: []string{"alice@mail.test"}, Subject: "Was bobs", Owners: []uint32{2}})
	tell(story.Message{ID: "in3", At: day.Add(26 * time.Hour), Direction: story.In, From: "spam@example.com", To: []string{"alice@mail.test"}, Subject: "Refused one"}, story.Event{Step: story.Refused, Code: 550, Text: "no"})
	// Who had the name alice before: an account that was removed. It wrote to the world, and was refused at the door.
	tell(story.Message{ID: "out3", At: day, Direction: story.Out, From: "alice@mail.test", Author: "alice@mail.test", Account: "alice@mail.test", To: []string{"hidden@example.net"}, Subject: "Of the one before", Owners: []uint32{9}})
	tell(story.Message{ID: "in4", At: day.AddDate(0, 0, -5), Direction: story.In, From: "zoe@example.org", To: []string{"alice@mail.test"}, Subject: "To the one before"}, story.Event{Step: story.Refused, Code: 452, Text: "full"})
}

// TestMessages: each sees his own side, by correspondent, subject and day.
func TestMessages(t *testing.T) {
	f := newFull(t)
	f.want("/account/messages", nil, 200, "There is nothing yet")
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1).Add(9 * time.Hour) // the accounts are there since today
	next := day.AddDate(0, 0, 1).Format(time.DateOnly)
	f.begin(day)
	f.want("/account/messages", nil, 200, "For &lt;both&gt;", "From alice", "Refused one", "zoe@example.org", "yan@example.net")
	f.not("/account/messages", "Bobs secret", "Was bobs", "hidden@", "the one before")
	f.want("/account/messages?with=ZOE", nil, 200, "For &lt;both&gt;")
	f.not("/account/messages?with=zoe", "From alice")
	f.want("/account/messages?with=yan", nil, 200, "From alice")
	f.want("/account/messages?with=hidden", nil, 200, "Nothing fits")
	f.want("/account/messages?subject=secret", nil, 200, "Nothing fits")
	f.want("/account/messages?day="+next, nil, 200, "Refused one")
	f.not("/account/messages?day="+next, "From alice")
	f.want("/account/messages?day=21.11.", nil, 422, "A day is written like")
	f.want("/account/messages/in1", nil, 200, "Put into your mailbox Shops", "spf=pass", "alices score", "alice&#43;shop@mail.test", "mx.example.org")
	f.not("/account/messages/in1", "Bobs", "bobs", "bob@")
	f.want("/account/messages/out1", nil, 200, "Arrived in the mailbox of bob@mail.test", "451 try later", "What to do:</strong> wait", "not taken yet")
	f.not("/account/messages/out1", "Bobs", "bobs")
	f.want("/account/messages/in3", nil, 200, "Refused: 550 no")
	for _, id := range []string{"out2", "out3", "in2", "in4", "none", "%00", "alice@mail.test"} {
		f.want("/account/messages/"+id, nil, 404)
	}
	f.as("bob")
	f.want("/account/messages", nil, 200, "Bobs secret", "From alice", "For &lt;both&gt;", "Was bobs")
	f.want("/account/messages/out1", nil, 200, "Put into your mailbox Bobs box", "You have read it with Bobs phone")
	f.not("/account/messages/out1", "yan@", "192.0.2.9", "451")
}

// as signs another one in.
func (f *full) as(user string) {
	f.t.Helper()
	f.visit = pagetest.SignIn(f.t, f.directory, user)
}

// TestJunk: who was refused is let in, how mail is judged, whom one lets in or shuts out.
func TestJunk(t *testing.T) {
	f := newFull(t)
	f.want("/account/junk", nil, 200, "Nobody was refused for you", `value="house" checked`)
	sender := mail.Address{Local: "shop", Domain: "example.org"}
	for i, to := range []mail.AccountID{alice, bob} {
		from := sender
		if i == 1 {
			from.Local = "bobs"
		}
		sight := f.judge.Begin(t.Context(), spam.Facts{From: from, Remote: netip.MustParseAddr("192.0.2.3")})
		if _, err := io.WriteString(sight, "From: "+from.String()+"\r\nSubject: Buy <now>\r\n\r\ntext\r\n"); err != nil {
			t.Fatal(err)
		}
		f.judge.Refused(t.Context(), sight.Finish(mailauth.Report{}), spam.Recipient{Account: to}, spam.Verdict{Class: spam.Refuse, Score: 12})
	}
	f.flush()
	f.want("/account/junk", nil, 200, "shop@example.org", "Buy &lt;now&gt;")
	f.not("/account/junk", "bobs@")
	f.want("/account/junk/senders", url.Values{"sender": {"shop@example.org"}, "way": {"allow"}, "back": {"1"}}, 303)
	f.want("/account/junk", nil, 200, "let in")
	f.want("/account/junk/senders", url.Values{"sender": {"no one"}, "way": {"block"}}, 422, "neither a mail address nor a domain", `value="no one"`, `value="block" checked`)
	f.want("/account/junk/senders", url.Values{"sender": {"Example.COM"}, "way": {"block"}}, 303)
	f.want("/account/junk/senders", nil, 200, "shop@example.org", "example.com", "shut out")
	f.want("/account/junk/senders?find=COM", nil, 200, "example.com")
	f.want("/account/junk/senders?find=none", nil, 200, "None of yours fits")
	f.want("/account/junk/forget", url.Values{"sender": {"example.com"}}, 303)
	f.want("/account/junk/forget", url.Values{"sender": {"example.com"}}, 404)
	for level, want := range map[string]string{"strict": `value="strict" checked`, "off": `value="off" checked`, "lenient": `value="lenient" checked`} {
		f.want("/account/junk", url.Values{"level": {level}}, 303)
		f.want("/account/junk", nil, 200, want)
	}
	storetest.Message(t, f.s.Store, alice, "Junk", "Subject: junk\r\n\r\nbuy\r\n")
	f.want("/account/junk/train", url.Values{}, 303)
	f.learned("Learned from 0 good messages and 1 junk message")
	if all, err := f.admin.SpamSenders(t.Context(), "bob"); err != nil || len(all) != 0 {
		t.Error("bob's:", all, err)
	}
}

// learned asks for the page about learning until it says how it ended.
func (f *full) learned(says string) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if body, _ := f.want("/account/junk/train", nil, 200); !strings.Contains(body, "It looks through") {
			if !strings.Contains(body, says) {
				f.t.Errorf("it does not say %q:\n%s", says, body)
			}
			return
		}
	}
	f.t.Fatal("it does not end")
}

// TestTraining: to learn from all mail goes on behind the page, once for each account, and ends with the account and the house.
func TestTraining(t *testing.T) {
	f := newFull(t)
	f.slow = make(chan struct{})
	f.want("/account/junk/train", nil, 200, "Nothing was begun")
	for _, who := range []mail.AccountID{alice, bob} {
		storetest.Message(t, f.s.Store, who, "Junk", "Subject: junk\r\n\r\nbuy\r\n")
	}
	_, header := f.want("/account/junk/train", url.Values{}, 303)
	if header.Get("Location") != "/account/junk/train" {
		t.Error(header)
	}
	f.want("/account/junk/train", url.Values{}, 303) // twice is once
	_, header = f.want("/account/junk/train", nil, 200, "It looks through", "the learning goes on")
	if header.Get("Refresh") == "" {
		t.Error("the page does not look again")
	}
	f.want("/account/junk", nil, 200, "How far it is")
	if _, err := f.admin.TrainSpam(t.Context(), "alice", false); err == nil {
		t.Error("the operator's lesson runs beside that of the account")
	}
	f.as("bob")
	f.want("/account/junk/train", nil, 200, "Nothing was begun") // alice's is not bob's
	f.want("/account/junk/train", url.Values{}, 303)
	if err := f.admin.RemoveAccount(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	f.as("alice")
	f.slow <- struct{}{}
	f.learned("Learned from 0 good messages and 1 junk message")
	f.want("/account/junk", nil, 200, "What came of the last time")
	f.slow = make(chan struct{}) // somebody who never has time
	storetest.Message(t, f.s.Store, alice, "Junk", "Subject: junk too\r\n\r\nbuy\r\n")
	f.want("/account/junk/train", url.Values{}, 303)
	if err := f.admin.Close(); err != nil {
		t.Fatal(err)
	}
	f.learned("This server was restarted")
	f.want("/account/junk/train", url.Values{}, 503)
}

// wait hands a message in that waits in somebody's Outbox.
func (f *full) wait(of mail.AccountID, from mail.Address, subject string, at time.Time) {
	f.t.Helper()
	e := mail.Envelope{From: from, Recipients: []mail.Recipient{{Address: mail.Address{Local: "yan", Domain: "example.net"}}}, Release: mail.Release{At: at}}
	d := store.Delivery{Account: of, Use: store.UseOutbox, Own: true, Flags: store.Seen, Waits: f.queue.Waits(f.queue.NewID(), e)}
	if _, err := f.s.Store.Deliver(f.t.Context(), storetest.Arrival(f.t, f.s.Store, "Subject: "+subject+"\r\n\r\ntext\r\n"), []store.Delivery{d}); err != nil {
		f.t.Fatal(err)
	}
}

// TestOutbox: what waits is taken back or sent at once, each his own, and nothing twice.
func TestOutbox(t *testing.T) {
	f := newFull(t)
	f.want("/account/outbox", nil, 200, "Nothing waits")
	f.want("/account/outbox/back", url.Values{"uid": {"1"}}, 409, "waits no more")
	later := time.Now().Add(time.Hour)
	f.wait(alice, mail.Address{Local: "alice", Domain: "mail.test"}, "first <b>", later)
	f.wait(alice, mail.Address{Local: "alice", Domain: "mail.test"}, "second", later.Add(time.Hour))
	f.wait(bob, mail.Address{Local: "bob", Domain: "mail.test"}, "bobs", later)
	body, _ := f.want("/account/outbox", nil, 200, "first &lt;b&gt;", "second", "yan@example.net")
	if strings.Contains(body, "bobs") {
		t.Error("bob's Outbox is shown")
	}
	f.want("/account/outbox?page=9223372036854775807", nil, 200, "second")
	if p, err := f.admin.OutboxPage(t.Context(), "alice", 1, 1); err != nil || p.Total != 2 || len(p.Messages) != 1 || p.Messages[0].Subject != "second" {
		t.Errorf("%+v, %v", p, err)
	}
	uid := regexp.MustCompile(`name="uid" value="(\d+)"`).FindStringSubmatch(body)[1]
	f.want("/account/outbox/back", url.Values{"uid": {uid}}, 303)
	f.want("/account/outbox/back", url.Values{"uid": {uid}}, 409, "waits no more")
	f.want("/account/outbox/back", url.Values{"uid": {"x"}}, 404)
	if rows := storetest.Rows(t, f.s.Store, alice, "Drafts"); len(rows) != 1 {
		t.Errorf("%d drafts", len(rows))
	}
	body, _ = f.want("/account/outbox", nil, 200, "second")
	uid = regexp.MustCompile(`name="uid" value="(\d+)"`).FindStringSubmatch(body)[1]
	if err := f.admin.Suspend(t.Context(), alice, "looks stolen"); err != nil {
		t.Fatal(err)
	}
	f.want("/account/outbox", nil, 200, "held by the postmaster")
	f.want("/account/outbox/now", url.Values{"uid": {uid}}, 409, "cannot be sent now")
	f.want("/account/sending", nil, 200, "You may not send at present", "looks stolen")
	f.as("bob")
	f.want("/account/outbox", nil, 200, "bobs")
	f.want("/account/outbox/now", url.Values{"uid": {"1"}}, 303)
	items, err := f.queue.Outbox(t.Context(), f.outboxOf(bob))
	if err != nil || len(items) != 1 || items[1][0].Due.After(time.Now()) {
		t.Errorf("%+v, %v", items, err)
	}
}

func (f *full) outboxOf(id mail.AccountID) store.Mailbox {
	f.t.Helper()
	b, err := f.s.Store.Special(f.t.Context(), id, store.UseOutbox)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// TestSending: limits with what is used, and what becomes of messages; a change over another one is not made.
func TestSending(t *testing.T) {
	f := newFull(t)
	body, _ := f.want("/account/sending", nil, 200, "Messages within an hour", "200", "no limit")
	version := regexp.MustCompile(`name="version" value="([^"]+)"`).FindStringSubmatch(body)[1]
	f.want("/account/sending", url.Values{"hold": {"30s"}, "copy": {"on"}, "version": {version}}, 303)
	f.want("/account/sending", nil, 200, `value="30s" selected`, `value="on" selected`)
	f.want("/account/sending", url.Values{"hold": {"house"}, "copy": {"house"}, "version": {version}}, 409, "changed meanwhile")
	f.want("/account/sending", url.Values{"hold": {"a year"}, "copy": {"on"}}, 404)
	if a, err := f.admin.Account(t.Context(), "bob"); err != nil || a.Hold != "" {
		t.Error(a.Hold, err)
	}
}

// TestPasswordApps: a new password leaves app passwords, says so, and ends them when it is asked to.
func TestPasswordApps(t *testing.T) {
	h := newHouse(t)
	path := "/account/password"
	if body, _ := h.want(path, nil, 200); strings.Contains(body, "app passwords</label>") {
		t.Error("there is nothing to end")
	}
	h.want(appsPath, url.Values{"name": {"old phone"}, "imap": {"1"}, "ends": {"0"}, "password": {authtest.Password}}, 200)
	h.want(path, nil, 200, "Also end all app passwords", "old phone")
	form := url.Values{"old": {authtest.Password}, "new": {"another password"}, "again": {"another password"}}
	if _, header := h.want(path, form, 303); header.Get("Location") != "/account/?done=password" {
		t.Error(header.Get("Location"))
	}
	left := func() int {
		all, err := h.admin.AppPasswords(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if left() != 1 {
		t.Fatal("it was ended without being asked")
	}
	form = url.Values{"old": {"wrong"}, "new": {"a third password"}, "again": {"a third password"}, "apps": {"1"}}
	h.want(path, form, 422, `name="apps" value="1" checked`)
	if left() != 1 {
		t.Fatal("a wrong password ended it")
	}
	form.Set("old", "another password")
	h.renewed = 0
	if _, header := h.want(path, form, 303); header.Get("Location") != "/account/?done=password-alone" || h.renewed != 1 {
		t.Error(header.Get("Location"), h.renewed)
	}
	if left() != 0 {
		t.Error("it was not ended")
	}
}
