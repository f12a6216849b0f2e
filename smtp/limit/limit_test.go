package limit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// rig is a book over a real file, with a clock of the test's.
type rig struct {
	*Book
	t    *testing.T
	path string
	side *kv.Side
	now  time.Time
}

func newRig(t *testing.T, s Settings) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "side.db"), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	r.open(s)
	t.Cleanup(func() { r.close() })
	return r
}

func (r *rig) open(s Settings) {
	r.t.Helper()
	var err error
	if r.side, err = kv.OpenSide(kv.SideOptions{Path: r.path, Pace: time.Millisecond}); err != nil {
		r.t.Fatal(err)
	}
	r.Book = New(Options{Side: r.side, Settings: s, Now: func() time.Time { return r.now }})
}

func (r *rig) close() {
	r.t.Helper()
	if err := r.side.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) flush() {
	r.t.Helper()
	if err := r.side.Flush(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) after(d time.Duration) { r.now = r.now.Add(d) }

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func alice(from string) Sender {
	s := Sender{Name: "alice@one.test", Account: 1, Domain: "one.test"}
	if from != "" {
		s.Client = netip.MustParseAddr(from)
	}
	return s
}

// send sends to so many recipients whose names begin with prefix.
func (r *rig) send(s Sender, prefix string, n int) error {
	r.t.Helper()
	ctx := r.t.Context()
	d := r.Begin(s)
	if err := d.Ask(ctx); err != nil {
		return err
	}
	for i := range n {
		if err := d.Recipient(ctx, address(r.t, fmt.Sprintf("%s%d@far.test", prefix, i))); err != nil {
			return err
		}
	}
	if err := d.Take(ctx); err != nil {
		return err
	}
	d.Keep(ctx)
	return nil
}

func (r *rig) limited(err error, limit string, opens time.Duration) {
	r.t.Helper()
	no, ok := errors.AsType[*Exceeded](err)
	if !ok || no.Limit != limit || !no.Opens.Equal(r.now.Truncate(step*time.Second).Add(opens)) {
		r.t.Errorf("got %+v (%v), want %s to open after %v", no, err, limit, opens)
	}
}

// TestLimits: each limit refuses one more than it allows, says when there is room again, and there is.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		l     Limits
		limit string
		use   func(r *rig) error // uses it up; again: one more
		opens time.Duration
	}{
		{"messages an hour", Limits{MessagesHour: 3}, "messages_per_hour", func(r *rig) error { return r.send(alice(""), "x", 0) }, time.Hour + 5*time.Minute},
		{"messages a day", Limits{MessagesDay: 3}, "messages_per_day", func(r *rig) error { return r.send(alice(""), "x", 0) }, 24*time.Hour + 5*time.Minute},
		{"recipients an hour", Limits{RecipientsHour: 6}, "recipients_per_hour", func(r *rig) error { return r.send(alice(""), "x", 2) }, time.Hour + 5*time.Minute},
		{"recipients a day", Limits{RecipientsDay: 6}, "recipients_per_day", func(r *rig) error { return r.send(alice(""), "x", 2) }, 24*time.Hour + 5*time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Settings{Account: c.l})
			for range 3 {
				if err := c.use(r); err != nil {
					t.Fatal(err)
				}
			}
			r.limited(c.use(r), c.limit, c.opens)
			no, _ := errors.AsType[*Exceeded](c.use(r))
			r.now = no.Opens.Add(-time.Second)
			if err := c.use(r); err == nil {
				t.Error("a second before it opens it is open")
			}
			r.now = no.Opens
			if err := c.use(r); err != nil {
				t.Errorf("when it opens: %v", err)
			}
		})
	}
}

// TestFirstTime: only recipients that the account has never written to count, for each account alone, and they are known over a restart.
func TestFirstTime(t *testing.T) {
	set := Settings{Account: Limits{NewDay: 5}}
	r := newRig(t, set)
	if err := r.send(alice(""), "a", 5); err != nil {
		t.Fatal(err)
	}
	if err := r.send(alice(""), "a", 5); err != nil { // at once: they are known before they are in the tables
		t.Errorf("the same again: %v", err)
	}
	r.limited(r.send(alice(""), "b", 1), "new_recipients_per_day", 24*time.Hour+5*time.Minute)
	bob := Sender{Name: "bob@one.test", Account: 2}
	if err := r.send(bob, "a", 5); err != nil {
		t.Errorf("another account: %v", err)
	}
	if err := r.send(bob, "a", 5); err != nil {
		t.Errorf("another account, again: %v", err)
	}
	r.flush()
	r.close()
	r.open(set)
	if err := r.send(alice(""), "a", 5); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	r.limited(r.send(alice(""), "c", 1), "new_recipients_per_day", 24*time.Hour+5*time.Minute)
	if u := r.Account(t.Context(), 1); u.NewDay != 5 || u.RecipientsDay != 15 || u.MessagesHour != 3 || u.RefusedDay != 2 {
		t.Errorf("used %+v", u)
	}
	d := r.Begin(alice(""))
	for range 3 { // one recipient named three times is one
		if err := d.Recipient(t.Context(), address(t, "A0@far.test")); err != nil {
			t.Error(err)
		}
	}
	if d.want.recipients != 1 || d.want.firsts != 0 {
		t.Errorf("one recipient counts %+v", d.want)
	}
}

