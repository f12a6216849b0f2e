package daemon

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/web/admin"
)

const (
	longQueue  = 10_000 // entries; more are not read each time that somebody looks
	mostWaited = 5      // domains that are told
)

// Vitals is how the house does now.
func (d *Daemon) Vitals(ctx context.Context) (admin.Vitals, error) {
	families, err := d.metrics.Registry().Gather()
	if err != nil {
		return admin.Vitals{}, err
	}
	v := admin.Vitals{At: d.o.Now(), Version: d.o.Version, Hostname: d.o.Config.Hostname, Started: d.started, Values: map[string]float64{}}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), metrics.Prefix)
		if !ours && !strings.HasPrefix(name, "process_") {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetHistogram() == nil {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				key := name
				if len(labels) > 0 {
					key += "{" + strings.Join(labels, ",") + "}"
				}
				v.Values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if v.Values["queue_entries"] <= longQueue {
		v.Waiting, err = d.waiting(ctx)
	}
	return v, err
}

// waiting are the domains for which most mail was tried and waits.
func (d *Daemon) waiting(ctx context.Context) ([]admin.WaitingDomain, error) {
	entries, err := d.house.Queue(ctx)
	if err != nil {
		return nil, err
	}
	by := map[string]admin.WaitingDomain{}
	for _, e := range entries {
		if e.Attempts == 0 || e.Held {
			continue
		}
		w := by[e.Domain]
		w.Domain, w.Entries = e.Domain, w.Entries+1
		if w.Oldest.IsZero() || e.Created.Before(w.Oldest) {
			w.Oldest = e.Created
			for _, r := range e.Recipients {
				w.Answer = cmp.Or(r.Result, w.Answer)
			}
		}
		by[e.Domain] = w
	}
	all := slices.SortedFunc(maps.Values(by), func(a, b admin.WaitingDomain) int {
		return cmp.Or(b.Entries-a.Entries, strings.Compare(a.Domain, b.Domain))
	})
	return all[:min(len(all), mostWaited)], nil
}
