package housetest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// submissionFrom is a session on port 587 of a client at this address.
func (h *house) submissionFrom(ip, user string) *gosmtp.Client {
	h.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	nc, err := d.DialContext(h.t.Context(), "tcp", h.doors["submission"])
	if err != nil {
		h.t.Fatal(err)
	}
	check(h.t, nc.SetDeadline(time.Now().Add(patience)))
	h.t.Cleanup(func() { nc.Close() })
	c, err := gosmtp.NewClientStartTLS(nc, h.trust())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := c.Auth(gosasl.NewPlainClient("", user, password)); err != nil {
		h.t.Fatal(err)
	}
	return c
}

// refusal compares what a refusal says.
func refusal(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("taken, want %q", want)
		return
	}
	contains(t, err.Error(), want...)
}

// TestSendingLimits: over the door, by a program of this machine, over a restart; who must know is told once, and the operator sees it.
func TestSendingLimits(t *testing.T) {
	s := newStreet(t)
	h := s.build("[sending]\nmessages_per_hour = 3\nrecipients_per_hour = 5\nprogram_recipients_per_hour = 2\n", "admin@one.test", "alice@one.test")
	s.build("", "ben@other.test", "carla@other.test", "dora@other.test")
	h.send("alice@one.test", "first", "ben@other.test", "carla@other.test", "dora@other.test", "admin@one.test")
	c := h.submission("alice@one.test")
	check(t, c.Mail("alice@one.test", nil))
	check(t, c.Rcpt("ben@other.test", nil))
	check(t, c.Rcpt("carla@other.test", nil))
	check(t, c.Rcpt("admin@one.test", nil)) // inside the house
	refusal(t, c.Rcpt("dora@other.test", nil), "Too much: alice@one.test has reached the limit of recipients outside an hour (5); there is room again from ")
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, text("alice@one.test", "second", "ben@other.test"))
	check(t, w.Close())
	h.send("alice@one.test", "third, inside", "admin@one.test")
	refusal(t, h.submission("alice@one.test").Mail("alice@one.test", nil), "limit of messages an hour (3)")

	alice, operator := h.reader("alice@one.test"), h.reader("admin@one.test")
	alice.awaits(2, "reached a limit")
	operator.awaits(2, "A limit of sending was reached: alice@one.test")
	contains(t, operator.body(operator.awaits(2, "A limit of sending")[0]), "posthouse account limits alice@one.test", "posthouse account send alice@one.test off")
	told := ""
	for _, x := range h.traced("alice@one.test", story.Refused) {
		told += event(x, story.Refused)
	}
	contains(t, told, "452", "limit of messages an hour", "dora@other.test")

	h.stop()
	h.start()
	refusal(t, h.submission("alice@one.test").Mail("alice@one.test", nil), "limit of messages an hour (3)")
	verbs := h.Daemon.House()
	used, err := verbs.AccountLimits(t.Context(), "alice@one.test")
	if err != nil || used.Limits[0].Used != 3 || used.Limits[2].Used != 5 || used.Refused < 2 {
		t.Errorf("%+v %v", used, err)
	}
	if _, err := verbs.SetAccountLimits(t.Context(), "alice@one.test", admin.SendChange{"messages_per_hour": 4}); err != nil {
		t.Fatal(err)
	}
	h.send("alice@one.test", "with a limit of her own", "admin@one.test")
	if _, err := verbs.SetAccountLimits(t.Context(), "alice@one.test", admin.SendChange{"messages_per_hour": admin.LimitNone}); err != nil {
		t.Fatal(err)
	}
	if _, err := verbs.SetDomainLimits(t.Context(), "one.test", admin.SendChange{"messages_per_day": 1}); err != nil {
		t.Fatal(err)
	}
	h.send("admin@one.test", "the domain's last", "alice@one.test")
	refusal(t, h.submission("alice@one.test").Mail("alice@one.test", nil), "the domain one.test has reached the limit of messages a day (1)")

	for i := range 2 {
		if _, err := h.handIn("shop", fmt.Sprint("receipt ", i), "ben@other.test"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = h.handIn("shop", "receipt 3", "ben@other.test")
	refusal(t, err, "shop has reached the limit of recipients outside an hour (2)")
	if _, err = h.handIn("cron", "inside", "admin@one.test"); err != nil {
		t.Error(err)
	}
}

// TestStolenPassword: many strangers from a new network; the account sends no more, reads on, and the postmaster lifts it.
func TestStolenPassword(t *testing.T) {
	s := newStreet(t)
	h := s.build("[sending]\nsuspend_at = 4\n", "admin@one.test", "alice@one.test", "bob@one.test")
	s.build("", "ben@other.test", "c1@other.test", "c2@other.test", "c3@other.test", "c4@other.test", "c5@other.test")
	h.send("alice@one.test", "at home", "ben@other.test")
	h.ahead.Store(int64(25 * time.Hour))
	thief := h.submissionFrom("127.9.9.9", "alice@one.test")
	check(t, thief.SendMail("alice@one.test", []string{"ben@other.test"}, strings.NewReader(text("alice@one.test", "known", "ben@other.test"))))
	strangers := []string{"c1@other.test", "c2@other.test", "c3@other.test", "c4@other.test"}
	err := thief.SendMail("alice@one.test", strangers, strings.NewReader(text("alice@one.test", "junk", strangers...)))
	refusal(t, err, "alice@one.test may not send since", "wrote to 4 recipients within an hour", "127.9.9.0/24", "postmaster@one.test")
	refusal(t, h.submission("alice@one.test").Mail("alice@one.test", nil), "may not send since")
	h.send("bob@one.test", "others go on", "ben@other.test")

	alice, operator := h.reader("alice@one.test"), h.reader("admin@one.test") // reading goes on
	contains(t, alice.body(alice.awaits(1, "cannot send mail any more")[0]), "127.9.9.0/24", "change it at once")
	contains(t, operator.body(operator.awaits(1, "password may be stolen")[0]), "posthouse account send alice@one.test on", "posthouse account passwd alice@one.test")
	status, err := h.Daemon.Status(t.Context())
	if err != nil || len(status.SendingOff) != 1 || status.SendingOff[0] != "alice@one.test" {
		t.Errorf("%+v %v", status, err)
	}
	h.stop()
	h.start()
	refusal(t, h.submission("alice@one.test").Mail("alice@one.test", nil), "may not send since")
	if _, err := h.Daemon.House().SetSending(t.Context(), "alice@one.test", admin.SendSwitch{On: true}); err != nil {
		t.Fatal(err)
	}
	again := h.submissionFrom("127.9.9.9", "alice@one.test")
	check(t, again.SendMail("alice@one.test", strangers, strings.NewReader(text("alice@one.test", "it was me", strangers...))))
}

// TestSuppressed: an address that did not exist is refused with what was said, until it writes, or the postmaster takes it off.
func TestSuppressed(t *testing.T) {
	s := newStreet(t)
	a, b := s.build("", "alice@one.test", "bob@one.test"), s.build("", "ben@other.test")
	s.proves("other.test")
	alice := a.reader("alice@one.test")
	a.send("alice@one.test", "to nobody", "late@other.test")
	alice.awaits(1, "could not be delivered")
	refusal(t, a.eventually(func() error { return a.rcpt("alice@one.test", "late@other.test") }), "late@other.test did not exist when it was tried on", "No such address here", "posthouse suppression remove late@other.test")
	if err := a.rcpt("bob@one.test", "late@other.test"); err != nil {
		t.Errorf("another sender: %v", err)
	}
	found := a.traced("late@other.test", story.Refused)
	contains(t, event(found[0], story.Refused), "550", "did not exist")
	list, err := a.Daemon.House().Suppressions(t.Context(), false)
	if err != nil || len(list) != 1 || list[0].Status != "5.1.1" || list[0].Host != "mx.other.test" {
		t.Errorf("%+v %v", list, err)
	}

	if _, err := b.Daemon.House().AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"late@other.test"}, Password: password}); err != nil {
		t.Fatal(err)
	}
	b.send("late@other.test", "I am here now", "alice@one.test")
	alice.awaits(1, "I am here now")
	if err := a.eventually(func() error {
		if err := a.rcpt("alice@one.test", "late@other.test"); err == nil {
			return context.Canceled
		}
		return nil
	}); err == nil {
		t.Error("who writes is still taken for nobody")
	}

	a.alias("old@one.test", "gone@other.test")
	a.send("alice@one.test", "through an alias", "old@one.test")
	alice.awaits(2, "could not be delivered")
	a.Daemon.House().AddSuppression(t.Context(), admin.Suppress{Address: "gone@other.test", Note: "left"})
	c := a.smtp()
	c.say("MAIL FROM:<ben@other.test>")
	c.want("250 ")
	c.say("RCPT TO:<old@one.test>")
	c.want("550 5.1.1 ")
	refusal(t, a.rcpt("bob@one.test", "gone@other.test"), "The postmaster here lets no mail go to gone@other.test: left")
	check(t, a.Daemon.House().RemoveSuppression(t.Context(), "gone@other.test"))
	if err := a.rcpt("bob@one.test", "gone@other.test"); err != nil {
		t.Error(err)
	}
}

