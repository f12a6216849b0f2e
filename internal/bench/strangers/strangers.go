// Package strangers makes mail as others send it: domains that publish SPF, DKIM
// and DMARC, hosts with names, and messages that they have signed.
package strangers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/mailgen"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// keysMost is how many keys all domains share: making one takes a tenth of a second.
const keysMost = 10

// Domains are senders.
type Domains struct {
	keys []*rsa.PrivateKey
	n    int
}

// New makes n domains, at most 50,000.
func New(n int) (*Domains, error) {
	d := &Domains{n: n}
	for range min(n, keysMost) {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		d.keys = append(d.keys, k)
	}
	return d, nil
}

func (d *Domains) domain(i int) string { return fmt.Sprintf("d%d.far.test", i%d.n) }

// Host is the name that the host of message i says in EHLO.
func (d *Domains) Host(i int) string { return "mx." + d.domain(i) }

// Addr is where message i comes from.
func (d *Domains) Addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{203, byte(100 + i%d.n/250), 113, byte(1 + i%d.n%250)})
}

// From is the sender of message i, in envelope and header.
func (d *Domains) From(i int) string { return "zoe@" + d.domain(i) }

// Zone is the DNS of them all: SPF through an include as large providers have it.
func (d *Domains) Zone() (*dns.Zone, error) {
	z, err := dns.NewZone("far.test. IN A 203.0.113.1")
	if err != nil {
		return nil, err
	}
	for i := range d.n {
		name, addr := d.domain(i), d.Addr(i)
		der, err := x509.MarshalPKIXPublicKey(&d.keys[i%len(d.keys)].PublicKey)
		if err != nil {
			return nil, err
		}
		for host, text := range map[string]string{
			name:                    "v=spf1 include:_spf." + name + " -all",
			"_spf." + name:          "v=spf1 ip4:192.0.2.0/24 ip4:" + addr.String() + " ~all",
			"_dmarc." + name:        "v=DMARC1; p=reject; rua=mailto:dmarc@" + name,
			"s1._domainkey." + name: "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der),
		} {
			if err := z.AddText(host+".", text); err != nil {
				return nil, err
			}
		}
		if err := z.Add(name+". IN MX 10 mx."+name+".", "mx."+name+". IN A "+addr.String()); err != nil {
			return nil, err
		}
		if err := z.AddReverse(addr, "mx."+name); err != nil {
			return nil, err
		}
	}
	return z, nil
}

// Message is message i, of about size octets: text and HTML with links, signed by its domain.
func (d *Domains) Message(i, size int, to string) ([]byte, error) {
	domain := d.domain(i)
	_, text, _ := strings.Cut(string(mailgen.Fixed(9, i, max(size, 4000))), "\r\n\r\n")
	third := max(size-1400, 2000) / 3
	var html strings.Builder
	for line := range strings.Lines(text[third : 3*third-600]) {
		fmt.Fprintf(&html, "<p>%s</p>\r\n", strings.TrimRight(line, "\r\n"))
		if html.Len()/900 > strings.Count(html.String(), "<a ") {
			fmt.Fprintf(&html, "<p><a href=\"https://www.%s/news/%d\">more</a></p>\r\n", domain, html.Len())
		}
	}
	now := time.Now()
	header := "Received: from web." + domain + " (web." + domain + " [203.0.113.9])\r\n\tby mx." + domain + " with ESMTPS id " + fmt.Sprint(i) + ";\r\n\t" + now.Format(time.RFC1123Z) + "\r\n" +
		"From: Zoe Far <zoe@" + domain + ">\r\nTo: <" + to + ">\r\nSubject: The news of this week\r\nDate: " + now.Format(time.RFC1123Z) + "\r\nMessage-ID: <" + fmt.Sprintf("%d.%d", now.UnixNano(), i) + "@" + domain +
		">\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b1\"\r\n"
	body := "--b1\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text[:third] + "\r\n--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n" + html.String() + "</body></html>\r\n--b1--\r\n"
	s := mailauth.NewSigner([]byte(header), now, mailauth.SigningKey{Domain: domain, Selector: "s1", Private: d.keys[i%d.n%len(d.keys)]})
	if _, err := s.Write([]byte(body)); err != nil {
		return nil, err
	}
	signature, err := s.Sign()
	if err != nil {
		return nil, err
	}
	return []byte(string(signature) + header + "\r\n" + body), nil
}
