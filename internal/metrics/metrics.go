// Package metrics makes the house's Prometheus metrics: every name begins with
// posthouse_, no label carries an address, an account or a remote host.
//
// A Set is made once by the daemon and handed down through Options. A nil *Set
// is valid everywhere: its metrics count, and nobody scrapes them.
package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Prefix begins the name of every metric of the house.
const Prefix = "posthouse_"

// Set is one registry. Asking twice for the same name returns the same metric,
// so that two listeners of one package may share theirs.
type Set struct{ registry *prometheus.Registry }

// New returns an empty Set.
func New() *Set { return &Set{registry: prometheus.NewRegistry()} }

// Registry is what the /metrics handler gathers from.
func (s *Set) Registry() *prometheus.Registry { return s.registry }

// Counter counts events; name without prefix, ending in _total.
func (s *Set) Counter(name, help string) prometheus.Counter {
	return keep(s, prometheus.Counter(prometheus.NewCounter(prometheus.CounterOpts{Name: Prefix + name, Help: help})))
}

// Counters counts events by label; name without prefix, ending in _total.
func (s *Set) Counters(name, help string, labels ...string) *prometheus.CounterVec {
	return keep(s, prometheus.NewCounterVec(prometheus.CounterOpts{Name: Prefix + name, Help: help}, labels))
}

// Gauge is a value that goes up and down; name without prefix, with its base unit.
func (s *Set) Gauge(name, help string) prometheus.Gauge {
	return keep(s, prometheus.Gauge(prometheus.NewGauge(prometheus.GaugeOpts{Name: Prefix + name, Help: help})))
}

// Gauges is a Gauge by label.
func (s *Set) Gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return keep(s, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: Prefix + name, Help: help}, labels))
}

// GaugeFunc asks read at every scrape; read is called from any goroutine.
func (s *Set) GaugeFunc(name, help string, read func() float64) {
	keep(s, prometheus.GaugeFunc(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: Prefix + name, Help: help}, read)))
}

// Seconds is a histogram of durations in seconds, from 100 microseconds to about 27 seconds.
func (s *Set) Seconds(name, help string) prometheus.Histogram {
	return s.Histogram(name, help, prometheus.ExponentialBuckets(100e-6, 2.5, 14))
}

// Histogram counts observations into buckets; name without prefix, with its base unit.
func (s *Set) Histogram(name, help string, buckets []float64) prometheus.Histogram {
	return keep(s, prometheus.Histogram(prometheus.NewHistogram(prometheus.HistogramOpts{Name: Prefix + name, Help: help, Buckets: buckets})))
}

// keep registers c, or returns the one that has its name already.
func keep[C prometheus.Collector](s *Set, c C) C {
	if s == nil {
		return c
	}
	err := s.registry.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if same, ok := already.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil {
		panic("metrics: " + err.Error()) // a name used for two things is a bug of ours
	}
	return c
}
