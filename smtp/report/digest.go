package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
)

// DMARCDigest is what others saw of mail that claims to be of a domain.
type DMARCDigest struct {
	Domain    string     `json:"domain"`
	Since     time.Time  `json:"since"`
	Reports   int        `json:"reports"`
	Reporters []Reporter `json:"reporters"` // those of most mail first
	Policy    string     `json:"policy"`    // as the last report has it
	Messages  int64      `json:"messages"`
	Passed    int64      `json:"passed"`
	Failed    int64      `json:"failed"`
	Refused   int64      `json:"refused"` // failed, and refused or set aside for it
	Sources   []Source   `json:"sources"` // those of most mail first
	Other     int64      `json:"other,omitempty"`
	Advice    []string   `json:"advice,omitempty"`
}

// Reporter is who sent reports.
type Reporter struct {
	Name     string `json:"name"`
	Sender   string `json:"sender"` // domain that is proven to have sent them
	Reports  int    `json:"reports"`
	Messages int64  `json:"messages"`
}

// Source is an address that sends mail in the domain's name.
type Source struct {
	Address string   `json:"address"`
	Name    string   `json:"name,omitempty"` // that its reverse DNS gives, where somebody asked
	Ours    bool     `json:"ours,omitempty"` // an address of this host
	Count   int64    `json:"count"`
	DKIM    int64    `json:"dkim"` // messages whose aligned signature held
	SPF     int64    `json:"spf"`
	Failed  int64    `json:"failed"`
	Refused int64    `json:"refused"`
	Signers []string `json:"signers,omitempty"` // domains whose signatures held
	As      []string `json:"as,omitempty"`      // envelope senders' domains
	Reasons []string `json:"reasons,omitempty"` // why receivers did not do what the policy asks
	Advice  string   `json:"advice,omitempty"`
}

const (
	maxShown  = 200 // sources of a digest
	maxListed = 5   // names of one thing
)

// DigestDMARC adds up reports about one domain. ours tells addresses of this host; nil: nobody knows.
func DigestDMARC(domain string, since time.Time, list []dmarcbook.Received, ours func(address string) bool) DMARCDigest {
	s := DMARCDigest{Domain: domain, Since: since, Reports: len(list), Reporters: []Reporter{}, Sources: []Source{}}
	senders, reporters := map[string]*Source{}, map[string]*Reporter{}
	for _, r := range list {
		from := reporters[r.Sender]
		if from == nil {
			from = &Reporter{Name: cmp.Or(r.From, r.Sender), Sender: r.Sender}
			reporters[r.Sender] = from
		}
		from.Reports++
		from.Messages += r.Other
		s.Other += r.Other
		s.Policy = cmp.Or(r.Policy.P, s.Policy)
		for _, x := range r.Sources {
			from.Messages += x.Count
			to := senders[x.Address]
			if to == nil {
				to = &Source{Address: x.Address, Ours: ours != nil && ours(x.Address)}
				senders[x.Address] = to
			}
			to.add(x)
		}
	}
	for _, x := range senders {
		x.Advice = x.advice(domain)
		s.Messages, s.Failed, s.Refused = s.Messages+x.Count, s.Failed+x.Failed, s.Refused+x.Refused
		s.Sources = append(s.Sources, *x)
	}
	s.Passed = s.Messages - s.Failed
	slices.SortFunc(s.Sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Address, b.Address))
	})
	for _, x := range s.Sources[min(len(s.Sources), maxShown):] {
		s.Other += x.Count
	}
	s.Sources = s.Sources[:min(len(s.Sources), maxShown)]
	s.Reporters = slices.AppendSeq(s.Reporters, values(reporters))
	slices.SortFunc(s.Reporters, func(a, b Reporter) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), strings.Compare(a.Sender, b.Sender))
	})
	s.Advice = s.advice()
	return s
}

func values[K comparable, V any](m map[K]*V) iter.Seq[V] {
	return func(yield func(V) bool) {
		for v := range maps.Values(m) {
			if !yield(*v) {
				return
			}
		}
	}
}

