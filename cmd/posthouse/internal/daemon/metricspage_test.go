package daemon

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// metricsPage is docs/metrics.md: every metric that a house registers.
func metricsPage(set *metrics.Set) (string, error) {
	kinds, err := metricKinds(set)
	if err != nil {
		return "", err
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		set.Registry().Describe(descs)
		close(descs)
	}()
	parts := regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)", unit: "[^"]*", constLabels: \{[^}]*\}, variableLabels: \{([^}]*)\}`)
	var rows []string
	for d := range descs {
		m := parts.FindStringSubmatch(d.String())
		if m == nil || !strings.HasPrefix(m[1], metrics.Prefix) {
			continue // Go's own and the process's: the same in every program
		}
		labels := strings.ReplaceAll(m[3], ",", ", ")
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", m[1], kindOf(m[1], kinds), labels, strings.ReplaceAll(m[2], `\"`, `"`)))
	}
	slices.Sort(rows)
	return `# Metrics

<!-- Made of the metrics that a house registers; do not edit. After a change: go test ./cmd/posthouse/internal/daemon -update -->

` + "`/metrics` on the listener of `[metrics]`" + ` (127.0.0.1:9025 by default), in Prometheus' text form. Units are seconds and bytes; no label carries an
address, an account or a remote host. Go's own metrics (` + "`go_*`, `process_*`" + `) are there too. ` + "`/healthz`" + ` answers 200 while the process
lives, ` + "`/readyz`" + ` while the doors are open and the log can be written.

| metric | kind | labels | meaning |
|---|---|---|---|
` + strings.Join(slices.Compact(rows), ""), nil
}

// metricKinds asks the metrics that have a value already.
func metricKinds(set *metrics.Set) (map[string]string, error) {
	families, err := set.Registry().Gather()
	if err != nil {
		return nil, err
	}
	kinds := make(map[string]string)
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	return kinds, nil
}

// kindOf is the kind of a metric; one with labels that nothing was counted for yet tells it by its name.
func kindOf(name string, kinds map[string]string) string {
	if k := kinds[name]; k != "" {
		return k
	}
	if strings.HasSuffix(name, "_total") {
		return "counter"
	}
	return "gauge"
}
