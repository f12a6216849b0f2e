package check

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// machine is the checks that no domain changes.
func (r *run) machine() []job {
	jobs := []job{
		{"hostname", "", r.hostname},
		{"ptr4", "", func(ctx context.Context) Result { return r.reverse(ctx, false) }},
		{"ptr6", "", func(ctx context.Context) Result { return r.reverse(ctx, true) }},
		{"spf-host", "", r.hostSPF},
		{"certificate", "", func(context.Context) Result { return r.certificate() }},
		{"tlsa", "", r.tlsa},
		{"starttls", "", r.startTLS},
		{"relay", "", r.openRelay},
		{"port25-out", "", r.wayOut},
		{"clock", "", r.clock},
		{"disk", "", func(context.Context) Result { return r.disk() }},
		{"backup", "", func(context.Context) Result { return r.backup() }},
		{"queue", "", func(context.Context) Result { return r.queue() }},
	}
	if r.Site.Issuer != "" {
		jobs = append(jobs, job{"caa", "", func(ctx context.Context) Result { return r.caa(ctx, r.Site.Hostname, Records{}) }})
	}
	for _, l := range r.Lists {
		jobs = append(jobs, job{"dnsbl-" + l.Name, "", func(ctx context.Context) Result { return r.listed(ctx, l) }})
	}
	return jobs
}

// hostname looks whether the host's name leads to this machine.
func (r *run) hostname(ctx context.Context) Result {
	name := r.Site.Hostname
	addrs, err := r.hostAddresses(ctx)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return wrong(name+" has no address: nobody finds this host", "publish an address record (A) of "+name)
	case err != nil:
		return noAnswer("the addresses of "+name, err)
	}
	public := slices.DeleteFunc(slices.Clone(r.Local), func(a netip.Addr) bool { return !tlspolicy.Public(a) })
	var strange []netip.Addr
	for _, a := range addrs {
		if !slices.Contains(r.Local, a) {
			strange = append(strange, a)
		}
	}
	if len(strange) == 0 {
		return ok("%s is this machine: %s", name, joined(addrs))
	}
	// Behind address translation no interface has the address. Who shows our key there is this house.
	for _, a := range strange {
		shown, err := r.shake(ctx, a)
		switch {
		case err == nil && r.ownKey(shown):
		case err == nil:
			return wrong(fmt.Sprintf("%s is %s, where another server answers", name, a), "let it lead to this machine: "+orNone(public))
		case len(public) > 0:
			return wrong(fmt.Sprintf("%s is %s, which is no address of this machine (%s)", name, a, joined(public)), "let it lead here")
		default:
			return unseen(fmt.Sprintf("%s is %s; this machine has no public address of its own, and port %d there does not answer from here", name, a, r.SMTPPort), "does the router pass the ports on? Some do not let this machine reach its own public address: try from another network")
		}
	}
	return ok("%s is this machine: %s, through address translation", name, joined(addrs))
}

func orNone(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "its public address"
	}
	return joined(addrs)
}

// ownKey: the certificate has the key that this house shows.
func (r *run) ownKey(leaf *x509.Certificate) bool {
	if r.Chain == nil || leaf == nil {
		return false
	}
	c := r.Chain(r.Site.Hostname)
	return c != nil && c.Leaf != nil && string(c.Leaf.RawSubjectPublicKeyInfo) == string(leaf.RawSubjectPublicKeyInfo)
}

// reverse looks whether our addresses have a name that leads back (RFC 8601 section 3): large receivers refuse others.
func (r *run) reverse(ctx context.Context, six bool) Result {
	addrs, err := r.hostAddresses(ctx)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return noAnswer("the addresses of "+r.Site.Hostname, err)
	}
	v4, v6 := families(addrs)
	mine, family, bad := v4, "IPv4", wrong
	if six {
		mine, family, bad = v6, "IPv6", warn // mail then leaves over IPv4
	}
	if len(mine) == 0 {
		if !six && len(v6) > 0 {
			return warn("the host has no IPv4 address: many cannot reach it", "publish an A record")
		}
		return ok("no %s address is published", family)
	}
	const advice = "ask who gives you the address (the provider's panel, \"reverse DNS\") to set it to "
	for _, a := range mine {
		names, _, err := r.Resolver.PTR(ctx, a)
		switch {
		case errors.Is(err, dns.ErrNotFound):
			return bad(fmt.Sprintf("%s has no name: large receivers refuse its mail", a), advice+r.Site.Hostname)
		case err != nil:
			return noAnswer("the name of "+a.String(), err)
		}
		if slices.Contains(names, r.Site.Hostname) {
			continue
		}
		back, err := r.leadsBack(ctx, names, a)
		if err != nil {
			return noAnswer(strings.Join(names, ", "), err)
		}
		if !back {
			return bad(fmt.Sprintf("the name of %s is %s, which does not lead back to it: large receivers refuse its mail", a, strings.Join(names, ", ")), advice+r.Site.Hostname)
		}
		return warn(fmt.Sprintf("the name of %s is %s, and this host calls itself %s: some receivers mind", a, strings.Join(names, ", "), r.Site.Hostname), advice+r.Site.Hostname)
	}
	return ok("%s has the name %s, which leads back", joined(mine), r.Site.Hostname)
}

