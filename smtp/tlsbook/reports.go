package tlsbook

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	keepReports    = 90 * day
	maxReports     = 10_000
	maxReportsSize = 64 << 20 // octets of all of them
)

// Received is a TLS report that somebody sent about mail for a domain here.
type Received struct {
	ID      string          `json:"id"`
	Sender  string          `json:"sender,omitempty"` // domain that is proven to have sent it
	From    string          `json:"from"`             // organization
	Begin   time.Time       `json:"begin"`
	End     time.Time       `json:"end"`
	Good    int64           `json:"good"`
	Bad     int64           `json:"bad"`
	Domains []string        `json:"domains"`
	Text    json.RawMessage `json:"text"` // the report
}

func reportKey(r Received) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(max(r.End.Unix(), 0))), r.Sender+"\x00"+r.ID...)
}

// KeepReport keeps a report; the same again (one sender, time and id) replaces it, and again says so.
func (b *Book) KeepReport(ctx context.Context, r Received) (again bool, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	known := false // belongs to the writer until it is done
	if err := b.o.Side.Update(ctx, func(tx *kv.Tx) error {
		known = tx.Get(tabReport, reportKey(r)) != nil
		tx.Put(tabReport, reportKey(r), text)
		return nil
	}); err != nil {
		return false, err
	}
	b.changes.Add(1)
	return known, nil
}

// Changes is another number once a report has come since: who keeps what he made of Reports can tell that it is old.
func (b *Book) Changes() uint64 { return b.changes.Load() }

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

// forgetReports removes what is too old, and the oldest of too many.
func forgetReports(tx *kv.Tx, now time.Time) {
	var gone [][]byte
	reports, size := 0, 0
	for key, v := range tx.ScanBack(tabReport, nil, nil) {
		reports, size = reports+1, size+len(v)
		var r Received
		if json.Unmarshal(v, &r) != nil || now.Sub(r.End) > keepReports || r.End.Sub(now) > keepReports || reports > maxReports || size > maxReportsSize {
			gone = append(gone, append([]byte(nil), key...))
		}
	}
	for _, key := range gone[:min(len(gone), 2000)] {
		tx.Delete(tabReport, key)
	}
}
