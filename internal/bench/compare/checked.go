package main

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/internal/bench/load"
	"github.com/posthouse-mail/posthouse/internal/bench/strangers"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

//go:embed postfix-rspamd.sh
var rspamdScript []byte

// Mail from strangers with all checks on: SPF, DKIM, DMARC, names and score here; the same and its rules by rspamd for Postfix. Each
// message is signed, of about 12 KB, from one of 200 domains, and comes over a connection of its own that a proxy announces, so that
// both look at it as at mail from the world.
const (
	checkedDomains = 200
	checkedSize    = 12 << 10
	checkedConns   = 20
	checkedPort    = 26 // beside the pair's port 25
)

func (c *contest) inboundChecked() {
	if err := c.checkedRounds(); err != nil {
		c.rows = append(c.rows, row{name: "inbound, all checks", required: "no error: " + err.Error()})
	}
}

func (c *contest) checkedRounds() error {
	far, err := strangers.New(checkedDomains)
	if err != nil {
		return err
	}
	zone, err := far.Zone()
	if err != nil {
		return err
	}
	names, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		return err
	}
	defer names.Close()
	dir := filepath.Dir(c.house.Dir)
	h := &house.House{Binary: c.binary, Dir: filepath.Join(dir, "checked"), Base: c.base + checkedPorts, DNS: names.Addr().String(), ProxyFrom: load.ProxyAddr + "/32"}
	if err := h.Setup(); err != nil {
		return err
	}
	if err := h.Start(); err != nil {
		return err
	}
	defer h.Stop()
	us := h.Target()
	them := *c.them
	them.SMTP.Addr = fmt.Sprint("127.0.0.1:", c.base+pairPorts+checkedPort)
	pid, err := c.startRspamd(filepath.Join(dir, "rspamd"), names.Addr().String())
	if err != nil {
		return err
	}
	defer syscall.Kill(pid, syscall.SIGTERM)
	them.PIDs = append(them.PIDs, pid)
	rates, cpu := map[string][]float64{}, map[string][]float64{}
	for r := range c.rounds {
		pair := []*load.Target{us, &them}
		if r%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		for _, t := range pair {
			rate, each, err := c.checkedRate(far, t)
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
			fmt.Fprintf(os.Stderr, "inbound, all checks, %s: %.0f msgs/s, %.0f us of CPU each\n", t.Name, rate, each)
			rates[t.Name], cpu[t.Name] = append(rates[t.Name], rate), append(cpu[t.Name], each)
		}
	}
	if err := looked(h.Metrics(), c.rounds*c.checked); err != nil {
		return err
	}
	ours, theirs := median(rates[us.Name]), median(rates[them.Name])
	c.rows = append(c.rows,
		row{name: "inbound, all checks, 20 sessions, 12 KB signed, against Postfix + rspamd", unit: "msgs/s", us: ours, them: theirs, required: "3", holds: ours >= 3*theirs},
		row{name: "inbound, all checks, CPU of the server", unit: "us each", us: median(cpu[us.Name]), them: median(cpu[them.Name]), holds: true})
	return nil
}

// looked makes sure that the house has proven and judged all of it.
func looked(metrics string, n int) error {
	res, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	for _, name := range []string{`smtp_checks_total{method="spf",result="pass"}`, `smtp_checks_total{method="dkim",result="pass"}`, `smtp_checks_total{method="dmarc",result="pass"}`, `junk_verdicts_total{class="good"}`} {
		if want := fmt.Sprintf("\nposthouse_%s %d\n", name, n); !strings.Contains(string(text), want) {
			return fmt.Errorf("the house does not say %s", strings.TrimSpace(want))
		}
	}
	return nil
}

// startRspamd gives the pair's Postfix its rspamd, and returns its process.
func (c *contest) startRspamd(dir, names string) (int, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	script := filepath.Join(dir, "setup.sh")
	if err := os.WriteFile(script, rspamdScript, 0o755); err != nil {
		return 0, err
	}
	pair := filepath.Join(filepath.Dir(dir), "pair")
	if out, err := exec.Command("sh", script, dir, pair, fmt.Sprint(c.base+pairPorts+checkedPort), fmt.Sprint(c.base+pairPorts+33), names, load.ProxyAddr).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("set up rspamd: %w: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "run", "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// checkedRate is how many messages a second are taken, and the CPU of each in microseconds.
func (c *contest) checkedRate(far *strangers.Domains, t *load.Target) (rate, each float64, err error) {
	n := c.checked
	s := &load.SMTP{Server: t.SMTP, Conns: checkedConns, Msgs: n, Stranger: func(i int) load.Stranger {
		return load.Stranger{Addr: far.Addr(i), Hello: far.Host(i), From: far.From(i)}
	}}
	for u := 1; u <= t.Users; u++ {
		s.Rcpts = append(s.Rcpts, t.UserN(u))
	}
	s.Body = func(i int) []byte {
		text, failed := far.Message(i, checkedSize, s.Rcpts[i%len(s.Rcpts)])
		if failed != nil {
			err = failed
		}
		return text
	}
	before := t.Usage().CPUSeconds
	res := s.Run()
	if err == nil && res.Errors > 0 {
		err = fmt.Errorf("%d of %d messages were not taken: %w", res.Errors, n, res.Err)
	}
	return float64(res.Sent) / res.Elapsed.Seconds(), 1e6 * (t.Usage().CPUSeconds - before) / float64(max(res.Sent, 1)), err
}
