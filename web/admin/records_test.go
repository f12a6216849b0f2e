package admin_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

// What is printed can be pasted: a DNS server of ours reads it, and our own judges find what they look for.
func TestDomainRecords(t *testing.T) {
	h := newHouse(t)
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "alpha.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.DomainRecords(t.Context(), "alpha.test"); err == nil || !strings.Contains(err.Error(), "has no name") {
		t.Fatalf("a house without a name: %v", err)
	}
	authority, err := cert.NewAuthority("test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good, err := authority.WritePair(dir, "good", "mx.alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	other, err := authority.WritePair(dir, "other", "imap.alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	addresses := func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	}
	site := admin.Site{Hostname: "mx.alpha.test", Web: true, Addresses: addresses, Issuer: "letsencrypt.org", Services: []check.Service{{Label: "imaps", Port: 993}}, Certificates: []string{good.Certificate, other.Certificate, good.Certificate}}
	named := admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Site: site})
	r, err := named.DomainRecords(t.Context(), "alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(r.Zone()) {
		if !strings.HasPrefix(line, ";") {
			lines = append(lines, line)
		}
	}
	zone, err := dns.NewZone(lines...)
	if err != nil || len(lines) != 16 || len(r.Missing) != 0 {
		t.Fatalf("%v in\n%s", err, r.Zone())
	}
	zone.Secure(true)
	resolver := zone.Client(dns.Options{})
	defer resolver.Close()
	v, err := tlspolicy.New(tlspolicy.Options{Resolver: resolver}).For(t.Context(), "alpha.test", "mx.alpha.test")
	text, _ := os.ReadFile(good.Certificate)
	block, _ := pem.Decode(text)
	leaf, _ := x509.ParseCertificate(block.Bytes)
	if want := fmt.Sprintf("3 1 1 %x", sha256.Sum256(leaf.RawSubjectPublicKeyInfo)); err != nil || v.Kind != tlspolicy.DANE || len(v.Policy) != 1 || v.Policy[0] != want {
		t.Errorf("%+v %v, want %s", v, err, want)
	}
	p, err := tlspolicy.ParsePolicy(r.Policy)
	if err != nil || !p.Lists("mx.alpha.test") || p.Mode != tlspolicy.Enforce {
		t.Errorf("policy %+v %v", p, err)
	}
	if r.PolicyURL != "https://mta-sts.alpha.test/.well-known/mta-sts.txt" {
		t.Error(r.PolicyURL)
	}
	// Who has no certificate yet needs the records first of all.
	site.Certificates = append(site.Certificates, filepath.Join(dir, "not there.pem"))
	site.Addresses, site.Web = nil, false
	early := admin.New(admin.Options{DB: h.db, Directory: h.directory, Store: h.store, Queue: h.queue, Site: site})
	if r, err = early.DomainRecords(t.Context(), "alpha.test"); err != nil || len(r.Records) != 10 || len(r.Missing) != 3 || !strings.Contains(r.Zone(), "; no TLSA record of a certificate that cannot be read: ") {
		t.Errorf("%v\n%s", err, r.Zone())
	}
}
