package queue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// clock can be set while the time of timers goes on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) set(by time.Duration) { c.ahead.Add(int64(by)) }
func onceLater(a Attempt) Outcome     { return laterUntil(a, 1) }
func laterUntil(a Attempt, n int) Outcome {
	if a.Attempts < n {
		return Fail(len(a.Envelope.Recipients), Result{Verdict: Later, Code: 450, Status: "4.2.0", Text: "greylisted"})
	}
	return Fail(len(a.Envelope.Recipients), Result{Verdict: Done, Code: 250, Status: "2.0.0"})
}

// The clock is set by hours while a message waits for its second attempt: forward, it is tried within a minute; back, it does not wait
// the hours over again.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{6 * time.Hour, -6 * time.Hour, 240 * time.Hour, -240 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c clock
				h := newHouse(t, Options{Hostname: "mail.alpha.test", Now: c.now, DelayAfter: -1})
				k := &carrier{deliver: onceLater}
				h.run(k)
				h.send(envelope(t, "alice@alpha.test", "carol@beta.test"), sample)
				settled(time.Minute)
				c.set(by)
				settled(7 * time.Minute)
				if n := k.count("carol@beta.test"); n != 2 || len(h.list()) != 0 {
					t.Errorf("%d attempts, %d entries left", n, len(h.list()))
				}
				if n := k.count("alice@alpha.test"); n != 0 {
					t.Error("the sender got it back")
				}
			})
		})
	}
}

// The house is stopped, the clock was days ahead and is put right: what waits is tried within the longest wait there is.
func TestClockIsSetBackBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		c.set(1000 * time.Hour)
		h := newHouse(t, Options{Now: c.now, DelayAfter: -1})
		k := &carrier{deliver: onceLater}
		h.run(k)
		h.send(envelope(t, "alice@alpha.test", "carol@beta.test"), sample)
		settled(time.Minute)
		h.close()
		c.set(-1000 * time.Hour)
		h.open()
		h.run(k)
		settled(5 * time.Hour)
		if n := k.count("carol@beta.test"); n != 2 || len(h.list()) != 0 {
			t.Errorf("%d attempts, %d entries left", n, len(h.list()))
		}
	})
}

// Likewise for a message that was scheduled once, and has been tried since its time came.
func TestClockIsSetBackAfterRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		h := newHouse(t, Options{Now: c.now, DelayAfter: -1})
		k := &carrier{deliver: onceLater}
		h.run(k)
		e := envelope(t, "alice@alpha.test", "carol@beta.test")
		e.Release.At = c.now().Add(time.Hour)
		h.send(e, sample)
		settled(time.Minute)
		c.set(1000 * time.Hour)
		settled(2 * time.Minute)
		h.close()
		c.set(-1000 * time.Hour)
		settled(time.Hour)
		h.open()
		h.run(k)
		settled(5 * time.Hour)
		if n := k.count("carol@beta.test"); n != 2 || len(h.list()) != 0 {
			t.Errorf("%d attempts, %d entries left", n, len(h.list()))
		}
	})
}

// A scheduled message does not go before its time because the clock was set back.
func TestClockSetBackKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		h := newHouse(t, Options{Now: c.now})
		k := &carrier{deliver: func(a Attempt) Outcome { return laterUntil(a, 0) }}
		h.run(k)
		e := envelope(t, "alice@alpha.test", "carol@beta.test")
		e.Release.At = c.now().Add(10 * time.Hour)
		h.send(e, sample)
		settled(time.Minute)
		c.set(-5 * time.Hour)
		settled(10 * time.Hour)
		if n := k.count("carol@beta.test"); n != 0 {
			t.Errorf("%d attempts before its time", n)
		}
		settled(6 * time.Hour)
		if n := k.count("carol@beta.test"); n != 1 {
			t.Errorf("%d attempts in its time", n)
		}
	})
}

// The house was off for longer than mail is kept trying, and everybody it speaks to then says "later" first.
func TestWeekOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.alpha.test", DelayAfter: -1})
		h.send(envelope(t, "alice@alpha.test", "carol@beta.test"), sample)
		h.send(envelope(t, "alice@alpha.test", "dora@beta.test"), sample)
		h.close()
		settled(7 * 24 * time.Hour)
		h.open()
		k := &carrier{deliver: func(a Attempt) Outcome {
			if a.Envelope.Recipients[0].Address.Local == "dora" {
				return laterUntil(a, 1000)
			}
			return laterUntil(a, 2)
		}}
		h.run(k)
		settled(3 * time.Hour)
		if k.count("carol@beta.test") != 3 || k.count("dora@beta.test") != 4 || k.count("alice@alpha.test") != 1 || len(h.list()) != 0 {
			t.Errorf("tried %v, left %d", k.tried, len(h.list()))
		}
	})
}

