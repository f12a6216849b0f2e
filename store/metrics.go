package store

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
)

type storeMetrics struct {
	delivered prometheus.Counter
}

func newMetrics(s *Store, set *metrics.Set) storeMetrics {
	total := func(pick func(*holding) uint64) func() float64 {
		return func() float64 { return float64(s.sum(pick)) }
	}
	set.GaugeFunc("store_accounts", "Accounts that have mailboxes.",
		total(func(*holding) uint64 { return 1 }))
	set.GaugeFunc("store_mailboxes", "Mailboxes of all accounts.",
		total(func(h *holding) uint64 { return uint64(h.mailboxes) }))
	set.GaugeFunc("store_messages", "Messages in all mailboxes.",
		total(func(h *holding) uint64 { return h.used.Messages }))
	set.GaugeFunc("store_messages_bytes", "Size of the messages in all mailboxes, before compression.",
		total(func(h *holding) uint64 { return h.used.Bytes }))
	kept := func(pick func(Quota) uint64) func() float64 {
		return func() float64 {
			_, q, err := s.Totals(context.Background())
			if err != nil {
				return 0 // the database is closing
			}
			return float64(pick(q))
		}
	}
	set.GaugeFunc("store_kept_messages", "Expunged messages that can still come back.", kept(func(q Quota) uint64 { return q.Messages }))
	set.GaugeFunc("store_kept_bytes", "Size of the expunged messages that can still come back, before compression.",
		kept(func(q Quota) uint64 { return q.Bytes }))
	return storeMetrics{
		delivered: set.Counter("store_deliveries_total", "Copies of messages delivered to mailboxes."),
	}
}

// sum adds a number up over the rows of all accounts; a scrape costs a scan of a small table.
func (s *Store) sum(pick func(*holding) uint64) (n uint64) {
	err := s.db.View(context.Background(), func(tx *kv.Tx) error {
		for _, v := range tx.Scan(tabHoldings, nil, nil) {
			if h, err := decodeHolding(v); err == nil {
				n += pick(&h)
			}
		}
		return nil
	})
	if err != nil {
		return 0 // the database is closing
	}
	return n
}
