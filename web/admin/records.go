package admin

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// policyAge is how long others keep our STS policy: RFC 8461 section 3.2 speaks of weeks.
const policyAge = 7 * 24 * 3600

// Site is where the house stands in the world's DNS.
type Site struct {
	Hostname     string
	Certificates []string // PEM files of the chains it shows
}

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
	// Missing says which records could not be made, and why: those of certificates that are not there yet.
	Missing []string `json:"missing,omitempty"`
}

// DomainRecords makes the records that a domain needs, and those of this host.
func (h *House) DomainRecords(ctx context.Context, name string) (Records, error) {
	d, _, err := h.localDomain(ctx, name)
	if err != nil {
		return Records{}, err
	}
	keys, err := h.o.Directory.Keys(ctx, d)
	if err != nil {
		return Records{}, translate(name, err)
	}
	host := h.o.Site.Hostname
	if host == "" {
		return Records{}, conflict("the house has no name here, and the records would name nobody: write hostname into the settings file, and name that with --config")
	}
	at := string(d) + "."
	policy := tlspolicy.Policy{Mode: tlspolicy.Enforce, MaxAge: policyAge, MX: []string{host}}
	sum := sha256.Sum256([]byte(policy.String()))
	postmaster := "mailto:postmaster@" + string(d)
	r := Records{Policy: policy.String(), PolicyURL: "https://mta-sts." + string(d) + "/.well-known/mta-sts.txt"}
	r.Records = append(r.Records,
		Record{at, "MX", "10 " + host + ".", "mail for the domain comes here"},
		Record{at, "TXT", "v=spf1 mx -all", "only the hosts of the MX send its mail (SPF)"},
	)
	for _, k := range keys {
		if k.State != auth.KeyOld {
			r.Records = append(r.Records, Record{k.Name() + ".", "TXT", k.Record(), "its mail is signed with this key (DKIM)"})
		}
	}
	r.Records = append(r.Records,
		Record{"_dmarc." + at, "TXT", "v=DMARC1; p=quarantine; rua=" + postmaster, "mail that proves neither is junk; reports come to the postmaster (DMARC)"},
		Record{"_mta-sts." + at, "TXT", "v=STSv1; id=" + hex.EncodeToString(sum[:8]), "others insist on TLS as the policy below says (MTA-STS)"},
		Record{"_smtp._tls." + at, "TXT", "v=TLSRPTv1; rua=" + postmaster, "others report how TLS went"},
	)
	tlsa, missing := h.tlsa(host)
	r.Records, r.Missing = append(r.Records, tlsa...), missing
	return r, nil
}

// tlsa makes the DANE records of our certificates (RFC 7672 section 3.1.1: the key of the host's own, so that a renewal with the same key
// changes nothing).
func (h *House) tlsa(host string) (all []Record, missing []string) {
	seen := map[string]bool{}
	for _, file := range h.o.Site.Certificates {
		text, err := os.ReadFile(file)
		if err != nil {
			missing = append(missing, "no TLSA record of a certificate that cannot be read: "+err.Error())
			continue
		}
		block, _ := pem.Decode(text)
		if block == nil {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil || leaf.VerifyHostname(host) != nil {
			continue // it is for another name of ours
		}
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		if value := "3 1 1 " + hex.EncodeToString(sum[:]); !seen[value] {
			seen[value] = true
			all = append(all, Record{"_25._tcp." + host + ".", "TLSA", value, "this host's key, where its zone is signed with DNSSEC (DANE)"})
		}
	}
	return all, missing
}

// Zone is the records in the form of a zone file, what each is for above it.
func (r Records) Zone() string {
	var b strings.Builder
	for _, x := range r.Records {
		value := x.Value
		if x.Type == "TXT" {
			value = QuotedText(value)
		}
		fmt.Fprintf(&b, "; %s\n%s IN %s %s\n", x.For, x.Name, x.Type, value)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "; %s\n", strings.ReplaceAll(m, "\n", " "))
	}
	return b.String()
}

// QuotedText writes a text as a zone file has it, in strings of at most 255 octets (RFC 1035 section 3.3.14).
func QuotedText(text string) string {
	out := ""
	for ; len(text) > 255; text = text[255:] {
		out += `"` + text[:255] + `" `
	}
	return out + `"` + text + `"`
}
