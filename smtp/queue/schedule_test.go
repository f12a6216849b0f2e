package queue

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

const minute = int64(time.Minute / time.Millisecond)

func testLimits() limits {
	return limits{workers: 8, perHost: 4, askers: 100, routeFor: 5 * minute, delayAfter: 240 * minute, lifetime: 5 * 1440 * minute}
}

// desk runs a schedule by hand: routes are answered at once, attempts end when the test says so.
type desk struct {
	*schedule
	t       *testing.T
	hosts   map[mail.Domain]string
	running map[string][]job // by host
	put     map[string][]job // deferred, by result text
}

func newDesk(t *testing.T, l limits) *desk {
	return &desk{schedule: newSchedule(l), t: t, hosts: map[mail.Domain]string{}, running: map[string][]job{}, put: map[string][]job{}}
}

func (d *desk) add(first, n int, to mail.Domain, due int64) {
	for i := range n {
		d.schedule.put(change{number: uint64(first + i), due: due, created: due, stream: Stream{From: "alpha.test", To: to}})
	}
}

func (d *desk) step(now int64) (wake int64) {
	for {
		jobs, wake := d.next(now)
		if len(jobs) == 0 {
			return wake
		}
		for _, j := range jobs {
			switch j.kind {
			case jobRoute:
				name, ok := d.hosts[j.stream.To]
				if !ok {
					name = "mx." + string(j.stream.To)
				}
				d.routed(j.stream, hostKey{name: name}, Route{Host: name}, now)
			case jobDeliver:
				d.running[j.host.name] = append(d.running[j.host.name], j)
			case jobDefer:
				d.put[j.result.Text] = append(d.put[j.result.Text], j)
			}
		}
	}
}

// end ends the oldest attempt over the host and takes its entry away.
func (d *desk) end(host string, r Result, now int64) {
	d.t.Helper()
	if len(d.running[host]) == 0 {
		d.t.Fatalf("nothing runs over %s", host)
	}
	j := d.running[host][0]
	d.running[host] = d.running[host][1:]
	d.done(j, r, now)
	for _, t := range j.tickets {
		d.schedule.put(change{number: t.number, gone: true})
		d.release(t, 0)
	}
}

func (d *desk) deferred(text string) (n int) {
	for _, j := range d.put[text] {
		n += len(j.tickets)
	}
	return n
}

func TestDomainsBehindOneHostShareItsLimit(t *testing.T) {
	d := newDesk(t, testLimits())
	for i := range 20 {
		to := mail.Domain(fmt.Sprintf("d%d.test", i))
		d.hosts[to] = "mx.big.test"
		d.add(1+i, 1, to, 0)
	}
	d.step(0)
	if n := len(d.running["mx.big.test"]); n != 4 {
		t.Fatalf("%d attempts over one host, want 4", n)
	}
	for n := 20; n > 0; n-- {
		d.end("mx.big.test", Result{}, 1)
		d.step(1)
		if got, want := len(d.running["mx.big.test"]), min(4, n-1); got != want {
			t.Fatalf("%d attempts run with %d to do", got, n-1)
		}
	}
	if len(d.tickets) != 0 || len(d.streams) != 0 || len(d.schedule.hosts) != 0 || d.active != 0 || d.leased != 0 {
		t.Errorf("left behind: %d tickets, %d streams, %d hosts", len(d.tickets), len(d.streams), len(d.schedule.hosts))
	}
}

func TestDomainsTakeTurns(t *testing.T) {
	l := testLimits()
	l.perHost = 1
	d := newDesk(t, l)
	d.hosts["a.test"], d.hosts["b.test"] = "mx", "mx"
	d.add(1, 50, "a.test", 0)
	d.add(100, 2, "b.test", 0)
	d.step(0)
	seen := map[mail.Domain]int{}
	for range 4 {
		seen[d.running["mx"][0].stream.To]++
		d.end("mx", Result{}, 0)
		d.step(0)
	}
	if seen["a.test"] != 2 || seen["b.test"] != 2 {
		t.Errorf("of the first four attempts %v", seen)
	}
}

