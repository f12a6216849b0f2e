package adminui

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// written is a domain as its owner writes it.
func written(name string) string { return mail.Domain(name).Unicode() }

// domainList is the page of all domains.
type domainList struct {
	find
	pager
	Total int
	Lines []domainLine
}

type domainLine struct {
	admin.DomainLine
	Written string // as its owner writes it
	Page    string
	Checked bool
}

func (m *room) domains(w http.ResponseWriter, r *http.Request) error {
	f := wanted(r)
	found, err := m.o.House.FindDomains(r.Context(), f)
	if err != nil {
		return err
	}
	d := domainList{find: find{Path: "/admin/domains", Label: "Part of a name", Text: f.Text}, pager: pagerOf(r, found.Page, found.Pages), Total: found.Total}
	for _, x := range found.All {
		d.Lines = append(d.Lines, domainLine{x, written(x.Name), at("/admin/domain", "name", x.Name), !m.o.House.Looked(x.Name).Time.IsZero()})
	}
	return m.show(w, r, page.View{Page: "domains", Title: "Domains", Data: d})
}

func newDomainFields(f *page.Form) []field {
	return of(f,
		field{Name: "name", Label: "Domain", Hint: "Such as example.org. Names in other scripts can be typed as they are.", Need: true},
		field{Name: "alias_of", Label: "It is another name of", Hint: "A domain that is here already: each address of the new one stands for the same name there. Empty: it is a domain of its own."},
		field{Name: "catch_all", Label: "Mail for addresses that do not exist goes to", Hint: "Empty: it is refused, which keeps junk away."},
	)
}

func (m *room) newDomain(w http.ResponseWriter, r *http.Request) error {
	f := page.Filled(nil)
	return m.show(w, r, page.View{Page: "simple", Title: "Add a domain", Form: f, Data: simple{Action: "/admin/domains/add", Button: "Add the domain", Back: "/admin/domains", Fields: newDomainFields(f)}})
}

func (m *room) addDomain(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "alias_of", "catch_all")
	if err != nil {
		return err
	}
	var made admin.Domain
	if f.Ok() {
		switch _, err := m.o.House.DomainDetail(r.Context(), f.Value("name")); { // says it in fewer words than AddDomain does
		case err == nil:
			f.Reject("name", "This domain is here already.")
		case !isMissing(err):
			if err = refused(f, "name", err); err != nil {
				return err
			}
		}
	}
	if f.Ok() {
		made, err = m.o.House.AddDomain(r.Context(), admin.Domain{Name: f.Value("name"), AliasOf: f.Value("alias_of"), CatchAll: f.Value("catch_all"), If: admin.NotThere})
		if err = refused(f, m.domainField(r.Context(), f), err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.show(w, r, page.View{Page: "simple", Title: "Add a domain", Status: statusOf(f), Form: f, Data: simple{Action: "/admin/domains/add", Button: "Add the domain", Back: "/admin/domains", Fields: newDomainFields(f)}})
	}
	page.Done(w, r, at("/admin/domain", "name", made.Name), "domain-added")
	return nil
}

// domainField is the field of a domain's form that a refusal is about, as far as can be told from what was typed.
func (m *room) domainField(ctx context.Context, f *page.Form) string {
	if _, err := mail.ParseDomain(f.Value("name")); err != nil {
		return "name"
	}
	if v := f.Value("alias_of"); v != "" {
		if of, err := m.o.House.DomainDetail(ctx, v); err != nil || of.AliasOf != "" {
			return "alias_of"
		}
	}
	if f.Value("catch_all") != "" {
		return "catch_all"
	}
	return "name"
}

// domainPage is one domain.
type domainPage struct {
	admin.DomainDetail
	Written string
	Groups  []recordGroup
	Zone    string
	Checked bool

	Catch, Quota, Send, Rotate []field
}

func (m *room) domain(w http.ResponseWriter, r *http.Request) error {
	return m.showDomain(w, r, r.URL.Query().Get("name"), nil)
}

// showDomain shows a domain, with a form of it that was refused where f is not nil.
func (m *room) showDomain(w http.ResponseWriter, r *http.Request, name string, f *page.Form) error {
	d, err := m.o.House.DomainDetail(r.Context(), name)
	if err != nil {
		return err
	}
	stored := map[string]string{"catch_all": d.CatchAll}
	if d.Quota != nil {
		stored["bytes"], stored["messages"] = sizeText(d.Quota.Quota.Bytes), countText(d.Quota.Quota.Messages)
	}
	if d.Limits != nil {
		limitTexts(stored, *d.Limits)
	}
	if f == nil {
		f = page.Filled(stored)
	} else {
		f.Under(stored)
	}
	p := domainPage{
		DomainDetail: d, Written: written(d.Name), Zone: d.Records.Zone(), Checked: !d.Looked.Time.IsZero(),
		Groups: groupsOf(d.Name, d.Records, m.o.House.Looked("").Results, d.Looked.Results),
		Catch:  of(f, hidden("name", d.Name), hidden("version", d.Version), field{Name: "catch_all", Label: "They go to", Hint: "Empty: they are refused, which keeps junk away."}),
		Rotate: of(f, hidden("name", d.Name), field{Kind: "select", Name: "algorithm", Label: "Kind of key", Choices: []choice{{Value: "rsa", Label: "RSA: everybody can check it"}, {Value: "ed25519", Label: "Ed25519: short; beside an RSA key"}}}),
	}
	if d.Quota != nil {
		p.Quota = of(f, hidden("name", d.Name), hidden("version", d.Version), bytesField(), messagesField())
	}
	if d.Limits != nil {
		p.Send = append([]field{hidden("name", d.Name), hidden("version", d.Version)}, limitFields(f, *d.Limits, "Empty: no limit.")...)
	}
	return m.show(w, r, page.View{Page: "domain", Title: p.Written, Status: statusOf(f), Form: f, Data: p})
}

