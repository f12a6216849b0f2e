package adminui

import (
	"net/http"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
	"github.com/posthouse-mail/posthouse/web/page"
)

// attention is something that an operator should look at.
type attention struct {
	What   string
	Found  string
	Advice string
	Bad    bool
	Page   string // where more of it stands; empty: nowhere
	About  string
}

// homePage is the first page: what needs attention, how the machine does, and what was changed last.
type homePage struct {
	Attention []attention
	Machine   []check.Result
	Titles    map[string]string
	Time      time.Time
	Checked   bool
	Accounts  int
	Domains   int
	Changes   []auditLine
}

// pagesOfChecks are where more of what the machine's checks found can be seen.
func pagesOfChecks() map[string]string {
	return map[string]string{"queue": "/admin/queue", "backup": "/admin/backups", "certificate": "/admin/certificates", "disk": "/admin/system"}
}

// mostDomains bounds how many domains the first page tells of one by one.
const mostDomains = 20

// attentionTo makes one thing to look at of each that the machine has, and one of each domain: its page tells them apart.
func attentionTo(found []check.Result) (all []attention) {
	var order []string
	domains := make(map[string]*attention)
	for _, x := range found {
		if x.Domain == "" {
			all = append(all, attention{What: checkTitle(x.Check), Found: x.Found, Advice: x.Advice, Bad: x.State == check.Wrong, Page: pagesOfChecks()[x.Check]})
			continue
		}
		a := domains[x.Domain]
		if a == nil {
			a = &attention{What: "Domain", About: written(x.Domain), Page: at("/admin/domain", "name", x.Domain)}
			domains[x.Domain], order = a, append(order, x.Domain)
		}
		a.Bad = a.Bad || x.State == check.Wrong
		if a.Found == "" {
			a.Found = "Not as it should be: " + checkTitle(x.Check)
		} else {
			a.Found += "; " + checkTitle(x.Check)
		}
	}
	for _, name := range order[:min(len(order), mostDomains)] {
		all = append(all, *domains[name])
	}
	if more := len(order) - mostDomains; more > 0 {
		all = append(all, attention{What: "Domains", Found: page.Count(more, "more domain", "more domains"), Page: "/admin/domains"})
	}
	return all
}

func (m *room) home(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	machine := m.o.House.Looked("")
	d := homePage{Machine: machine.Results, Time: machine.Time, Checked: !machine.Time.IsZero(), Titles: make(map[string]string)}
	for _, x := range machine.Results {
		d.Titles[x.Check] = checkTitle(x.Check)
	}
	found, err := m.o.House.Attention(ctx)
	if err != nil {
		return err
	}
	d.Attention = attentionTo(found)
	silent, err := m.o.House.FindAccounts(ctx, admin.Find{Only: "silent", Size: 20})
	if err != nil {
		return err
	}
	for _, a := range silent.All {
		d.Attention = append(d.Attention, attention{What: "Kept from sending", About: a.Addresses[0], Found: a.SendOff, Bad: true, Page: accountPath("/sending", a)})
	}
	if more := silent.Total - len(silent.All); more > 0 {
		d.Attention = append(d.Attention, attention{What: "Kept from sending", Found: page.Count(more, "more account", "more accounts"), Page: "/admin/accounts?only=silent"})
	}
	accounts, err := m.o.House.FindAccounts(ctx, admin.Find{Size: 1})
	if err != nil {
		return err
	}
	domains, err := m.o.House.FindDomains(ctx, admin.Find{Size: 1})
	if err != nil {
		return err
	}
	d.Accounts, d.Domains = accounts.Total, domains.Total
	changes, err := m.o.House.Audit(ctx, admin.AuditFilter{Limit: 5})
	if err != nil {
		return err
	}
	d.Changes = auditLines(changes.Entries)
	return m.show(w, r, page.View{Page: "home", Title: "The house", Data: d})
}