func TestSlowHostKeepsItsItemsAndRests(t *testing.T) {
	d := newDesk(t, testLimits())
	d.add(1, 10, "slow.test", 0)
	d.add(100, 10, "good.test", 0)
	d.step(0)
	d.end("mx.slow.test", Result{Verdict: Later, Code: 421, Host: HostSlow, Text: "421"}, 0)
	for len(d.running["mx.slow.test"]) > 0 { // those that ran beside it: they count once
		d.end("mx.slow.test", Result{Verdict: Later, Code: 421, Host: HostSlow, Text: "421"}, 0)
	}
	wake := d.step(0)
	if n := len(d.running["mx.slow.test"]); n != 0 {
		t.Fatalf("%d attempts while the host rests", n)
	}
	if wake < 50_000 || wake > 70_000 {
		t.Fatalf("the host rests until %d ms", wake)
	}
	if len(d.running["mx.good.test"]) != 4 {
		t.Fatal("the other host suffers")
	}
	d.step(wake)
	if n := len(d.running["mx.slow.test"]); n != 1 {
		t.Fatalf("%d attempts after the rest, want one to feel the way", n)
	}
	d.end("mx.slow.test", Result{}, wake)
	d.step(wake)
	if n := len(d.running["mx.slow.test"]); n != 2 {
		t.Fatalf("%d attempts after a success, want 2", n)
	}
	if d.deferred("421") != 0 {
		t.Error("items of a slow host were settled without an attempt")
	}
}

func TestSlowHostTellsTheSendersWhoseTimeHasCome(t *testing.T) {
	l := testLimits()
	l.perHost = 1
	d := newDesk(t, l)
	d.add(1, 3, "slow.test", 0)
	d.schedule.put(change{number: 9, due: 300 * minute, created: 300 * minute, stream: Stream{From: "alpha.test", To: "slow.test"}})
	d.step(300 * minute)
	d.end("mx.slow.test", Result{Verdict: Later, Code: 421, Host: HostSlow, Text: "421"}, 300*minute)
	d.step(300 * minute)
	if n := d.deferred("421"); n != 2 {
		t.Errorf("%d settled, want the two whose delay notice is due", n)
	}
}

func TestDeadHostTakesItsItemsAlong(t *testing.T) {
	d := newDesk(t, testLimits())
	d.add(1, 1200, "dead.test", 0)
	d.step(0)
	down := Result{Verdict: Later, Host: HostDown, Text: "no answer"}
	d.end("mx.dead.test", down, 30_000)
	d.step(30_000)
	if n := d.deferred("no answer"); n != 1196 {
		t.Fatalf("%d items settled with the host's result, want all 1196 that stood ready", n)
	}
	for _, j := range d.put["no answer"] {
		if len(j.tickets) > deferChunk {
			t.Fatalf("%d items in one transaction", len(j.tickets))
		}
	}
	for len(d.running["mx.dead.test"]) > 0 {
		d.end("mx.dead.test", down, 30_000)
	}
	// A new item in the host's rest counts it as an attempt; after the rest one item feels the way.
	d.add(5000, 1, "dead.test", 40_000)
	d.step(40_000)
	if n := d.deferred("no answer"); n != 1197 {
		t.Fatalf("%d settled, want the new one too", n)
	}
	d.add(6000, 5, "dead.test", 120_000)
	d.step(120_000)
	if n := len(d.running["mx.dead.test"]); n != 1 {
		t.Fatalf("%d attempts after the rest, want 1", n)
	}
}

// Whatever the dead hosts do, one that takes mail finds a worker.
func TestDeadHostsLeaveWorkersToTheOthers(t *testing.T) {
	d := newDesk(t, testLimits())
	now := int64(0)
	for i := range 40 {
		d.add(1+100*i, 6, mail.Domain(fmt.Sprintf("dead%d.test", i)), 0)
	}
	d.step(now)
	down := Result{Verdict: Later, Host: HostDown, Text: "no answer"}
	for i := range 40 { // every host fails once
		host := fmt.Sprintf("mx.dead%d.test", i)
		d.step(now)
		for len(d.running[host]) > 0 {
			d.end(host, down, now)
		}
	}
	now = 10 * minute
	for i := range 40 {
		d.add(50_000+100*i, 6, mail.Domain(fmt.Sprintf("dead%d.test", i)), now)
	}
	d.step(now)
	if d.active >= d.workers {
		t.Fatalf("dead hosts hold all %d workers", d.active)
	}
	d.add(100_000, 1, "good.test", now)
	d.step(now)
	if len(d.running["mx.good.test"]) != 1 {
		t.Fatal("the host that takes mail is idle because of the others")
	}
}

