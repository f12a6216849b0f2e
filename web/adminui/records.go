package adminui

import (
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

// recordGroup is one thing that others look for: what was found, what to do, and the records as they should be.
type recordGroup struct {
	Check   string
	Title   string
	Machine bool // true of this host, whatever the domain
	Result  *check.Result
	Records []admin.Record
}

// checkTitles is what checks are about, in the order in which they are shown.
func checkTitles() [][2]string {
	return [][2]string{
		{"mx", "Where its mail goes (MX)"}, {"spf", "Who may send for the domain (SPF)"}, {"dkim", "Keys of its mail (DKIM)"},
		{"dmarc", "Forged mail (DMARC)"}, {"mta-sts", "TLS from other hosts (MTA-STS)"}, {"tls-rpt", "Reports about TLS"},
		{"srv", "Doors for mail programs (SRV)"}, {"autoconfig", "Settings for Thunderbird"}, {"autodiscover", "Settings for Outlook"},
		{"caa", "Who may issue certificates (CAA)"},
		{"hostname", "The name of this host"}, {"ptr4", "Reverse name of the address (PTR)"}, {"ptr6", "Reverse name of the IPv6 address (PTR)"},
		{"spf-host", "This host in its own name (SPF)"}, {"certificate", "Certificate"}, {"tlsa", "The host's key in DNS (DANE)"},
		{"starttls", "TLS at port 25"}, {"relay", "Strangers who send through here"}, {"port25-out", "The way out"}, {"clock", "Clock"},
		{"disk", "Disk"}, {"backup", "Backup"}, {"queue", "Queue"},
	}
}

// checkTitle is what a check is about.
func checkTitle(name string) string {
	for _, x := range checkTitles() {
		if x[0] == name {
			return x[1]
		}
	}
	if list, ok := strings.CutPrefix(name, "dnsbl-"); ok {
		return "Block list " + list
	}
	return name
}

// checkOf is the check that looks at a record, and whether it is one of the host's.
func checkOf(domain string, x admin.Record) (name string, machine bool) {
	owner := strings.TrimSuffix(x.Name, ".")
	below, in := strings.CutSuffix(owner, "."+domain)
	switch {
	case x.Type == "TLSA":
		return "tlsa", true
	case x.Type == "CAA":
		return "caa", true
	case x.Type == "A", x.Type == "AAAA":
		return "hostname", true
	case owner == domain && x.Type == "MX":
		return "mx", false
	case owner == domain:
		return "spf", false
	case !in, x.Type == "TXT" && strings.HasPrefix(x.Value, "v=spf1"):
		return "spf-host", true
	case strings.HasSuffix(below, "._domainkey"):
		return "dkim", false
	case below == "_dmarc":
		return "dmarc", false
	case below == "_mta-sts", below == "mta-sts":
		return "mta-sts", false
	case below == "_smtp._tls":
		return "tls-rpt", false
	case below == "autoconfig":
		return "autoconfig", false
	case below == "_autodiscover._tcp", below == "autodiscover":
		return "autodiscover", false
	case x.Type == "SRV":
		return "srv", false
	}
	return "other", false
}

// groupsOf puts the records of a domain beside what was found.
func groupsOf(domain string, wants admin.Records, machine, found []check.Result) []recordGroup {
	var all []recordGroup
	group := func(name string, ours bool) *recordGroup {
		for i := range all {
			if all[i].Check == name && all[i].Machine == ours {
				return &all[i]
			}
		}
		all = append(all, recordGroup{Check: name, Title: checkTitle(name), Machine: ours})
		return &all[len(all)-1]
	}
	for _, x := range found {
		group(x.Check, false).Result = &x
	}
	for _, x := range wants.Records {
		name, ours := checkOf(domain, x)
		g := group(name, ours)
		g.Records = append(g.Records, x)
	}
	for _, x := range machine {
		for i := range all {
			if all[i].Machine && all[i].Check == x.Check {
				all[i].Result = &x
			}
		}
	}
	order := checkTitles()
	place := func(g recordGroup) int {
		n := slices.IndexFunc(order, func(x [2]string) bool { return x[0] == g.Check })
		if n < 0 {
			n = len(order)
		}
		if g.Machine {
			n += 100
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b recordGroup) int { return place(a) - place(b) })
	return all
}
