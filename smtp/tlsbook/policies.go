package tlsbook

import (
	"context"
	"encoding/json"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// unused is how long a policy that no mail has asked for is renewed, and one that is gone or failed is remembered.
const unused = 60 * 24 * time.Hour

// Find and Keep are tlspolicy.Cache.
func (b *Book) Find(domain string) (tlspolicy.Entry, bool) {
	var e tlspolicy.Entry
	ok := view(b, tabPolicy, domain, &e)
	return e, ok
}

// Keep keeps what is known of a domain's policy.
func (b *Book) Keep(domain string, e tlspolicy.Entry) { b.put(tabPolicy, domain, e) }

// Domains lists the domains whose policy was asked for and is worth renewing.
func (b *Book) Domains(ctx context.Context) (all []string, err error) {
	now := b.o.Now()
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for key, v := range tx.Scan(tabPolicy, nil, nil) {
			var e tlspolicy.Entry
			if json.Unmarshal(v, &e) == nil && e.Policy != "" && now.Sub(e.Used) < unused {
				all = append(all, string(key))
			}
		}
		return nil
	})
	return all, err
}

// forgetPolicies: what has ended, or failed and was never had, says nothing any more.
func forgetPolicies(tx *kv.Tx, now time.Time) {
	drop(tx, tabPolicy, func(_ []byte, e tlspolicy.Entry) bool {
		return e.Over(now) && now.Sub(e.Failed) > 24*time.Hour
	})
}
