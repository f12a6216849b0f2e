package limit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// page is a list over a real store, with a clock of the test's.
type page struct {
	*List
	t   *testing.T
	db  *kv.DB
	now time.Time
}

func newPage(t *testing.T, off bool) *page {
	t.Helper()
	p := &page{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	_, p.db = storetest.New(t, func(db *kv.DB, _ *store.Store) {
		p.List = NewList(ListOptions{DB: db, Off: off, Now: func() time.Time { return p.now }})
	})
	return p
}

func (p *page) after(d time.Duration) { p.now = p.now.Add(d) }

// fails notes that mail from one to another came back.
func (p *page) fails(from, to, status, text string) {
	p.t.Helper()
	f := Failure{To: address(p.t, to), Code: 550, Status: status, Text: text, Host: "mx.far.test"}
	if from != "" {
		f.From = address(p.t, from)
	}
	p.Heard(f)
	p.work(p.t.Context(), false)
}

func (p *page) refuses(from, to string) bool {
	p.t.Helper()
	var a mail.Address
	if from != "" {
		a = address(p.t, from)
	}
	_, no := p.Refuses(p.t.Context(), address(p.t, to), a)
	return no
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		code         int
		status, text string
		want         Class
	}{
		{550, "5.1.1", "5.1.1 <x@far.test>: Recipient address rejected: User unknown in virtual mailbox table", Unknown},
		{550, "5.1.1", "5.1.1 The email account that you tried to reach does not exist. https://support.google.com/mail/?p=NoSuchUser", Unknown},
		{550, "5.1.10", "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", Unknown},
		{550, "5.1.1", "5.1.1 User unknown in relay recipient table", Unknown},
		{551, "5.1.6", "5.1.6 mailbox has moved", Unknown},
		{554, "5.1.1", "5.1.1 rejected for policy reasons", Nothing},
		{550, "5.1.1", "5.1.1 your host is on a block list, user unknown", Nothing},
		{550, "5.7.1", "5.7.1 user unknown", Nothing},
		{552, "5.2.2", "5.2.2 mailbox full", Nothing},
		{550, "5.2.2", "5.2.2 user does not exist", Nothing},
		{552, "5.3.4", "5.3.4 too large", Nothing},
		{550, "5.6.0", "5.6.0 bad content", Nothing},
		{450, "4.1.1", "4.1.1 user unknown", Nothing},
		{550, "5.0.0", "No such user here", Doubtful},
		{550, "5.0.0", "go away", Nothing},
		{550, "5.2.1", "5.2.1 The account is disabled", Doubtful},
		{550, "5.4.1", "5.4.1 Recipient address rejected: Access denied. [x.prod.outlook.com]", Nothing},
		{550, "5.1.0", "5.1.0 <alice@one.test>: Sender address rejected: User unknown in local recipient table", Nothing},
		{550, "5.1.7", "5.1.7 <alice@one.test>: no such user", Nothing},
		{550, "", "<mx.one.test>: Helo command rejected: Host not found", Nothing},
		{550, "", "cannot find your hostname: not found", Nothing},
	} {
		f := Failure{Code: c.code, Status: c.status, Text: c.text, Host: "mx.far.test"}
		if got := Classify(f); got != c.want {
			t.Errorf("%d %s: %d, want %d", c.code, c.text, got, c.want)
		}
		f.Host = ""
		if got := Classify(f); got != Nothing {
			t.Errorf("our own %s: %d", c.text, got)
		}
	}
}

// TestSuppression: for whom, for how long, and how it grows.
func TestSuppression(t *testing.T) {
	p := newPage(t, false)
	const gone = "gone@far.test"
	p.fails("alice@one.test", gone, "5.1.1", "5.1.1 no such user")
	if !p.refuses("alice@one.test", "Gone@FAR.test") || p.refuses("bob@one.test", gone) || p.refuses("alice@one.test", "other@far.test") {
		t.Error("one failure must hold for its sender alone")
	}
	p.after(25 * time.Hour)
	if p.refuses("alice@one.test", gone) {
		t.Error("the first time is over after a day")
	}
	for i, d := range []time.Duration{7 * day, 30 * day, 90 * day, 90 * day} {
		p.fails("alice@one.test", gone, "5.1.1", "5.1.1 no such user")
		if !p.refuses("bob@one.test", gone) || !p.refuses("", gone) {
			t.Errorf("time %d: on a second day it holds for everybody", i)
		}
		p.after(d - time.Minute)
		if !p.refuses("alice@one.test", gone) {
			t.Errorf("time %d: over before %v", i, d)
		}
		p.after(2 * time.Minute)
		if p.refuses("alice@one.test", gone) {
			t.Errorf("time %d: not over after %v", i, d)
		}
	}
	p.fails("alice@one.test", "two@far.test", "5.1.1", "5.1.1 no such user")
	p.fails("bob@one.test", "two@far.test", "5.1.1", "5.1.1 no such user")
	if !p.refuses("carol@one.test", "two@far.test") {
		t.Error("two senders have met it")
	}
	p.fails("SRS0=abc=de=x.test=zoe@one.test", "three@far.test", "5.1.1", "5.1.1 no such user")
	if !p.refuses("", "three@far.test") || p.refuses("alice@one.test", "three@far.test") {
		t.Error("what was forwarded holds for what is forwarded")
	}
}

