package tlsbook

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

const keepReports = 90 * day

// Received is a TLS report that somebody sent about mail for a domain here.
type Received struct {
	ID      string          `json:"id"`
	From    string          `json:"from"` // organization
	Begin   time.Time       `json:"begin"`
	End     time.Time       `json:"end"`
	Good    int64           `json:"good"`
	Bad     int64           `json:"bad"`
	Domains []string        `json:"domains"`
	Text    json.RawMessage `json:"text"` // the report
}

func reportKey(r Received) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(max(r.End.Unix(), 0))), r.ID...)
}

// KeepReport keeps a report; the same again replaces it.
func (b *Book) KeepReport(ctx context.Context, r Received) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.o.Side.Update(ctx, func(tx *kv.Tx) error {
		tx.Put(tabReport, reportKey(r), text)
		return nil
	})
}

// Reports lists the newest received reports.
func (b *Book) Reports(ctx context.Context, most int) (all []Received, err error) {
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for _, v := range tx.ScanBack(tabReport, nil, nil) {
			var r Received
			if json.Unmarshal(v, &r) == nil {
				all = append(all, r)
			}
			if len(all) >= most {
				break
			}
		}
		return nil
	})
	return all, err
}

func forgetReports(tx *kv.Tx, now time.Time) {
	drop(tx, tabReport, func(_ []byte, r Received) bool { return now.Sub(r.End) > keepReports })
}