func (s *Source) add(x dmarcbook.Source) {
	s.Count += x.Count
	if x.DKIM {
		s.DKIM += x.Count
	}
	if x.SPF {
		s.SPF += x.Count
	}
	if !x.Pass() {
		s.Failed += x.Count
		if x.Refused() {
			s.Refused += x.Count
		}
		note(&s.Reasons, x.Reason)
	}
	for _, d := range x.Signers {
		note(&s.Signers, d)
	}
	note(&s.As, x.EnvelopeFrom)
}

// note adds a name to a short list.
func note(list *[]string, name string) {
	if name != "" && len(*list) < maxListed && !slices.Contains(*list, name) {
		*list = append(*list, name)
	}
}

// advice is what to do about a source, in words; empty: nothing.
func (s *Source) advice(domain string) string {
	forwarded := slices.ContainsFunc(s.Reasons, func(r string) bool {
		return r == "forwarded" || r == "mailing_list" || r == "trusted_forwarder"
	})
	foreign := slices.DeleteFunc(slices.Clone(s.Signers), func(d string) bool { return within(d, domain) || within(domain, d) })
	switch {
	case s.Ours && s.DKIM < s.Count:
		return "this host: some of its mail arrives without a signature that holds; look at `posthouse domain dkim list " + domain + "` whether the key is published"
	case s.Ours && s.SPF < s.Count && s.SPF == 0:
		return "this host: the SPF record does not name it; `posthouse domain records " + domain + "` prints one that does"
	case s.Failed == 0 && s.DKIM == 0:
		return "proven by SPF alone, which forwarding breaks: let it sign with a key of " + domain
	case s.Failed == 0:
		return ""
	case forwarded:
		return "a mailing list or a forwarder: nothing to do"
	case len(foreign) > 0:
		return "signs as " + strings.Join(foreign, ", ") + ": if it sends for you, set it up to sign as " + domain + " (a CNAME or TXT record that it names); a list or a forwarder looks the same"
	case s.DKIM+s.SPF > 0:
		return "some of its mail is proven, some is not: a forwarder, or a service that is only half set up"
	}
	return "nothing proves it: if you do not know it, it is forged and there is nothing to do; if it sends for you, add it to the SPF record, or better let it sign as " + domain
}

// advice is what to do about the domain.
func (s *DMARCDigest) advice() (all []string) {
	if s.Reports == 0 {
		return []string{"No reports have come. They come once a day from large receivers when the record _dmarc." + s.Domain +
			" asks for them with rua=mailto: and an address here; `posthouse domain records " + s.Domain + "` prints it."}
	}
	share := float64(s.Failed) / float64(max(s.Messages, 1))
	switch {
	case s.Policy == mailauth.PolicyNone && s.Failed > 0 && s.Passed > 0 && share < 0.02:
		all = append(all, "Nearly all mail is proven. With p=quarantine in _dmarc."+s.Domain+" the rest, forged or not, goes to Junk; later with p=reject it is refused.")
	case s.Policy == mailauth.PolicyNone && s.Failed == 0 && s.Passed > 0:
		all = append(all, "All mail is proven. With p=reject in _dmarc."+s.Domain+" nobody can send as you any more.")
	case s.Policy == mailauth.PolicyNone && s.Failed > 0:
		all = append(all, "Set up those of the sources below that you know; when only strangers fail, change p=none in _dmarc."+s.Domain+" to p=quarantine.")
	}
	if s.Policy != mailauth.PolicyNone && s.Refused > 0 && slices.ContainsFunc(s.Sources, func(x Source) bool { return x.Ours && x.Failed > 0 }) {
		all = append(all, "Mail of this host itself was not proven, and some may have been refused for it: see below.")
	}
	return all
}

// TLSDigest is how TLS went when others sent mail to a domain.
type TLSDigest struct {
	Domain    string       `json:"domain"`
	Since     time.Time    `json:"since"`
	Reports   int          `json:"reports"`
	Reporters []string     `json:"reporters"`
	Good      int64        `json:"good"`
	Bad       int64        `json:"bad"`
	Failures  []TLSTrouble `json:"failures"` // the most frequent first
	Advice    []string     `json:"advice,omitempty"`
}