// rcpt asks whether a user may write to an address, and sends nothing.
func (h *house) rcpt(from, to string) error {
	h.t.Helper()
	c := h.submission(from)
	defer c.Close()
	check(h.t, c.Mail(from, nil))
	return c.Rcpt(to, nil)
}

// eventually asks until there is an error.
func (h *house) eventually(ask func() error) (err error) {
	for end := time.Now().Add(patience); err == nil && time.Now().Before(end); {
		err = ask()
	}
	return err
}

// TestForwardLimits: an alias is no cannon; what is too much waits at its sender.
func TestForwardLimits(t *testing.T) {
	s := newStreet(t)
	h := s.build("[sending]\nforwards_per_hour = 2\n", "admin@one.test", "alice@one.test")
	b := s.build("", "ben@other.test")
	h.alias("out@one.test", "ben@other.test")
	ben := b.reader("ben@other.test")
	for i := range 2 {
		h.send("alice@one.test", fmt.Sprint("on its way ", i), "out@one.test")
	}
	ben.awaits(2, "on its way")
	c := h.smtp()
	c.say("MAIL FROM:<stranger@far.test>")
	c.want("250 ")
	c.say("RCPT TO:<out@one.test>")
	c.want("452 4.7.1 ")
	c.say("RCPT TO:<alice@one.test>")
	c.want("250 ")
	operator := h.reader("admin@one.test")
	operator.awaits(1, "A limit of sending was reached: forwarding to ben@other.test")
	if u, err := h.Daemon.House().AccountLimits(t.Context(), "alice@one.test"); err != nil || u.Limits[2].Used != 0 {
		t.Errorf("the alias' mail counts as alice's: %+v %v", u, err)
	}
}

