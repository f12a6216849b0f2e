package limit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	keepKnown    = 2 * 365 // days without a message after which a recipient counts as never written to
	maxKnown     = 20_000  // recipients that are known of one account; the longest unused go first
	keepNetwork  = 180 * day
	maxNetworks  = 100     // of one account
	homeAfter    = day     // a network in use for so long is not new
	maxFresh     = 100_000 // recipients on their way to the tables
	cleanEvery   = 6 * time.Hour
	cleanPage    = 5_000
	networkBits4 = 24
	networkBits6 = 48
)

// knownKey is the row of a recipient: a hash, so that the table says of nobody whom he writes to.
func knownKey(id mail.AccountID, a mail.Address) string {
	h := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(id)), a.Key()...))
	return "k" + string(binary.BigEndian.AppendUint32(nil, uint32(id))) + string(h[:8])
}

// renewAfter is how many days after a message to a recipient the next one is noted.
const renewAfter = 90

// never reports whether the account has never written to the recipient of the row; stale: not for long.
func (b *Book) never(ctx context.Context, row string) (never, stale bool) {
	b.mu.Lock()
	fresh := b.fresh[row]
	b.mu.Unlock()
	if fresh {
		return false, false
	}
	if err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		v := tx.Get(table, []byte(row))
		never = v == nil
		stale = len(v) == 4 && b.o.Now().Unix()/86400-int64(binary.BigEndian.Uint32(v)) > renewAfter
		return nil
	}); err != nil {
		b.log.WarnContext(ctx, logx.LimitsFailed, "error", err)
	}
	return never, stale
}

// know notes recipients that an account has written to now.
func (b *Book) know(rows []string) {
	if len(rows) == 0 {
		return
	}
	today := binary.BigEndian.AppendUint32(nil, uint32(b.o.Now().Unix()/86400))
	b.mu.Lock()
	if len(b.fresh) > maxFresh { // the disk is full: they are new once more
		clear(b.fresh)
	}
	for _, row := range rows {
		b.fresh[row] = true
	}
	b.mu.Unlock()
	b.o.Side.Later(func(tx *kv.Tx) error {
		for _, row := range rows {
			tx.Put(table, []byte(row), today)
		}
		tx.OnCommit(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, row := range rows {
				delete(b.fresh, row)
			}
		})
		return nil
	})
}

// sighting is when an account was used from a network, first and last.
type sighting struct{ first, last time.Time }

// network is the neighbourhood of an address: what a provider gives to one customer or one town.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := networkBits6
	if a.Is4() {
		bits = networkBits4
	}
	p, _ := a.Prefix(bits) // the zero prefix for the zero address
	return p
}

func networkKey(id mail.AccountID, p netip.Prefix) []byte {
	return append(binary.BigEndian.AppendUint32([]byte("n"), uint32(id)), p.String()...)
}

// networks are those of an account; b.mu is held.
func (b *Book) networks(ctx context.Context, id mail.AccountID) map[netip.Prefix]sighting {
	if m := b.homes[id]; m != nil {
		return m
	}
	m := map[netip.Prefix]sighting{}
	from := binary.BigEndian.AppendUint32([]byte("n"), uint32(id))
	to := binary.BigEndian.AppendUint32([]byte("n"), uint32(id)+1)
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for key, v := range tx.Scan(table, from, to) {
			p, err := netip.ParsePrefix(string(key[5:]))
			if err == nil && len(v) == 16 {
				m[p] = sighting{time.Unix(int64(binary.BigEndian.Uint64(v)), 0), time.Unix(int64(binary.BigEndian.Uint64(v[8:])), 0)}
			}
		}
		return nil
	})
	if err != nil {
		b.log.WarnContext(ctx, logx.LimitsFailed, "error", err)
		return m
	}
	b.homes[id] = m
	return m
}

// away reports whether an account that has been used from somewhere for a day or more is now used from somewhere new; b.mu is held.
func (b *Book) away(ctx context.Context, id mail.AccountID, client netip.Addr) bool {
	if id == 0 || !client.IsValid() {
		return false
	}
	now, all := b.o.Now(), b.networks(ctx, id)
	if s, ok := all[network(client)]; ok && now.Sub(s.first) >= homeAfter {
		return false
	}
	for _, s := range all {
		if now.Sub(s.first) >= homeAfter {
			return true
		}
	}
	return false // all is new: there is nothing to compare with
}