// TLSTrouble is one way in which it failed.
type TLSTrouble struct {
	Type   string   `json:"type"` // RFC 8460 section 4.3
	Host   string   `json:"host,omitempty"`
	Count  int64    `json:"count"`
	From   []string `json:"from,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Advice string   `json:"advice,omitempty"`
}

// DigestTLS adds up the reports that are about one domain.
func DigestTLS(domain string, since time.Time, list []tlsbook.Received) TLSDigest {
	s := TLSDigest{Domain: domain, Since: since, Reporters: []string{}, Failures: []TLSTrouble{}}
	type key struct{ kind, host string }
	troubles := map[key]*TLSTrouble{}
	for _, r := range list {
		var t TLS
		if r.End.Before(since) || !slices.Contains(r.Domains, domain) || json.Unmarshal(r.Text, &t) != nil {
			continue
		}
		s.Reports++
		note(&s.Reporters, cmp.Or(r.From, r.Sender))
		for _, p := range t.Policies {
			if p.Policy.Domain != domain {
				continue
			}
			s.Good, s.Bad = s.Good+p.Summary.Good, s.Bad+p.Summary.Bad
			for _, f := range p.Failures {
				k := key{short(f.Type), short(f.Host)}
				x := troubles[k]
				if x == nil {
					x = &TLSTrouble{Type: k.kind, Host: k.host, Advice: troubleAdvice(f.Type)}
					troubles[k] = x
				}
				x.Count += max(f.Count, 0)
				x.Reason = cmp.Or(x.Reason, short(f.Reason))
				note(&x.From, cmp.Or(r.From, r.Sender))
			}
		}
	}
	s.Failures = slices.AppendSeq(s.Failures, values(troubles))
	slices.SortFunc(s.Failures, func(a, b TLSTrouble) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Type, b.Type), strings.Compare(a.Host, b.Host))
	})
	s.Failures = s.Failures[:min(len(s.Failures), maxShown)]
	if s.Reports == 0 {
		s.Advice = []string{"No reports have come. They come from large senders when the record _smtp._tls." + domain + " asks for them; `posthouse domain records " + domain + "` prints it."}
	}
	return s
}

// troubleAdvice is what to do about a failure (RFC 8460 section 4.3).
func troubleAdvice(kind string) string {
	switch kind {
	case "starttls-not-supported":
		return "no TLS was offered: has this host a certificate ([tls] in the settings), and does nothing in front of it (a firewall that looks into SMTP) take STARTTLS away?"
	case "certificate-host-mismatch":
		return "the certificate is for another name than the MX record has: get one for that name"
	case "certificate-expired":
		return "the certificate had expired: renew it, and see why that was not done in time"
	case "certificate-not-trusted":
		return "the certificate is of nobody whom the sender trusts: get one of a public authority, and show its whole chain"
	case "tlsa-invalid", "dane-required", "dnssec-invalid":
		return "the TLSA records or their DNSSEC do not fit: `posthouse domain records` prints those that fit the certificate of now"
	case "sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid":
		return "the MTA-STS policy could not be had from its web server, or is wrong: `posthouse domain records` prints it, and where it must be"
	case "validation-failure":
		return "the sender says no more than that it failed"
	}
	return ""
}

// String is the digest in one line.
func (s DMARCDigest) String() string {
	if s.Reports == 0 {
		return "no reports"
	}
	return fmt.Sprintf("%s in %s: %d proven, %d not", number(s.Messages, "message"), number(int64(s.Reports), "report"), s.Passed, s.Failed)
}

// String is the digest in one line.
func (s TLSDigest) String() string {
	if s.Reports == 0 {
		return "no reports"
	}
	return fmt.Sprintf("%s: %s went well, %d failed", number(int64(s.Reports), "report"), number(s.Good, "connection"), s.Bad)
}