func (r *run) leadsBack(ctx context.Context, names []string, a netip.Addr) (bool, error) {
	for _, name := range names[:min(len(names), 10)] {
		addrs, _, err := r.Resolver.IP(ctx, name)
		if slices.Contains(addrs, a) {
			return true, nil
		}
		if err != nil && !errors.Is(err, dns.ErrNotFound) {
			return false, err
		}
	}
	return false, nil
}

// hostSPF: reports have no sender, and receivers look at the name in EHLO instead (RFC 7208 section 2.4).
func (r *run) hostSPF(ctx context.Context) Result {
	text, n, err := r.one(ctx, r.Site.Hostname, "v=spf1")
	switch {
	case err != nil:
		return noAnswer("the SPF record of "+r.Site.Hostname, err)
	case n == 0:
		return warn("reports that this host sends are not proven by SPF", "publish: "+r.Site.Hostname+". IN TXT \"v=spf1 a -all\"")
	case n > 1:
		return wrong("there are several SPF records at "+r.Site.Hostname, "leave one")
	}
	return r.spfPasses(ctx, text, mailauth.Session{Hello: r.Site.Hostname, From: mail.Address{}})
}

// How long before its end a certificate should have been renewed.
const (
	certSoon = 20 * 24 * time.Hour
	certLast = 5 * 24 * time.Hour
)

// certificate looks at what the house shows for its own name.
func (r *run) certificate() Result {
	if r.Chain == nil {
		return wrong("the house has no certificate: nobody can log in from another machine", "[acme] enabled = true, or [[tls.certificates]] in the settings")
	}
	c := r.Chain(r.Site.Hostname)
	if c == nil || c.Leaf == nil {
		return wrong("there is no certificate for "+r.Site.Hostname, "posthouse serve says in its log why none could be obtained; or name files in [[tls.certificates]]")
	}
	now := r.Now()
	left := c.Leaf.NotAfter.Sub(now)
	until := fmt.Sprintf("until %s, %d days", c.Leaf.NotAfter.UTC().Format(time.DateOnly), int(left/(24*time.Hour)))
	const renew = "renew it, or look into the log why posthouse could not (certificate refused)"
	switch {
	case c.Leaf.VerifyHostname(r.Site.Hostname) != nil:
		return wrong("the certificate is for "+cmpOr(strings.Join(c.Leaf.DNSNames, ", "), "no name")+", not for "+r.Site.Hostname, "get one for "+r.Site.Hostname)
	case left <= 0:
		return wrong("the certificate has expired ("+until+")", renew)
	case now.Before(c.Leaf.NotBefore):
		return wrong("the certificate holds from "+c.Leaf.NotBefore.UTC().Format(time.DateTime)+" only", "is the clock right?")
	case left < certLast:
		return wrong("the certificate ends soon: "+until, renew)
	}
	between := x509.NewCertPool()
	for _, der := range c.Certificate[min(1, len(c.Certificate)):] {
		if x, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(x)
		}
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: r.Site.Hostname, Roots: r.Roots, Intermediates: between, CurrentTime: now}); err != nil {
		return wrong("mail programs will not believe the certificate: "+plainFetch(err).Error(), "get one from an authority that they know ([acme] enabled = true); is the chain in the file, leaf first?")
	}
	if left < certSoon {
		return warn("the certificate should have been renewed: "+until, renew)
	}
	return ok("%s, %s", strings.Join(c.Leaf.DNSNames, ", "), until)
}

