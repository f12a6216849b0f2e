package report

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// TLS is a report on TLS (RFC 8460 section 4.4).
type TLS struct {
	Organization string      `json:"organization-name"`
	Range        Range       `json:"date-range"`
	Contact      string      `json:"contact-info,omitempty"`
	ID           string      `json:"report-id"`
	Policies     []TLSResult `json:"policies"`

	about string // the domain, in a report of ours
}

// Range is the time of a report, as a rule a day in UTC.
type Range struct {
	Begin time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// TLSResult is what came of the sessions under one policy.
type TLSResult struct {
	Policy   TLSPolicy    `json:"policy"`
	Summary  TLSSummary   `json:"summary"`
	Failures []TLSFailure `json:"failure-details,omitempty"`
}

// TLSPolicy is the policy that was found.
type TLSPolicy struct {
	Type   string   `json:"policy-type"` // "tlsa", "sts", "no-policy-found"
	Text   []string `json:"policy-string,omitempty"`
	Domain string   `json:"policy-domain"`
	Hosts  words    `json:"mx-host,omitempty"`
}

// TLSSummary counts sessions.
type TLSSummary struct {
	Good int64 `json:"total-successful-session-count"`
	Bad  int64 `json:"total-failure-session-count"`
}

// TLSFailure is one way in which sessions failed.
type TLSFailure struct {
	Type    string `json:"result-type"`
	Sender  string `json:"sending-mta-ip,omitempty"`
	Host    string `json:"receiving-mx-hostname,omitempty"`
	Hello   string `json:"receiving-mx-helo,omitempty"`
	Address string `json:"receiving-ip,omitempty"`
	Count   int64  `json:"failed-session-count"`
	More    string `json:"additional-information,omitempty"`
	Reason  string `json:"failure-reason-code,omitempty"`
}

// words is a list that some senders write as one string.
type words []string

func (w *words) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*w = words{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

// Totals are the sessions of all policies.
func (r *TLS) Totals() (good, bad int64) {
	for _, p := range r.Policies {
		good, bad = good+p.Summary.Good, bad+p.Summary.Bad
	}
	return good, bad
}

// Domains lists the policies' domains.
func (r *TLS) Domains() (all []string) {
	seen := map[string]bool{}
	for _, p := range r.Policies {
		if !seen[p.Policy.Domain] {
			seen[p.Policy.Domain] = true
			all = append(all, p.Policy.Domain)
		}
	}
	return all
}

// newTLS makes the report of a day. Its id is the same when it is made again, so that a second copy is known as such.
func newTLS(organization, contact string, day time.Time, d tlsbook.Domain) *TLS {
	begin := day.UTC().Truncate(24 * time.Hour)
	r := &TLS{about: d.Name, Organization: organization, Contact: contact, Range: Range{begin, begin.Add(24*time.Hour - time.Second)},
		ID: fmt.Sprintf("%s-%s@%s", begin.Format("20060102"), d.Name, organization)}
	for _, p := range d.Policies {
		x := TLSResult{Policy: TLSPolicy{Type: string(p.Kind), Text: p.Text, Domain: p.Domain}, Summary: TLSSummary{p.Good, p.Bad}}
		if p.Kind == tlspolicy.STS {
			x.Policy.Hosts = p.Hosts
		}
		for _, f := range p.Failures {
			x.Failures = append(x.Failures, TLSFailure{Type: f.Type, Host: f.Host, Address: f.Address, Count: f.Count, Reason: f.Reason})
		}
		r.Policies = append(r.Policies, x)
	}
	return r
}

// packed is the report as JSON in gzip.
func (r *TLS) packed() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(r); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}
