package tlsbook

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	maxDomains  = 20_000 // counted between two flushes
	maxPolicies = 20     // of one domain and day
	maxFailures = 100    // different ones of a policy
	keepCounts  = 5 * day
)

// Domain is what came of TLS with the hosts of one domain on one day (UTC).
type Domain struct {
	Name     string   `json:"-"`
	Policies []Policy `json:"policies"`
}

// Policy is what came of the sessions under one policy.
type Policy struct {
	Kind     tlspolicy.Kind `json:"kind"`
	Text     []string       `json:"text,omitempty"`
	Domain   string         `json:"domain"`
	Hosts    []string       `json:"hosts,omitempty"`
	Good     int64          `json:"good"`
	Bad      int64          `json:"bad"`
	Failures []Failure      `json:"failures,omitempty"`
}

// Failure is how some sessions failed.
type Failure struct {
	Type    string `json:"type"` // RFC 8460 section 4.3
	Host    string `json:"host,omitempty"`
	Address string `json:"address,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Count   int64  `json:"count"`
}

// Session is one connection, or the refusal to make it.
type Session struct {
	Domain  string
	Verdict tlspolicy.Verdict
	Failure *Failure // nil: it went well
}

type countKey struct{ day, domain string }

const dayForm = "2006-01-02"

// Count counts a session.
func (b *Book) Count(s Session) {
	v := s.Verdict
	p := Policy{Kind: v.Kind, Text: v.Policy, Domain: v.Domain, Hosts: v.Hosts}
	if p.Kind == "" {
		p.Kind = tlspolicy.None
	}
	if p.Domain == "" {
		p.Domain = s.Domain
	}
	if s.Failure == nil {
		p.Good = 1
	} else {
		f := *s.Failure
		f.Count = 1
		p.Bad, p.Failures = 1, []Failure{f}
	}
	key := countKey{b.o.Now().UTC().Format(dayForm), s.Domain}
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.counts[key]
	if d == nil {
		if len(b.counts) >= maxDomains {
			return // a flood of domains: some count less
		}
		d = &Domain{}
		b.counts[key] = d
	}
	d.add(p)
}

// add adds the counts of a policy. What comes too late to have a line of its own goes into the last one.
func (d *Domain) add(p Policy) {
	i := slices.IndexFunc(d.Policies, func(q Policy) bool {
		return q.Kind == p.Kind && q.Domain == p.Domain && slices.Equal(q.Text, p.Text)
	})
	if i < 0 && len(d.Policies) < maxPolicies {
		p.Failures = slices.Clone(p.Failures)
		d.Policies = append(d.Policies, p)
		return
	}
	if i < 0 {
		i = maxPolicies - 1
	}
	q := &d.Policies[i]
	q.Good, q.Bad = q.Good+p.Good, q.Bad+p.Bad
	for _, f := range p.Failures {
		q.fail(f)
	}
}

func (p *Policy) fail(f Failure) {
	same := func(g Failure) bool { return g.Type == f.Type && g.Host == f.Host && g.Address == f.Address }
	i := slices.IndexFunc(p.Failures, same)
	if i < 0 && len(p.Failures) < maxFailures {
		p.Failures = append(p.Failures, f)
		return
	}
	if i < 0 { // its session is in Bad all the same
		return
	}
	p.Failures[i].Count += f.Count
}

// Flush writes down what was counted since the last one.
func (b *Book) Flush(ctx context.Context) {
	b.mu.Lock()
	counts := b.counts
	b.counts = map[countKey]*Domain{}
	b.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := b.o.Side.Update(ctx, func(tx *kv.Tx) error {
		for key, more := range counts {
			row := []byte(key.day + "\x00" + key.domain)
			var d Domain
			if v := tx.Get(tabCount, row); v != nil && json.Unmarshal(v, &d) != nil {
				d = Domain{}
			}
			for _, p := range more.Policies {
				d.add(p)
			}
			text, err := json.Marshal(d)
			if err != nil {
				return err
			}
			tx.Put(tabCount, row, text)
		}
		return nil
	})
	if err != nil {
		b.log.WarnContext(ctx, logx.TLSBookFailed, "key", "counts", "error", err)
	}
}

// Day gives the counts of all domains on a day, a page at a time: those behind the name after.
func (b *Book) Day(ctx context.Context, at time.Time, after string, most int) (page []Domain, err error) {
	prefix := []byte(at.UTC().Format(dayForm) + "\x00")
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		for key, v := range tx.Scan(tabCount, append(slices.Clone(prefix), after...), append(slices.Clone(prefix[:len(prefix)-1]), 1)) {
			name, ok := bytes.CutPrefix(key, prefix)
			if !ok || string(name) == after {
				continue
			}
			var d Domain
			if json.Unmarshal(v, &d) != nil {
				continue
			}
			d.Name = string(name)
			if page = append(page, d); len(page) == most {
				break
			}
		}
		return nil
	})
	return page, err
}

// Reported removes the counts of a domain's day: their report is on its way, or nobody wants one.
func (b *Book) Reported(ctx context.Context, at time.Time, domain string) error {
	return b.o.Side.Update(ctx, func(tx *kv.Tx) error {
		tx.Delete(tabCount, []byte(at.UTC().Format(dayForm)+"\x00"+domain))
		return nil
	})
}

func forgetCounts(tx *kv.Tx, now time.Time) {
	first := now.Add(-keepCounts).UTC().Format(dayForm)
	drop(tx, tabCount, func(key []byte, _ Domain) bool { return string(key) < first })
}
