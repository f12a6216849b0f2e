package submission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// away takes all mail for elsewhere.
type away struct {
	mu   sync.Mutex
	took []string // recipient, then the text
}

func (a *away) Route(context.Context, queue.Stream) (queue.Route, error) {
	return queue.Route{Host: "mx.away.test"}, nil
}

func (a *away) Deliver(_ context.Context, _ queue.Route, at queue.Attempt) queue.Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	text, _ := io.ReadAll(at.Content)
	for _, r := range at.Envelope.Recipients {
		a.took = append(a.took, r.Address.String()+"\n"+string(text))
	}
	return queue.Fail(len(at.Envelope.Recipients), queue.Result{Verdict: queue.Done, Code: 250, Status: "2.0.0"})
}

func (a *away) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.took)
}

// run starts the queue until the test ends.
func (r *rig) run(t *testing.T) *away {
	a := &away{}
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := r.queue.Run(ctx, r.desk.o.Local.Transport(), a); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); done.Wait() })
	return a
}

// sends has alice send text to the recipients.
func (r *rig) sends(t *testing.T, text string, release mail.Release, to ...string) error {
	t.Helper()
	s := r.desk.Session(t.Context(), smtp.Peer{Hello: "web", Extended: true}, auth.Identity{Account: r.ids["alice"], Main: address(t, "alice@alpha.test")})
	defer s.Logout()
	err := s.Mail("alice@alpha.test", &gosmtp.MailOptions{})
	s.(smtp.Holder).Hold(release)
	for _, a := range to {
		err = errors.Join(err, s.Rcpt(a, &gosmtp.RcptOptions{}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Data(strings.NewReader(text))
}

// has counts somebody's messages in a mailbox, which may not be there.
func (r *rig) has(t *testing.T, who, mailbox string) []store.Message {
	t.Helper()
	boxes, err := r.store.Mailboxes(t.Context(), r.ids[who])
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range boxes {
		if b.Name == mailbox && b.ID != 0 {
			return storetest.Rows(t, r.store, r.ids[who], mailbox)
		}
	}
	return nil
}

func (r *rig) items(t *testing.T) []queue.Item {
	t.Helper()
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// now brings a rig to the time of the test.
func (r *rig) now(change func(o *Options)) {
	r.desk.o.Now = time.Now
	change(&r.desk.o)
}

const plain = "From: alice@alpha.test\r\nTo: bob@alpha.test\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\nMessage-ID: <1@alpha.test>\r\nSubject: x\r\n\r\nhello\r\n"

func TestHeldAndSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.now(func(o *Options) { o.Hold = 30 * time.Second })
		a := r.run(t)
		if err := r.sends(t, plain, mail.Release{}, "bob@alpha.test", "carol@beta.test", "dora@away.test"); err != nil {
			t.Fatal(err)
		}
		<-time.After(29 * time.Second)
		synctest.Wait()
		out := r.has(t, "alice", "Outbox")
		if len(out) != 1 || len(r.has(t, "bob", "INBOX")) != 0 || a.count() != 0 || len(r.items(t)) != 3 || !r.items(t)[0].Waits {
			t.Fatal("before its time:", out, r.items(t), a.took)
		}
		if got := storetest.Text(t, r.store, out[0]); !strings.Contains(got, "\r\nBcc: carol@beta.test,") && !strings.Contains(got, "Bcc: <carol@beta.test>") {
			t.Error("who gets a blind copy:", got)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		sent, inbox := r.has(t, "alice", "Sent"), r.has(t, "bob", "INBOX")
		if len(r.has(t, "alice", "Outbox")) != 0 || len(sent) != 1 || len(inbox) != 1 || len(r.has(t, "carol", "INBOX")) != 1 || a.count() != 1 || len(r.items(t)) != 0 {
			t.Fatal("behind its time:", sent, inbox, a.took, r.items(t))
		}
		if sent[0].Flags&store.Seen == 0 || strings.Contains(storetest.Text(t, r.store, inbox[0])+a.took[0], "Bcc") {
			t.Error("it went out with its blind copies, or stands unseen in Sent:", a.took)
		}
	})
}

func TestTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.now(func(o *Options) {})
		a := r.run(t)
		later := mail.Release{At: time.Now().Add(time.Hour), Asked: "for;3600"}
		if err := r.sends(t, plain, later, "bob@alpha.test", "dora@away.test"); err != nil {
			t.Fatal(err)
		}
		drafts, err := r.store.Mailbox(t.Context(), r.ids["alice"], "Drafts")
		if err != nil {
			t.Fatal(err)
		}
		out := r.has(t, "alice", "Outbox")
		one := []store.UIDRange{{First: out[0].UID, Last: out[0].UID}}
		if _, _, err := r.store.Move(t.Context(), out[0].Mailbox, one, drafts.ID); err != nil || len(r.items(t)) != 0 {
			t.Error("taken back:", err, r.items(t))
		}
		// The postmaster cancels the next one: it is a draft again, and alice hears of it. Retry lets none go early, SendNow does.
		if err := r.sends(t, plain, later, "bob@alpha.test", "dora@away.test"); err != nil {
			t.Fatal(err)
		}
		ids := queue.Filter{IDs: []string{r.items(t)[0].ID}}
		if _, err := r.queue.Retry(t.Context(), ids); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if n, err := r.queue.Cancel(t.Context(), ids, true); n != 2 || err != nil || len(r.has(t, "alice", "Drafts")) != 2 || len(r.has(t, "alice", "Outbox")) != 0 {
			t.Error(n, err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if got := r.newest(t, "alice"); !strings.Contains(got, "cancelled by the postmaster") || !strings.Contains(got, "\r\nFuture-Release-Request: for;3600\r\n") {
			t.Error(got)
		}
		if err := r.sends(t, plain, later, "bob@alpha.test", "dora@away.test"); err != nil {
			t.Fatal(err)
		}
		ids.IDs = []string{r.items(t)[0].ID}
		if n, err := r.queue.SendNow(t.Context(), ids); n != 2 || err != nil {
			t.Error(n, err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if len(r.has(t, "bob", "INBOX")) != 1 || a.count() != 1 || len(r.has(t, "alice", "Sent")) != 1 {
			t.Error(a.took, r.items(t))
		}
	})
}

// TestWithoutAccount: a device has no Outbox; its message waits all the same, and nobody sees it.
func TestWithoutAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.now(func(o *Options) { o.Hold = time.Minute })
		r.run(t)
		s, err := r.desk.NewSession(t.Context(), smtp.Peer{Hello: "printer", Remote: netip.MustParseAddrPort("192.0.2.7:1")})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(s.Mail("printer@alpha.test", &gosmtp.MailOptions{}), s.Rcpt("bob@alpha.test", &gosmtp.RcptOptions{}))
		s.(smtp.Holder).Hold(mail.Release{At: time.Now().Add(time.Hour), Asked: "for;3600"})
		err = errors.Join(err, s.Data(strings.NewReader("Subject: page\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(59 * time.Minute)
		synctest.Wait()
		if len(r.has(t, "bob", "INBOX")) != 0 || len(r.items(t)) != 1 {
			t.Error("before its time", r.items(t))
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if len(r.has(t, "bob", "INBOX")) != 1 {
			t.Error(r.items(t))
		}
	})
}

// TestSentCopy: the sender's copy comes with the message, in one record where it has the same form.
func TestSentCopy(t *testing.T) {
	r := newRig(t)
	r.now(func(o *Options) { o.SentCopy = true })
	for i, c := range []struct {
		to    []string
		blind string
	}{
		{[]string{"bob@alpha.test"}, ""},
		{[]string{"bob@alpha.test", "carol@beta.test"}, "carol@beta.test"},
		{[]string{"bob@alpha.test", "dora@away.test"}, "dora@away.test"},
		{[]string{"bob@alpha.test", "alice@alpha.test"}, "alice@alpha.test"},
	} {
		text := strings.Replace(plain, "<1@", fmt.Sprintf("<%d@", i), 1)
		if err := r.sends(t, text, mail.Release{}, c.to...); err != nil {
			t.Fatal(err)
		}
		sent, bob := r.has(t, "alice", "Sent"), r.has(t, "bob", "INBOX")
		if len(sent) != i+1 || len(bob) != i+1 || sent[i].Flags != store.Seen {
			t.Fatal(sent, bob)
		}
		his, hers := storetest.Text(t, r.store, bob[i]), storetest.Text(t, r.store, sent[i])
		if c.blind == "" && (his != hers || bob[i].Place != sent[i].Place) || strings.Contains(his, "Bcc") || strings.Contains(hers, c.blind) != true {
			t.Errorf("%v: bob has\n%s\nalice has\n%s", c.to, his, hers)
		}
		// The client's own copy is the same message.
		client := strings.Replace(text, "Subject", "Bcc: "+c.blind+"\r\nSubject", 1)
		if m := storetest.Message(t, r.store, r.ids["alice"], "Sent", client); m.UID != sent[i].UID {
			t.Errorf("%v: doubled as %d", c.to, m.UID)
		}
	}
	if n := len(r.has(t, "alice", "INBOX")); n != 1 {
		t.Errorf("alice has %d messages", n)
	}
	// Settings of the account come first; <> and a full mailbox leave no copy.
	for _, c := range []struct {
		set  func(*auth.AccountSettings)
		more int
	}{{func(s *auth.AccountSettings) { s.SentCopy = -1 }, 0}, {func(s *auth.AccountSettings) { s.SentCopy = 1 }, 1}} {
		before := len(r.has(t, "alice", "Sent"))
		r.set(t, c.set)
		text := strings.Replace(plain, "<1@", fmt.Sprintf("<set%d@", c.more), 1)
		if err := r.sends(t, text, mail.Release{}, "bob@alpha.test"); err != nil || len(r.has(t, "alice", "Sent")) != before+c.more {
			t.Error(err, c.more)
		}
	}
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error { return r.store.SetQuota(tx, r.ids["alice"], store.Quota{Bytes: 10}) })
	if err != nil {
		t.Fatal(err)
	}
	before := len(r.has(t, "alice", "Sent"))
	if err := r.sends(t, plain, mail.Release{}, "bob@alpha.test"); err != nil || len(r.has(t, "alice", "Sent")) != before {
		t.Error("over quota:", err)
	}
	var refused *gosmtp.SMTPError
	if err := r.sends(t, plain, mail.Release{At: time.Now().Add(time.Hour), Asked: "for;3600"}, "bob@alpha.test"); !errors.As(err, &refused) || refused.Code != 452 {
		t.Error("over quota it may not wait:", err)
	}
}

func (r *rig) set(t *testing.T, change func(*auth.AccountSettings)) {
	t.Helper()
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		return r.desk.o.Directory.Configure(tx, r.ids["alice"], func(s *auth.AccountSettings) error { change(s); return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What an account schedules from <> stands in its Outbox too: its quota and its number are bounded there, and what is held when the account
// is kept from sending. A read receipt, which asks for no time, goes at once.
func TestScheduledWithoutSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.now(func(o *Options) { o.Hold, o.SentCopy = 30*time.Second, true })
		a := r.run(t)
		for _, asked := range []string{"", "for;3600"} {
			s := r.desk.Session(t.Context(), smtp.Peer{Hello: "web", Extended: true}, auth.Identity{Account: r.ids["alice"], Main: address(t, "alice@alpha.test")})
			err := s.Mail("", &gosmtp.MailOptions{})
			if asked != "" {
				s.(smtp.Holder).Hold(mail.Release{At: time.Now().Add(time.Hour), Asked: asked})
			}
			if err := errors.Join(err, s.Rcpt("dora@away.test", &gosmtp.RcptOptions{}), s.Data(strings.NewReader(plain)), s.Logout()); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
			synctest.Wait()
			if out, sent := r.has(t, "alice", "Outbox"), r.has(t, "alice", "Sent"); a.count() != 1 || (len(out) == 1) != (asked != "") || len(sent) != 0 {
				t.Errorf("%q: %d in the Outbox, %d in Sent, %d went", asked, len(out), len(sent), a.count())
			}
		}
		<-time.After(2 * time.Hour)
		synctest.Wait()
		if a.count() != 2 || len(r.items(t)) != 0 {
			t.Errorf("%d went, %d wait", a.count(), len(r.items(t)))
		}
	})
}
