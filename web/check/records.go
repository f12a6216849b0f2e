package check

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// policyAge is how long others keep our STS policy: RFC 8461 section 3.2 speaks of weeks.
const policyAge = 7 * 24 * 3600

// Record is one line of a zone.
type Record struct {
	Name  string `json:"name"` // with its final dot
	Type  string `json:"type"`
	Value string `json:"value"` // a text record's without quotes
	For   string `json:"for"`   // what it is good for
}

// Records is what the world must find of a domain.
type Records struct {
	Records []Record `json:"records"`
	// Policy is the MTA-STS policy, to be served as PolicyURL; the record of _mta-sts is published only when it is there.
	Policy    string `json:"policy"`
	PolicyURL string `json:"policy_url"`
	// Missing says which records could not be made, and why.
	Missing []string `json:"missing,omitempty"`
}

// Key is a DKIM key that receivers must find.
type Key struct {
	Name   string // of its record, without final dot
	Record string
	Active bool // it signs; else it waits for its record
}

// Service is a door that mail programs find by a record (RFC 6186, RFC 8314 section 5.1).
type Service struct {
	Label    string // "imaps"
	Port     int
	Priority int
}

// Site is where the house stands in the world.
type Site struct {
	Hostname  string
	Addresses []netip.Addr // that the world reaches it at; none: nobody knows
	TLSA      []string     // "3 1 1 ..." of the keys it shows
	Issuer    string       // who may issue its certificates (RFC 8659), "letsencrypt.org"; empty: anybody
	Services  []Service
	Web       bool // its pages can be reached: settings of mail programs, the STS policy
}

// webNames are names below a domain that lead to the house's pages, and what for.
func webNames() [][2]string {
	return [][2]string{
		{"autoconfig", "Thunderbird and others find their settings there"},
		{"autodiscover", "Outlook finds its settings there"},
		{"mta-sts", "the MTA-STS policy is served there"},
	}
}

// RecordsOf makes the records that a domain of the site needs, and those of its host. A domain is in the form of the DNS (A-labels).
func RecordsOf(domain string, keys []Key, s Site) Records {
	at, host := domain+".", s.Hostname+"."
	policy := tlspolicy.Policy{Mode: tlspolicy.Enforce, MaxAge: policyAge, MX: []string{s.Hostname}}
	sum := sha256.Sum256([]byte(policy.String()))
	postmaster := "mailto:postmaster@" + domain
	r := Records{Policy: policy.String(), PolicyURL: "https://mta-sts." + domain + "/.well-known/mta-sts.txt"}
	add := func(name, kind, value, what string) { r.Records = append(r.Records, Record{name, kind, value, what}) }

	add(at, "MX", "10 "+host, "mail for the domain comes here")
	add(at, "TXT", "v=spf1 mx -all", "only the hosts of the MX send its mail (SPF)")
	for _, k := range keys {
		add(k.Name+".", "TXT", k.Record, "its mail is signed with this key (DKIM)")
	}
	add("_dmarc."+at, "TXT", "v=DMARC1; p=quarantine; rua="+postmaster, "mail that proves neither is junk; reports come to the postmaster (DMARC)")
	add("_mta-sts."+at, "TXT", "v=STSv1; id="+hex.EncodeToString(sum[:8]), "others insist on TLS as the policy below says (MTA-STS)")
	add("_smtp._tls."+at, "TXT", "v=TLSRPTv1; rua="+postmaster, "others report how TLS went")
	for _, x := range s.Services {
		add("_"+x.Label+"._tcp."+at, "SRV", fmt.Sprintf("%d 1 %d %s", x.Priority, x.Port, host), "mail programs find the door "+x.Label)
	}
	if s.Web {
		add("_autodiscover._tcp."+at, "SRV", "0 0 443 "+host, "Outlook finds its settings there")
		for _, w := range webNames() {
			if name := w[0] + "." + at; name != host {
				add(name, "CNAME", host, w[1])
			}
		}
	} else {
		r.Missing = append(r.Missing, "no names for mail programs' settings and for the MTA-STS policy: the pages are closed; open listen.https, or publish no record of _mta-sts")
	}
	hostRecords(&r, at, s)
	return r
}

// hostRecords are those of the host itself; they stand once, however many domains it has.
func hostRecords(r *Records, at string, s Site) {
	host := s.Hostname + "."
	add := func(name, kind, value, what string) { r.Records = append(r.Records, Record{name, kind, value, what}) }
	for _, a := range s.Addresses {
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		add(host, kind, a.String(), "this host's address; its reverse record (PTR), set where the address comes from, must say "+s.Hostname)
	}
	if len(s.Addresses) == 0 {
		r.Missing = append(r.Missing, "no address record of "+s.Hostname+": this machine does not know the address that the world sees it under; write it as: "+host+" IN A ADDRESS")
	}
	if host != at {
		add(host, "TXT", "v=spf1 a -all", "reports that this host sends in its own name are proven (SPF)")
	}
	if s.Issuer != "" {
		add(host, "CAA", `0 issue "`+s.Issuer+`"`, "nobody else may issue certificates for it")
	}
	for _, value := range s.TLSA {
		add("_25._tcp."+host, "TLSA", value, "this host's key, where its zone is signed with DNSSEC (DANE)")
	}
}

// Zone is the records in the form of a zone file, what each is for above it.
func (r Records) Zone() string {
	var b strings.Builder
	for _, x := range r.Records {
		fmt.Fprintf(&b, "; %s\n%s\n", x.For, x.Line())
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "; %s\n", strings.ReplaceAll(m, "\n", " "))
	}
	return b.String()
}

// Line is the record as a zone file has it.
func (x Record) Line() string {
	value := x.Value
	if x.Type == "TXT" {
		value = QuotedText(value)
	}
	return x.Name + " IN " + x.Type + " " + value
}

// QuotedText writes a text as a zone file has it, in strings of at most 255 octets (RFC 1035 section 3.3.14).
func QuotedText(text string) string {
	out := ""
	for ; len(text) > 255; text = text[255:] {
		out += `"` + text[:255] + `" `
	}
	return out + `"` + text + `"`
}