func TestUnroutableStream(t *testing.T) {
	d := newDesk(t, testLimits())
	d.add(1, 3, "nodns.test", 0)
	jobs, _ := d.next(0)
	if len(jobs) != 1 || jobs[0].kind != jobRoute {
		t.Fatalf("%+v", jobs)
	}
	d.unroutable(jobs[0].stream, Result{Verdict: Later, Text: "dns"}, minute)
	d.step(0)
	d.add(10, 1, "nodns.test", 1)
	d.step(1)
	if n := d.deferred("dns"); n != 4 {
		t.Fatalf("%d settled, want 4", n)
	}
	d.add(20, 1, "nodns.test", 2*minute)
	if jobs, _ := d.next(2 * minute); len(jobs) != 1 || jobs[0].kind != jobRoute {
		t.Fatalf("it is not asked again: %+v", jobs)
	}
}

func TestOperatorsChanges(t *testing.T) {
	d := newDesk(t, testLimits())
	d.add(1, 1, "a.test", minute)
	hold := change{number: 1, due: minute, held: true, stream: Stream{From: "alpha.test", To: "a.test"}}
	d.schedule.put(hold)
	if wake := d.step(2 * minute); wake != math.MaxInt64 || len(d.running) != 0 || d.parked != 1 {
		t.Fatal("a held entry is tried")
	}
	hold.held = false
	d.schedule.put(hold)
	d.step(2 * minute)
	if len(d.running["mx.a.test"]) != 1 || d.parked != 0 {
		t.Fatal("a released entry is not tried")
	}
	hold.held = true
	d.schedule.put(hold) // while the attempt runs
	j := d.running["mx.a.test"][0]
	d.done(j, Result{}, 2*minute)
	d.release(j.tickets[0], 0)
	if d.step(3 * minute); d.parked != 1 || len(d.tickets) != 1 {
		t.Fatal("the hold was forgotten")
	}
	d.schedule.put(change{number: 1, gone: true})
	if len(d.tickets) != 0 || len(d.streams) != 0 || d.parked != 0 {
		t.Fatal("something stayed behind")
	}
}

func TestRests(t *testing.T) {
	for _, c := range []struct {
		r        Result
		n        int
		from, to time.Duration
	}{
		{Result{Host: HostDown}, 1, 54 * time.Second, 66 * time.Second},
		{Result{Host: HostDown}, 50, 27 * time.Minute, 33 * time.Minute},
		{Result{Host: HostSlow, Code: 421}, 50, 27 * time.Minute, 33 * time.Minute},
		{Result{Host: HostSlow, Code: 451, Status: "4.7.1"}, 50, 4 * time.Second, 6 * time.Second},
	} {
		if d := rest("mx", c.n, c.r); d < c.from || d > c.to {
			t.Errorf("%+v: failure %d gives a rest of %v", c.r, c.n, d)
		}
	}
}

func TestRetryTimes(t *testing.T) {
	o := Options{}
	o.defaults()
	e := &entry{from: mail.Address{Local: "a", Domain: "b.test"}}
	now, tries := int64(0), 0
	var at []time.Duration
	for now < o.Lifetime.Milliseconds() && tries < 1000 {
		tries++
		e.attempts = tries
		e.told = now >= o.DelayAfter.Milliseconds()
		now = o.after(42, e, now)
		at = append(at, time.Duration(now)*time.Millisecond)
	}
	if tries < 30 || tries > 45 {
		t.Errorf("%d attempts in five days: %v", tries, at)
	}
	if at[0] < 4*time.Minute || at[0] > 6*time.Minute || at[len(at)-1] != o.Lifetime {
		t.Errorf("first and last: %v, %v", at[0], at[len(at)-1])
	}
	notice := false
	for _, d := range at {
		notice = notice || d == o.DelayAfter
	}
	if !notice {
		t.Errorf("no attempt at the time of the delay notice: %v", at)
	}
}

