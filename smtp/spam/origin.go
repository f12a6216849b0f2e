package spam

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// origins is what is proven about where a message comes from.
type origins struct {
	proven  bool     // the author's domain: by DMARC, or a signature or SPF of the same organization
	spfPass bool     // for MAIL FROM or EHLO
	signers []string // domains whose signature holds
	checked bool     // there is a report
	network string   // of the client: 192.0.2.0/24, 2001:db8::/48; empty: unknown
	ptr     string   // organization of the client's name, when it leads back to it
}

// prove reads the report.
func (f *Findings) prove() {
	r := &f.report
	f.checked = r.SPF.Result != "" || len(r.DKIM) > 0 || r.DMARC.Result != ""
	org := f.authorOrg()
	if r.SPF.Result == mailauth.Pass {
		f.spfPass = true
		f.proven = org != "" && organization(r.SPF.Domain) == org && !r.SPF.Hello
	}
	for _, d := range r.DKIM {
		if d.Result == mailauth.Pass {
			f.signers = append(f.signers, d.Domain)
			f.proven = f.proven || org != "" && organization(d.Domain) == org
		}
	}
	switch r.DMARC.Result {
	case mailauth.Pass: // of the domain that it read, which is the author's
		f.proven = f.proven || r.DMARC.Domain == string(f.author.Domain)
	case mailauth.Fail: // alignment may be demanded strictly
		f.proven = false
	}
	f.network = networkOf(f.facts.Remote)
	if r.IPRev.Result == mailauth.Pass {
		f.ptr = organization(hostOf(r.IPRev.Name))
	}
}

func (f *Findings) authorOrg() string { return organization(string(f.author.Domain)) }

// networkOf is the block of addresses that one sender is likely to have.
func networkOf(a netip.Addr) string {
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

// private: addresses of no stranger (RFC 1918, 4193, loopback, link-local).
func private(a netip.Addr) bool {
	return !a.IsValid() || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified()
}

func (j *Judge) local(d mail.Domain) bool { return j.o.Local != nil && d != "" && j.o.Local(d) }

// origin adds the signs of the client and of what is proven.
func (f *Findings) origin(j *Judge) {
	if f.checked {
		f.judgeProof()
	}
	if !f.facts.Remote.IsValid() || private(f.facts.Remote) && !j.o.AskOfPrivate {
		return
	}
	f.judgeNamesOfClient()
	f.judgeHello(j)
}

func (f *Findings) judgeProof() {
	r := &f.report
	domain := plain(mail.Domain(r.DMARC.Domain).Unicode(), 100)
	switch r.DMARC.Result {
	case mailauth.Pass:
		f.sign("dmarc_pass", -0.3, "it is proven to be from "+domain)
	case mailauth.Fail:
		f.judgeDMARC(domain)
	case mailauth.PermError:
		f.sign("dmarc_error", 0.5, "the author's domain cannot be made out")
	}
	switch r.SPF.Result {
	case mailauth.Fail:
		f.sign("spf_fail", 2.5, plain(r.SPF.Domain, 100)+" says that this client never sends its mail")
	case mailauth.SoftFail:
		f.sign("spf_softfail", 1, plain(r.SPF.Domain, 100)+" says that this client hardly sends its mail")
	case mailauth.PermError:
		f.sign("spf_error", 0.3, "the SPF record of "+plain(r.SPF.Domain, 100)+" is written wrong")
	}
	switch {
	case f.vouched:
		f.sign("arc_vouched", -1, "a trusted forwarder says that it was proven when it came to him")
	case r.ARC.Result == mailauth.Fail:
		f.sign("arc_fail", 0.3, "its chain of forwarders is broken")
	}
	bad := 0
	for _, d := range r.DKIM {
		if d.Result == mailauth.Fail && !d.Testing {
			bad++
		}
	}
	if bad > 0 && len(f.signers) == 0 && f.list == "" && !f.vouched {
		f.sign("dkim_fail", 0.7, "its signature does not hold: somebody changed it on the way")
	}
	if !f.unknown() && !f.spfPass && len(f.signers) == 0 && !f.vouched {
		f.sign("unproven", 1, "nothing proves who it is from")
	}
}

// unknown: DNS failed, so that nothing follows from what is missing.
func (f *Findings) unknown() bool {
	r := &f.report
	if r.SPF.Result == mailauth.TempError || r.DMARC.Result == mailauth.TempError {
		return true
	}
	for _, d := range r.DKIM {
		if d.Result == mailauth.TempError {
			return true
		}
	}
	return false
}

func (f *Findings) judgeDMARC(domain string) {
	if f.vouched {
		return
	}
	switch f.report.DMARC.Policy {
	case mailauth.PolicyReject:
		f.phish("dmarc_fail", 5, "it is not proven to be from "+domain+", which asks to refuse such mail")
	case mailauth.PolicyQuarantine:
		f.phish("dmarc_fail", 3.5, "it is not proven to be from "+domain+", which asks to set such mail aside")
	default:
		f.sign("dmarc_fail_none", 0.8, "it is not proven to be from "+domain+", which asks for nothing")
	}
}

// judgeNamesOfClient looks at the name of the client's address.
func (f *Findings) judgeNamesOfClient() {
	switch r := f.report.IPRev; r.Result {
	case mailauth.PermError:
		f.sign("ptr_missing", 2, "the client's address "+f.facts.Remote.String()+" has no name")
	case mailauth.Fail:
		f.sign("ptr_wrong", 1, "the name of the client's address does not lead back to it")
	case mailauth.Pass:
		if dynamic(r.Name, f.facts.Remote) {
			f.sign("ptr_dynamic", 2, "the client looks like a line at somebody's home: "+plain(r.Name, 100))
		}
	}
}

// dynamic tells whether a name was made from the address by a machine, as access providers do.
func dynamic(name string, a netip.Addr) bool {
	org := organization(name)
	host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), org), ".")
	if host == "" || strings.HasPrefix(host, "mail") || strings.HasPrefix(host, "smtp") || strings.HasPrefix(host, "mx") || strings.Contains(host, "static") {
		return false
	}
	for _, w := range strings.FieldsFunc(host, func(r rune) bool { return r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' }) {
		switch w {
		case "dyn", "dynamic", "dsl", "adsl", "vdsl", "xdsl", "pool", "ppp", "pppoe", "dial", "dialup", "dhcp", "cable", "dip", "dynip", "broadband", "catv", "ftth", "cust", "customer", "clients", "res", "mobile":
			return true
		}
	}
	if !a.Is4() {
		return false
	}
	found := 0
	for _, part := range a.As4() {
		n := fmt.Sprint(part)
		for _, w := range strings.FieldsFunc(host, func(r rune) bool { return r < '0' || r > '9' }) {
			if strings.TrimLeft(w, "0") == strings.TrimLeft(n, "0") {
				found++
				break
			}
		}
	}
	return found >= 3 && !strings.Contains(org, "amazon") && !strings.Contains(org, "google")
}

