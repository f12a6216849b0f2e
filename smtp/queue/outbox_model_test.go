package queue

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// account gives the sender an account with mailboxes.
func (h *house) account() {
	h.t.Helper()
	err := h.db.Update(h.t.Context(), func(tx *kv.Tx) error { return h.store.CreateAccount(tx, 1, store.Quota{}) })
	if err != nil {
		h.t.Fatal(err)
	}
}

// box counts the messages of a mailbox; a mailbox that is not there has none.
func (h *house) box(name string) (id store.MailboxID, uids []store.UID) {
	h.t.Helper()
	if err := h.db.SettleAll(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	b, err := h.store.Mailbox(h.t.Context(), 1, name)
	if err != nil {
		return 0, nil
	}
	for page, err := range h.store.Messages(h.t.Context(), b.ID, []store.UIDRange{{First: 1, Last: 0xfffffffe}}) {
		if err != nil {
			h.t.Fatal(err)
		}
		for _, m := range page {
			uids = append(uids, m.UID)
		}
	}
	return b.ID, uids
}

// later puts a message into the sender's Outbox and returns its id and uid there.
func (h *house) later(e mail.Envelope, content string) (id string, uid store.UID) {
	h.t.Helper()
	id = h.q.NewID()
	w, err := h.store.NewMessage(h.t.Context(), 0)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		h.t.Fatal(err)
	}
	a, err := w.Finish()
	if err != nil {
		h.t.Fatal(err)
	}
	d := store.Delivery{Account: 1, Use: store.UseOutbox, Flags: store.Seen, Waits: h.q.Waits(id, e)}
	if _, err := h.store.Deliver(h.t.Context(), a, []store.Delivery{d}); err != nil {
		h.t.Fatal(err)
	}
	if _, uids := h.box(store.OutboxName); len(uids) > 0 {
		uid = uids[len(uids)-1]
	}
	return id, uid
}

// expunge takes a message out of the Outbox, into Drafts or the bin, and reports whether it was there.
func (h *house) expunge(uid store.UID, draft bool) (bool, error) {
	ctx, one := h.t.Context(), []store.UIDRange{{First: uid, Last: uid}}
	out, err := h.store.Mailbox(ctx, 1, store.OutboxName)
	if err != nil {
		return false, err
	}
	if !draft {
		uids, _, err := h.store.Expunge(ctx, out.ID, one, false)
		return len(uids) == 1, err
	}
	drafts, err := h.store.Mailbox(ctx, 1, "Drafts")
	if err != nil {
		return false, err
	}
	done, _, err := h.store.Move(ctx, out.ID, one, drafts.ID)
	return len(done.To) == 1, err
}

// schedule sends a message that waits for up to an hour.
func (m *model) schedule(h *house, n, arg int) string {
	due := time.Now().Add(time.Duration(1+arg%60) * time.Minute)
	e := envelope(m.t, "alice@sender.test", fmt.Sprintf("d-%d.0@d0.test", n), fmt.Sprintf("ld-%d.1@d1.test", n), fmt.Sprintf("n-%d.2@d1.test", n))
	e.Release = mail.Release{At: due}
	var to []string
	m.mu.Lock()
	for _, r := range e.Recipients {
		m.fate[r.Address.String()] = &fate{from: "alice@sender.test", due: due.Truncate(time.Millisecond)}
		to = append(to, r.Address.String())
	}
	m.mu.Unlock()
	id, uid := h.later(e, sample)
	m.out[uid] = to
	m.scheduled++
	return id
}

// takeBack takes a message out of the Outbox; one time in two at the moment in which it is let go.
func (m *model) takeBack(h *house, arg int) {
	_, uids := h.box(store.OutboxName)
	if len(uids) == 0 {
		return
	}
	uid := uids[arg%len(uids)]
	if arg%2 == 0 {
		m.mu.Lock()
		f := m.fate[m.out[uid][0]]
		m.mu.Unlock()
		if wait := time.Until(f.due); wait > 0 {
			<-time.After(wait)
		}
	}
	done, err := h.expunge(uid, arg%3 == 0)
	if err != nil {
		m.t.Error(err)
	}
	if !done {
		return // too late
	}
	if arg%3 == 0 {
		m.drafts++
	} else {
		m.binned++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, to := range m.out[uid] {
		if f := m.fate[to]; f.delivered+f.reported > 0 {
			m.t.Errorf("%s was taken back, and %+v", to, *f)
		}
		m.fate[to].back = true
	}
}

// checkOutbox: each scheduled message stands in one place.
func (m *model) checkOutbox(h *house) {
	_, out := h.box(store.OutboxName)
	_, sent := h.box("Sent")
	_, drafts := h.box("Drafts")
	if len(out) != 0 || len(drafts) != m.drafts || len(sent) != m.scheduled-m.drafts-m.binned {
		m.t.Errorf("of %d messages %d are in Outbox, %d in Sent, %d in Drafts (want %d), %d were expunged",
			m.scheduled, len(out), len(sent), len(drafts), m.drafts, m.binned)
	}
	if problems, err := h.store.CheckTables(m.t.Context()); err != nil || len(problems) > 0 {
		m.t.Error(err, problems)
	}
}

// TestOutboxRaces: whoever comes first at the moment of the release wins, over many messages.
func TestOutboxRaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{t: t, fate: map[string]*fate{}, held: map[string]bool{}, text: sample, out: map[store.UID][]string{}}
		h := newHouse(t, Options{Hostname: "mail.sender.test"})
		h.account()
		h.run(m)
		for n := range 60 {
			m.schedule(h, n, 0)
			m.takeBack(h, 2*n)
			if n%7 == 0 {
				h.crash()
				h.open()
				h.run(m)
			}
			settled(200 * time.Millisecond)
			m.check(h)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		m.check(h)
		m.checkOutbox(h)
		t.Logf("%d of %d were taken back in time", m.drafts+m.binned, m.scheduled)
	})
}