// seenAt notes that the account was used from there; b.mu is held.
func (b *Book) seenAt(ctx context.Context, id mail.AccountID, client netip.Addr) {
	if id == 0 || !client.IsValid() {
		return
	}
	now, all, p := b.o.Now(), b.networks(ctx, id), network(client)
	s, known := all[p]
	if known && now.Sub(s.last) < time.Hour {
		return
	}
	if s.last = now; !known {
		s.first = now
	}
	var gone []byte
	if !known && len(all) >= maxNetworks {
		var oldest netip.Prefix
		for q, x := range all {
			if o, ok := all[oldest]; !ok || x.last.Before(o.last) {
				oldest = q
			}
		}
		delete(all, oldest)
		gone = networkKey(id, oldest)
	}
	all[p] = s
	row := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(s.first.Unix())), uint64(s.last.Unix()))
	b.o.Side.Later(func(tx *kv.Tx) error {
		if gone != nil {
			tx.Delete(table, gone)
		}
		tx.Put(table, networkKey(id, p), row)
		return nil
	})
}

// Forget forgets everything about an account that is gone.
func (b *Book) Forget(ctx context.Context, id mail.AccountID) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	delete(b.windows, accountKey(id))
	delete(b.homes, id)
	b.mu.Unlock()
	return b.o.Side.Update(ctx, func(tx *kv.Tx) error {
		tx.Delete(table, []byte("w"+accountKey(id)))
		for _, kind := range []string{"k", "n"} {
			from := binary.BigEndian.AppendUint32([]byte(kind), uint32(id))
			to := binary.BigEndian.AppendUint32([]byte(kind), uint32(id)+1)
			var keys [][]byte
			for key := range tx.Scan(table, from, to) {
				keys = append(keys, append([]byte(nil), key...))
			}
			for _, key := range keys {
				tx.Delete(table, key)
			}
		}
		return nil
	})
}

// Run forgets what is too old or too much until ctx ends.
func (b *Book) Run(ctx context.Context) {
	if b == nil {
		return
	}
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		if err := b.Clean(ctx); err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, logx.LimitsFailed, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Clean forgets it now.
func (b *Book) Clean(ctx context.Context) error {
	now := b.o.Now()
	b.mu.Lock()
	for key, w := range b.windows {
		if n := len(w.buckets); n == 0 || !w.buckets[n-1].gone(day).After(now) {
			delete(b.windows, key)
		}
	}
	b.mu.Unlock()
	c := cleaning{now: now}
	for from := []byte{}; from != nil; {
		var drop [][]byte
		err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
			n := 0
			next := []byte(nil)
			for key, v := range tx.Scan(table, from, nil) {
				if n++; n > cleanPage {
					next = append([]byte(nil), key...)
					break
				}
				if c.over(key, v) {
					drop = append(drop, append([]byte(nil), key...))
				}
			}
			from = next
			return nil
		})
		if err == nil && len(drop) > 0 {
			err = b.o.Side.Update(ctx, func(tx *kv.Tx) error {
				for _, key := range drop {
					tx.Delete(table, key)
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cleaning is a walk over the table, in its order.
type cleaning struct {
	now     time.Time
	account string
	known   int
}

// over reports a row that is too old or one too many. Of one account's recipients those beyond the bound go in the order of their
// hashes, which is as good as any: an account that has written to so many is no person.
func (c *cleaning) over(key, v []byte) bool {
	switch key[0] {
	case 'w':
		w := decodeWindow(v)
		n := len(w.buckets)
		return n == 0 || !w.buckets[n-1].gone(day).After(c.now)
	case 'k':
		if len(key) != 13 || len(v) != 4 {
			return true
		}
		if a := string(key[1:5]); a != c.account {
			c.account, c.known = a, 0
		}
		c.known++
		return c.known > maxKnown || c.now.Unix()/86400-int64(binary.BigEndian.Uint32(v)) > keepKnown
	case 'n':
		return len(v) != 16 || c.now.Sub(time.Unix(int64(binary.BigEndian.Uint64(v[8:])), 0)) > keepNetwork
	}
	return true
}