// judgeHello looks at what the client calls itself (RFC 5321 section 4.1.1.1: its own full name, or its address in brackets).
func (f *Findings) judgeHello(j *Judge) {
	hello := strings.ToLower(strings.TrimSuffix(f.facts.Hello, "."))
	shown := plain(f.facts.Hello, 100)
	switch {
	case hello == "":
		f.sign("helo_missing", 1, "the client does not say its name")
	case hello == strings.ToLower(j.o.Hostname):
		f.sign("helo_is_us", 4, "the client says that it is this house itself: "+shown)
	case j.local(mail.Domain(hello)) && f.ptr != organization(hello): // a web server of the domain has that name too
		f.sign("helo_is_ours", 3, "the client says that it is of this house: "+shown)
	case strings.HasPrefix(hello, "["):
		f.sign("helo_literal", 0.8, "the client calls itself by its number: "+shown)
	case isNumber(hello):
		f.sign("helo_number", 2, "the client calls itself by a number without brackets: "+shown)
	case hello == "localhost" || strings.HasPrefix(hello, "localhost.") || strings.HasSuffix(hello, ".local") || strings.HasSuffix(hello, ".lan") || strings.HasSuffix(hello, ".localdomain"):
		f.sign("helo_local", 2, "the client calls itself by a name that means nothing outside of its own house: "+shown)
	case !strings.Contains(hello, "."):
		f.sign("helo_short", 2, "the client calls itself by half a name: "+shown)
	case strings.ContainsAny(hello, " \t_<>()@"):
		f.sign("helo_odd", 1, "the client's name is none that a host can have: "+shown)
	case dynamic(hello, f.facts.Remote) && f.ptr == "":
		f.sign("helo_dynamic", 1, "the client's name looks like a line at somebody's home: "+shown)
	}
}

func isNumber(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// originTokens counts where a message comes from.
func (f *Findings) originTokens() {
	t := &f.tokens
	t.add(placeOrigin, "network:", f.network)
	if f.facts.Remote.Is4() {
		if p, err := f.facts.Remote.Prefix(16); err == nil {
			t.add(placeOrigin, "network:", p.String())
		}
	}
	t.add(placeOrigin, "hello:", organization(hostOf(f.facts.Hello)))
	t.add(placeOrigin, "sender:", organization(string(f.facts.From.Domain)))
	for i, d := range f.signers {
		if i < 4 {
			t.add(placeOrigin, "signed:", organization(d))
		}
	}
	if f.checked {
		t.add(placeOrigin, "spf:", string(f.report.SPF.Result))
		t.add(placeOrigin, "dmarc:", string(f.report.DMARC.Result))
	}
	if f.proven {
		t.add(placeOrigin, "proven:", "yes")
	}
	if len(f.links) == 0 {
		t.add(placeLink, "links:", "none")
	}
}

// domains are those that lists of domains are asked about, beside EHLO and MAIL FROM: the author's, those of signatures and of links.
func (f *Findings) domains() []string {
	list := []string{string(f.author.Domain), string(f.replyTo.Domain)}
	for i, d := range f.signers {
		if i < 4 {
			list = append(list, d)
		}
	}
	return append(list, f.linkHosts()...)
}
