package daemon

import (
	"context"

	"github.com/prometheus/client_golang/prometheus/collectors"
)

// describe adds the metrics of the process and the build.
func (d *Daemon) describe() {
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
	d.metrics.Registry().MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
}

// listenerNames is service=address of every door, for the log.
func (d *Daemon) listenerNames() []string {
	var all []string
	for _, x := range d.doors {
		all = append(all, x.service.Name+"="+x.service.Listener.Addr().String())
	}
	return all
}

// writable makes sure that the log and the tables take changes: an empty commit.
func (k *keepers) writable(ctx context.Context) error { return k.db.SettleAll(ctx) }