// A host has rested for longer than a route holds: its items are routed anew at once, though nothing else happens in the queue.
func TestRouteOutlivedByARest(t *testing.T) {
	l := testLimits()
	l.perHost = 1
	d := newDesk(t, l)
	d.add(1, 3, "slow.test", 0)
	d.step(0)
	d.end("mx.slow.test", Result{Verdict: Later, Host: HostSlow, Code: 421, Text: "421"}, 0)
	d.schedule.hosts[hostKey{name: "mx.slow.test"}].start = 8 * minute
	jobs, wake := d.next(minute)
	if len(jobs) != 0 || wake != 8*minute {
		t.Fatalf("%d jobs in the rest, wake %d", len(jobs), wake)
	}
	if jobs, _ = d.next(wake); len(jobs) != 1 || jobs[0].kind != jobRoute {
		t.Fatalf("after the rest: %+v", jobs)
	}
}

// A host's rest holds for mail that comes later, though one entry only has met its failure.
func TestRestOutlivesItsOnlyEntry(t *testing.T) {
	d := newDesk(t, testLimits())
	d.add(1, 1, "dead.test", 0)
	d.step(0)
	j := d.running["mx.dead.test"][0]
	d.done(j, Result{Verdict: Later, Host: HostDown, Text: "no answer"}, 30_000)
	d.schedule.put(change{number: 1, due: 5 * minute, stream: j.stream.Stream})
	d.release(j.tickets[0], 0)
	d.add(2, 1, "dead.test", 40_000)
	d.step(40_000)
	if n := d.deferred("no answer"); n != 1 {
		t.Error("it is tried in the host's rest")
	}
	for _, n := range []uint64{1, 2} {
		if d.tickets[n].place == leased {
			d.release(d.tickets[n], 0)
		}
		d.schedule.put(change{number: n, gone: true})
	}
	if len(d.streams) != 0 || len(d.schedule.hosts) != 0 {
		t.Errorf("left behind: %d streams, %d hosts", len(d.streams), len(d.schedule.hosts))
	}
}

// Thousands of domains whose name servers do not answer: those that are asked for the first time do not stand behind them.
func TestBrokenDomainsLeaveQuestionsToTheOthers(t *testing.T) {
	l := testLimits()
	l.askers = 10
	d := newDesk(t, l)
	var asked []job
	for i := range 100 {
		d.add(1+i, 1, mail.Domain(fmt.Sprintf("broken%d.test", i)), 0)
	}
	for jobs, _ := d.next(0); len(jobs) > 0; jobs, _ = d.next(0) {
		for _, j := range jobs {
			if j.kind == jobRoute {
				d.unroutable(j.stream, Result{Verdict: Later, Text: "dns"}, minute)
			}
			for _, t := range j.tickets {
				d.schedule.put(change{number: t.number, due: 2 * minute, stream: t.stream.Stream})
				d.release(t, 0)
			}
		}
	}
	asked, _ = d.next(2 * minute)
	if len(asked) == 0 || len(asked) >= l.askers {
		t.Fatalf("%d of %d questions are about domains that were broken", len(asked), l.askers)
	}
	d.add(1000, 1, "good.test", 2*minute)
	if jobs, _ := d.next(2 * minute); len(jobs) != 1 || jobs[0].stream.To != "good.test" {
		t.Fatalf("the good one waits: %+v", jobs)
	}
	for _, j := range asked {
		d.unroutable(j.stream, Result{Verdict: Later, Text: "dns"}, 3*minute)
	}
	if again := d.asking; again != 1 {
		t.Errorf("%d questions are counted, one runs", again)
	}
}

// Mail for hundreds of hosts that were never met (and may all be dead) leaves a worker to those that are known to take mail.
func TestStrangersLeaveAWorkerToKnownHosts(t *testing.T) {
	d := newDesk(t, testLimits())
	d.add(1, 1, "known.test", 0)
	d.step(0)
	d.end("mx.known.test", Result{}, 1)
	for i := range 40 {
		d.add(10+i, 1, mail.Domain(fmt.Sprintf("new%d.test", i)), minute)
	}
	d.step(minute)
	if d.active != d.workers-1 {
		t.Errorf("%d of %d workers are busy", d.active, d.workers)
	}
	d.add(100, 1, "known.test", minute)
	d.step(minute)
	if len(d.running["mx.known.test"]) != 1 {
		t.Fatal("the known host is idle because of the others")
	}
	for i := range maxKnown + 10 {
		d.remember(hostKey{name: fmt.Sprint(i)})
	}
	if n := len(d.known); n > maxKnown {
		t.Errorf("%d hosts are remembered", n)
	}
}

