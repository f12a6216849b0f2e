package dmarcbook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Received is a DMARC report that somebody sent about mail of a domain here.
type Received struct {
	ID      string    `json:"id"`
	Sender  string    `json:"sender"` // domain that is proven to have sent it
	From    string    `json:"from"`   // organization, as it calls itself
	Domain  string    `json:"domain"` // ours that it is about
	Begin   time.Time `json:"begin"`
	End     time.Time `json:"end"`
	Taken   time.Time `json:"taken"` // when it came
	Policy  Policy    `json:"policy"`
	Sources []Source  `json:"sources"`         // those of most mail first
	Other   int64     `json:"other,omitempty"` // messages of sources beyond the limit
}

// Source is what one address sent in one way.
type Source struct {
	Address      string   `json:"address"`
	Count        int64    `json:"count"`
	DKIM         bool     `json:"dkim"` // aligned and passed
	SPF          bool     `json:"spf"`
	Disposition  string   `json:"disposition"`
	Reason       string   `json:"reason,omitempty"` // why that is not what the policy asks
	HeaderFrom   string   `json:"header_from,omitempty"`
	EnvelopeFrom string   `json:"envelope_from,omitempty"`
	Signers      []string `json:"signers,omitempty"` // domains whose signature held
	SPFResult    string   `json:"spf_result,omitempty"`
}

// Pass tells whether the mail is proven to be the domain's.
func (s Source) Pass() bool { return s.DKIM || s.SPF }

// Refused tells whether the receiver did something about it.
func (s Source) Refused() bool {
	return s.Disposition == mailauth.PolicyReject || s.Disposition == mailauth.PolicyQuarantine
}

func receivedKey(r Received) []byte {
	h := sha256.New()
	for _, s := range []string{r.Sender, r.ID, r.Domain} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	return append([]byte{'r'}, h.Sum(nil)[:hashSize]...)
}

// KeepReport keeps a report; the same again (one sender, one id) replaces it, and again says so.
func (b *Book) KeepReport(ctx context.Context, r Received) (again bool, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	known := false // belongs to the writer until it is done
	if err := b.update(ctx, "report", func(tx *kv.Tx) error {
		key := receivedKey(r)
		known = tx.Get(tabReceived, key) != nil
		tx.Put(tabReceived, key, text)
		return nil
	}); err != nil {
		return false, err
	}
	return known, nil
}

// Reports gives the kept reports whose time ends after since, about one domain or, with "", about all; oldest first.
func (b *Book) Reports(ctx context.Context, domain string, since time.Time) (all []Received, err error) {
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for _, v := range tx.Scan(tabReceived, []byte{'r'}, []byte{'r' + 1}) {
			var r Received
			if json.Unmarshal(v, &r) == nil && r.End.After(since) && (domain == "" || r.Domain == domain) {
				all = append(all, r)
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Received) int {
		return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.Sender, b.Sender), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

// forgetReceived removes reports that are too old, and the oldest of too many.
func (b *Book) forgetReceived(tx *kv.Tx, now time.Time) {
	type kept struct {
		key  []byte
		at   time.Time
		size int
	}
	var all []kept
	var gone [][]byte
	size := 0
	for key, v := range tx.Scan(tabReceived, []byte{'r'}, []byte{'r' + 1}) {
		var r Received
		if json.Unmarshal(v, &r) != nil || now.Sub(r.Taken) > b.o.Keep || r.Taken.Sub(now) > b.o.Keep {
			gone = append(gone, bytes.Clone(key))
			continue
		}
		all = append(all, kept{bytes.Clone(key), r.Taken, len(v)})
		size += len(v)
	}
	slices.SortFunc(all, func(a, b kept) int { return a.at.Compare(b.at) })
	for _, k := range all {
		if size <= b.o.MaxSize {
			break
		}
		gone = append(gone, k.key)
		size -= k.size
	}
	if len(gone) > 0 {
		b.log.Info(logx.ReportsForgotten, "reports", len(gone))
	}
	drop(tx, tabReceived, gone)
}
