package local

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// rig is a house with alice (alpha.test), bob (alpha.test, a small mailbox) and carol (beta.test); team@alpha.test leads to alice
// and to dora@away.test, out@alpha.test to dora@away.test alone.
type rig struct {
	t     *testing.T
	db    *kv.DB
	store *store.Store
	dir   *auth.Directory
	queue *queue.Queue
	*Carrier
	away []string // what the outside got: "recipient NOTIFY"
	id   map[string]mail.AccountID
}

func newRig(t *testing.T, o Options) *rig {
	r := &rig{t: t, id: map[string]mail.AccountID{}}
	r.store, r.db = storetest.New(t, func(db *kv.DB, s *store.Store) {
		var err error
		if r.queue, err = queue.New(db, s, queue.Options{Hostname: "mail.alpha.test"}); err != nil {
			t.Fatal(err)
		}
	})
	r.dir = auth.New(r.db, auth.Options{})
	o.Store, o.Directory, o.Queue = r.store, r.dir, r.queue
	r.Carrier = New(o)
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		for _, d := range []mail.Domain{"alpha.test", "beta.test"} {
			if err := r.dir.PutDomain(tx, auth.Domain{Name: d}); err != nil {
				return err
			}
		}
		for a, quota := range map[string]uint64{"alice@alpha.test": 0, "bob@alpha.test": 1000, "carol@beta.test": 0} {
			id, err := r.dir.CreateAccount(tx, auth.Account{Addresses: []mail.Address{parse(t, a)}, Doors: auth.DoorAll}, auth.Secret{})
			if err != nil {
				return err
			}
			if err := r.store.CreateAccount(tx, id, store.Quota{Bytes: quota}); err != nil {
				return err
			}
			r.id[a] = id
		}
		err := r.dir.PutAlias(tx, auth.Alias{Address: parse(t, "team@alpha.test"), Members: []mail.Address{parse(t, "alice@alpha.test"), parse(t, "dora@away.test")}})
		return errors.Join(err, r.dir.PutAlias(tx, auth.Alias{Address: parse(t, "out@alpha.test"), Members: []mail.Address{parse(t, "dora@away.test")}}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// outside takes what is not ours.
type outside struct{ *rig }

func (o outside) Route(_ context.Context, s queue.Stream) (queue.Route, error) {
	return queue.Route{Host: "mx." + string(s.To)}, nil
}

func (o outside) Deliver(_ context.Context, _ queue.Route, a queue.Attempt) queue.Outcome {
	for _, r := range a.Envelope.Recipients {
		o.away = append(o.away, strings.TrimSpace(r.Address.String()+" "+map[mail.Notify]string{0: "", mail.NotifyNever: "NEVER", mail.NotifySuccess: "SUCCESS",
			mail.NotifyFailure: "FAILURE"}[r.Notify]+" "+r.Original))
	}
	return queue.Fail(len(a.Envelope.Recipients), queue.Result{Verdict: queue.Done, Handoff: queue.Passed})
}

// run runs the queue until the test ends.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.queue.Run(ctx, r.Transport(), outside{r}) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// texts reads all messages of an account's INBOX.
func (r *rig) texts(account string) (out []string) {
	r.t.Helper()
	box, err := r.store.Mailbox(r.t.Context(), r.id[account], "INBOX")
	if err != nil {
		r.t.Fatal(err)
	}
	for rows, err := range r.store.Messages(r.t.Context(), box.ID, []store.UIDRange{{First: 1, Last: 1 << 31}}) {
		if err != nil {
			r.t.Fatal(err)
		}
		for _, m := range rows {
			b, err := r.store.Open(r.t.Context(), m)
			if err != nil {
				r.t.Fatal(err)
			}
			text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
			if err = errors.Join(err, b.Close()); err != nil {
				r.t.Fatal(err)
			}
			out = append(out, string(text))
		}
	}
	return out
}

func (r *rig) waiting() []queue.Item {
	r.t.Helper()
	items, err := r.queue.List(r.t.Context(), queue.Filter{})
	if err != nil {
		r.t.Fatal(err)
	}
	return items
}

const text = "Return-Path: <alice@alpha.test>\r\nSubject: x\r\n\r\nHello\r\n"

// message is one in hand for the recipients; "address SUCCESS" asks for a report.
func (r *rig) message(to ...string) Message {
	r.t.Helper()
	m := Message{ID: r.queue.NewID(), Arrival: storetest.Arrival(r.t, r.store, text), Envelope: mail.Envelope{From: parse(r.t, "alice@alpha.test")}}
	for _, s := range to {
		a, notify, _ := strings.Cut(s, " ")
		x := Recipient{Recipient: mail.Recipient{Address: parse(r.t, a)}}
		if notify == "SUCCESS" {
			x.Notify = mail.NotifySuccess
		}
		route, err := r.dir.Resolve(r.t.Context(), x.Address)
		if err == nil {
			x.Route = route
		} else if !errors.Is(err, auth.ErrNotLocal) {
			r.t.Fatal(err)
		}
		m.To = append(m.To, x)
	}
	return m
}

func (r *rig) deliver(to ...string) {
	r.t.Helper()
	if _, err := r.Deliver(r.t.Context(), r.message(to...)); err != nil {
		r.t.Fatal(err)
	}
	if err := r.db.SettleAll(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func settle(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestMessageInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.deliver("alice@alpha.test", "alice+shop@alpha.test", "team@alpha.test", "carol@beta.test", "x@far.test", "dora@away.test", "out@alpha.test")
		if a, c := r.texts("alice@alpha.test"), r.texts("carol@beta.test"); len(a) != 1 || a[0] != text || len(c) != 1 || c[0] != text {
			t.Errorf("alice has %q, carol %q; want the message once", a, c)
		}
		if items := r.waiting(); len(items) != 2 {
			t.Errorf("the queue has %+v", items)
		}
		r.run()
		settle(time.Second)
		if want := "dora@away.test,x@far.test"; join(r.away) != want {
			t.Errorf("the outside got %q, want %q", join(r.away), want)
		}
		if items := r.waiting(); len(items) != 0 {
			t.Errorf("left: %+v", items)
		}
		m := r.message("nobody@far.test")
		m.To = nil
		if _, err := r.Deliver(t.Context(), m); err == nil {
			t.Error("a message that leads nowhere was taken")
		}
	})
}

func join(s []string) string { return strings.Join(slices.Sorted(slices.Values(s)), ",") }

// Success is told once: by us for mailboxes here and for aliases of several, by the next host for an alias of one.
func TestSuccessReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.run()
		r.deliver("carol@beta.test SUCCESS")
		settle(time.Second)
		if got := r.texts("alice@alpha.test"); len(got) != 1 || !strings.Contains(got[0], "Action: delivered") || !strings.Contains(got[0], "rfc822;carol@beta.test") {
			t.Fatalf("alice got %q", got)
		}
		r.deliver("out@alpha.test SUCCESS")
		r.deliver("team@alpha.test SUCCESS")
		settle(time.Second)
		if got := r.texts("alice@alpha.test"); len(got) != 3 || !strings.Contains(got[1]+got[2], "Action: expanded") { // the message to team and its report
			t.Errorf("alice has %d messages: %q", len(got), got)
		}
		if len(r.away) != 2 || r.away[0] != "dora@away.test SUCCESS out@alpha.test" || r.away[1] != "dora@away.test NEVER team@alpha.test" {
			t.Errorf("the outside got %q", r.away)
		}
	})
}

