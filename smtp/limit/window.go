package limit

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// table is this package's in side.db. Its keys begin with one of
//
//	w  name of a window -> version, told limits, buckets
//	k  account u32, hash u64 -> day u32: a recipient outside that the account has written to
//	n  account u32, prefix -> first and last use, seconds u64 each: a network that it was used from
const table kv.Table = "U"

const (
	day  = 24 * time.Hour
	step = 300 // seconds that a bucket has: windows slide by it
)

// The names of windows.
func accountKey(id mail.AccountID) string {
	return "a" + string(binary.BigEndian.AppendUint32(nil, uint32(id)))
}
func domainKey(d mail.Domain) string   { return "d" + string(d) }
func programKey(name string) string    { return "p" + name }
func forwardKey(address string) string { return "f" + address }
func listKey(address string) string    { return "l" + address }

// counts is what a bucket holds.
type counts struct{ messages, recipients, firsts, strange, refused int64 }

func (c *counts) plus(o counts, sign int64) {
	for i, at := range c.each() {
		*at = max(*at+sign**o.each()[i], 0)
	}
}

func (c *counts) each() [5]*int64 {
	return [5]*int64{&c.messages, &c.recipients, &c.firsts, &c.strange, &c.refused}
}

// bucket is what was counted in step seconds.
type bucket struct {
	at int64 // unix seconds / step
	counts
}

// window is what one sender has sent in the last day. Guarded by Book.mu.
type window struct {
	buckets []bucket         // ascending, none empty
	told    map[string]int64 // limit -> day on which somebody was told
}

// gone is when a bucket leaves a window that is span long: when its youngest event does.
func (b *bucket) gone(span time.Duration) time.Time {
	return time.Unix((b.at+1)*step, 0).Add(span)
}

func (w *window) sum(now time.Time, span time.Duration) (all counts) {
	for i := range w.buckets {
		if w.buckets[i].gone(span).After(now) {
			all.plus(w.buckets[i].counts, 1)
		}
	}
	return all
}

// add counts, and forgets what is older than a day. It returns the bucket that it counted in.
func (w *window) add(now time.Time, c counts) int64 {
	for len(w.buckets) > 0 && !w.buckets[0].gone(day).After(now) {
		w.buckets = w.buckets[1:]
	}
	at := now.Unix() / step
	if n := len(w.buckets); n == 0 || w.buckets[n-1].at < at {
		w.buckets = append(w.buckets, bucket{at: at})
	}
	last := &w.buckets[len(w.buckets)-1] // a clock that went back counts in the newest one
	last.plus(c, 1)
	return last.at
}

func (w *window) giveBack(at int64, c counts) {
	for i := range w.buckets {
		if w.buckets[i].at == at {
			w.buckets[i].plus(c, -1)
		}
	}
}

// room tells which limit leaves no room for more; nil: none.
func (w *window) room(now time.Time, l Limits, want counts) *Exceeded {
	hour, today := w.sum(now, time.Hour), w.sum(now, day)
	for _, x := range []struct {
		name             string
		used, want, most int64
		span             time.Duration
		of               func(*counts) int64
	}{
		{"messages_per_hour", hour.messages, want.messages, l.MessagesHour, time.Hour, func(c *counts) int64 { return c.messages }},
		{"messages_per_day", today.messages, want.messages, l.MessagesDay, day, func(c *counts) int64 { return c.messages }},
		{"recipients_per_hour", hour.recipients, want.recipients, l.RecipientsHour, time.Hour, func(c *counts) int64 { return c.recipients }},
		{"recipients_per_day", today.recipients, want.recipients, l.RecipientsDay, day, func(c *counts) int64 { return c.recipients }},
		{"new_recipients_per_day", today.firsts, want.firsts, l.NewDay, day, func(c *counts) int64 { return c.firsts }},
	} {
		if x.most > 0 && x.want > 0 && x.used+x.want > x.most {
			return &Exceeded{Limit: x.name, Used: x.used, Most: x.most, Opens: w.opens(now, x.span, x.used+x.want-x.most, x.of)}
		}
	}
	return nil
}

// opens is when enough has left the window. A message that never fits gets the time when the window is empty.
func (w *window) opens(now time.Time, span time.Duration, over int64, of func(*counts) int64) time.Time {
	at := now
	for i := range w.buckets {
		b := &w.buckets[i]
		if !b.gone(span).After(now) {
			continue
		}
		at = b.gone(span)
		if over -= of(&b.counts); over <= 0 {
			break
		}
	}
	return at
}

const windowVersion = 1

func (w *window) encode() []byte {
	b := []byte{windowVersion}
	b = binary.AppendUvarint(b, uint64(len(w.told)))
	for name, day := range w.told {
		b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		b = binary.AppendUvarint(b, uint64(day))
	}
	for i := range w.buckets {
		x := &w.buckets[i]
		b = binary.AppendUvarint(b, uint64(x.at))
		for _, n := range x.each() {
			b = binary.AppendUvarint(b, uint64(*n))
		}
	}
	return b
}

// decodeWindow reads a row; one that cannot be read counts as empty.
func decodeWindow(b []byte) *window {
	w := &window{told: map[string]int64{}}
	if len(b) == 0 || b[0] != windowVersion {
		return w
	}
	b = b[1:]
	bad := false
	next := func() int64 {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > 1<<40 {
			bad, b = true, nil
			return 0
		}
		b = b[size:]
		return int64(n)
	}
	for range min(next(), 16) {
		n := next()
		if n > int64(len(b)) {
			return &window{told: map[string]int64{}}
		}
		name := string(b[:n])
		b = b[n:]
		w.told[name] = next()
	}
	for len(b) > 0 && !bad && len(w.buckets) < 2*86400/step {
		x := bucket{at: next()}
		for _, n := range x.each() {
			*n = next()
		}
		if n := len(w.buckets); bad || n > 0 && w.buckets[n-1].at >= x.at {
			return &window{told: map[string]int64{}}
		}
		w.buckets = append(w.buckets, x)
	}
	return w
}

// window finds or makes one; b.mu is held.
func (b *Book) window(ctx context.Context, key string) *window {
	if w := b.windows[key]; w != nil {
		return w
	}
	var row []byte
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		row = append(row, tx.Get(table, []byte("w"+key))...)
		return nil
	})
	w := decodeWindow(row)
	if err != nil { // it is counted from here on, and the row is read with the next message
		b.log.WarnContext(ctx, logx.LimitsFailed, "error", err)
		return w
	}
	b.windows[key] = w
	return w
}

// patience is after how long a window that did not reach the tables (a full disk) is given to them again.
const patience = time.Minute

// changed brings a window into the tables within about a second; b.mu is held.
func (b *Book) changed(key string) {
	now := b.o.Now()
	if since, on := b.dirty[key]; on && now.Sub(since) < patience {
		return
	}
	b.dirty[key] = now
	b.o.Side.Later(func(tx *kv.Tx) error {
		b.mu.Lock()
		w := b.windows[key]
		delete(b.dirty, key)
		var row []byte
		if w != nil {
			row = w.encode()
		}
		b.mu.Unlock()
		if row != nil {
			tx.Put(table, []byte("w"+key), row)
		}
		return nil
	})
}