// TestDoubtful: an answer that says less counts on the third day.
func TestDoubtful(t *testing.T) {
	p := newPage(t, false)
	for d := range 3 {
		for range 5 {
			p.fails("alice@one.test", "maybe@far.test", "5.0.0", "No such user")
		}
		if got := p.refuses("alice@one.test", "maybe@far.test"); got != (d == 2) {
			t.Errorf("day %d: %v", d, got)
		}
		all, err := p.All(t.Context(), false)
		watched, err2 := p.All(t.Context(), true)
		if err != nil || err2 != nil || len(watched) != 1 || len(all) != d/2 {
			t.Errorf("day %d: %v %v", d, all, watched)
		}
		p.after(day)
	}
	p.fails("alice@one.test", "policy@far.test", "5.7.1", "no")
	if e, ok, _ := p.Find(t.Context(), address(t, "policy@far.test")); ok {
		t.Errorf("a refusal of policy left %+v", e)
	}
}

// TestByHand: added, removed, and lifted by mail from the address.
func TestByHand(t *testing.T) {
	p := newPage(t, false)
	ctx := t.Context()
	a := address(t, "competitor@far.test")
	if _, err := p.Add(ctx, a, 0, "by court order"); err != nil {
		t.Fatal(err)
	}
	p.after(3650 * day)
	p.fails("alice@one.test", a.String(), "5.1.1", "5.1.1 no such user")
	p.Arrived(ctx, a)
	p.work(ctx, true)
	if e, no := p.Refuses(ctx, a, address(t, "x@one.test")); !no || e.Note != "by court order" {
		t.Errorf("what the operator said holds: %+v %v", e, no)
	}
	if ok, err := p.Remove(ctx, a); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := p.Remove(ctx, a); ok || err != nil {
		t.Error("removed twice", err)
	}
	if p.refuses("x@one.test", a.String()) {
		t.Error("it still holds")
	}
	if _, err := p.Add(ctx, a, time.Hour, ""); err != nil {
		t.Fatal(err)
	}
	p.after(2 * time.Hour)
	p.work(ctx, true)
	if all, _ := p.All(ctx, true); len(all) != 0 {
		t.Errorf("it is over: %+v", all)
	}
	p.fails("alice@one.test", "back@far.test", "5.1.1", "5.1.1 no such user")
	p.Arrived(ctx, address(t, "Back@far.test"))
	p.work(ctx, false)
	if all, _ := p.All(ctx, true); len(all) != 0 {
		t.Errorf("who writes exists: %+v", all)
	}
}

// TestForgotten: rows end half a year behind the last failure, and nothing of an account that is gone stays.
func TestForgotten(t *testing.T) {
	p := newPage(t, false)
	ctx := t.Context()
	p.fails("alice@one.test", "a@far.test", "5.1.1", "5.1.1 no such user")
	p.fails("bob@one.test", "a@far.test", "5.1.1", "5.1.1 no such user")
	if err := p.db.Update(ctx, func(tx *kv.Tx) error { return p.ForgetSender(tx, []mail.Address{address(t, "Alice@one.test")}) }); err != nil {
		t.Fatal(err)
	}
	if e, _, err := p.Find(ctx, address(t, "a@far.test")); err != nil || !slices.Equal(e.Senders, []string{senderHash(address(t, "bob@one.test"))}) {
		t.Errorf("%+v %v", e, err)
	}
	p.after(forgetAfter - time.Hour)
	p.work(ctx, true)
	if all, _ := p.All(ctx, true); len(all) != 1 {
		t.Errorf("too soon: %+v", all)
	}
	p.after(2 * time.Hour)
	p.work(ctx, true)
	if all, _ := p.All(ctx, true); len(all) != 0 || len(p.known) != 0 {
		t.Errorf("half a year later: %+v", all)
	}
}

// TestListIsBounded: whoever makes others refuse us cannot fill it.
func TestListIsBounded(t *testing.T) {
	p := newPage(t, false)
	if err := p.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range maxEntries - 2 {
		p.known[fmt.Sprint(i, "@far.test")] = true
	}
	for i := range maxPending + 10 {
		p.Heard(Failure{To: mail.Address{Local: fmt.Sprint("x", i), Domain: "far.test"}, Code: 550, Status: "5.1.1", Host: "mx", Text: string(make([]byte, 5000))})
	}
	if len(p.pending) != maxPending {
		t.Errorf("%d wait", len(p.pending))
	}
	p.work(t.Context(), false)
	all, err := p.All(t.Context(), true)
	if err != nil || len(all) != 2 || len(all[0].Text) > keptText {
		t.Errorf("%d rows, %v", len(all), err)
	}
}

// TestOff: nothing is learned; what was put there by hand holds. A broken row is named, and stops nobody.
func TestOff(t *testing.T) {
	p := newPage(t, true)
	ctx := t.Context()
	p.fails("alice@one.test", "a@far.test", "5.1.1", "5.1.1 no such user")
	if all, _ := p.All(ctx, true); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if _, err := p.Add(ctx, address(t, "b@far.test"), 0, ""); err != nil || !p.refuses("x@one.test", "b@far.test") {
		t.Error(err)
	}
	if err := p.db.Update(ctx, func(tx *kv.Tx) error { tx.Put(tableList, []byte("c@far.test"), []byte("{")); return nil }); err != nil {
		t.Fatal(err)
	}
	p.note("c@far.test", true)
	if p.refuses("x@one.test", "c@far.test") {
		t.Error("a broken row refuses")
	}
	if problems, err := p.Check(ctx); err != nil || len(problems) != 1 {
		t.Errorf("%v %v", problems, err)
	}
	p.fails("alice@one.test", "c@far.test", "5.1.1", "")
	var none *List
	none.Heard(Failure{})
	none.Arrived(ctx, address(t, "b@far.test"))
	if _, no := none.Refuses(ctx, address(t, "b@far.test"), mail.Address{}); no {
		t.Error("no list refuses")
	}
}