// enqueue puts a message for the addresses into the queue, although they are ours.
func (r *rig) enqueue(from string, to ...string) {
	r.t.Helper()
	m := r.message()
	m.Envelope.From = mail.Address{}
	for _, a := range to {
		m.To = append(m.To, Recipient{Recipient: mail.Recipient{Address: parse(r.t, a)}})
	}
	if from != "" {
		m.Envelope.From = parse(r.t, from)
	}
	if _, err := r.Deliver(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

func TestOutOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.enqueue("alice@alpha.test", "carol@beta.test", "team@alpha.test", "alice@alpha.test", "nobody@alpha.test")
		r.run()
		settle(time.Second)
		if got := r.texts("carol@beta.test"); len(got) != 1 || got[0] != text {
			t.Errorf("carol has %q", got)
		}
		got := r.texts("alice@alpha.test")
		if len(got) != 2 || got[0] != text || !strings.Contains(got[1], "Status: 5.1.1") || !strings.Contains(got[1], "rfc822;nobody@alpha.test") {
			t.Errorf("alice has %q", got)
		}
		if len(r.away) != 1 || len(r.waiting()) != 0 {
			t.Errorf("the outside got %q; left %+v", r.away, r.waiting())
		}
	})
}

func TestFullMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		big := storetest.Arrival(t, r.store, "Subject: big\r\n\r\n"+strings.Repeat("x", 970)+"\r\n")
		if _, err := r.store.Deliver(t.Context(), big, []store.Delivery{{Account: r.id["bob@alpha.test"], Mailbox: "INBOX"}}); err != nil {
			t.Fatal(err)
		}
		r.enqueue("alice@alpha.test", "bob@alpha.test", "carol@beta.test")
		r.run()
		settle(time.Hour)
		items := r.waiting()
		if len(items) != 1 || items[0].Attempts < 3 || items[0].Results[0].Status != "4.2.2" {
			t.Fatalf("the queue has %+v", items)
		}
		if got := r.texts("carol@beta.test"); len(got) != 1 {
			t.Errorf("carol has %q", got)
		}
		settle(6 * 24 * time.Hour)
		got := r.texts("alice@alpha.test")
		if len(got) != 2 || !strings.Contains(got[0], "Action: delayed") || !strings.Contains(got[1], "Status: 5.2.2") {
			t.Errorf("alice has %q", got)
		}
		if len(r.waiting()) != 0 {
			t.Errorf("left %+v", r.waiting())
		}
	})
}

