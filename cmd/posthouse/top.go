package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// Size of a terminal that does not tell its own; what is shown fits it.
const topWidth, topHeight = 80, 24

func (p *program) topCommand(o *options) *cobra.Command {
	var once bool
	every := 2 * time.Second
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show live how the house does: connections, rates, queue, junk, disk; q quits",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return wrongUsage(cmd, errors.New("--every is at least 100ms"))
			}
			return p.running(cmd.Context(), o, func(c *api.Client) error {
				screen, ok := p.stdout.(*os.File)
				if once || o.json || !ok || !term.IsTerminal(int(screen.Fd())) {
					v, err := c.Vitals(cmd.Context())
					if err != nil || o.json {
						return p.answer(o, v, err)
					}
					return p.say("%s", strings.Join(topPage(nil, v, topWidth, topHeight), "\n"))
				}
				return p.watchTop(cmd.Context(), c, screen, every)
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print once, without rates; what a pipe gets too")
	cmd.Flags().DurationVar(&every, "every", every, "time between two looks")
	return cmd
}

// watchTop draws until q, Ctrl-C or the end of the house.
func (p *program) watchTop(ctx context.Context, c *api.Client, screen *os.File, every time.Duration) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if in, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		before, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, term.Restore(int(in.Fd()), before)) }()
		go quitKey(in, stop) // it ends with the process: a read of a terminal cannot be broken off
	}
	if _, err := io.WriteString(screen, "\x1b[?1049h\x1b[?25l"); err != nil {
		return err
	}
	defer func() {
		_, e := io.WriteString(screen, "\x1b[?25h\x1b[?1049l")
		err = errors.Join(err, e)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last *admin.Vitals
	for {
		v, err := c.Vitals(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		width, height, err := term.GetSize(int(screen.Fd()))
		if err != nil || width < 20 || height < 5 {
			width, height = topWidth, topHeight
		}
		lines := topPage(last, v, width, height)
		if _, err := io.WriteString(screen, "\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[K\x1b[J"); err != nil {
			return err
		}
		last = &v
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// quitKey waits for q, Ctrl-C or Ctrl-D.
func quitKey(in io.Reader, stop func()) {
	key := make([]byte, 1)
	for {
		if _, err := in.Read(key); err != nil || key[0] == 'q' || key[0] == 'Q' || key[0] == 3 || key[0] == 4 {
			stop()
			return
		}
	}
}

// topPage is what the screen shows; last nil: there are no rates yet.
func topPage(last *admin.Vitals, v admin.Vitals, width, height int) []string {
	t := topView{last: last, v: v}
	n := func(key string) string { return amount(uint64(max(0, v.Values[key]))) }
	disk := []string{"room", "LOW", "FULL"}[min(2, max(0, int(v.Values["disk_state"])))]
	lines := []string{
		fmt.Sprintf("%s  posthouse %s  up %s  %s", v.Hostname, v.Version, rounded(v.At.Sub(v.Started)), v.At.Local().Format("15:04:05")),
		fmt.Sprintf("memory %s  disk %s free (%s)  messages %.0f  panics %.0f", n("process_resident_memory_bytes"), n("disk_free_bytes"), disk, v.Values["store_messages"], v.Values["panics_total"]),
		"",
		fmt.Sprintf("%-14s %8s %10s %10s", "door", "open", "new/s", "refused/s"),
	}
	for _, s := range t.services() {
		lines = append(lines, fmt.Sprintf("%-14s %8.0f %10s %10s", s, v.Values["connections{service="+s+"}"], t.rate("connections_total{service="+s+"}"), t.rates("connections_refused_total{", "service="+s+"}")))
	}
	lines = append(lines, "",
		fmt.Sprintf("mail     in %s/s  copies %s/s  out done %s/s  later %s/s  never %s/s", t.rates("smtp_messages_total{", ""), t.rate("store_deliveries_total"), t.rate("queue_results_total{result=done}"), t.rate("queue_results_total{result=later}"), t.rate("queue_results_total{result=never}")),
		fmt.Sprintf("queue    %.0f entries  oldest %s  now %.0f  held %.0f  hosts resting %.0f", v.Values["queue_entries"], rounded(time.Duration(v.Values["queue_oldest_seconds"]*float64(time.Second))), v.Values["queue_attempts_active"], v.Values["queue_entries_held"], v.Values["queue_hosts_resting"]),
		fmt.Sprintf("junk     good %.0f  doubtful %.0f  junk %.0f  turned away %.0f", v.Values["junk_verdicts_total{class=good}"], v.Values["junk_verdicts_total{class=doubtful}"], v.Values["junk_verdicts_total{class=junk}"], t.sum(v, "junk_turned_away_total{", "")),
		fmt.Sprintf("logins   good %s/s  refused %s/s", t.rates("logins_total{result=ok", ""), t.refused()),
	)
	if len(v.Waiting) > 0 {
		lines = append(lines, "", "waits for                      entries  oldest     last answer")
	}
	for _, w := range v.Waiting {
		lines = append(lines, fmt.Sprintf("%-30s %7d  %-9s  %s", w.Domain, w.Entries, rounded(v.At.Sub(w.Oldest)), w.Answer))
	}
	lines = lines[:min(len(lines), height)]
	for i, line := range lines {
		if r := []rune(printable(line)); len(r) > width {
			lines[i] = string(r[:width-1]) + "…"
		} else {
			lines[i] = string(r)
		}
	}
	return lines
}

// topView are two looks at the house.
type topView struct {
	last *admin.Vitals
	v    admin.Vitals
}

// services are the doors that are open.
func (t topView) services() []string {
	var all []string
	for key := range t.v.Values {
		if s, ok := strings.CutPrefix(key, "connections{service="); ok {
			all = append(all, strings.TrimSuffix(s, "}"))
		}
	}
	slices.Sort(all)
	return all
}

// sum adds what begins and ends so.
func (t topView) sum(v admin.Vitals, prefix, suffix string) (n float64) {
	for _, key := range slices.Sorted(maps.Keys(v.Values)) {
		if strings.HasPrefix(key, prefix) && strings.HasSuffix(key, suffix) {
			n += v.Values[key]
		}
	}
	return n
}

func (t topView) rate(key string) string { return t.rates(key, key) }

func (t topView) rates(prefix, suffix string) string {
	if t.last == nil {
		return "-"
	}
	return t.perSecond(t.sum(t.v, prefix, suffix) - t.sum(*t.last, prefix, suffix))
}

func (t topView) refused() string {
	if t.last == nil {
		return "-"
	}
	bad := func(v admin.Vitals) float64 {
		return t.sum(v, "logins_total{", "") - t.sum(v, "logins_total{result=ok", "")
	}
	return t.perSecond(bad(t.v) - bad(*t.last))
}

func (t topView) perSecond(n float64) string {
	s := t.v.At.Sub(t.last.At).Seconds()
	if s <= 0 || n < 0 { // the clock was set, or the house started anew
		return "-"
	}
	return fmt.Sprintf("%.1f", n/s)
}

// rounded is a duration for a glance.
func rounded(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}
