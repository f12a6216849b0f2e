package inbound

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// counters are the desk's metrics.
type counters struct {
	verdicts *prometheus.CounterVec // copies, by class
	turned   *prometheus.CounterVec // messages, by what their senders were told
	checks   *prometheus.CounterVec
}

func newCounters(m *metrics.Set) counters {
	return counters{
		verdicts: m.Counters("junk_verdicts_total", "Copies of messages from outside that were filed, by what they were taken for (good, doubtful, junk, refuse).", "class"),
		turned:   m.Counters("junk_turned_away_total", "Messages from outside that were refused as junk (refused) or have to come again (later).", "answer"),
		checks:   m.Counters("smtp_checks_total", "Checks of messages from outside, by method (spf, dkim, arc, dmarc, iprev) and result; of several signatures the best counts.", "method", "result"),
	}
}

func (c counters) report(r *mailauth.Report) {
	best := mailauth.None
	for _, d := range r.DKIM {
		if best == mailauth.None || d.Result == mailauth.Pass {
			best = d.Result
		}
	}
	for method, result := range map[string]mailauth.Result{
		"spf": r.SPF.Result, "dkim": best, "arc": r.ARC.Result, "dmarc": r.DMARC.Result, "iprev": r.IPRev.Result,
	} {
		if result != "" {
			c.checks.WithLabelValues(method, string(result)).Inc()
		}
	}
}
