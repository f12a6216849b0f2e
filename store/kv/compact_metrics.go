package kv

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
)

type compactMetrics struct {
	rounds, seconds, copied, removed, freed, damaged prometheus.Counter

	segments, octets, alive atomic.Int64 // as the last round found them
}

func newCompactMetrics(m *metrics.Set) *compactMetrics {
	c := &compactMetrics{
		rounds:  m.Counter("store_compaction_rounds_total", "Times that all segments were looked at for dead mail."),
		seconds: m.Counter("store_compaction_seconds_total", "Time that these took, pauses included."),
		copied:  m.Counter("store_compaction_copied_bytes_total", "Octets of live mail that were copied into new segments."),
		removed: m.Counter("store_compaction_removed_segments_total", "Segments that were removed because nothing in them was alive any more."),
		freed:   m.Counter("store_compaction_freed_bytes_total", "Octets of the files of these."),
		damaged: m.Counter("store_compaction_damaged_segments_total", "Segments that stay as they are because a body in them cannot be read. Any is lost mail: posthouse check store says whose."),
	}
	if m != nil {
		m.GaugeFunc("store_segments", "Segment files that hold mail, as the last look at them found.", func() float64 { return float64(c.segments.Load()) })
		m.GaugeFunc("store_segments_bytes", "Octets of these files.", func() float64 { return float64(c.octets.Load()) })
		m.GaugeFunc("store_segments_live_bytes", "Octets in them that mail takes which is not given up.", func() float64 { return float64(c.alive.Load()) })
	}
	return c
}

// round takes over what a round found.
func (c *compactMetrics) round(out *Compacted, took time.Duration) {
	c.rounds.Inc()
	c.seconds.Add(took.Seconds())
	c.segments.Store(int64(out.Segments - out.Removed))
	c.octets.Store(out.Octets - out.Freed + out.Copied)
	c.alive.Store(out.Live)
}
