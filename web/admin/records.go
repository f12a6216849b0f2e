package admin

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/netip"
	"os"
	"slices"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/check"
)

// Site is where the house stands in the world's DNS.
type Site struct {
	Hostname     string
	Certificates []string            // PEM files of the chains it shows
	Obtained     func() []string     // such files that an authority gave; nil: none
	Addresses    func() []netip.Addr // that the world reaches the host at; nil: nobody knows
	Issuer       string              // who may issue certificates, as CAA records name it; empty: anybody
	Services     []check.Service     // doors that mail programs find by SRV records
	Web          bool                // the pages can be reached
	PlainPort    int                 // of the pages in clear; 0: 80
	Doors        []check.Door        // what mail programs connect to, the best of each protocol first
}

// Record is one line of a zone, Records what the world must find of a domain.
type (
	Record  = check.Record
	Records = check.Records
)

// DomainRecords makes the records that a domain needs, and those of this host.
func (h *House) DomainRecords(ctx context.Context, name string) (Records, error) {
	d, err := h.wanted(ctx, name)
	return d.Wants, err
}

// wanted is a domain with its keys and the records it should have.
func (h *House) wanted(ctx context.Context, name string) (out check.Domain, err error) {
	d, _, err := h.localDomain(ctx, name)
	if err != nil {
		return out, err
	}
	keys, err := h.o.Directory.Keys(ctx, d)
	if err != nil {
		return out, translate(name, err)
	}
	if h.o.Site.Hostname == "" {
		return out, conflict("the house has no name here, and the records would name nobody: write hostname into the settings file, and name that with --config")
	}
	out.Name = string(d)
	for _, k := range keys {
		if k.State != auth.KeyOld {
			out.Keys = append(out.Keys, check.Key{Name: k.Name(), Record: k.Record(), Active: k.State == auth.KeyActive})
		}
	}
	site, missing := h.site()
	out.Wants = check.RecordsOf(out.Name, out.Keys, site)
	out.Wants.Missing = append(out.Wants.Missing, missing...)
	return out, nil
}

// site is the house as records name it, and what could not be read.
func (h *House) site() (check.Site, []string) {
	o := h.o.Site
	s := check.Site{Hostname: o.Hostname, Issuer: o.Issuer, Services: o.Services, Web: o.Web}
	if o.Addresses != nil {
		s.Addresses = o.Addresses()
	}
	var missing []string
	s.TLSA, missing = tlsa(o)
	return s, missing
}

// tlsa makes the values of the DANE records of our certificates (RFC 7672 section 3.1.1: the key of the host's own, so that a renewal
// with the same key changes nothing).
func tlsa(o Site) (all, missing []string) {
	files := o.Certificates
	if o.Obtained != nil {
		files = append(slices.Clone(files), o.Obtained()...)
	}
	for _, file := range files {
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
		if err != nil || leaf.VerifyHostname(o.Hostname) != nil {
			continue // it is for another name of ours
		}
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		if value := "3 1 1 " + hex.EncodeToString(sum[:]); !slices.Contains(all, value) {
			all = append(all, value)
		}
	}
	return all, missing
}

// QuotedText writes a text as a zone file has it, in strings of at most 255 octets (RFC 1035 section 3.3.14).
func QuotedText(text string) string { return check.QuotedText(text) }