// tlsa compares the DANE records with the key that the host shows (RFC 7672 section 3.1).
func (r *run) tlsa(ctx context.Context) Result {
	name := "_25._tcp." + r.Site.Hostname
	records, _, err := r.Resolver.TLSA(ctx, name)
	wants := "publish: " + name + ". IN TLSA " + strings.Join(r.Site.TLSA, " and ")
	if len(r.Site.TLSA) == 0 {
		wants = "remove the record until there is a certificate"
	}
	switch {
	case errors.Is(err, dns.ErrNotFound):
		if _, secure, e := r.Resolver.IP(ctx, r.Site.Hostname); e == nil && secure && len(r.Site.TLSA) > 0 {
			return warn("the zone is signed, and there is no TLSA record: others cannot insist on TLS by DANE", wants)
		}
		return ok("none, and the zone is not signed as far as can be seen from here")
	case err != nil:
		return noAnswer(name, err)
	}
	var c *x509.Certificate
	var above []*x509.Certificate
	if r.Chain != nil {
		if chain := r.Chain(r.Site.Hostname); chain != nil {
			c = chain.Leaf
			for _, der := range chain.Certificate[min(1, len(chain.Certificate)):] {
				if x, err := x509.ParseCertificate(der); err == nil {
					above = append(above, x)
				}
			}
		}
	}
	for _, x := range records {
		if x.Usage == 3 && c != nil && matches(x, c) || x.Usage == 2 && slices.ContainsFunc(above, func(a *x509.Certificate) bool { return matches(x, a) }) {
			return ok("%d %d %d fits the certificate", x.Usage, x.Selector, x.Matching)
		}
	}
	return wrong("no TLSA record fits the key that this host shows: who insists on DANE does not deliver here", wants)
}

func matches(x dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if x.Selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	if x.Matching == 1 {
		sum := sha256.Sum256(data)
		data = sum[:]
	}
	return x.Selector <= 1 && x.Matching <= 1 && hex.EncodeToString(x.Data) == hex.EncodeToString(data)
}

func (r *run) disk() Result {
	d := r.Facts.Disk
	if d == nil {
		return unseen("nobody could say how full the disk is", "")
	}
	const advice = "make room, or give the machine a larger disk; posthouse account list shows who has how much"
	text := fmt.Sprintf("%.1f GiB free", float64(d.Free)/(1<<30))
	switch {
	case d.Free < d.Stop:
		return wrong(text+": new mail is refused", advice)
	case d.Free < d.Low:
		return warn(text+": the house makes room where it can", advice)
	}
	return ok("%s", text)
}

// backupGrace is how late a backup may be.
const backupGrace = 12 * time.Hour

func (r *run) backup() Result {
	b := r.Facts.Backup
	switch {
	case b == nil:
		return unseen("nobody could say how the backups do", "")
	case b.Error != "":
		return wrong("backups cannot be read: "+b.Error, "is the disk there, that backup.to names?")
	case b.To == "":
		return warn("there are no backups", "name a folder on another disk: [backup] to = \"...\"")
	case b.Last.IsZero():
		return wrong("no verified backup of this house is in "+b.To, "posthouse backup; the log says why it failed (backup failed)")
	}
	age := r.Now().Sub(b.Last)
	text := "the last verified one is from " + b.Last.UTC().Format(time.DateTime)
	if age > max(b.Every, 24*time.Hour)+backupGrace {
		return wrong(text, "posthouse backup; the log says why it failed (backup failed)")
	}
	return ok("%s", text)
}

const (
	queueOld  = 4 * time.Hour
	queueMany = 1000
)

func (r *run) queue() Result {
	q := r.Facts.Queue
	if q == nil {
		return unseen("nobody could say what waits", "")
	}
	text := fmt.Sprintf("%d wait", q.Entries)
	if q.Entries > 0 && !q.Oldest.IsZero() {
		text += fmt.Sprintf(", the oldest since %s", r.Now().Sub(q.Oldest).Round(time.Minute))
	}
	switch {
	case q.Held > 0:
		return warn(fmt.Sprintf("%s, %d are held back", text, q.Held), "posthouse queue list; posthouse queue release --all")
	case q.Entries >= queueMany, q.Entries > 0 && r.Now().Sub(q.Oldest) > queueOld:
		return warn(text, "posthouse queue list says why")
	}
	return ok("%s", text)
}