// TestBackscatter: a forged message to an alias whose member refuses it; the victim hears nothing, the postmaster has the message.
func TestBackscatter(t *testing.T) {
	s := newStreet(t)
	h := s.build("", "admin@one.test", "alice@one.test")
	victim, proven := s.build("", "victim@forged.test"), s.build("", "zoe@proven.test")
	s.build("", "ben@other.test")
	if err := s.zone.Add(`forged.test. IN TXT "v=spf1 ip4:192.0.2.1 -all"`); err != nil {
		t.Fatal(err)
	}
	s.proves("proven.test", "one.test")
	h.alias("out@one.test", "gone@other.test", "alice@one.test")
	send := func(from, subject string) {
		c := h.smtp()
		for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<out@one.test> NOTIFY=SUCCESS,FAILURE,DELAY"} {
			c.say("%s", line)
			c.want("250 ")
		}
		c.say("DATA")
		c.want("354 ")
		c.say("From: %s\r\nSubject: %s\r\n\r\nall of the text\r\n.", from, subject)
		c.want("250 ")
	}
	alice, operator := h.reader("alice@one.test"), h.reader("admin@one.test")
	send("victim@forged.test", "buy this")
	alice.awaits(1, "buy this")
	contains(t, operator.body(operator.awaits(1, "its sender not told")[0]), "A message from <victim@forged.test>", "gone@other.test", "all of the text")
	told := h.traced("victim@forged.test", story.Failed, story.Unreported)
	contains(t, event(told[0], story.Unreported), "nothing proves")
	quiet(t, h, victim)
	victim.reader("victim@forged.test").awaits(0, "")

	if _, err := h.Daemon.House().AddAlias(t.Context(), admin.Alias{Address: "out@one.test", Members: []string{"gone2@other.test", "alice@one.test"}}); err != nil {
		t.Fatal(err)
	}
	send("zoe@proven.test", "an honest letter")
	zoe := proven.reader("zoe@proven.test")
	zoe.awaits(1, "could not be delivered")
}

