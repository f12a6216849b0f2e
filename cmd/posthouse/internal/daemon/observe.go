package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// describe adds the metrics of the process and the build.
func (d *Daemon) describe() {
	newCheckups(d.metrics)
	d.metrics.Gauges("build_info", "Always 1; the label says which build this is.", "version").WithLabelValues(d.o.Version).Set(1)
	d.metrics.GaugeFunc("start_time_seconds", "When the house was started, as seconds since 1970.", func() float64 {
		return float64(d.started.UnixMilli()) / 1000
	})
	d.metrics.GaugeFunc("ready", "1 while the doors are open.", func() float64 {
		if d.ready.Load() {
			return 1
		}
		return 0
	})
	for _, result := range []string{noticeSent, noticeFailed} { // the series are there before the first letter: an alert sees each step
		d.notices().WithLabelValues(result).Add(0)
	}
	d.metrics.Registry().MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
}

// Results of letters of the house.
const (
	noticeSent   = "sent"
	noticeFailed = "failed"
)

func (d *Daemon) notices() *prometheus.CounterVec {
	return d.metrics.Counters("notices_total", "Letters of the house to the postmaster and to users, by result: sent, failed.", "result")
}

func (d *Daemon) countNotice(err error) {
	result := noticeSent
	if err != nil {
		result = noticeFailed
	}
	d.notices().WithLabelValues(result).Inc()
}

// part is the log of one part of the house.
func (d *Daemon) part(name string) *slog.Logger { return logx.Part(d.log, name) }

// setLevels makes the levels of parts those of c; what the operator set meanwhile is forgotten.
func (d *Daemon) setLevels(c *config.Config) error {
	levels, err := logx.ParseLevels(c.Log.Levels)
	if err != nil {
		return fmt.Errorf("log.levels: %w", err)
	}
	if d.levels != nil {
		d.levels.Configure(levels)
	}
	return nil
}

// listenerNames is service=address of every door, for the log.
func (d *Daemon) listenerNames() []string {
	var all []string
	for _, x := range d.doors {
		all = append(all, x.service.Name+"="+x.service.Listener.Addr().String())
	}
	return all
}

// probeEvery is how long one answer of probe holds: whoever asks often costs no disk.
const probeEvery = 10 * time.Second

// probe knows whether log and tables take changes.
type probe struct {
	mu  sync.Mutex // guards the rest, one probe at a time
	at  time.Time
	err error
}

// check writes a small body to the log, with its fdatasync, and waits for the tables.
func (p *probe) check(ctx context.Context, k *keepers, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.at) < probeEvery && p.err == nil {
		return nil
	}
	p.at, p.err = now, k.writable(ctx)
	return p.err
}

// writable makes one byte durable that nothing refers to.
func (k *keepers) writable(ctx context.Context) error {
	w, err := k.db.NewBody(ctx, 1)
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte{'.'}); err != nil {
		w.Discard()
		return err
	}
	body, err := w.Finish(nil)
	if err != nil {
		return err
	}
	if _, err := k.db.Keep(ctx, body); err != nil {
		return err
	}
	return k.db.SettleAll(ctx)
}