// TestCheckOutbox: what a repair could not bring back is named, and what is in the queue is sent all the same.
func TestCheckOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.sender.test"})
		h.account()
		e := envelope(t, "alice@sender.test", "a@far.test", "b@away.test")
		e.Release.At = time.Now().Add(time.Hour)
		_, uid := h.later(e, sample)
		h.later(e, sample)
		box, _ := h.box(store.OutboxName)
		key := []byte{0, 0, byte(box >> 8), byte(box), 0, 0, 0, byte(uid)}
		err := h.db.Update(t.Context(), func(tx *kv.Tx) error {
			tx.Delete("c", key)
			for n := range uint64(2) { // of the second message
				h.q.put(tx, 3+n, 0, nil)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		problems, err := h.q.CheckOutbox(t.Context())
		text := strings.Join(problems, "\n")
		if err != nil || len(problems) != 3 || strings.Count(text, "the sender's Outbox does not show it") != 2 || !strings.Contains(text, "message 2 of mailbox") {
			t.Error(err, text)
		}
		c := &carrier{deliver: func(a Attempt) Outcome {
			return Fail(len(a.Envelope.Recipients), Result{Verdict: Done, Code: 250, Status: "2.0.0"})
		}}
		h.run(c)
		settled(2 * time.Hour)
		if c.count("a@far.test") != 1 || c.count("b@away.test") != 1 {
			t.Error(c.tried)
		}
	})
}

// TestLifeBeginsWithRelease: the delay is told, and the message given up, counted from its release; mail from <> after a day.
func TestLifeBeginsWithRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.alpha.test"})
		begin := time.Now()
		var tried, told []time.Duration
		var nulls []time.Duration
		c := &carrier{}
		c.deliver = func(a Attempt) Outcome {
			at := time.Since(begin)
			switch {
			case a.Domain == "sender.test":
				told = append(told, at)
				return Fail(1, Result{Verdict: Done, Handoff: Delivered})
			case a.Envelope.From.IsNull():
				nulls = append(nulls, at)
			default:
				tried = append(tried, at)
			}
			return Fail(1, Result{Verdict: Later, Code: 451, Status: "4.3.0"})
		}
		h.run(c)
		e := envelope(t, "alice@sender.test", "a@far.test")
		e.Release = mail.Release{At: begin.Add(48 * time.Hour), Asked: "for;172800"}
		h.send(e, sample)
		h.send(envelope(t, "", "b@other.test"), sample)
		if it := h.list(); !h.q.Expires(it[1]).Equal(e.Release.At.Add(5*24*time.Hour)) || !h.q.Expires(it[0]).Equal(begin.Add(24*time.Hour)) {
			t.Error(h.q.Expires(it[0]), h.q.Expires(it[1]))
		}
		settled(8 * 24 * time.Hour)
		hour := time.Hour
		if tried[0] != 48*hour || tried[len(tried)-1].Round(hour) != (5*24+48)*hour {
			t.Error(tried[0], tried[len(tried)-1])
		}
		if len(told) != 2 || told[0].Round(hour) != 52*hour || told[1].Round(hour) != (5*24+48)*hour {
			t.Error(told)
		}
		if nulls[len(nulls)-1].Round(hour) != 24*hour {
			t.Error(nulls)
		}
	})
}

// A message that leaves the Outbox says nothing of the host it goes to: what fails goes on failing, and a stranger stays one.
func TestReleaseSaysNothingOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{DelayAfter: -1})
		h.account()
		h.run(&carrier{deliver: func(a Attempt) Outcome {
			return Fail(len(a.Envelope.Recipients), Result{Verdict: Later, Status: "4.4.1", Text: "no answer", Host: HostDown})
		}})
		h.send(envelope(t, "alice@sender.test", "carol@beta.test"), sample)
		e := envelope(t, "alice@sender.test", "dora@beta.test")
		e.Release.At = time.Now().Add(3 * time.Minute)
		h.later(e, sample)
		settled(4 * time.Minute)
		if _, sent := h.box("Sent"); len(sent) != 1 {
			t.Fatal("it is still in the Outbox")
		}
		h.q.mu.Lock()
		defer h.q.mu.Unlock()
		if host := h.q.sched.hosts[hostKey{name: "mx.beta.test"}]; host == nil || host.failures != 2 || len(h.q.sched.known) != 0 {
			t.Errorf("%+v, known %v", host, h.q.sched.known)
		}
	})
}

// One domain's entry is sent before its time, and takes the message with it: the life of the others begins now too.
func TestSendNowForOneDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.sender.test"})
		h.account()
		k := &carrier{deliver: func(a Attempt) Outcome {
			if a.Domain == "sender.test" {
				return Fail(1, Result{Verdict: Done})
			}
			return Fail(len(a.Envelope.Recipients), Result{Verdict: Later, Code: 450, Status: "4.2.0"})
		}}
		h.run(k)
		e := envelope(t, "alice@sender.test", "carol@beta.test", "dora@gamma.test")
		e.Release = mail.Release{At: time.Now().Add(60 * 24 * time.Hour), Asked: "for;5184000"}
		h.later(e, sample)
		if n, err := h.q.SendNow(t.Context(), Filter{Domain: "gamma.test"}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		settled(6 * 24 * time.Hour)
		if left := h.list(); len(left) != 0 {
			t.Errorf("%d are still tried, until %v", len(left), h.q.Expires(left[0]))
		}
		if n := k.count("alice@sender.test"); n != 4 { // late, then failed, for each
			t.Errorf("alice heard %d times", n)
		}
	})
}
