// Package history keeps how much happened in each hour of the last days and in each day of the last year: what operators' charts show.
//
// Note adds to the hour and the day of a moment, Hours and Days read. It stands in side.db: two small rows for each moment, and losing
// them loses pictures only.
package history

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// tabSpans has the sums in side.db: 'h' or 'd', begin u64 (seconds) -> JSON of name to value.
const tabSpans kv.Table = "h"

const (
	hour = time.Hour
	day  = 24 * time.Hour

	keepHours = 10 * day
	keepDays  = 400 * day
	mostNames = 100 // in a span: a mistake must not fill the disk
)

// Span is one hour or one day.
type Span struct {
	Begin  time.Time          `json:"begin"` // UTC
	Values map[string]float64 `json:"values"`
}

// Book keeps spans. A nil Book keeps none.
type Book struct{ side *kv.Side }

// New returns a Book over the side tables.
func New(side *kv.Side) *Book { return &Book{side: side} }

// Note adds counts to the hour and the day of at, and keeps the highest of levels there. It never waits.
func (b *Book) Note(at time.Time, counts, levels map[string]float64) {
	if b == nil {
		return
	}
	b.side.Later(func(tx *kv.Tx) error {
		for _, s := range []struct {
			kind       byte
			size, keep time.Duration
		}{{'h', hour, keepHours}, {'d', day, keepDays}} {
			begin := at.UTC().Truncate(s.size)
			add(tx, spanKey(s.kind, begin), counts, levels)
			forget(tx, s.kind, begin.Add(-s.keep), begin.Add(2*day)) // a clock may be set back a little
		}
		return nil
	})
}

func add(tx *kv.Tx, key []byte, counts, levels map[string]float64) {
	values := decode(tx.Get(tabSpans, key))
	set := func(name string, v float64) {
		if _, known := values[name]; known || len(values) < mostNames {
			values[name] = v
		}
	}
	for name, n := range counts {
		if n > 0 {
			set(name, values[name]+n)
		}
	}
	for name, n := range levels {
		set(name, max(values[name], n))
	}
	text, err := json.Marshal(values)
	if err != nil {
		return // NaN or infinity: it was no count
	}
	tx.Put(tabSpans, key, text)
}

// forget drops what is older than from, and what a clock that ran ahead has left behind to.
func forget(tx *kv.Tx, kind byte, from, to time.Time) {
	var gone [][]byte
	for key := range tx.Scan(tabSpans, []byte{kind}, spanKey(kind, from)) {
		gone = append(gone, append([]byte(nil), key...))
	}
	for key := range tx.Scan(tabSpans, spanKey(kind, to), []byte{kind + 1}) {
		gone = append(gone, append([]byte(nil), key...))
	}
	for _, key := range gone {
		tx.Delete(tabSpans, key)
	}
}

func spanKey(kind byte, begin time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(max(0, begin.Unix())))
}

func decode(text []byte) map[string]float64 {
	values := map[string]float64{}
	if json.Unmarshal(text, &values) != nil || values == nil {
		return map[string]float64{} // it begins anew
	}
	return values
}

// Hours are the n hours up to the one of now, the oldest first; one of which nothing is known has no values.
func (b *Book) Hours(ctx context.Context, now time.Time, n int) ([]Span, error) {
	return b.spans(ctx, 'h', now.UTC().Truncate(hour), hour, n)
}

// Days are the n days up to today (UTC).
func (b *Book) Days(ctx context.Context, now time.Time, n int) ([]Span, error) {
	return b.spans(ctx, 'd', now.UTC().Truncate(day), day, n)
}

func (b *Book) spans(ctx context.Context, kind byte, last time.Time, size time.Duration, n int) ([]Span, error) {
	n = max(1, min(n, int(keepDays/size)))
	out := make([]Span, n)
	for i := range out {
		out[i] = Span{Begin: last.Add(-size * time.Duration(n-1-i)), Values: map[string]float64{}}
	}
	if b == nil {
		return out, nil
	}
	err := b.side.View(ctx, func(tx *kv.Tx) error {
		for i := range out {
			out[i].Values = decode(tx.Get(tabSpans, spanKey(kind, out[i].Begin)))
		}
		return nil
	})
	return out, err
}
