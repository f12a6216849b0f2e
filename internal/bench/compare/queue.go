package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/internal/bench/load"
	"github.com/posthouse-mail/posthouse/internal/bench/mailgen"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

// The queue's contest: so many messages to so many domains, a third of the domains behind each of three hosts. The first takes mail,
// the second waits a second before it answers any command, the third says 421 to every MAIL and closes. What counts is how many
// messages the good host gets in a second, from the moment in which the full queue is let go until the good host has all of its own.
const (
	queueDomains = 500
	queueSize    = 4096
	queueLimit   = 10 // queue.connections_per_host as it is without settings
	names        = "127.0.53.1"
	ourBase      = 28000
	theirPort    = 28325
)

// sender is one of the two servers with its queue.
type sender interface {
	fill(n int) error // takes n messages into the queue and keeps them there
	release() error   // lets all of them go
	empty() error     // drops what is left
}

// letGo is what one run showed.
type letGo struct {
	rate        float64 // messages a second to the good host
	middle, low int     // connections at the good host while it lasts: median, and the 5th percentile
	most        int
	all         time.Duration // until the good host had everything
}

func (c *contest) queue() {
	if err := c.queueRounds(); err != nil {
		c.rows = append(c.rows, row{name: "queue", required: "no error: " + err.Error()})
	}
}

func (c *contest) queueRounds() error {
	dir, err := os.MkdirTemp("/var/tmp", "posthouse-queue-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	us, err := newOurs(c.binary, filepath.Join(dir, "house"))
	if err != nil {
		return err
	}
	them, err := newTheirs(filepath.Join(dir, "postfix"))
	if err != nil {
		return err
	}
	runs := map[sender][]letGo{}
	for r := range c.rounds {
		pair := []sender{us, them}
		if r%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		for _, s := range pair {
			got, err := queueRun(s, c.queued)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "queue %T: %.0f msgs/s to the good host in %.1f s, connections there %d (median), %d (5th percentile), %d (most)\n",
				s, got.rate, got.all.Seconds(), got.middle, got.low, got.most)
			runs[s] = append(runs[s], got)
		}
	}
	of := func(s sender, what func(letGo) float64) float64 {
		var all []float64
		for _, g := range runs[s] {
			all = append(all, what(g))
		}
		return median(all)
	}
	rate := func(g letGo) float64 { return g.rate }
	c.rows = append(c.rows,
		row{name: "queue: to the good host, one is slow and one says 421", unit: "msgs/s", us: of(us, rate), them: of(them, rate), required: "3", holds: of(us, rate) >= 3*of(them, rate)},
		row{name: "queue: connections at the good host, median", unit: fmt.Sprintf("of our %d", queueLimit), us: of(us, func(g letGo) float64 { return float64(g.middle) }),
			them: of(them, func(g letGo) float64 { return float64(g.middle) }), required: "our limit", holds: of(us, func(g letGo) float64 { return float64(g.middle) }) >= queueLimit},
		row{name: "queue: the same, 5th percentile", unit: fmt.Sprintf("of our %d", queueLimit), us: of(us, func(g letGo) float64 { return float64(g.low) }),
			them: of(them, func(g letGo) float64 { return float64(g.low) }), required: "our limit, less one", holds: of(us, func(g letGo) float64 { return float64(g.low) }) >= queueLimit-1})
	return nil
}

// queueRun fills a queue, lets it go and watches the good host.
func queueRun(s sender, n int) (g letGo, err error) {
	if err := s.fill(n); err != nil {
		return g, fmt.Errorf("fill %T: %w", s, err)
	}
	defer func() { err = errors.Join(err, s.empty()) }()
	server, err := serveNames()
	if err != nil {
		return g, err
	}
	defer server.Close()
	var hosts []*sink
	defer func() {
		for _, h := range hosts {
			h.stop()
		}
	}()
	for i, args := range [][]string{nil, {"-p", "-w", "1", "-W", "EHLO:1", "-W", "MAIL:1", "-W", "RCPT:1", "-W", ".:1", "-W", "RSET:1", "-W", "QUIT:1"}, {"-Q", "MAIL"}} {
		h, err := startSink(fmt.Sprintf("127.0.0.%d", 2+i), args...)
		if err != nil {
			return g, err
		}
		hosts = append(hosts, h)
	}
	return watch(hosts[0], s, n)
}

// watch lets the queue go and looks at the good host until it has all that is for it.
func watch(good *sink, s sender, n int) (g letGo, err error) {
	want := 0
	for i := range n {
		if i%queueDomains%3 == 0 {
			want++
		}
	}
	var released error
	var verb sync.WaitGroup
	start := time.Now()
	verb.Go(func() { released = s.release() })
	defer verb.Wait()
	var seen []int
	for {
		taken, last := good.state()
		if taken >= want {
			g.all = last.Sub(start)
			break
		}
		if time.Since(start) > 5*time.Minute {
			return g, fmt.Errorf("the good host has %d of %d messages after five minutes", taken, want)
		}
		if taken > 0 && taken < want-2*queueLimit { // neither before the first nor at the last, when there is less than a limit full
			seen = append(seen, good.connections())
		}
		time.Sleep(20 * time.Millisecond)
	}
	verb.Wait()
	if released != nil || len(seen) == 0 {
		return g, errors.Join(released, errors.New("nothing was seen"))
	}
	slices.Sort(seen)
	g.rate = float64(want) / g.all.Seconds()
	g.middle, g.low, g.most = seen[len(seen)/2], seen[len(seen)/20], seen[len(seen)-1]
	return g, nil
}

