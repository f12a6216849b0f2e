package remote

import (
	"crypto/tls"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/queue"
)

// counters are the carrier's metrics.
type counters struct {
	connections *prometheus.CounterVec
	recipients  *prometheus.CounterVec
	unmet       *prometheus.CounterVec
}

func newCounters(m *metrics.Set) counters {
	return counters{
		connections: m.Counters("remote_connections_total", "Connections opened to other hosts, by security: tls or clear.", "security"),
		unmet:       m.Counters("remote_tls_failures_total", "Connections on which TLS, or the domain's policy, lacked something, by the names of TLS reports (RFC 8460).", "type"),
		recipients:  m.Counters("remote_recipients_total", "Recipients that other hosts answered for: done, later or never.", "result"),
	}
}

func (c counters) connected(s *tls.ConnectionState) {
	if s == nil {
		c.connections.WithLabelValues("clear").Inc()
		return
	}
	c.connections.WithLabelValues("tls").Inc()
}

func (c counters) attempt(results []queue.Result) {
	names := map[queue.Verdict]string{queue.Done: "done", queue.Later: "later", queue.Never: "never"}
	for _, r := range results {
		c.recipients.WithLabelValues(names[r.Verdict]).Inc()
	}
}
