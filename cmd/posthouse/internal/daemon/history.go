package daemon

import (
	"context"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// historyEvery is how often it is noted what happened.
const historyEvery = 5 * time.Minute

// historyCounts are the counters that charts show, by the name that they have there (web/admin/history.go).
func historyCounts() map[string]string {
	return map[string]string{
		"delivered": "store_deliveries_total", "sent": "queue_results_total result=done", "deferred": "queue_results_total result=later", "failed": "queue_results_total result=never",
		"received": "smtp_messages_total result=accepted",
		"good":     "junk_verdicts_total class=good", "doubtful": "junk_verdicts_total class=doubtful", "junk": "junk_verdicts_total class=junk",
		"refused": "junk_turned_away_total answer=refused", "again": "junk_turned_away_total answer=later",
		"learned_good": "junk_lessons_total class=good", "learned_junk": "junk_lessons_total class=junk",
		"logins": "logins_total", "logins_ok": "logins_total result=ok",
		"connections": "connections_total", "connections_refused": "connections_refused_total",
	}
}

// historyLevels are the gauges.
func historyLevels() map[string]string {
	return map[string]string{
		"queue": "queue_entries", "memory": "process_resident_memory_bytes", "disk_used": "", "open": "connections", "mail_bytes": "store_messages_bytes", "messages": "store_messages",
	}
}

// noteHistory notes what happened since the last time; seen is where the counters stood then.
func (d *Daemon) noteHistory(seen map[string]float64) error {
	all, err := gather(d.metrics)
	if err != nil {
		return err
	}
	counts, levels := map[string]float64{}, map[string]float64{}
	for name, what := range historyCounts() {
		now := all.sum(what)
		counts[name], seen[name] = now-seen[name], now
	}
	for name, what := range historyLevels() {
		if what != "" {
			levels[name] = all.sum(what)
		}
	}
	levels["disk_used"] = all.sum("disk_size_bytes") - all.sum("disk_free_bytes")
	d.keepers.history.Note(d.o.Now(), counts, levels)
	return nil
}

// runHistory notes until ctx ends, and once more then.
func (d *Daemon) runHistory(ctx context.Context) {
	seen := map[string]float64{}
	tick := time.NewTicker(historyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		if err := d.noteHistory(seen); err != nil {
			d.log.WarnContext(ctx, logx.HistoryFailed, "error", err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}