// TestRefusedMessages: what was not taken in the end costs nothing.
func TestRefusedMessages(t *testing.T) {
	r := newRig(t, Settings{Account: Limits{MessagesDay: 2, NewDay: 2}})
	ctx := t.Context()
	for range 10 {
		d := r.Begin(alice(""))
		if err := errors.Join(d.Ask(ctx), d.Recipient(ctx, address(t, "x@far.test")), d.Take(ctx)); err != nil {
			t.Fatal(err)
		}
		d.Return(ctx)
		d.Return(ctx)
	}
	if u := r.Account(ctx, 1); u != (Usage{}) {
		t.Errorf("used %+v", u)
	}
	if never, _ := r.never(ctx, knownKey(1, address(t, "x@far.test"))); !never {
		t.Error("a recipient whom nothing reached is known")
	}
	d := r.Begin(alice("")) // never taken: RSET
	if err := d.Recipient(ctx, address(t, "x@far.test")); err != nil {
		t.Fatal(err)
	}
	d.Return(ctx)
	d.Keep(ctx)
	if u := r.Account(ctx, 1); u != (Usage{}) {
		t.Errorf("used %+v", u)
	}
}

// TestManyAtOnce: connections side by side do not get past the limit together.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t, Settings{Account: Limits{RecipientsDay: 50}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for i := range 40 {
		wg.Go(func() {
			if r.send(alice(""), fmt.Sprint("c", i, "-"), 5) == nil {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if taken != 10 {
		t.Errorf("%d messages to 5 recipients each were taken", taken)
	}
}

// TestOwnLimits: of an account, and of all accounts of a domain.
func TestOwnLimits(t *testing.T) {
	r := newRig(t, Settings{Account: Limits{MessagesDay: 1, RecipientsDay: 10}})
	free := alice("")
	free.Own = Limits{MessagesDay: -1, RecipientsDay: 20}
	for range 4 {
		if err := r.send(free, "x", 5); err != nil {
			t.Fatal(err)
		}
	}
	r.limited(r.send(free, "x", 1), "recipients_per_day", 24*time.Hour+5*time.Minute)
	r = newRig(t, Settings{Account: Limits{MessagesDay: 100}})
	for i := range 4 {
		s := Sender{Name: fmt.Sprint("a", i), Account: mail.AccountID(i + 1), Domain: "one.test", Shared: Limits{MessagesDay: 3}}
		err := r.send(s, "x", 1)
		if i < 3 && err != nil {
			t.Fatal(err)
		}
		if i == 3 && (err == nil || !strings.Contains(err.Error(), "the domain one.test")) {
			t.Errorf("the fourth account of the domain: %v", err)
		}
	}
}

// TestPrograms have limits of their own, and no memory of recipients.
func TestPrograms(t *testing.T) {
	r := newRig(t, Settings{Account: Limits{MessagesDay: 1}, Program: Limits{RecipientsHour: 4}})
	for _, name := range []string{"program cron", "program www-data"} {
		s := Sender{Name: name, Program: name}
		for range 2 {
			if err := r.send(s, "x", 2); err != nil {
				t.Fatal(err)
			}
		}
		r.limited(r.send(s, "x", 1), "recipients_per_hour", time.Hour+5*time.Minute)
	}
}

// TestForwarding: to one address, and to all together.
func TestForwarding(t *testing.T) {
	r := newRig(t, Settings{Forward: Limits{RecipientsHour: 2}, ForwardAll: Limits{RecipientsDay: 5}})
	ctx := t.Context()
	forward := func(to ...string) error {
		var all []mail.Address
		for _, a := range to {
			all = append(all, address(t, a))
		}
		d := r.Forward(all...)
		if err := errors.Join(d.Ask(ctx)); err != nil {
			return err
		}
		return d.Take(ctx)
	}
	if err := errors.Join(forward("a@x.test", "b@x.test"), forward("a@x.test")); err != nil {
		t.Fatal(err)
	}
	if err := forward("a@x.test"); err == nil || !strings.Contains(err.Error(), "forwarding to a@x.test") {
		t.Errorf("the third: %v", err)
	}
	if err := forward("b@x.test", "a@x.test"); err == nil {
		t.Error("one of two is full, and both were taken")
	}
	if err := errors.Join(forward("b@x.test"), forward("c@x.test")); err != nil {
		t.Errorf("others: %v", err)
	}
	r.limited(forward("d@x.test"), "recipients_per_day", 24*time.Hour+5*time.Minute)
	if d := r.Forward(); d != nil {
		t.Error("a draft for nobody")
	}
}

// TestLists: messages to one list, each of which becomes one for every member.
func TestLists(t *testing.T) {
	r := newRig(t, Settings{List: Limits{MessagesHour: 2, MessagesDay: 3}})
	ctx := t.Context()
	dev := address(t, "dev@one.test")
	post := func() error { return r.List(dev).Take(ctx) }
	back := r.List(dev)
	if err := errors.Join(back.Take(ctx), post()); err != nil {
		t.Fatal(err)
	}
	back.Return(ctx) // it was posted before
	if err := post(); err != nil {
		t.Fatal(err)
	}
	r.limited(r.List(dev).Ask(ctx), "messages_per_hour", time.Hour+5*time.Minute)
	if err := r.List(address(t, "ops@one.test")).Take(ctx); err != nil {
		t.Errorf("another list: %v", err)
	}
	r.after(2 * time.Hour)
	if err := post(); err != nil {
		t.Fatal(err)
	}
	r.limited(post(), "messages_per_day", 22*time.Hour+5*time.Minute)
	var none *Book
	if err := none.List(dev).Take(ctx); err != nil {
		t.Error(err)
	}
}

// TestStolen: many first-time recipients from a network where the account was never, after it was used elsewhere for a day.
func TestStolen(t *testing.T) {
	set := Settings{SuspendAt: 10}
	r := newRig(t, set)
	home, abroad := alice("192.0.2.1"), alice("198.51.100.77")
	if err := r.send(abroad, "first-day", 50); err != nil {
		t.Errorf("an account of today: %v", err)
	}
	r.after(25 * time.Hour)
	if err := r.send(home, "a", 50); err == nil {
		t.Error("the network was new for an account that is a day old")
	}
	r = newRig(t, set)
	if err := r.send(home, "a", 5); err != nil {
		t.Fatal(err)
	}
	r.after(25 * time.Hour)
	if err := r.send(alice("192.0.2.200"), "b", 100); err != nil { // the neighbour's address is the same network
		t.Errorf("at home: %v", err)
	}
	for range 5 {
		if err := r.send(abroad, "a", 5); err != nil {
			t.Errorf("known people from abroad: %v", err)
		}
	}
	if err := errors.Join(r.send(abroad, "n", 5), r.send(abroad, "m", 4)); err != nil {
		t.Errorf("a few strangers from abroad: %v", err)
	}
	err := r.send(abroad, "o", 1)
	s, ok := errors.AsType[*Suspicion](err)
	if !ok || s.Recipients != 10 || s.Network.String() != "198.51.100.0/24" || s.Who != "alice@one.test" {
		t.Errorf("the tenth: %v", err)
	}
	if e := <-r.Events(); e.Stolen == nil || e.Account != 1 {
		t.Errorf("told %+v", e)
	}
	r.Trust(t.Context(), 1)
	if err := r.send(abroad, "trusted", 30); err != nil {
		t.Errorf("after the operator has looked: %v", err)
	}
	r = newRig(t, set)
	if err := r.send(home, "a", 5); err != nil {
		t.Fatal(err)
	}
	r.after(25 * time.Hour)
	if err := errors.Join(r.send(home, "a", 5), r.send(abroad, "o", 9)); err != nil {
		t.Fatal(err)
	}
	r.after(2 * time.Hour)
	if err := r.send(abroad, "p", 9); err != nil {
		t.Errorf("later: %v", err)
	}
	r.flush()
	r.close()
	r.open(set)
	if err := r.send(abroad, "q", 5); err == nil {
		t.Error("after a restart nobody remembers")
	}
	r.after(25 * time.Hour)
	if err := r.send(abroad, "r", 100); err != nil {
		t.Errorf("the day after, it is a network like another: %v", err)
	}
}

// TestTold: who must know is told once a day of each limit.
func TestTold(t *testing.T) {
	r := newRig(t, Settings{Account: Limits{MessagesDay: 1}})
	if err := r.send(alice(""), "x", 0); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		r.limited(r.send(alice(""), "x", 0), "messages_per_day", 24*time.Hour+5*time.Minute)
	}
	if e := <-r.Events(); e.Who != "alice@one.test" || e.Account != 1 || e.Exceeded.Limit != "messages_per_day" {
		t.Errorf("told %+v", e)
	}
	r.flush()
	r.close()
	r.open(r.Settings())
	_ = r.send(alice(""), "x", 0)
	if len(r.Events()) != 0 {
		t.Error("told twice")
	}
	r.after(48 * time.Hour)
	if err := r.send(alice(""), "x", 0); err != nil {
		t.Fatal(err)
	}
	_ = r.send(alice(""), "x", 0)
	if len(r.Events()) != 1 {
		t.Error("not told two days later")
	}
}

// TestForgetting: what is old goes, and what concerns an account that is gone.
func TestForgetting(t *testing.T) {
	r := newRig(t, Settings{Account: Limits{NewDay: 1000}})
	rows := func() (n int) {
		t.Helper()
		r.flush()
		if err := r.side.View(t.Context(), func(tx *kv.Tx) error {
			for range tx.Scan(table, nil, nil) {
				n++
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	bob := Sender{Name: "bob", Account: 2, Client: netip.MustParseAddr("2001:db8::1")}
	if err := errors.Join(r.send(alice("192.0.2.1"), "a", 3), r.send(bob, "a", 4)); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 3+4+4 {
		t.Errorf("%d rows", n)
	}
	if err := r.Forget(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := rows(); n != 4+2 {
		t.Errorf("%d rows without alice", n)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{time.Hour, 6}, {25 * time.Hour, 5}, {200 * day, 4}, {600 * day, 0}} {
		r.after(c.after)
		if err := r.Clean(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := rows(); n != c.want {
			t.Errorf("%v later there are %d rows, want %d", c.after, n, c.want)
		}
	}
}

// TestNetworks: an account has a bounded number of them.
func TestNetworks(t *testing.T) {
	r := newRig(t, Settings{})
	for i := range maxNetworks + 50 {
		r.after(time.Minute)
		if err := r.send(alice(fmt.Sprintf("10.%d.%d.1", i/200, i%200)), "a", 0); err != nil {
			t.Fatal(err)
		}
	}
	r.flush()
	if n := len(r.homes[1]); n != maxNetworks {
		t.Errorf("%d are known", n)
	}
	r.close()
	r.open(Settings{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.networks(t.Context(), 1)); n != maxNetworks {
		t.Errorf("%d are stored", n)
	}
}

// A nil Book limits nothing.
func TestNothing(t *testing.T) {
	var b *Book
	d := b.Begin(Sender{})
	ctx := t.Context()
	if err := errors.Join(d.Ask(ctx), d.Recipient(ctx, mail.Address{}), d.Take(ctx), b.Forward(mail.Address{}).Take(ctx), b.Forget(ctx, 1)); err != nil {
		t.Error(err)
	}
	d.Keep(ctx)
	d.Return(ctx)
	b.Run(ctx)
	b.Set(Settings{})
	if b.Account(ctx, 1) != (Usage{}) || b.Settings() != (Settings{}) {
		t.Error("it counts")
	}
}

// FuzzWindow: a row is what anybody may have written; what was read prints the same.
func FuzzWindow(f *testing.F) {
	w := window{told: map[string]int64{"messages_per_day": 20000}}
	w.add(time.Unix(1_700_000_000, 0), counts{1, 2, 3, 4, 5})
	w.add(time.Unix(1_700_000_900, 0), counts{messages: 1})
	f.Add(w.encode())
	f.Add([]byte{})
	f.Add([]byte{windowVersion, 1, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := decodeWindow(b)
		again := decodeWindow(w.encode())
		if fmt.Sprint(w.buckets, w.told) != fmt.Sprint(again.buckets, again.told) {
			t.Errorf("%v became %v", w, again)
		}
		if len(w.buckets) > 2*86400/step || len(w.told) > 16 {
			t.Errorf("%d buckets, %d told", len(w.buckets), len(w.told))
		}
		w.add(time.Unix(1_800_000_000, 0), counts{messages: 1})
		w.room(time.Unix(1_800_000_000, 0), Limits{MessagesDay: 1}, counts{messages: 1})
	})
}