// TestUselessMX: hosts that cannot be the right ones: the class of the failure, and a line in the story.
func TestUselessMX(t *testing.T) {
	s := newStreet(t)
	h := s.build("", "alice@one.test")
	other := s.build("", "ben@other.test")
	for _, line := range []string{
		"private.test. IN MX 10 mx.private.test.", "mx.private.test. IN A 10.1.2.3",
		"local.test. IN MX 10 mx.local.test.", "mx.local.test. IN A 0.0.0.0",
		"null.test. IN MX 0 .", "nohost.test. IN MX 10 nothing.test.",
	} {
		check(t, s.zone.Add(line))
	}
	check(t, s.zone.Add("loop.test. IN MX 10 "+other.name+"."))
	for _, c := range []struct {
		domain string
		step   story.Step
		want   []string
	}{
		{"private.test", story.Attempted, []string{"10.1.2.3", "private address"}},
		{"local.test", story.Failed, []string{"0.0.0.0", "not a host's address"}},
		{"null.test", story.Failed, []string{"556", "takes no mail"}},
		{"nohost.test", story.Attempted, []string{"nothing.test has no address"}},
		{"loop.test", story.Failed, []string{"550", "does not relay"}}, // the host that it names does not know it
	} {
		h.send("alice@one.test", "to "+c.domain, "x@"+c.domain)
		contains(t, event(h.traced("x@"+c.domain, c.step)[0], c.step), c.want...)
	}
}

// handIn hands a message in as a user of this machine does, with posthouse sendmail.
func (h *house) handIn(user, subject string, to ...string) (receipt string, err error) {
	h.t.Helper()
	c, err := api.Dial(h.t.Context(), h.data())
	if err != nil {
		h.t.Fatal(err)
	}
	return c.Submit(h.t.Context(), api.Message{From: "admin@one.test", Recipients: to, User: user}, strings.NewReader("Subject: "+subject+"\n\nx\n"))
}

// TestRefusedSpool: a program may claim any sender; when its message is refused later, somebody of the house hears of it, and no stranger.
func TestRefusedSpool(t *testing.T) {
	s := newStreet(t)
	h := s.build("[auth]\ndefault_domain = \"one.test\"\n", "admin@one.test", "alice@one.test")
	victim := s.build("", "victim@other.test")
	h.stop()
	for _, m := range []api.Message{
		{From: "victim@other.test", User: "alice"}, // the user has a mailbox
		{From: "victim@other.test", User: "www-data"},
	} {
		m.Recipients = []string{"nobody@one.test"}
		if _, err := api.Spool(h.data(), m, strings.NewReader("Subject: by "+m.User+"\r\n\r\nx\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	contains(t, h.reader("alice@one.test").body(h.reader("alice@one.test").awaits(1, "Not sent")[0]), "Subject: by alice")
	contains(t, h.reader("admin@one.test").body(h.reader("admin@one.test").awaits(1, "Not sent")[0]), "Subject: by www-data")
	quiet(t, h, victim)
	victim.reader("victim@other.test").awaits(0, "")
}