func TestFewest(t *testing.T) {
	for _, c := range []struct {
		life  time.Duration
		retry []time.Duration
		want  int
	}{
		{0, nil, 4}, {time.Minute, nil, 2}, {6 * time.Hour, []time.Duration{6 * time.Hour}, 2}, {12 * time.Hour, []time.Duration{5 * time.Hour}, 4},
	} {
		o := Options{Lifetime: c.life, Retry: c.retry}
		o.defaults()
		if n := o.fewest(&entry{from: mail.Address{Local: "a", Domain: "b.test"}}); n != c.want {
			t.Errorf("%v of %v: %d attempts, want %d", c.retry, c.life, n, c.want)
		}
	}
}

// Thousands of domains behind one provider, which says 421 for twenty minutes: it hears from us seldom meanwhile, nobody else waits for it,
// and then all of it goes within its limit.
func TestProviderSaysSlower(t *testing.T) {
	const domains = 3000
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.alpha.test"})
		var running, most, refused, taken, good atomic.Int64
		begin := time.Now()
		p := provider{route: func(s Stream) Route {
			if strings.HasPrefix(string(s.To), "good") {
				return Route{Host: "mx.good.test"}
			}
			return Route{Host: "mx.big.test"}
		}, deliver: func(r Route, a Attempt) Outcome {
			if r.Host == "mx.good.test" {
				good.Add(1)
				return laterUntil(a, 0)
			}
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			<-time.After(100 * time.Millisecond)
			if time.Since(begin) < 20*time.Minute {
				refused.Add(1)
				return Fail(1, Result{Verdict: Later, Code: 421, Status: "4.7.0", Text: "slower", Remote: r.Host, Host: HostSlow})
			}
			taken.Add(1)
			return laterUntil(a, 0)
		}}
		for i := range domains / 50 {
			e := envelope(t, "alice@alpha.test")
			for d := range 50 {
				e.Recipients = append(e.Recipients, mail.Recipient{Address: address(t, fmt.Sprintf("carol@d%d.test", 50*i+d))})
			}
			h.send(e, sample)
		}
		for i := range 40 {
			h.send(envelope(t, "alice@alpha.test", fmt.Sprintf("dora@good%d.test", i)), sample)
		}
		h.run(p)
		settled(10 * time.Second)
		if good.Load() != 40 {
			t.Errorf("%d of 40 messages to the other host, which has nothing to do with it", good.Load())
		}
		settled(19 * time.Minute)
		if n := refused.Load(); n > 10+7 {
			t.Errorf("%d attempts while it says 421", n)
		}
		settled(45 * time.Minute)
		if n := taken.Load(); n != domains || most.Load() > 10 || len(h.list()) != 0 {
			t.Errorf("%d of %d taken, %d at once", n, domains, most.Load())
		}
	})
}

// provider is a Transport of functions that also sees the route.
type provider struct {
	route   func(s Stream) Route
	deliver func(r Route, a Attempt) Outcome
}

func (p provider) Route(_ context.Context, s Stream) (Route, error)      { return p.route(s), nil }
func (p provider) Deliver(_ context.Context, r Route, a Attempt) Outcome { return p.deliver(r, a) }

// A host that puts off each message that it sees for the first time gets a thousand of them within the day, not one every few minutes.
func TestGreylistingHost(t *testing.T) {
	const messages = 1000
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{Hostname: "mail.alpha.test", DelayAfter: -1})
		var taken atomic.Int64
		for i := range messages / 50 {
			e := envelope(t, "alice@alpha.test")
			for d := range 50 {
				e.Recipients = append(e.Recipients, mail.Recipient{Address: address(t, fmt.Sprintf("carol@d%d.test", 50*i+d))})
			}
			h.send(e, sample)
		}
		h.run(provider{route: func(Stream) Route { return Route{Host: "mx.big.test"} }, deliver: func(r Route, a Attempt) Outcome {
			if a.Attempts == 0 {
				return Fail(1, Result{Verdict: Later, Code: 450, Status: "4.7.1", Text: "greylisted", Remote: r.Host, Host: HostSlow})
			}
			taken.Add(1)
			return laterUntil(a, 0)
		}})
		settled(3 * time.Hour)
		if n := taken.Load(); n != messages {
			t.Errorf("%d of %d taken", n, messages)
		}
	})
}