// A full member of an alias does not keep the mail from the others: as on port 25, its copy overshoots.
func TestAliasWithAFullMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
			return r.dir.PutAlias(tx, auth.Alias{Address: parse(t, "info@alpha.test"), Members: []mail.Address{parse(t, "bob@alpha.test"), parse(t, "carol@beta.test")}})
		})
		if err != nil {
			t.Fatal(err)
		}
		big := storetest.Arrival(t, r.store, "Subject: big\r\n\r\n"+strings.Repeat("x", 970)+"\r\n")
		if _, err := r.store.Deliver(t.Context(), big, []store.Delivery{{Account: r.id["bob@alpha.test"], Mailbox: "INBOX"}}); err != nil {
			t.Fatal(err)
		}
		r.enqueue("alice@alpha.test", "info@alpha.test")
		r.run()
		settle(time.Second)
		if got := r.texts("carol@beta.test"); len(got) != 1 || got[0] != text {
			t.Errorf("carol has %q", got)
		}
		if got := r.texts("bob@alpha.test"); len(got) != 2 || len(r.waiting()) != 0 {
			t.Errorf("bob has %d messages, left %+v", len(got), r.waiting())
		}
	})
}

// An account that was removed between the 250 and the tables: the sender hears of it.
func TestAccountGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.enqueue("", "dora@away.test")
		if err := r.db.SettleAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		it := r.waiting()[0]
		err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
			return r.queue.Orphan(tx, kv.Entry{LSN: it.Place, Body: it.Place, Size: it.Size}, 77)
		})
		if err != nil {
			t.Fatal(err)
		}
		r.run()
		settle(time.Second)
		if got := r.texts("alice@alpha.test"); len(got) != 1 || !strings.Contains(got[0], "the account was removed") || !strings.Contains(got[0], "To: <alice@alpha.test>") {
			t.Errorf("alice has %q", got)
		}
		if len(r.waiting()) != 0 {
			t.Errorf("left %+v", r.waiting())
		}
	})
}

func TestRoute(t *testing.T) {
	r := newRig(t, Options{})
	across := New(Options{Directory: r.dir, Across: true})
	for _, c := range []struct {
		from, to      mail.Domain
		plain, across bool
	}{
		{"alpha.test", "beta.test", true, false},
		{"alpha.test", "alpha.test", true, true},
		{"", "beta.test", true, true}, // reports never cross
		{"far.test", "beta.test", true, true},
		{"alpha.test", "far.test", false, false},
	} {
		_, err := r.Transport().Route(t.Context(), queue.Stream{From: c.from, To: c.to})
		_, err2 := across.Transport().Route(t.Context(), queue.Stream{From: c.from, To: c.to})
		if errors.Is(err, queue.ErrPass) == c.plain || errors.Is(err2, queue.ErrPass) == c.across {
			t.Errorf("%s to %s: %v, across %v", c.from, c.to, err, err2)
		}
	}
}
