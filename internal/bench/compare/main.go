// Compare sets the house beside Debian's Postfix and Dovecot (mdbox) on the same
// machine, takes them in turn, and prints each measure as a ratio of one run with the required ratio beside
// it. It needs root and the Debian packages postfix, dovecot-imapd, dovecot-pop3d, dovecot-lmtpd and rspamd.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/internal/bench/load"
)

//go:embed postfix-dovecot.sh
var pairScript []byte

//go:embed postfix-queue.sh
var queueScript []byte

func main() {
	binary := flag.String("binary", "bin/posthouse", "the server")
	rounds := flag.Int("rounds", 3, "how often each measure is taken of each server")
	only := flag.String("run", "", "regular expression of the measures to take")
	plain := flag.Bool("plain", false, "mail is stored without compression, as Dovecot's is")
	source := flag.Int("nsource", 10000, "messages of the smtp-source measure")
	queued := flag.Int("nqueue", 10000, "messages of the queue's measure")
	checked := flag.Int("nchecked", 2000, "messages of the measure with all checks on")
	base := flag.Int("base", 26000, "where the ports of both begin: 3,000 from there")
	sc := load.DefaultScale
	sc.Idle = 1000 // so many that what the process pays once does not count
	sc.Flags()
	flag.Parse()
	if err := run(options{binary: *binary, rounds: *rounds, only: *only, source: *source, queued: *queued, checked: *checked, base: *base, scale: sc, plain: *plain}); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

type options struct {
	binary, only   string
	rounds, source int
	queued         int
	checked, base  int
	plain          bool
	scale          load.Scale
}

// Where the ports of the pair begin, and those of the house with all checks, behind base.
const (
	pairPorts    = 1000
	checkedPorts = 2000
)

// contest is the two servers and what was measured of them.
type contest struct {
	options
	only  *regexp.Regexp
	house *house.House
	us    *load.Target
	them  *load.Target
	rows  []row
}

func run(o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "posthouse-compare-") // a real disk, open to Postfix's users
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	c := &contest{options: o, only: only, house: &house.House{Binary: o.binary, Dir: filepath.Join(dir, "house"), Base: o.base}}
	if o.plain {
		c.house.Extra = "[store]\ncompress = false\n"
	}
	if err := c.house.Setup(); err != nil {
		return err
	}
	if err := c.house.Start(); err != nil {
		return err
	}
	defer c.house.Stop()
	c.us = c.house.Target()
	if c.them, err = startPair(filepath.Join(dir, "pair"), o.base+pairPorts); err != nil {
		return err
	}
	defer exec.Command(c.them.Stop[0]).Run()
	fmt.Printf("%d cores, %s; %d rounds in turn; values are medians\n", runtime.NumCPU(), runtime.Version(), o.rounds)
	c.measure()
	return c.print()
}

// startPair makes and starts Postfix and Dovecot with configuration and mail of their own.
func startPair(dir string, base int) (*load.Target, error) {
	script := filepath.Join(filepath.Dir(dir), "setup.sh")
	if err := os.WriteFile(script, pairScript, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("sh", script, dir, fmt.Sprint(base), "mdbox").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("set up Postfix and Dovecot: %w: %s", err, out)
	}
	t, err := load.ReadTarget(filepath.Join(dir, "target.json"))
	if err != nil {
		return nil, err
	}
	if out, err := exec.Command(t.Start[0]).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("start Postfix and Dovecot: %w: %s", err, out)
	}
	return t, t.Greeted()
}

// row is one line of the table.
type row struct {
	name, unit string
	us, them   float64
	required   string
	holds      bool
}

func (r row) ratio() string {
	if r.them == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.us/r.them)
}

var errMissed = errors.New("a required figure was missed")

func (c *contest) print() error {
	fmt.Printf("| measure | unit | posthouse | Postfix + Dovecot | ratio | required | holds |\n|---|---|---|---|---|---|---|\n")
	all := true
	for _, r := range c.rows {
		them := "-"
		if r.them != 0 {
			them = fmt.Sprintf("%.4g", r.them)
		}
		fmt.Printf("| %s | %s | %.4g | %s | %s | %s | %v |\n", r.name, r.unit, r.us, them, r.ratio(), r.required, r.holds)
		all = all && r.holds
	}
	if !all {
		return errMissed
	}
	return nil
}

func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(vs))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