// serveNames answers for the domains.
func serveNames() (*dns.Server, error) {
	lines := []string{"bench.example. 3600 IN SOA ns.bench.example. hostmaster.bench.example. 1 7200 900 1209600 3600"} // absences are kept, as everywhere
	for i := range 3 {
		lines = append(lines, fmt.Sprintf("mx%d.bench.example. 3600 IN A 127.0.0.%d", i, 2+i))
	}
	for i := range queueDomains {
		lines = append(lines, fmt.Sprintf("%s. 3600 IN MX 10 mx%d.bench.example.", queueDomain(i), i%3))
	}
	z, err := dns.NewZone(lines...)
	if err != nil {
		return nil, err
	}
	return dns.Serve(netip.AddrPortFrom(netip.MustParseAddr(names), 53), z)
}

func queueDomain(i int) string { return fmt.Sprintf("d%d.bench.example", i) }

// recipients are n addresses, domain after domain.
func recipients(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("m%d@%s", i, queueDomain(i%queueDomains))
	}
	return all
}

// ours is the house.
type ours struct{ *house.House }

func newOurs(binary, dir string) (*ours, error) {
	o := &ours{&house.House{Binary: binary, Dir: dir, Base: ourBase, DNS: names + ":53",
		Extra: fmt.Sprintf("[remote]\nport = %d\nallow_loopback = true\n", sinkPort)}}
	return o, o.Setup()
}

// fill hands the messages in as 20 accounts at once, while no name can be looked up: then holds and makes them due.
func (o *ours) fill(n int) error {
	if err := o.Start(); err != nil {
		return err
	}
	const accounts = 20
	to := recipients(n)
	errs := make([]error, accounts)
	var work sync.WaitGroup
	for a := range accounts {
		work.Go(func() {
			mine := to[a*n/accounts : (a+1)*n/accounts]
			l := &load.SMTP{Rcpts: mine, Conns: 1, Msgs: len(mine), Body: func(i int) []byte { return mailgen.Fixed(uint64(a), i, queueSize) }}
			l.Submit(o.Target(), a+1)
			errs[a] = l.Run().Err
		})
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, verb := range []string{"hold", "retry"} {
		if _, err := o.Command("", "queue", verb, "--all"); err != nil {
			return err
		}
	}
	return nil
}

func (o *ours) release() error {
	_, err := o.Command("", "queue", "release", "--all")
	return err
}

func (o *ours) empty() error {
	if err := o.Stop(); err != nil {
		return err
	}
	_, err := o.Command("", "queue", "cancel", "--all", "--silent")
	return err
}

// theirs is a Postfix with configuration and queue of its own, its defaults but for the number of processes. It finds the
// names through a resolv.conf of its own, in a mount namespace.
type theirs struct{ dir string }

func (p *theirs) command(name string, args ...string) error {
	args = append([]string{"-c", filepath.Join(p.dir, "etc")}, args...)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

func newTheirs(dir string) (*theirs, error) {
	p := &theirs{dir}
	script := filepath.Join(filepath.Dir(dir), "postfix.sh")
	if err := os.WriteFile(script, queueScript, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("sh", script, dir, strconv.Itoa(theirPort), strconv.Itoa(sinkPort), names).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("set up Postfix: %w: %s", err, out)
	}
	return p, nil
}

// fill hands the messages in over 20 connections; smtpd puts them on hold. From there they go to the deferred queue.
func (p *theirs) fill(n int) error {
	if err := exec.Command(filepath.Join(p.dir, "start")).Run(); err != nil {
		return fmt.Errorf("start Postfix: %w", err)
	}
	at := load.Server{Addr: fmt.Sprintf("127.0.0.1:%d", theirPort)}
	if err := (&load.Target{Name: "postfix", SMTP: at}).Greeted(); err != nil {
		return err
	}
	l := &load.SMTP{Server: at, From: "u1@" + house.Domain, Rcpts: recipients(n), Conns: 20, Msgs: n, Body: func(i int) []byte { return mailgen.Fixed(1, i, queueSize) }}
	if err := l.Run().Err; err != nil {
		return err
	}
	return p.command("postsuper", "-H", "ALL")
}

func (p *theirs) release() error { return p.command("postqueue", "-f") }

func (p *theirs) empty() error {
	return errors.Join(p.command("postfix", "stop"), p.command("postsuper", "-d", "ALL"))
}
