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

	"golang.org/x/net/publicsuffix"

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

// maxReport is how many octets of one report are kept: those of the sources of most mail. The others' messages are summed up.
const maxReport = 256 << 10

func (r Received) encode() ([]byte, error) {
	for {
		text, err := json.Marshal(r)
		if err != nil || len(text) <= maxReport || len(r.Sources) == 0 {
			return text, err
		}
		left := len(r.Sources) / 2
		for _, s := range r.Sources[left:] {
			r.Other += s.Count
		}
		r.Sources = r.Sources[:left]
	}
}

// KeepReport keeps a report; the same again (one sender, one id) replaces it, and again says so.
func (b *Book) KeepReport(ctx context.Context, r Received) (again bool, err error) {
	text, err := r.encode()
	if err != nil {
		return false, err
	}
	known := false // belongs to the writer until it is done
	if err := b.update(ctx, "report", func(tx *kv.Tx) error {
		key := receivedKey(r)
		old := tx.Get(tabReceived, key)
		known = old != nil
		b.size += len(text) - len(old)
		tx.Put(tabReceived, key, text)
		if b.size > b.o.MaxSize {
			b.forgetReceived(tx, b.o.Now())
		}
		return nil
	}); err != nil {
		return false, err
	}
	b.changes.Add(1)
	return known, nil
}

// Changes is another number once a report has come since: who keeps what he made of Reports can tell that it is old.
func (b *Book) Changes() uint64 { return b.changes.Load() }

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

// keptReport is a row of forgetReceived.
type keptReport struct {
	key  []byte
	at   time.Time
	size int
}

// forgetReceived removes reports that are too old, and some of too many.
func (b *Book) forgetReceived(tx *kv.Tx, now time.Time) {
	all := map[string][]keptReport{} // by the organization that sent them
	var gone [][]byte
	b.size = 0
	for key, v := range tx.Scan(tabReceived, []byte{'r'}, []byte{'r' + 1}) {
		var r Received
		if json.Unmarshal(v, &r) != nil || now.Sub(r.Taken) > b.o.Keep || r.Taken.Sub(now) > b.o.Keep {
			gone = append(gone, bytes.Clone(key))
			continue
		}
		org := Organization(r.Sender)
		all[org] = append(all[org], keptReport{bytes.Clone(key), r.Taken, len(v)})
		b.size += len(v)
	}
	if b.size > b.o.MaxSize {
		gone = append(gone, b.surplus(all)...)
	}
	if len(gone) > 0 {
		b.log.Info(logx.ReportsForgotten, "reports", len(gone))
	}
	for _, key := range gone { // all: a report that stays would be counted as gone
		tx.Delete(tabReceived, key)
	}
}

// surplus takes reports out until an eighth is free: the oldest of those who take most room, so that nobody pushes the others' out.
func (b *Book) surplus(all map[string][]keptReport) (gone [][]byte) {
	sizes := map[string]int{}
	for org, list := range all {
		slices.SortFunc(list, func(a, b keptReport) int { return a.at.Compare(b.at) })
		for _, k := range list {
			sizes[org] += k.size
		}
	}
	for b.size > b.o.MaxSize-b.o.MaxSize/8 {
		most := ""
		for org, n := range sizes {
			if n > sizes[most] || n == sizes[most] && org < most {
				most = org
			}
		}
		list := all[most]
		if len(list) == 0 {
			break
		}
		gone = append(gone, list[0].key)
		sizes[most] -= list[0].size
		b.size -= list[0].size
		all[most] = list[1:]
	}
	return gone
}

// Organization is the registered domain that a domain belongs to; names below it cost their owner nothing.
func Organization(domain string) string {
	if d, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return d
	}
	return domain
}