// A day offline: mail for ten thousand hosts is due at once, a tenth of them dead. Every host that takes mail gets its own, nothing
// stays behind in the lines, and mail for one that is known to take some does not wait for the others.
func TestThousandsOfHostsAtOnce(t *testing.T) {
	const hosts = 10_000
	l := testLimits()
	l.workers = 200
	d := newDesk(t, l)
	d.add(1, 1, "known.test", 0)
	d.step(0)
	d.end("mx.known.test", Result{}, 0)
	for i := range hosts {
		d.add(10+2*i, 2, mail.Domain(fmt.Sprintf("d%d.test", i)), minute)
	}
	d.step(minute)
	d.add(5, 1, "known.test", minute)
	d.step(minute)
	if len(d.running["mx.known.test"]) != 1 {
		t.Error("a known host waits for strangers")
	}
	dead := func(host string) bool { return strings.HasSuffix(host, "7.test") }
	done, now := 0, minute
	for d.active > 0 {
		now += 10
		for host := range maps.Clone(d.running) {
			for len(d.running[host]) > 0 {
				r := Result{}
				if dead(host) {
					r = Result{Verdict: Later, Host: HostDown, Text: "down"}
				} else {
					done++
				}
				d.end(host, r, now)
			}
			delete(d.running, host)
		}
		d.step(now)
	}
	if want := 2*hosts - 2*hosts/10 + 1; done != want {
		t.Errorf("%d messages went, want %d", done, want)
	}
	crowded := 0
	for _, line := range d.crowded {
		crowded += line.len()
	}
	if crowded+d.runnable.len() != 0 || d.settling != 0 {
		t.Errorf("%d hosts stand in lines, %d results", crowded+d.runnable.len(), d.settling)
	}
	jobs := 0
	for _, j := range d.put {
		jobs += len(j)
	}
	if jobs > hosts/10 { // far fewer where they come together
		t.Errorf("%d transactions for what the dead hosts left", jobs)
	}
}

// A provider with ten thousand domains does not answer: what waits for it is settled in chunks, not one by one.
func TestDeadProviderIsSettledInChunks(t *testing.T) {
	const domains = 10_000
	d := newDesk(t, testLimits())
	for i := range domains {
		to := mail.Domain(fmt.Sprintf("d%d.test", i))
		d.hosts[to] = "mx.big.test"
		d.add(1+i, 1, to, 0)
	}
	d.step(0)
	d.end("mx.big.test", Result{Verdict: Later, Host: HostDown, Text: "down"}, 1)
	d.step(1)
	if n := len(d.put["down"]); n > domains/deferChunk+5 || d.deferred("down") != domains-4 {
		t.Errorf("%d entries in %d transactions", d.deferred("down"), n)
	}
}

// No result can be stored: sending stops before many messages would go out twice after a crash.
func TestUnsettledResultsStopTheSending(t *testing.T) {
	l := testLimits()
	l.unsettled = 5
	d := newDesk(t, l)
	d.add(1, 100, "a.test", 0)
	d.step(0)
	var over []*ticket
	for len(d.running["mx.a.test"]) > 0 {
		j := d.running["mx.a.test"][0]
		d.running["mx.a.test"] = d.running["mx.a.test"][1:]
		d.done(j, Result{}, 1)
		over = append(over, j.tickets...)
		d.step(1)
	}
	if len(over) < 5 || len(over) > 5+l.perHost {
		t.Fatalf("%d messages were sent without a stored result", len(over))
	}
	for _, t := range over {
		d.schedule.put(change{number: t.number, gone: true})
		d.release(t, 0)
	}
	if d.step(2); len(d.running["mx.a.test"]) != l.perHost || d.settling != 0 {
		t.Errorf("it does not go on: %d run, %d unsettled", len(d.running["mx.a.test"]), d.settling)
	}
}
