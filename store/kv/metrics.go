package kv

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/blob"
)

type commitMetrics struct {
	commits, aside   prometheus.Counter
	seconds          prometheus.Histogram
	records, updates prometheus.Histogram
}

func newCommitMetrics(m *metrics.Set) commitMetrics {
	sizes := prometheus.ExponentialBuckets(1, 2, 13)
	return commitMetrics{
		commits: m.Counter("store_commits_total", "Synced commits of the tables."),
		aside:   m.Counter("store_set_aside_total", "Logged records that could not be applied and were set aside. Any is a bug or a broken table."),
		seconds: m.Seconds("store_commit_seconds", "Duration of a commit of the tables, all attempts included."),
		records: m.Histogram("store_commit_records", "Logged records applied by one commit.", sizes),
		updates: m.Histogram("store_commit_updates", "Updates of clients in one commit.", sizes),
	}
}

func (c *commitMetrics) commit(b *batch, begin time.Time, synced bool) {
	if !synced {
		return
	}
	c.commits.Inc()
	c.seconds.Observe(time.Since(begin).Seconds())
	c.records.Observe(float64(len(b.entries)))
	c.updates.Observe(float64(len(b.updates)))
}

// gauges shows how far the tables lag, and what their file has taken.
func (db *DB) gauges() {
	m := db.o.Metrics
	if m == nil {
		return
	}
	m.GaugeFunc("store_backlog_bytes", "Durable records that are not in the tables yet.", func() float64 {
		db.committer.mu.Lock()
		defer db.committer.mu.Unlock()
		return float64(db.committer.lag.backlog)
	})
	m.GaugeFunc("store_backlog_records", "Durable records that are not in the tables yet.", func() float64 {
		return float64(db.committer.unapplied.Load())
	})
	m.GaugeFunc("store_set_aside_records", "Records that were set aside and are there still: mail that was accepted and is in no mailbox.", func() float64 {
		return float64(db.committer.aside.Load())
	})
	m.GaugeFunc("store_tables_written_bytes", "Octets that the commits have written since the start.", func() float64 {
		octets, _ := db.engine.written()
		return float64(octets)
	})
}

// Counts is what log and tables have done since Open.
type Counts struct {
	Log         blob.Counts
	TableBytes  uint64 // octets the commits have written
	CommitSyncs uint64 // fdatasyncs of the tables' file, two a commit
}

// Counts reads the counters.
func (db *DB) Counts() Counts {
	octets, syncs := db.engine.written()
	return Counts{Log: db.log.Counts(), TableBytes: octets, CommitSyncs: syncs}
}
