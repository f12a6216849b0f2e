package tlsbook

import (
	"context"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	day      = 24 * time.Hour
	steady   = 14 // days between the first and the last sighting that make a habit
	enough   = 3  // different days on which it was seen
	keepHost = 90 // days without a sighting after which the habit counts no more
)

// Host is the best that a mail host has shown: TLS with a certificate that is good for its name.
type Host struct {
	Name  string `json:"-"`
	First int64  `json:"first"` // day, since 1970
	Last  int64  `json:"last"`
	Days  int    `json:"days"` // different ones
	Told  int64  `json:"told"` // day on which a downgrade was logged last
}

// LastSeen is when it was seen last.
func (h Host) LastSeen() time.Time { return time.Unix(h.Last*86400, 0).UTC() }

// habit: it has offered verified TLS for weeks, and not long ago.
func (h Host) habit(today int64) bool {
	return h.Last-h.First >= steady && h.Days >= enough && today-h.Last <= keepHost
}

func (b *Book) today() int64 { return b.o.Now().Unix() / 86400 }

// Verified notes that a host showed TLS with a good certificate; it is written once a day.
func (b *Book) Verified(host string) {
	today := b.today()
	var h Host
	if view(b, tabHost, host, &h) && h.Last >= today {
		return
	}
	b.o.Side.Later(func(tx *kv.Tx) error { // what it changes may have changed since
		h := Host{First: today}
		if v := tx.Get(tabHost, []byte(host)); v != nil {
			if json.Unmarshal(v, &h) != nil || today-h.Last > keepHost {
				h = Host{First: today}
			}
		}
		if h.Last >= today {
			return nil
		}
		h.Last, h.Days = today, h.Days+1
		return putHost(tx, host, h)
	})
}

// Fell tells whether a host that offers no TLS now has had the habit of verified TLS. first: today nobody was told yet.
func (b *Book) Fell(host string) (was Host, fell, first bool) {
	var h Host
	today := b.today()
	if !view(b, tabHost, host, &h) || !h.habit(today) {
		return Host{}, false, false
	}
	h.Name, first = host, h.Told < today
	if first {
		b.o.Side.Later(func(tx *kv.Tx) error {
			var h Host
			if v := tx.Get(tabHost, []byte(host)); v == nil || json.Unmarshal(v, &h) != nil {
				return nil
			}
			h.Told = today
			return putHost(tx, host, h)
		})
	}
	return h, true, first
}

func putHost(tx *kv.Tx, host string, h Host) error {
	text, err := json.Marshal(h)
	if err == nil {
		tx.Put(tabHost, []byte(host), text)
	}
	return err
}

// ForgetHost takes away what is known of a host: its owner has given up TLS, or the certificate, on purpose.
func (b *Book) ForgetHost(ctx context.Context, host string) (known bool, err error) {
	err = b.o.Side.Update(ctx, func(tx *kv.Tx) error {
		if known = tx.Get(tabHost, []byte(host)) != nil; known {
			tx.Delete(tabHost, []byte(host))
		}
		return nil
	})
	return known, err
}

func forgetHosts(tx *kv.Tx, now time.Time) {
	drop(tx, tabHost, func(_ []byte, h Host) bool { return now.Unix()/86400-h.Last > keepHost })
}
