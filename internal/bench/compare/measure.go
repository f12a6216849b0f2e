package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/load"
)

// bout is one step that both servers run in turn; better tells which way the values go.
type bout struct {
	step     string
	required float64 // ratio of ours to theirs; 0: shown only
	lower    bool    // less is better (milliseconds)
}

// bouts are the comparisons first, then what the baseline lists.
var bouts = []bout{
	{step: "pop.c10", required: 1},
	{step: "imap.fetch_full", required: 1},
	{step: "imap.flags.huge", required: 1},
	{step: "imap.headers_first"}, {step: "imap.headers_repeat"},
	{step: "imap.select.huge", lower: true}, {step: "imap.select_first.huge", lower: true},
	{step: "imap.search_from", lower: true}, {step: "imap.search_body", lower: true},
	{step: "imap.store_all"}, {step: "imap.store_one", lower: true},
	{step: "imap.append.c1.4k"}, {step: "imap.append.c20.4k"}, {step: "imap.copy_move"},
	{step: "smtp.c1.4k"}, {step: "smtp.c20.4k"}, {step: "subm.c20.4k"},
}

// measure takes every measure that was asked for.
func (c *contest) measure() {
	if c.wanted("rest") {
		kb := anonymous(c.house.PID())
		c.rows = append(c.rows, row{name: "memory at rest, anonymous", unit: "MB", us: kb / 1000, required: "at most 30", holds: kb <= 30_000})
	}
	if c.wanted("idle") {
		c.idle()
	}
	if c.wanted("smtp-source") {
		c.smtpSource()
	}
	if c.wanted("checked") {
		c.inboundChecked()
	}
	if c.wanted("queue") {
		c.queue()
	}
	if c.wanted("select-size") || slices.ContainsFunc(bouts, func(b bout) bool { return c.wanted(b.step) }) {
		for _, name := range []string{"fill.big", "fill.huge", "fill.pop"} {
			c.fill(name)
		}
	}
	for _, b := range bouts {
		if c.wanted(b.step) {
			c.bout(b)
		}
	}
	if c.wanted("select-size") {
		c.selectSizes()
	}
}

func (c *contest) wanted(name string) bool { return c.only.MatchString(name) }

func step(name string) load.Step {
	for _, s := range load.Steps() {
		if s.Name == name {
			return s
		}
	}
	panic("compare: no step " + name)
}

// fill brings the mail that the read measures need, when one of them is wanted.
func (c *contest) fill(name string) {
	for _, t := range []*load.Target{c.us, c.them} {
		for _, m := range load.RunStep(step(name), t, c.scale) {
			m.Print(os.Stderr)
		}
	}
}

// bout runs a step on both in turn, the order turned each round.
func (c *contest) bout(b bout) {
	values, cpu := map[string]map[string][]float64{}, map[string]map[string][]float64{}
	var order []load.Measure
	failed := ""
	for r := range c.rounds {
		pair := []*load.Target{c.us, c.them}
		if r%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		for _, t := range pair {
			for _, m := range load.RunStep(step(b.step), t, c.scale) {
				m.Print(os.Stderr)
				if m.Errors > 0 {
					failed = m.Error
				}
				if values[m.Name] == nil {
					values[m.Name], cpu[m.Name] = map[string][]float64{}, map[string][]float64{}
					order = append(order, m)
				}
				values[m.Name][t.Name] = append(values[m.Name][t.Name], m.Value)
				if ms, ok := m.More["cpu_ms_each"]; ok {
					cpu[m.Name][t.Name] = append(cpu[m.Name][t.Name], 1000*ms)
				}
			}
		}
	}
	for _, m := range order {
		r := row{name: m.Name, unit: m.Unit, us: median(values[m.Name][c.us.Name]), them: median(values[m.Name][c.them.Name]), holds: true}
		if b.required > 0 {
			r.required = fmt.Sprintf("%.3g", b.required)
			r.holds = r.us >= b.required*r.them && r.us > 0
		}
		if failed != "" {
			r.required, r.holds = "no error: "+failed, false
		}
		c.rows = append(c.rows, r)
		if us, them := median(cpu[m.Name][c.us.Name]), median(cpu[m.Name][c.them.Name]); us > 0 && them > 0 { // on a busy machine this tells more
			c.rows = append(c.rows, row{name: m.Name + ", CPU of the server", unit: "us each", us: us, them: them, holds: true})
		}
	}
}

