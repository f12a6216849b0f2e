package queue

import (
	"github.com/prometheus/client_golang/prometheus"
)

// counters are the queue's metrics.
type counters struct {
	results *prometheus.CounterVec
	reports *prometheus.CounterVec
	silent  prometheus.Counter
}

func newCounters(q *Queue) counters {
	m := q.o.Metrics
	m.GaugeFunc("queue_entries", "Entries in the queue: a message for recipients of one domain.", func() float64 {
		return q.measure(func(s *schedule) float64 { return float64(len(s.tickets)) })
	})
	m.GaugeFunc("queue_entries_held", "Entries that the operator holds.", func() float64 {
		return q.measure(func(s *schedule) float64 { return float64(s.parked) })
	})
	m.GaugeFunc("queue_attempts_active", "Delivery attempts running now.", func() float64 {
		return q.measure(func(s *schedule) float64 { return float64(s.active) })
	})
	m.GaugeFunc("queue_hosts_resting", "Hosts that are left alone for a while after a failure.", func() float64 {
		now := q.now()
		return q.measure(func(s *schedule) float64 {
			n := 0
			for _, h := range s.hosts {
				if h.failures > 0 && h.start > now {
					n++
				}
			}
			return float64(n)
		})
	})
	m.GaugeFunc("queue_scheduled", "Entries whose time to be sent has not come.", func() float64 {
		now := q.now()
		return q.measure(func(s *schedule) float64 {
			n := 0
			for _, t := range s.tickets {
				if t.created > now {
					n++
				}
			}
			return float64(n)
		})
	})
	m.GaugeFunc("queue_oldest_seconds", "Age of the oldest entry.", func() float64 {
		now := q.now()
		return q.measure(func(s *schedule) float64 {
			oldest := now
			for _, t := range s.tickets {
				oldest = min(oldest, t.created)
			}
			return float64(now-oldest) / 1000
		})
	})
	return counters{
		results: m.Counters("queue_results_total", "Results of delivery attempts, by recipient: done, later or never.", "result"),
		reports: m.Counters("queue_reports_total", "Delivery status notifications sent, by their gravest action.", "action"),
		silent:  m.Counter("queue_unproven_total", "Messages given up whose sender was not told, because nothing proves that it sent them."),
	}
}

func (q *Queue) measure(read func(*schedule) float64) float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return read(q.sched)
}

func (c counters) add(verdicts map[Verdict]int) {
	names := map[Verdict]string{Done: "done", Later: "later", Never: "never"}
	for v, n := range verdicts {
		c.results.WithLabelValues(names[v]).Add(float64(n))
	}
}