// setCatchAll changes where mail for addresses goes that do not exist.
func (m *room) setCatchAll(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "version", "catch_all")
	if err != nil {
		return err
	}
	d, err := m.o.House.DomainDetail(r.Context(), f.Value("name"))
	if err != nil {
		return err
	}
	if f.Ok() {
		_, err = m.o.House.AddDomain(r.Context(), admin.Domain{Name: d.Name, AliasOf: d.AliasOf, CatchAll: f.Value("catch_all"), If: f.Value("version")})
		if err = refused(f, "catch_all", err); err != nil {
			return err
		}
	}
	return m.domainDone(w, r, d.Name, f, "domain-catch-all")
}

// domainDone leads back to a domain, or shows its page with the form that was refused.
func (m *room) domainDone(w http.ResponseWriter, r *http.Request, name string, f *page.Form, word string) error {
	if !f.Ok() {
		return m.showDomain(w, r, name, f)
	}
	page.Done(w, r, at("/admin/domain", "name", name), word)
	return nil
}

// setDomainQuota limits what the accounts of a domain hold together.
func (m *room) setDomainQuota(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "version", "bytes", "messages")
	if err != nil {
		return err
	}
	q := amountOf(f)
	if f.Ok() {
		_, err = m.o.House.SetDomainQuota(seen(r, f), f.Value("name"), q)
		if err = refused(f, "bytes", err); err != nil {
			return err
		}
	}
	return m.domainDone(w, r, f.Value("name"), f, "domain-quota")
}

// setDomainLimits limits what the accounts of a domain send together.
func (m *room) setDomainLimits(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, append(limitNames(), "name", "version")...)
	if err != nil {
		return err
	}
	c := limitsOf(f)
	if f.Ok() {
		_, err = m.o.House.SetDomainLimits(seen(r, f), f.Value("name"), c)
		if err = refused(f, limitNames()[0], err); err != nil {
			return err
		}
	}
	return m.domainDone(w, r, f.Value("name"), f, "domain-limits")
}

// lookAtDomain asks DNS and the network about one domain, and the machine; "" all of them.
func (m *room) lookAtDomain(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name")
	if err != nil {
		return err
	}
	request, back := admin.CheckupRequest{}, "/admin/"
	if name := f.Value("name"); name != "" {
		request.Domains, back = []string{name}, at("/admin/domain", "name", name)
	}
	if _, err := m.o.House.CheckUp(r.Context(), request); err != nil {
		return err
	}
	page.Done(w, r, back, "looked")
	return nil
}

func (m *room) rotateKey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "algorithm")
	if err != nil {
		return err
	}
	if f.Ok() {
		_, err = m.o.House.RotateDKIM(r.Context(), f.Value("name"), admin.Rotate{Algorithm: f.Value("algorithm")})
		if err = refused(f, "algorithm", err); err != nil {
			return err
		}
	}
	return m.domainDone(w, r, f.Value("name"), f, "key-made")
}

func (m *room) askRemoveKey(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	return m.showRemoveKey(w, r, q.Get("name"), q.Get("selector"), nil)
}

func (m *room) showRemoveKey(w http.ResponseWriter, r *http.Request, name, selector string, f *page.Form) error {
	d, err := m.o.House.DomainDetail(r.Context(), name)
	if err != nil {
		return err
	}
	for _, k := range d.Keys {
		if k.Selector == selector {
			return m.ask(w, r, "Remove a key of "+written(d.Name), f, ask{
				Text:   "The key " + selector + " is forgotten. Mail that it has signed can be proven no more once its record is gone from DNS too.",
				Action: "/admin/domain/key/remove", Button: "Remove the key", Back: at("/admin/domain", "name", d.Name),
				Fields: []field{hidden("name", d.Name), hidden("selector", selector)},
			})
		}
	}
	return page.ErrMissing
}

func (m *room) removeKey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "selector")
	if err != nil {
		return err
	}
	err = m.o.House.RemoveDKIM(r.Context(), f.Value("name"), f.Value("selector"))
	if err = refused(f, "", err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showRemoveKey(w, r, f.Value("name"), f.Value("selector"), f)
	}
	page.Done(w, r, at("/admin/domain", "name", f.Value("name")), "key-removed")
	return nil
}

func (m *room) askRemoveDomain(w http.ResponseWriter, r *http.Request) error {
	return m.showRemoveDomain(w, r, r.URL.Query().Get("name"), nil)
}

func (m *room) showRemoveDomain(w http.ResponseWriter, r *http.Request, name string, f *page.Form) error {
	d, err := m.o.House.DomainDetail(r.Context(), name)
	if err != nil {
		return err
	}
	return m.ask(w, r, "Remove "+written(d.Name), f, ask{
		Text:   "Mail for this domain is refused from then on, and its keys, limits and settings are forgotten. It can be removed only when no account, alias, list or masked address has an address in it.",
		Action: "/admin/domain/remove", Button: "Remove the domain", Back: at("/admin/domain", "name", d.Name),
		Fields: []field{hidden("name", d.Name), hidden("version", d.Version)},
	})
}

func (m *room) removeDomain(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "version")
	if err != nil {
		return err
	}
	if err = refused(f, "", m.o.House.RemoveDomain(seen(r, f), f.Value("name"))); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showRemoveDomain(w, r, f.Value("name"), f)
	}
	page.Done(w, r, "/admin/domains", "domain-removed")
	return nil
}