// smtpSource lets Postfix's load program deliver 4 KB messages over 20 sessions to 50 accounts, until IMAP STATUS shows the last.
func (c *contest) smtpSource() {
	rates := map[*load.Target][]float64{}
	for r := range c.rounds {
		pair := []*load.Target{c.us, c.them}
		if r%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		for _, t := range pair {
			rate, err := sourceRate(t, c.source)
			if err != nil {
				c.rows = append(c.rows, row{name: "smtp-source of " + t.Name, required: "no error: " + err.Error()})
				return
			}
			fmt.Fprintf(os.Stderr, "smtp-source %s: %.0f msgs/s in the mailbox\n", t.Name, rate)
			rates[t] = append(rates[t], rate)
		}
	}
	r := row{name: "smtp-source, 20 sessions, 4 KB, to 50 accounts", unit: "msgs/s in the mailbox", us: median(rates[c.us]), them: median(rates[c.them]), required: "5"}
	r.holds = r.us >= 5*r.them
	c.rows = append(c.rows, r)
}

// sourceRate runs 20 sessions at once; session s serves the accounts s, s+20, s+40.
func sourceRate(t *load.Target, n int) (float64, error) {
	before, err := t.Inboxes()
	if err != nil {
		return 0, err
	}
	each := n / t.Users
	start := time.Now()
	errs := make(chan error, 20)
	var wg sync.WaitGroup
	for s := range 20 {
		wg.Go(func() {
			for u := s + 1; u <= t.Users; u += 20 {
				out, err := exec.Command("smtp-source", "-d", "-s", "1", "-m", strconv.Itoa(each), "-l", "4096", "-f", "source@bench.example", "-t", t.UserN(u), "inet:"+t.SMTP.Addr).CombinedOutput()
				if err != nil {
					errs <- fmt.Errorf("smtp-source: %w: %s", err, out)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	if err := t.AwaitInboxes(before + each*t.Users); err != nil {
		return 0, err
	}
	return float64(each*t.Users) / time.Since(start).Seconds(), nil
}

// idle opens IDLE connections over TLS and divides the growth of anonymous memory by their number.
func (c *contest) idle() {
	over := *c.us
	over.IMAP = load.Server{Addr: c.house.IMAPS(), TLS: "tls"}
	before := anonymous(c.house.PID())
	conns, err := load.Idle(over.Boxes(1, over.Users), c.scale.Idle)
	r := row{name: "an idle connection in IDLE over TLS, anonymous", unit: "KB", required: "at most 30"}
	if err != nil {
		r.required = "no error: " + err.Error()
	} else {
		time.Sleep(3 * time.Second)
		r.us = (anonymous(c.house.PID()) - before) / float64(len(conns))
		r.holds = r.us <= 30
	}
	for _, ic := range conns {
		ic.Close()
	}
	c.rows = append(c.rows, r)
}

// selectSizes compares our SELECT of 1,000 and of 100,000 messages.
func (c *contest) selectSizes() {
	const small = "Small"
	ms, err := load.SelectTimes(c.us, 200, map[string]int{small: 1000, load.Huge: c.scale.Huge})
	r := row{name: "SELECT of Huge against SELECT of 1,000", unit: "ms", us: ms[load.Huge], them: ms[small], required: "at most 1.3"}
	if err != nil {
		r.required = "no error: " + err.Error()
	} else {
		r.holds = r.us <= 1.3*r.them
	}
	c.rows = append(c.rows, r)
}

// anonymous is RssAnon of a process in kilobytes.
func anonymous(pid int) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb
		}
	}
	return 0
}
