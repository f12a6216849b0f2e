package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// domain is the checks of one domain.
func (r *run) domain(d Domain) []job {
	jobs := []job{
		{"mx", d.Name, func(ctx context.Context) Result { return r.mx(ctx, d) }},
		{"spf", d.Name, func(ctx context.Context) Result { return r.spf(ctx, d) }},
		{"dkim", d.Name, func(ctx context.Context) Result { return r.dkim(ctx, d) }},
		{"dmarc", d.Name, func(ctx context.Context) Result { return r.dmarc(ctx, d) }},
		{"mta-sts", d.Name, func(ctx context.Context) Result { return r.mtaSTS(ctx, d) }},
		{"tls-rpt", d.Name, func(ctx context.Context) Result { return r.tlsRPT(ctx, d) }},
	}
	if len(r.Site.Services) > 0 {
		jobs = append(jobs, job{"srv", d.Name, func(ctx context.Context) Result { return r.srv(ctx, d) }})
	}
	if r.Site.Web {
		jobs = append(jobs,
			job{"autoconfig", d.Name, func(ctx context.Context) Result {
				return r.programs(ctx, d, "autoconfig", "/mail/config-v1.1.xml?emailaddress=postmaster%40"+d.Name)
			}},
			job{"autodiscover", d.Name, func(ctx context.Context) Result { return r.programs(ctx, d, "autodiscover", "") }})
	}
	if r.Site.Issuer != "" {
		jobs = append(jobs, job{"caa", d.Name, func(ctx context.Context) Result { return r.caa(ctx, "mta-sts."+d.Name, d.Wants) }})
	}
	return jobs
}

func (r *run) mx(ctx context.Context, d Domain) Result {
	advice := publish(d.Wants, at(d.Name, "MX"))
	records, _, err := r.Resolver.MX(ctx, d.Name)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return wrong("there is no MX record: mail for the domain goes nowhere", advice)
	case err != nil:
		return noAnswer("the MX of "+d.Name, err)
	}
	var others, hosts []string
	best := records[0].Preference
	under := r.Site.Hostname
	for _, x := range records {
		here := x.Host == r.Site.Hostname
		if !here && x.Host != "" && !slices.ContainsFunc(records, func(m dns.MX) bool { return m.Host == r.Site.Hostname }) {
			if here = r.isHost(ctx, x.Host); here {
				x.Host, under = r.Site.Hostname, x.Host
			}
		}
		hosts = append(hosts, x.Host)
		if !here {
			others = append(others, fmt.Sprintf("%d %s", x.Preference, cmpOr(x.Host, ".")))
		}
	}
	at := slices.Index(hosts, r.Site.Hostname)
	switch {
	case at < 0:
		return wrong("mail goes to "+strings.Join(others, ", ")+", not here", advice)
	case records[at].Preference > best:
		return warn("mail goes to "+strings.Join(others, ", ")+" first, here only when they do not answer", "give this host the lowest number, unless that is what you want")
	case len(others) > 0:
		return warn("beside this host there is "+strings.Join(others, ", "), "remove what is not yours: mail that waits there comes late, past your checks, or never")
	}
	if under != r.Site.Hostname {
		return ok("mail comes here: %d %s, which is this host", best, under)
	}
	return ok("mail comes here: %d %s", best, under)
}

// isHost: a name has this host's addresses, and no other.
func (r *run) isHost(ctx context.Context, name string) bool {
	own, err := r.hostAddresses(ctx)
	if err != nil {
		return false
	}
	addrs, _, err := r.Resolver.IP(ctx, name)
	return err == nil && within(addrs, own)
}

func cmpOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// one finds the one text record of a kind at a name (RFC 7208 section 4.5, RFC 7489 section 6.6.3: several are none).
func (r *run) one(ctx context.Context, name, prefix string) (text string, n int, err error) {
	texts, _, err := r.Resolver.TXT(ctx, name)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return "", 0, err
	}
	for _, t := range texts {
		if rest, ok := cutFold(t, prefix); ok && (rest == "" || strings.ContainsRune(" ;\t", rune(rest[0]))) {
			text = t
			n++
		}
	}
	return text, n, nil
}

func cutFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// tag is the value of a tag in a text record of tags.
func tag(record, name string) string {
	for part := range strings.SplitSeq(record, ";") {
		if k, v, _ := strings.Cut(part, "="); strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (r *run) spf(ctx context.Context, d Domain) Result {
	advice := publish(d.Wants, func(x Record) bool { return at(d.Name, "TXT")(x) && strings.HasPrefix(x.Value, "v=spf1") })
	text, n, err := r.one(ctx, d.Name, "v=spf1")
	switch {
	case err != nil:
		return noAnswer("the SPF record of "+d.Name, err)
	case n == 0:
		return wrong("there is no SPF record", advice)
	case n > 1:
		return wrong(fmt.Sprintf("there are %d SPF records, and receivers take that for none", n), "put all of it into one record, and remove the others")
	}
	return r.spfPasses(ctx, text, mailauth.Session{Hello: r.Site.Hostname, From: mail.Address{Local: "postmaster", Domain: mail.Domain(d.Name)}})
}

// spfPasses asks as a receiver does, for each address that we send from.
func (r *run) spfPasses(ctx context.Context, text string, s mailauth.Session) Result {
	if rest := strings.ToLower(text); strings.HasSuffix(rest, "+all") || strings.HasSuffix(rest, " all") {
		return wrong("the SPF record lets everybody send: "+text, "let it end in -all")
	}
	if r.Relay != "" {
		return ok("%s (mail leaves through %s, which it has to name)", text, r.Relay)
	}
	addrs, err := r.hostAddresses(ctx)
	if err != nil && !errors.Is(err, dns.ErrNotFound) {
		return noAnswer("the addresses of "+r.Site.Hostname, err)
	}
	if len(addrs) == 0 {
		addrs = r.Site.Addresses
	}
	if len(addrs) == 0 {
		return unseen(text+": nobody knows the address that mail is sent from", "give "+r.Site.Hostname+" an address record")
	}
	checker := mailauth.New(mailauth.Options{Resolver: r.Resolver, Hostname: r.Site.Hostname, Timeout: r.Each})
	for _, a := range addrs {
		s.Remote = a
		c := checker.Begin(ctx, s)
		found, _ := c.Envelope()
		c.Discard()
		switch found.Result {
		case mailauth.Pass:
		case mailauth.TempError:
			return unseen("DNS does not answer for what the SPF record names: "+found.Reason, "try again")
		case mailauth.PermError:
			return wrong("the SPF record cannot be read: "+found.Reason+": "+text, "mend it, or write: v=spf1 mx -all")
		default:
			return wrong(fmt.Sprintf("mail from %s does not pass SPF (%s): %s", a, found.Result, text), "add mx (or this address) to the record, before its all")
		}
	}
	if !strings.HasSuffix(text, "-all") && !strings.HasSuffix(text, "~all") && !strings.Contains(text, "redirect=") {
		return warn("the record says nothing about other hosts: "+text, "let it end in -all")
	}
	return ok("%s", text)
}

func (r *run) dkim(ctx context.Context, d Domain) Result {
	if len(d.Keys) == 0 {
		return wrong("the domain has no DKIM key: its mail is not signed", "posthouse domain dkim rotate "+d.Name)
	}
	var seen []string
	worst := Result{State: OK}
	for _, k := range d.Keys {
		advice := publish(d.Wants, at(k.Name, "TXT"))
		texts, _, err := r.Resolver.TXT(ctx, k.Name)
		if err != nil && !errors.Is(err, dns.ErrNotFound) {
			return noAnswer("the DKIM record "+k.Name, err)
		}
		same := slices.ContainsFunc(texts, func(t string) bool { return publicPart(t) == publicPart(k.Record) })
		switch {
		case same && len(texts) > 1:
			return wrong("there are several records at "+k.Name+", and receivers may take any of them", "leave one: the key that posthouse domain dkim list "+d.Name+" shows")
		case same && tag(texts[0], "t") == "y":
			worst = warn("the record "+k.Name+" says that the key is only being tried (t=y)", "remove t=y from it")
		case same:
			selector, _, _ := strings.Cut(k.Name, ".")
			seen = append(seen, selector)
		case len(texts) > 0 && k.Active:
			return wrong("the record "+k.Name+" has another key than the one that signs: signatures fail", advice)
		case k.Active:
			return wrong("the record "+k.Name+" is not there: signatures fail", advice)
		default:
			worst = warn("the next key waits for its record "+k.Name, advice)
		}
	}
	if worst.State == OK {
		return ok("the record is there: %s", strings.Join(seen, ", "))
	}
	return worst
}

// publicPart is the key in a key record, without the white space that may stand in it (RFC 6376 section 3.6.1).
func publicPart(record string) string { return strings.Join(strings.Fields(tag(record, "p")), "") }

func (r *run) dmarc(ctx context.Context, d Domain) Result {
	name := "_dmarc." + d.Name
	advice := publish(d.Wants, at(name, "TXT"))
	text, n, err := r.one(ctx, name, "v=DMARC1")
	switch {
	case err != nil:
		return noAnswer(name, err)
	case n == 0:
		return wrong("there is no DMARC record: large receivers want one", advice)
	case n > 1:
		return wrong("there are several DMARC records, and receivers take that for none", "leave one")
	}
	switch strings.ToLower(tag(text, "p")) {
	case "none":
		return ok("%s (nothing happens to forged mail; when posthouse reports dmarc shows nothing of yours failing, write p=quarantine)", text)
	case "quarantine", "reject":
	default:
		return wrong("the DMARC record says no policy: "+text, advice)
	}
	if tag(text, "rua") == "" {
		return warn("nobody gets reports: "+text, "add rua=mailto:postmaster@"+d.Name)
	}
	return ok("%s", text)
}

func (r *run) tlsRPT(ctx context.Context, d Domain) Result {
	name := "_smtp._tls." + d.Name
	text, n, err := r.one(ctx, name, "v=TLSRPTv1")
	switch {
	case err != nil:
		return noAnswer(name, err)
	case n == 0:
		return warn("nobody reports whether TLS to this host works", publish(d.Wants, at(name, "TXT")))
	case n > 1 || tag(text, "rua") == "":
		return wrong("the record of "+name+" is of no use: "+text, publish(d.Wants, at(name, "TXT"))+"; leave no other")
	}
	return ok("%s", text)
}

// srv is the records by which programs find doors (RFC 6186).
func (r *run) srv(ctx context.Context, d Domain) Result {
	var missing, found []string
	for _, s := range r.Site.Services {
		name := "_" + s.Label + "._tcp." + d.Name
		records, _, err := r.Resolver.SRV(ctx, name)
		switch {
		case errors.Is(err, dns.ErrNotFound):
			missing = append(missing, s.Label)
			continue
		case err != nil:
			return noAnswer(name, err)
		}
		for _, x := range records {
			if x.Target != r.Site.Hostname || int(x.Port) != s.Port {
				return wrong(fmt.Sprintf("%s leads to %s port %d, not to %s port %d", name, cmpOr(x.Target, "nowhere (.)"), x.Port, r.Site.Hostname, s.Port), publish(d.Wants, at(name, "SRV")))
			}
		}
		found = append(found, s.Label)
	}
	if len(missing) > 0 {
		return warn("no records for "+strings.Join(missing, ", "), publish(d.Wants, func(x Record) bool {
			label, _, _ := strings.Cut(strings.TrimPrefix(x.Name, "_"), ".")
			return x.Type == "SRV" && slices.Contains(missing, label)
		}))
	}
	return ok("%s lead here", strings.Join(found, ", "))
}

// caa looks who may issue certificates for a name (RFC 8659 section 3).
func (r *run) caa(ctx context.Context, name string, wants Records) Result {
	records, _, err := r.Resolver.CAA(ctx, name)
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return ok("no CAA record: every authority may issue")
	case err != nil:
		return noAnswer("CAA of "+name, err)
	}
	var may []string
	bound := false
	for _, x := range records {
		if x.Tag == "issue" {
			bound = true
			who, _, _ := strings.Cut(x.Value, ";")
			may = append(may, strings.TrimSpace(who))
		}
	}
	if bound && !slices.Contains(may, r.Site.Issuer) {
		return wrong("certificates for "+name+" may be issued by "+cmpOr(strings.Trim(strings.Join(may, ", "), ", "), "nobody")+" only, and this house gets them from "+r.Site.Issuer, "add: CAA 0 issue \""+r.Site.Issuer+"\" to the records that say so")
	}
	return ok("%s may issue", r.Site.Issuer)
}

// leadsHere looks whether a name has the addresses of the host.
func (r *run) leadsHere(ctx context.Context, name string, wants Records) (Result, bool) {
	addrs, _, err := r.Resolver.IP(ctx, name)
	advice := publish(wants, at(name, "CNAME"))
	switch {
	case errors.Is(err, dns.ErrNotFound):
		return warn("there is no name "+name, advice), false
	case err != nil:
		return noAnswer(name, err), false
	}
	own, err := r.hostAddresses(ctx)
	if err != nil {
		return unseen("nobody knows where "+r.Site.Hostname+" is", ""), false
	}
	if !within(addrs, own) {
		return warn(fmt.Sprintf("%s leads to %s, and this host is at %s", name, joined(addrs), joined(own)), advice), false
	}
	return ok("%s leads here", name), true
}

func families(addrs []netip.Addr) (v4, v6 []netip.Addr) {
	for _, a := range addrs {
		if a.Unmap().Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return v4, v6
}
